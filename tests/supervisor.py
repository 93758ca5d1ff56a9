"""Nothing that a test starts outlives it, and nothing of a test session outlives pytest, however they end.

Orphans come to the nearest ancestor that takes them (`PR_SET_CHILD_SUBREAPER`), so all that a process has started,
directly or not, are its descendants as long as it lives. Three processes take them: the pytest that runs the tests, a
supervisor above it, which is this file run as a program, and the pytest that was started, above that. Whichever of
them is killed, another ends the rest.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection

import psutil

COMMAND, SUPERVISOR = "DISTGAN_TEST_COMMAND", "DISTGAN_TEST_SUPERVISOR"
SPARED = set[int]()  # of a test's descendants, those that later tests use too, by number
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SENT_BY_TERMINAL = 0x80  # SI_KERNEL: to all processes of the group, so to pytest too
_WATCHED = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_supervised() -> bool:
    """Whether this process was started by a supervisor."""
    return os.environ.get(SUPERVISOR) == str(os.getppid())


def run_supervised() -> int:
    """Run this process's own command again, under a supervisor; its exit status.

    All temporary files go into a directory of their own, which is kept where a test has failed.
    """
    temporary = tempfile.mkdtemp(prefix="distgan-")
    environment = {COMMAND: json.dumps(sys.orig_argv), "TMPDIR": temporary}
    status = _run([sys.executable, __file__], environment, signal.SIGTERM)
    if status:
        print(f"What the tests wrote is kept in {temporary}")
    else:
        shutil.rmtree(temporary)
    return status


def adopt_orphans() -> None:
    """Have what loses its parent become this process's child, if it is its descendant."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants() -> set[psutil.Process]:
    """All that this process has started, directly or not, and that has not ended."""
    return set(psutil.Process().children(recursive=True))


def end_all_but(spared: Collection[psutil.Process] = ()) -> None:
    """Kill all descendants of this process, but for some and `SPARED`; returns when they have ended."""
    while left := {process for process in descendants() - set(spared) if process.pid not in SPARED}:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=0.1)


def _run(command: list[str], environment: dict[str, str], sent_when_we_die: signal.Signals) -> int:
    """Run a command with all signals handed on, and end all descendants with it; its exit status."""
    adopt_orphans()
    parent = os.getppid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)

    def set_up_child() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, sent_when_we_die)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has what it runs in the background ignore it
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    with subprocess.Popen(command, env=os.environ | environment, preexec_fn=set_up_child) as child:  # noqa: PLW1509
        while child.poll() is None:
            info = signal.sigwaitinfo(_WATCHED)
            if os.getppid() != parent:
                break
            by_terminal = info.si_signo == signal.SIGINT and info.si_code == _SENT_BY_TERMINAL
            if info.si_signo != signal.SIGCHLD and not by_terminal:
                child.send_signal(signal.SIGINT)  # on which pytest tears down what it has set up
        end_all_but()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(_run(json.loads(os.environ.pop(COMMAND)), {SUPERVISOR: str(os.getpid())}, signal.SIGKILL))
