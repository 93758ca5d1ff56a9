"""Set-up and launch: what is missing is named in a sentence, and what was built is what is needed."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import limits
import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        *ROOT.glob("launch/**/*.sh"),
        *ROOT.glob("distgan/**/*.sh"),
        *ROOT.glob("benchmarks/*.sh"),
        ROOT / "launch/slurm.sbatch",
        ROOT / ".ci/run",
    ]
)
PATCHES = sorted(ROOT.glob("distgan/horovod_build/*.patch"))
CACHE = Path(
    os.environ.get("DISTGAN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distgan"
)
SOURCE_RELEASE = CACHE / "source" / "horovod-0.28.1.tar.gz"
OLD_PYTHON = f"""#!/bin/sh
exec {sys.executable} -c '
import platform, sys
sys.version_info, platform.python_version = (3, 10, 13), lambda: "3.10.13"
exec(sys.argv[2])' "$@"
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_bash_can_read(script: str) -> None:
    run("bash", "-n", ROOT / script, check=True)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    found = run("shellcheck", *(ROOT / script for script in SCRIPTS))
    assert found.stdout == ""


def test_hadolint_finds_nothing() -> None:
    found = run(Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile")
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("without", "package"), [({"c++", "g++", "clang++"}, "g++"), ({"cmake"}, "cmake"), ({"make"}, "make")]
)
def test_a_missing_build_tool_is_named_with_its_cure(
    clone: Path, tmp_path: Path, without: set[str], package: str
) -> None:
    answer = set_up(clone, PATH=path_without(without, tmp_path), PYTHON=sys.executable)
    assert answer.stderr == (
        f"distgan: building Horovod needs {package}: apt-get install {package} "
        "(or DISTGAN_HOROVOD=0 to go without it)\n"
    )
    assert (answer.stdout, answer.returncode) == ("", 2)
    assert not (clone / ".venv").exists()


def test_all_missing_build_tools_are_named_at_once(clone: Path, tmp_path: Path) -> None:
    path = path_without({"c++", "g++", "clang++", "cmake", "make"}, tmp_path)
    answer = set_up(clone, PATH=path, PYTHON=sys.executable)
    assert "apt-get install g++ cmake make (" in answer.stderr


def test_a_python_too_old_is_refused(clone: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    old.write_text(OLD_PYTHON)
    old.chmod(0o755)
    answer = set_up(clone, PYTHON=str(old))
    assert answer.stderr == (f"distgan: Python 3.11, 3.12 or 3.13 is needed, and PYTHON={old} is 3.10.13\n")
    assert answer.returncode == 2


def test_a_machine_without_python_is_told_how_to_get_one(clone: Path, tmp_path: Path) -> None:
    pythons = {"python", "python3", "python3.11", "python3.12", "python3.13", "pyenv"}
    answer = set_up(clone, PATH=path_without(pythons, tmp_path))
    assert answer.stderr.startswith("distgan: Python 3.11, 3.12 or 3.13 is needed, and there is none")
    assert "apt-get install python3" in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert answer.returncode == 2


@pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv" or not (ROOT / ".venv/inputs").exists(),
    reason="the tests do not run in the .venv of launch/setup.sh",
)
def test_a_second_set_up_has_nothing_to_do() -> None:
    answer = run(ROOT / "launch/setup.sh", timeout=limits.LIMIT_SECONDS)
    assert answer.stdout == "distgan: .venv is up to date\n"


@pytest.mark.skipif(not SOURCE_RELEASE.exists(), reason=f"{SOURCE_RELEASE} is not there")
def test_our_patches_fit_the_source_release(tmp_path: Path) -> None:
    run("tar", "--extract", "--file", SOURCE_RELEASE, cwd=tmp_path)
    assert len(PATCHES) == 14
    for patch in PATCHES:
        assert not patch.read_text().startswith("---"), f"{patch.name} says no reason"
        applied = run("git", "apply", "--verbose", patch, cwd=tmp_path / "horovod-0.28.1")
        assert "cleanly" in applied.stderr, applied.stderr


@pytest.mark.skipif(not importlib.util.find_spec("horovod"), reason="Horovod is not installed")
def test_horovod_was_built_for_this_tensorflow_with_gloo() -> None:
    import horovod.tensorflow as hvd
    from horovod.common import util  # what horovodrun asks

    assert hvd.gloo_built()
    assert (util.gloo_built(), util.mpi_built()) == (hvd.gloo_built(), hvd.mpi_built())


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of a fresh clone as set-up reads before it makes anything."""
    clone = tmp_path / "clone"
    for name in ("launch", "distgan/horovod_build"):
        shutil.copytree(ROOT / name, clone / name)
    shutil.copy(ROOT / "pyproject.toml", clone)
    return clone


def set_up(clone: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    unset = {"PYTHON", "DISTGAN_HOROVOD", "DISTGAN_GPU", "CXX"}
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    environment = {**inherited, "DISTGAN_CACHE": str(clone / "cache"), **variables}
    return run(clone / "launch/setup.sh", env=environment)


def path_without(names: set[str], tmp_path: Path) -> str:
    """A directory with a link to every command on PATH, but for these."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for command in Path(folder).glob("*"):
            link = directory / command.name
            if command.name not in names and not link.is_symlink():
                link.symlink_to(command)
    return str(directory)


def run(*command: str | Path, check: bool = False, **arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=check, **arguments)
