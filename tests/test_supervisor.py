"""What a test leaves running ends with it, and all that a test session runs ends with pytest, even if it is killed."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import limits
import psutil
import pytest
import supervisor

LEAVES_ONE = """
import pathlib
import subprocess
import time

def leave(name):
    subprocess.Popen(["sh", "-c", f"setsid sleep 1000 & echo $! > {name}.new && mv {name}.new {name}"]).wait()

def test_leaves_one_behind():
    leave("of_test")

def test_finds_none():
    process = pathlib.Path("/proc", pathlib.Path("of_test").read_text().strip())
    assert not process.exists()

def test_hangs():
    leave("of_session")
    time.sleep(1000)
"""


def _start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start pytest, with what all of our tests share, on three tests that leave processes."""
    (directory / "test_it.py").write_text(LEAVES_ONE)
    return _start_pytest(directory, *arguments)


def _start_pytest(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    (directory / "temporary").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", *arguments, "test_it.py"],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "TMPDIR": str(directory / "temporary")},
    )  # fmt: skip


def test_what_a_test_leaves_running_is_ended_before_the_next(tmp_path: Path) -> None:
    started = _start(tmp_path, "-k", "not hangs")
    said = limits.output_of(started)
    assert started.returncode == 0, said
    assert not list((tmp_path / "temporary").iterdir())


def test_what_a_failed_test_wrote_is_kept_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_it(tmp_path):\n    (tmp_path / 'evidence').touch()\n    assert False"
    )
    started = _start_pytest(tmp_path)
    kept = re.search(r"is kept in (\S+)", limits.output_of(started))
    assert started.returncode == 1
    assert kept
    assert list(Path(kept[1]).rglob("evidence"))


def _words_of(process: psutil.Process) -> list[str]:
    """The command of a process; none if it has just ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.cmdline())
    return []


@pytest.mark.parametrize("which", ["first", "last", "all"])
def test_nothing_goes_on_when_pytest_is_killed(which: str, tmp_path: Path) -> None:
    started = _start(tmp_path, "-k", "hangs")
    limits.wait_until((tmp_path / "of_session").exists, "process left behind", goes_on=lambda: started.poll() is None)
    left = psutil.Process(int((tmp_path / "of_session").read_text()))
    called_pytest = sorted(
        (process for process in supervisor.descendants() if "pytest" in _words_of(process) and process.is_running()),
        key=lambda process: process.create_time(),
    )
    assert len(called_pytest) == 2
    for process in {"first": called_pytest[:1], "last": called_pytest[1:], "all": called_pytest}[which]:
        process.kill()
    limits.wait_until(lambda: not left.is_running(), "end of what was left behind")
    limits.wait_until(lambda: not _are_running(called_pytest), "end of pytest")
    started.communicate()


def _are_running(processes: list[psutil.Process]) -> bool:
    return any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
