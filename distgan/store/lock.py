"""The lock of a run directory: only one run at a time writes into it, and a run that died loses it."""

import contextlib
import os
import sys
import time
from pathlib import Path

import filelock

from distgan.errors import UserError
from distgan.replicas import launcher
from distgan.store import atomic

HEARTBEAT_SECONDS = 5.0
LEASE_SECONDS = 60.0  # without a heartbeat, after which another process can take over a lock
FIRST_SECONDS = 1.0  # of waiting without a message: most owners that are about to end have ended by then
ENDING_SECONDS = 5.0  # that an owner may need to end after a signal


class RunLock:
    """The right to write into a run directory, held by one process."""

    def __init__(self, directory: Path) -> None:
        """Prepare to lock `directory`; nothing is written yet."""
        self._directory = directory
        self._lock = filelock.SoftFileLease(
            directory / "lock", lease_duration=LEASE_SECONDS, heartbeat_interval=HEARTBEAT_SECONDS, thread_local=False
        )
        self._job_path = directory / ".lock-job"

    def acquire(self) -> None:
        """Take the lock, also from a dead owner. Raises `UserError` that names the owner if it is alive.

        An owner with heartbeats has `ENDING_SECONDS` to end. An owner without has `LEASE_SECONDS`: it may be on
        another machine, or frozen.
        """
        if os.path.lexists(self._directory) and not self._directory.is_dir():
            raise UserError(f"--run_dir={self._directory} is a file, or a link to nothing: name a directory.")
        self._directory.mkdir(parents=True, exist_ok=True)
        job = launcher.elastic_job()
        if job and self._job_path.exists() and self._job_path.read_text() == job:
            self._lock.force_break()  # its owner, perhaps frozen or disconnected, was replaced with this process
        with contextlib.suppress(filelock.Timeout):
            self._lock.acquire(timeout=FIRST_SECONDS)
        if not self._lock.is_locked:
            self._wait_for_owner()
        atomic.write(self._job_path, job.encode())

    def _wait_for_owner(self) -> None:
        held_by, heartbeat, until = self._lock.owner, self._heartbeat(), time.monotonic() + ENDING_SECONDS
        owner = f"process {held_by.pid} on {held_by.hostname.partition('?')[0]}" if held_by else "a process"
        print(f"distgan: waiting for {owner}, which uses {self._directory}, to end", file=sys.stderr, flush=True)

        def is_alive() -> bool:
            return time.monotonic() > until and self._heartbeat() > heartbeat

        try:
            self._lock.acquire(timeout=2 * LEASE_SECONDS, cancel_check=is_alive)
        except filelock.Timeout:
            raise UserError(f"{self._directory} is in use by {owner}: stop it, or choose another --run_dir.") from None

    def _heartbeat(self) -> float:
        try:
            return Path(self._lock.lock_file).stat().st_mtime
        except OSError:
            return 0.0

    def check(self) -> None:
        """Raise `UserError` if another run has taken the directory over, which may happen to a frozen process."""
        owner = self._lock.owner
        if owner is None or owner.token != self._lock.token:
            raise UserError(f"{self._directory} was taken over by another run; this one stops and writes nothing more.")

    def release(self) -> None:
        """Release the lock, if it is still held."""
        with contextlib.suppress(OSError):  # if the directory is gone, so is the lock
            if self._lock.is_locked:
                self._job_path.unlink(missing_ok=True)
            self._lock.release(force=True)
