"""Processes are killed, frozen and added under a real `horovodrun --min-np`; nothing of it shows in the result.

`localhost` and `127.0.0.1` stand for two hosts: where a process has failed, Horovod bans its host for some seconds.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import layouts
import numpy as np
import pytest
import small_runs

pytestmark = pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
STEPS = 400
SETTINGS = {"steps": STEPS, "precision": "float64", "commit_every_steps": 3, "checkpoint_every_steps": 100_000,
            "sample_every_steps": 100_000, "keep_checkpoints": 1}  # fmt: skip
LIMIT_SECONDS = 240


class Rank(NamedTuple):
    """A process that trains."""

    pid: int
    rank: int  # when it was started
    host: str


class Job:
    """A run under an elastic launcher, in `path`, on hosts such as `localhost:2`."""

    def __init__(self, path: Path, *hosts: str, **settings: object) -> None:
        self.run_dir, self._hosts, discover = path / "run", path / "hosts", path / "discover.sh"
        self.set_hosts(*hosts)
        discover.write_text(f"#!/bin/sh\ncat {self._hosts}\n")
        discover.chmod(0o755)
        slots = sum(int(host.split(":")[1]) for host in hosts)
        elastic = ["-np", slots, "--min-np", 1, "--max-np", 4, "--host-discovery-script", discover,
                   "--network-interfaces", "lo", "--blacklist-cooldown-range", 1, 2]  # fmt: skip
        train = [sys.executable, "-m", "distgan.train", *small_runs.flags(self.run_dir, **SETTINGS | settings)]
        self._output = (path / "output").open("w+")
        command = list(map(str, [layouts.HOROVODRUN, *elastic, *train]))
        self._process = subprocess.Popen(
            command, stdout=self._output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def set_hosts(self, *hosts: str) -> None:
        """What the launcher finds from now on."""
        new = self._hosts.with_suffix(".new")
        new.write_text("\n".join(hosts) + "\n")
        new.rename(self._hosts)

    def wait_for_step(self, step: int) -> None:
        self._wait(lambda: max(small_runs.logged_steps(self.run_dir), default=0) >= step, f"step {step}")

    def wait_for_ranks(self, count: int) -> list[Rank]:
        self._wait(lambda: len(self.ranks()) == count, f"{count} ranks")
        return self.ranks()

    def wait_for_output(self, words: str) -> None:
        self._wait(lambda: words in self.output(), words)

    def output(self) -> str:
        return Path(self._output.name).read_text()

    def ranks(self) -> list[Rank]:
        """The processes that train, by rank; each is the child of one that watches it."""
        found = []
        for pid in small_runs.workers(self.run_dir):
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
            values = dict(entry.split("=", 1) for entry in environment if "=" in entry)
            found.append(Rank(pid, int(values["HOROVOD_RANK"]), values["HOROVOD_HOSTNAME"]))
        return sorted(found, key=lambda rank: rank.rank)

    def end(self) -> str:
        """What it said, once it has ended well."""
        try:
            status = self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise AssertionError(f"no end after {LIMIT_SECONDS} s: {self.output()[-5000:]}") from None
        assert status == 0, self.output()[-5000:]
        return self.output()

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while not is_so():
            assert time.monotonic() < end, f"{what} after {LIMIT_SECONDS} s: {self.output()[-5000:]}"
            assert self._process.poll() is None, f"it ended before {what}: {self.output()[-5000:]}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    run_dir = tmp_path_factory.mktemp("undisturbed")
    small_runs.train(run_dir, **SETTINGS)
    return small_runs.state(run_dir, STEPS)


def _assert_equal(job: Job, undisturbed: dict[str, np.ndarray]) -> None:
    """The weights are those of the other run, so each image was shown when it was there; and each step is logged."""
    state = small_runs.state(job.run_dir, STEPS)
    assert max(np.abs(state[name] - undisturbed[name]).max() for name in undisturbed) < 1e-10
    assert small_runs.logged_steps(job.run_dir) == list(range(1, STEPS + 1))


def _kill(ranks: list[Rank], number: signal.Signals = signal.SIGKILL) -> None:
    for rank in ranks:
        os.kill(rank.pid, number)


@pytest.mark.parametrize(
    ("hosts", "victims"),
    [
        (("localhost:3", "127.0.0.1:1"), [3]),
        (("localhost:1", "127.0.0.1:3"), [1, 2, 3]),
        (("localhost:1", "127.0.0.1:3"), [0]),
    ],
    ids=["one of four", "three of four", "the chief"],
)
def test_those_that_are_left_go_on_when_others_are_killed(
    hosts: tuple[str, ...], victims: list[int], undisturbed: dict[str, np.ndarray], tmp_path: Path
) -> None:
    job = Job(tmp_path, *hosts)
    job.wait_for_step(20)
    ranks = job.wait_for_ranks(4)
    hit = {rank.host for rank in ranks if rank.rank in victims}
    assert hit < {rank.host for rank in ranks}  # or nobody is left
    _kill([rank for rank in ranks if rank.rank in victims])
    said = job.end()
    assert "which rank 0 has in memory" in said
    assert ">:Traceback" not in said  # of a rank; the launcher's own server may print one where a rank dies as it asks
    _assert_equal(job, undisturbed)


def test_a_frozen_rank_is_found_and_left_behind(undisturbed: dict[str, np.ndarray], tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:1", "127.0.0.1:1", stall_timeout_seconds=40)
    job.wait_for_step(20)
    _kill(job.wait_for_ranks(2)[1:], signal.SIGSTOP)
    said = job.end()
    assert "rank 1 has been frozen for 20 seconds, so it was ended" in said
    _assert_equal(job, undisturbed)


def test_processes_that_come_are_taken_in(undisturbed: dict[str, np.ndarray], tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:2")
    job.wait_for_step(20)
    first = job.wait_for_ranks(2)
    job.set_hosts("localhost:2", "127.0.0.1:2")
    job.wait_for_output("backend horovod: 4 replicas in 4 processes")
    assert {rank.pid for rank in first} < {rank.pid for rank in job.ranks()}  # with no restart of those that were there
    job.end()
    _assert_equal(job, undisturbed)


def test_all_can_be_replaced_one_by_one(undisturbed: dict[str, np.ndarray], tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:1", "127.0.0.1:1")
    job.wait_for_step(20)
    first = job.wait_for_ranks(2)
    for number, victim in enumerate(first, start=1):
        _kill([victim])
        job._wait(lambda: job.output().count("backend horovod: 2 replicas") == number + 1, "its successor")  # noqa: B023
    assert not {rank.pid for rank in first} & {rank.pid for rank in job.wait_for_ranks(2)}
    job.end()
    _assert_equal(job, undisturbed)
