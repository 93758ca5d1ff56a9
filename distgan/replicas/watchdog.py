"""Detection of a process that hangs: a small parent process watches the one that trains, and ends it.

A process can't end itself if it is frozen, or stuck in code outside Python. So `guard` forks before TensorFlow is
loaded. The child trains, and writes a byte into a pipe to report what it begins. The parent only forwards signals, and
kills a child that has been silent for too long. If the parent is killed, the child is killed too. Linux only; on other
systems `guard` runs `main` unwatched.
"""

import contextlib
import ctypes
import faulthandler
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from distgan.errors import STALLED, AloneError
from distgan.replicas import launcher

TICK_SECONDS = 0.5
OWN_SHARE = 1 / 2  # of the timeout, for own work: the stalled rank is ended before those that wait for it
SPEAKS_FIRST_SECONDS = 5.0  # more time for a backend that can name missing ranks, if processes do not meet
_STARTS, _WORKS, _WAITS = b"s", b"w", b"c"
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_BY_TERMINAL = (signal.SIGINT, 0x80)  # with code SI_KERNEL: sent to the whole process group, so to the child too
_PR_SET_PDEATHSIG = 1
_PIPE_BYTES = 2**16  # that a pipe holds

_pipe: list[int] = []  # in the child: its end of the pipe


def _beat(kind: bytes) -> None:
    """Report to the parent process, if there is one, what this process begins."""
    if _pipe:
        with contextlib.suppress(BlockingIOError):  # the parent is frozen: the pipe holds enough bytes for it
            os.write(_pipe[0], kind)


starts = functools.partial(_beat, _STARTS)  # to meet the others
works = functools.partial(_beat, _WORKS)  # work of its own, in which it waits for no other process
waits = functools.partial(_beat, _WAITS)  # work that may wait for others, or for its device


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Report `waits` when the context begins, and `works` when it ends."""
    waits()
    yield
    works()


def guard(main: Callable[[], int], timeout_seconds: float, start_timeout_seconds: float) -> int:
    """Return the result of `main`, run in a child that is ended after `timeout_seconds` without a report.

    While the child meets the others, the limit is `start_timeout_seconds`.
    """
    if not hasattr(signal, "sigtimedwait"):
        return main()
    sys.stdout.flush()
    sys.stderr.flush()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {*_HANDED_ON, signal.SIGCHLD})
    ours, childs = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.close(ours)
        os.set_blocking(childs, False)
        _pipe.append(childs)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call above
            os._exit(1)
        faulthandler.register(signal.SIGUSR2)  # prints where the child hangs
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return main()
    os.close(childs)
    os.set_blocking(ours, False)
    return _watch(child, ours, timeout_seconds, start_timeout_seconds)


def _watch(child: int, pipe: int, timeout_seconds: float, start_timeout_seconds: float) -> int:
    """Return the child's exit status, once it has ended or has been ended."""
    kind, silent_seconds = _WAITS, 0.0  # counted in ticks, so that time for which the parent is frozen does not count
    while True:
        began = time.monotonic()
        info = signal.sigtimedwait({*_HANDED_ON, signal.SIGCHLD}, TICK_SECONDS)
        silent_seconds += min(time.monotonic() - began, 2 * TICK_SECONDS)
        ended, status = os.waitpid(child, os.WNOHANG)
        with contextlib.suppress(BlockingIOError):  # it has reported nothing
            if told := os.read(pipe, _PIPE_BYTES):
                kind, silent_seconds = told[-1:], 0.0
        if ended:
            return _as_ours(status)
        if info and info.si_signo in _HANDED_ON and (info.si_signo, info.si_code) != _BY_TERMINAL:
            if info.si_signo == signal.SIGTERM and _is_frozen(child):
                return _end(child, "is frozen and could not save a checkpoint")
            os.kill(child, info.si_signo)
        own_limit = OWN_SHARE * timeout_seconds
        if silent_seconds >= own_limit and _is_frozen(child):
            return _end(child, f"has been frozen for {own_limit:g} seconds")
        if kind == _WORKS and silent_seconds >= own_limit:
            return _end(child, f"has made no progress in its own work for {own_limit:g} seconds")
        if kind == _STARTS:
            if silent_seconds >= start_timeout_seconds + SPEAKS_FIRST_SECONDS:
                error = AloneError.of_start(launcher.own_rank(), start_timeout_seconds)
                print(f"distgan: {error}", file=sys.stderr, flush=True)
                return _kill(child)
        elif silent_seconds >= timeout_seconds:
            return _end(child, f"has waited for others, or its device, for {timeout_seconds:g} seconds")


def _is_frozen(child: int) -> bool:
    """Return whether a signal, or a debugger, has stopped a process."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


def _end(child: int, why: str) -> int:
    after = "so it was ended; rerun the command to resume from the last checkpoint."
    print(f"distgan: rank {launcher.own_rank()} {why}, {after}", file=sys.stderr, flush=True)
    if not _is_frozen(child):
        os.kill(child, signal.SIGUSR2)
        time.sleep(2 * TICK_SECONDS)
    return _kill(child)


def _kill(child: int) -> int:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return STALLED


def _as_ours(status: int) -> int:
    """End this process by the signal that ended the child, or return the child's exit status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status)
