"""How long tests wait: long enough for any machine, as a limit is there to end what hangs, and measures nothing."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distgan import program

_began = time.monotonic()
program.import_tensorflow()

LOAD_SECONDS = time.monotonic() - _began  # what this machine, as busy as it is, takes for what each launch begins with
LIMIT_SECONDS = max(900.0, 150 * LOAD_SECONDS)
PAUSE_SECONDS = 0.02


def wait_until(
    is_so: Callable[[], object], what: str, *, goes_on: Callable[[], object] = lambda: True,
    said: Callable[[], str] = lambda: "",
) -> None:  # fmt: skip
    """Wait until something is so, as long as what is to bring it about goes on.

    Raises `AssertionError`, with what was waited for and what was `said` meanwhile, where that has ended or the limit
    is over.
    """
    end = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        went_on = goes_on()
        if not went_on and is_so():
            return
        assert went_on, f"it ended before {what}: {said()[-5000:]}"
        assert time.monotonic() < end, f"no {what} after {LIMIT_SECONDS:.0f} s: {said()[-5000:]}"
        time.sleep(PAUSE_SECONDS)


def run(command: Sequence[str | Path], **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with all it says caught."""
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False, **settings)


def output_of(process: subprocess.Popen[str]) -> str:
    """What a process says until it has ended, which it must within the limit."""
    try:
        return process.communicate(timeout=LIMIT_SECONDS)[0] or ""
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"no end of {process.args!r} after {LIMIT_SECONDS:.0f} s: {_said(process)}") from None


def _said(process: subprocess.Popen[str]) -> str:
    """What a process said, of which what it has started may hold the pipe open."""
    try:
        return process.communicate(timeout=PAUSE_SECONDS)[0] or ""
    except subprocess.TimeoutExpired as error:
        return bytes(error.output or b"").decode(errors="replace")[-5000:]
