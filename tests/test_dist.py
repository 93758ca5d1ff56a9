"""What is released: a wheel that trains where there is no compiler and no Horovod, and one version everywhere."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import limits
import picture_files
import pytest
import yaml
from packaging.requirements import Requirement

import distgan
from distgan import paths

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "launch/constraints.txt").read_text(), re.MULTILINE))
CACHE = Path(os.environ.get("DISTGAN_CACHE") or paths.cache_directory())
HIDDEN = ("horovod", "torch", "distgan", "__editable__")  # of what is installed for the tests
WITHOUT_LINUX = """
import os, signal
for module, names in (
    (os, ("sched_getaffinity", "sched_setaffinity", "memfd_create", "fdatasync", "pipe2", "posix_fadvise", "eventfd")),
    (signal, ("sigtimedwait", "sigwaitinfo")),
):
    for name in names:
        vars(module).pop(name, None)
"""
TRAINS = "import sys; sys.argv = ['distgan', *sys.argv[1:]]; from distgan import cli; cli.main()"
TRAIN = ("train", "--preset=mlp", "--batch_size=16", "--sample_every=never")
LOOKS = """
from distgan.data import emoji, sources
from distgan.data.base import Wanted
print(len(emoji.read("test").names), *sources.open_source("mnist", "test", Wanted()).streams.values())
try:
    import horovod
except ImportError:
    print("no Horovod")
"""


def test_the_version_is_the_same_everywhere() -> None:
    version = distgan.__version__
    assert "version" in PROJECT["dynamic"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert (ROOT / "CHANGELOG.md").read_text().startswith(f"# Changelog\n\n## {version} ")
    for path in ("Dockerfile", "docs/launch.md", "launch/build_image.sh", "launch/mpijob.yaml"):
        assert set(re.findall(r"distgan:(\d[\d.]*\d)", (ROOT / path).read_text())) == {version}, path


def test_the_citation_has_what_its_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation.keys() == {"cff-version", "message", "title", "type", "authors", "license", "version"}
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["license"] == PROJECT["license"].partition(" ")[0]  # distgan's own, without those of the data in it
    assert citation["authors"] == PROJECT["authors"]


def test_what_make_setup_installs_is_within_the_ranges_of_the_wheel() -> None:
    extras = PROJECT["optional-dependencies"].values()
    for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]:
        needed = Requirement(text)
        pinned = CONSTRAINTS.get(needed.name)
        assert pinned is None or needed.specifier.contains(pinned), f"{text}, but {pinned} in constraints.txt"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this source, built where nothing was built before."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    shutil.copytree(ROOT / "distgan", source / "distgan", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = limits.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", directory, source])
    assert not built.returncode, built.stderr
    return next(directory.glob("distgan-*.whl"))


class Installed:
    """An environment with the wheel, and all that it depends on but Horovod; nothing else is on its PATH."""

    def __init__(self, directory: Path, wheel: Path) -> None:
        self.bin, self._home = directory / "venv" / "bin", directory
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "venv"], check=True)
        (directory / "others").mkdir()
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if not path.name.startswith(HIDDEN):
                (directory / "others" / path.name).symlink_to(path)
        site = next((directory / "venv" / "lib").glob("python3*/site-packages"))
        (site / "others.pth").write_text(f"{directory / 'others'}\n")
        answer = self.run("python", "-m", "pip", "install", "--no-deps", "--no-index", wheel)
        assert not answer.returncode, answer.stderr

    def run(self, *words: str | Path, path: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, outside of the source."""
        environment = {"PATH": f"{self.bin}:{path}", "HOME": str(self._home), "TF_CPP_MIN_LOG_LEVEL": "2"}
        return limits.run([self.bin / words[0], *words[1:]], env=environment | variables, cwd=self._home)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"), wheel)


@pytest.mark.slow
def test_a_wheel_holds_the_data_and_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in (ROOT / "distgan").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT).as_posix() in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_wheel_trains_two_processes_without_compiler_and_horovod(installed: Installed) -> None:
    words = ("--backend=multiworker", "--steps=4", "--run_dir=run")
    answer = installed.run("distgan", "launch", "-n", "2", "--", "distgan", *TRAIN, *words)
    assert not answer.returncode, answer.stderr
    assert "backend multiworker: 2 replicas in 2 processes" in answer.stdout
    assert "uPlot" in (installed.bin.parents[1] / "run" / "report.html").read_text()
    looked = installed.run("python", "-c", LOOKS)
    assert looked.stdout == "350 10000\nno Horovod\n", looked.stderr


@pytest.mark.slow
def test_horovod_is_not_built_without_a_compiler(installed: Installed, tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "grep"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    answer = installed.run("distgan", "build-horovod", path=str(tmp_path))
    assert answer.stderr == (
        "distgan: building Horovod needs g++ cmake make patch: apt-get install g++ cmake make patch "
        "(or use distgan launch, which needs no Horovod)\n"
    )
    assert (answer.returncode, answer.stdout) == (2, "")


@pytest.mark.slow
def test_nothing_that_only_linux_has_is_needed(tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "photos", 16)
    words = (*TRAIN, "--steps=1", f"--data=folder:{tmp_path / 'photos'}", f"--run_dir={tmp_path / 'run'}")
    answer = limits.run([sys.executable, "-c", WITHOUT_LINUX + TRAINS, *words])
    assert not answer.returncode, answer.stderr
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.skipif(not list(CACHE.glob("wheels/*")), reason=f"{CACHE} has no wheel of Horovod: it takes minutes")
def test_the_command_installs_horovod(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "wheels").symlink_to(CACHE / "wheels")
    answer = installed.run("distgan", "build-horovod", path=os.environ["PATH"], DISTGAN_CACHE=str(tmp_path))
    assert not answer.returncode, answer.stderr
    assert "Horovod from " in answer.stdout
    built = installed.run("python", "-c", "import horovod.tensorflow as hvd; print(hvd.gloo_built())")
    assert built.stdout == "True\n", built.stderr
    assert (installed.bin / "horovodrun").exists()
