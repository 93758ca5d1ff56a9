"""Nothing that is loaded is a program, nothing is written elsewhere, nothing listens to the network unasked."""

import ast
import subprocess
import sys
from pathlib import Path

import layouts
import limits
import numpy as np
import psutil
import pytest
import small_runs
import supervisor
from picture_files import write_folder

import distgan
from distgan import pictures
from distgan.store import checkpoint

PACKAGE = Path(distgan.__file__).parent
EXECUTES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
# An unpickler that calls nothing, which test_imagenet.py tests; of YAML only what makes plain values.
INERT = {"metrics/imagenet.py": {"pickle"}, "trials.py": {"yaml"}}
LAUNCH = PACKAGE.parent / "launch"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_loads_what_may_execute_code(path: Path) -> None:
    refused = EXECUTES - INERT.get(str(path.relative_to(PACKAGE)), set())
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            assert not {module.partition(".")[0] for module in modules} & refused, ast.unparse(node)
        if isinstance(node, ast.Call):
            called, settings = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert called not in ("eval", "exec", "compile", "os.system", "os.popen"), ast.unparse(node)
            assert called not in ("pickle.load", "pickle.loads", "pickle.Unpickler"), ast.unparse(node)
            assert not called.startswith("yaml.") or called == "yaml.safe_load", ast.unparse(node)
            assert "shell" not in settings, ast.unparse(node)
            if called.endswith("np.load"):
                assert settings["allow_pickle"] == "False", ast.unparse(node)
            if called.endswith("load_model"):
                assert settings["safe_mode"] == "True", ast.unparse(node)


def test_the_code_has_no_finding_of_bandit() -> None:
    command = [sys.executable, "-m", "bandit", "--quiet", "--recursive", "--configfile", "pyproject.toml"]
    found = subprocess.run([*command, "distgan"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_a_link_in_the_place_of_an_output_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    output = tmp_path / "out"
    output.mkdir()
    for name in ("0000.png", "picture.png"):
        (output / name).symlink_to(precious)
    pictures.write_samples(output / "picture.png", np.zeros((1, 28, 28, 1), np.uint8), columns=None)
    assert precious.read_text() == "mine"
    assert not (output / "picture.png").is_symlink()


def test_pruning_checkpoints_leaves_what_a_link_leads_to(tmp_path: Path) -> None:
    away = write_folder(tmp_path / "away", 1)
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    (directory / "step_000000001").symlink_to(away)
    for step in (2, 3):
        checkpoint.save(directory, {"step": np.array(step)}, {"step": step}, keep=1)
    assert list(away.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_horovod_on_one_machine_listens_on_its_loopback_only(tmp_path: Path) -> None:
    """TensorFlow's own servers, of multiworker, listen everywhere: docs/resume-and-faults.md says so."""
    processes = layouts.start(
        layouts.Layout("horovod", 2), "-m", "distgan.train", *small_runs.flags(tmp_path, steps=1_000_000)
    )
    try:
        small_runs.wait_for_step(tmp_path, 3, processes)
        family = supervisor.descendants()
        listening = {
            (process.name(), connection.laddr.ip) for process in family
            for connection in process.net_connections("inet") if connection.status == psutil.CONN_LISTEN
        }  # fmt: skip
        assert listening
        assert {address for _, address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            limits.output_of(process)


@pytest.mark.parametrize("script", ["elastic.sh", "train.sh"])
def test_arguments_reach_the_program_unharmed(script: str, tmp_path: Path) -> None:
    """With the launcher and the set-up in a copy replaced by a program that prints what it is given."""
    launch = tmp_path / "launch"
    launch.mkdir()
    bin_directory = tmp_path / ".venv" / "bin"
    bin_directory.mkdir(parents=True)
    for name in (script, "hosts.sh"):
        (launch / name).write_text((LAUNCH / name).read_text())
        (launch / name).chmod(0o755)
    echo = "#!/bin/sh\nprintf '%s\\0' \"$@\"\n"
    for path, text in ((launch / "setup.sh", "#!/bin/sh\n"), (bin_directory / "horovodrun", echo)):
        path.write_text(text)
        path.chmod(0o755)
    wild = ["--run_dir=a b", '--data=folder:it\'s "here"; touch hacked', "--seed=$(touch hacked)", "--x=*"]
    separator = ["--"] if script == "train.sh" else []
    done = subprocess.run(
        [launch / script, *separator, *wild], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip("\0").split("\0")[-len(wild) :] == wild
    assert not list(tmp_path.rglob("hacked"))
