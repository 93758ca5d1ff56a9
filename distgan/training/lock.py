"""One run directory, one run: a lock that says who holds it, and that outlives no owner."""

import contextlib
import fcntl
import itertools
import json
import math
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from distgan import files
from distgan.errors import UserError
from distgan.replicas import launcher

HEARTBEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0  # of no heartbeat, for an owner on another machine, whom we can't ask
WATCH_SECONDS = 1.0
ENDING_SECONDS = 5.0  # that an owner on this machine may need to end, once it was killed


class RunLock:
    """The right to write into a run directory, held by one process."""

    def __init__(self, directory: Path) -> None:
        """Prepare to lock `directory`; nothing is written yet."""
        self._directory = directory
        self._path = directory / "lock.json"
        self._owner: dict[str, Any] = {}
        self._released = threading.Event()

    def acquire(self) -> None:
        """Take the lock, from a dead owner too. Raises `UserError` naming the owner that is alive.

        An owner on this machine is given `ENDING_SECONDS` to end; one on another machine is watched until it beats
        again, or has not for `DEAD_AFTER_SECONDS`.
        """
        if self._directory.exists() and not self._directory.is_dir():
            raise UserError(f"--run_dir={self._directory} is a file: name a directory.")
        self._directory.mkdir(parents=True, exist_ok=True)
        watched_seconds, until = -math.inf, time.monotonic() + ENDING_SECONDS
        for attempt in itertools.count(1):
            silent_seconds = self._take(watched_seconds, time.monotonic() < until)
            if silent_seconds is None:
                break
            if attempt == 2:  # most that have to end have by now
                print(f"distgan: waits for {_name(self._read())} to end, which holds {self._directory}",
                      file=sys.stderr, flush=True)  # fmt: skip
            watched_seconds = silent_seconds
            time.sleep(WATCH_SECONDS)
        threading.Thread(target=self._beat, name="lock heartbeat", daemon=True).start()

    def _take(self, watched_seconds: float, may_end: bool) -> float | None:
        """Take the lock; else for how long its owner, who was silent for `watched_seconds` before, has been silent.

        Raises `UserError` where the owner is alive; on this machine only if it is not one that `may_end`.
        """
        with self._mutex() as mutex:
            owner = self._read()
            if owner:
                silent_seconds = self._seconds_since_heartbeat(mutex)
                is_alive = _is_alive(owner)
                if (is_alive and not may_end) or (is_alive is None and silent_seconds < watched_seconds):
                    raise UserError(
                        f"{self._directory} is in use by {_name(owner)}: wait for it, stop it, or choose another "
                        "--run_dir."
                    )
                if is_alive or (is_alive is None and silent_seconds < DEAD_AFTER_SECONDS):
                    return silent_seconds
            self._owner = _this_process()
            self._path.write_text(json.dumps(self._owner))
            return None

    def check(self) -> None:
        """Raise `UserError` if another run has taken the directory over, as it may from a process that was frozen."""
        if self._read() != self._owner:
            raise UserError(f"{self._directory} was taken over by another run; this one stops and writes nothing more.")

    def release(self) -> None:
        """Give the lock back, if it is still held."""
        self._released.set()
        with contextlib.suppress(OSError), self._mutex():  # where the directory is gone, so is the lock
            if self._owner and self._read() == self._owner:
                self._path.unlink()

    @contextlib.contextmanager
    def _mutex(self) -> Iterator[TextIO]:
        with (self._directory / ".lock-mutex").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _read(self) -> dict[str, Any]:
        try:
            owner = json.loads(self._path.read_text())
            return owner if {"host", "pid", "started", "machine"} <= set(owner) else {}
        except (OSError, ValueError, TypeError):
            return {}  # nobody's, or half written by a process that was killed

    def _seconds_since_heartbeat(self, mutex: TextIO) -> float:
        os.utime(mutex.name)  # so that both times are the file server's
        return os.stat(mutex.name).st_mtime - self._path.stat().st_mtime

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # the next beat may get through
                if self._read() == self._owner:
                    os.utime(self._path)


class RemoteLock:
    """The right to write into a remote directory, whose owner shows by ever new numbers that it is alive.

    Such a file system has nothing that only one of two can do at once, so two runs that start within the same second
    may both take it; the one that is no longer named there stops at its next checkpoint.
    """

    def __init__(self, address: str) -> None:
        """Prepare to lock the directory at `address`; nothing is written yet."""
        self._address, self._path = address, f"{address.rstrip('/')}/lock.json"
        self._owner: dict[str, Any] = {}
        self._released = threading.Event()
        self._heart = threading.Thread()

    def acquire(self) -> None:
        """Take the lock, from an owner too who shows no life for `DEAD_AFTER_SECONDS`.

        Raises `UserError` naming the owner that is alive, `OSError` where the address can't be reached.
        """
        found = self._read()
        is_alive = _is_alive(found) if found else False
        until = time.monotonic() + DEAD_AFTER_SECONDS
        while is_alive is None and time.monotonic() < until:
            time.sleep(WATCH_SECONDS)
            now = self._read()
            if now != found:
                found, is_alive = now, bool(now)
        if is_alive:
            raise UserError(
                f"{self._address} is in use by {_name(found)}: wait for it, stop it, or choose another --run_dir."
            )
        self._owner = _this_process() | {"token": secrets.token_hex(8)}
        self._write(0)
        self._heart = threading.Thread(target=self._beat, name="remote lock heartbeat", daemon=True)
        self._heart.start()

    def check(self) -> None:
        """Raise `UserError` if another run has taken the directory over."""
        if not self._is_ours():
            raise UserError(f"{self._address} was taken over by another run; this one stops and writes nothing more.")

    def release(self) -> None:
        """Give the lock back, if it is still held."""
        self._released.set()
        if self._heart.is_alive():
            self._heart.join()  # a beat would bring the lock back
        with contextlib.suppress(OSError):
            if self._owner and self._is_ours():
                files.remove(self._path)

    def _is_ours(self) -> bool:
        return self._read() | {"beat": 0} == self._owner | {"beat": 0}

    def _read(self) -> dict[str, Any]:
        try:
            owner = json.loads(files.read(self._path))
            return owner if {"host", "pid", "started", "machine"} <= set(owner) else {}
        except (FileNotFoundError, ValueError, TypeError):
            return {}

    def _write(self, beat: int) -> None:
        files.write(self._path, json.dumps(self._owner | {"beat": beat}).encode())

    def _beat(self) -> None:
        for beat in itertools.count(1):
            if self._released.wait(HEARTBEAT_SECONDS):
                return
            with contextlib.suppress(OSError):  # the next beat may get through
                if self._is_ours():
                    self._write(beat)


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": launcher.elastic_job(),
    }


def _name(owner: dict[str, Any]) -> str:
    return f"process {owner['pid']} on {owner['host']}" if owner else "a process"


def _machine() -> str:
    """What makes process numbers comparable: this boot, and this namespace of them."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty where there is none, or no way to know."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else numbers[18]  # it has ended, though nobody may ever have asked how


def _is_alive(owner: dict[str, Any]) -> bool | None:
    """Whether the owner runs; None where it is on another machine, whose processes we can't see.

    One of the same elastic job may run and be frozen, or cut off: the launcher has put this process in its place.
    """
    if owner.get("job") and owner["job"] == launcher.elastic_job():
        return False
    if owner["machine"] == _machine() and owner["started"]:
        return _started(owner["pid"]) == owner["started"]
    return None
