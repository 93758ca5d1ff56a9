"""Processes are killed, frozen and added under a real `horovodrun --min-np`; nothing of it shows in the result.

`localhost` and `127.0.0.1` stand for two hosts: where a process has failed, Horovod bans its host for some seconds.
"""

import os
import re
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
SETTINGS = {"precision": "float64", "commit_every_steps": 3, "checkpoint_every_steps": 100_000,
            "sample_every_steps": 100_000, "keep_checkpoints": 1}  # fmt: skip
ENDLESS = SETTINGS | {"steps": 1_000_000}
LIMIT_SECONDS = 240


class Rank(NamedTuple):
    """A process that trains."""

    pid: int
    rank: int  # when it was started
    host: str


class Job:
    """A run without an end under an elastic launcher, in `path`, on hosts such as `localhost:2`."""

    def __init__(self, path: Path, *hosts: str, **settings: object) -> None:
        self.run_dir, self._hosts, discover = path / "run", path / "hosts", path / "discover.sh"
        self.set_hosts(*hosts)
        discover.write_text(f"#!/bin/sh\ncat {self._hosts}\n")
        discover.chmod(0o755)
        slots = sum(int(host.split(":")[1]) for host in hosts)
        elastic = ["-np", slots, "--min-np", 1, "--max-np", 4, "--host-discovery-script", discover,
                   "--network-interfaces", "lo", "--blacklist-cooldown-range", 1, 2]  # fmt: skip
        train = [
            sys.executable,
            "-m",
            "distgan.train",
            *small_runs.flags(self.run_dir, steps=1_000_000, **SETTINGS | settings),
        ]
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

    def wait_for_start(self, number: int, processes: int) -> None:
        """Until so many have joined for the `number`th time, and have trained together."""
        words = f"backend horovod: {processes} replicas in {processes} processes"
        self._wait(lambda: self.output().count(words) >= number, words)
        self.wait_for_step(max(small_runs.logged_steps(self.run_dir), default=0) + 10)

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

    def stop(self) -> str:
        """Have it saved; what it said, once it has ended well."""
        os.kill(self.ranks()[0].pid, signal.SIGTERM)
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


def _assert_undisturbed(job: Job) -> None:
    """The weights are those of a run of one process, so each image was shown when it was there; each step is logged."""
    (step,) = small_runs.checkpoints(job.run_dir)
    alone = job.run_dir.with_name("alone")
    small_runs.train(alone, steps=step, **SETTINGS)
    state, expected = (small_runs.state(run_dir, step) for run_dir in (job.run_dir, alone))
    assert max(np.abs(state[name] - expected[name]).max() for name in expected) < 1e-10
    assert small_runs.logged_steps(job.run_dir) == list(range(1, step + 1))


def _kill(ranks: list[Rank], number: signal.Signals = signal.SIGKILL) -> None:
    for rank in ranks:
        os.kill(rank.pid, number)


@pytest.mark.parametrize("who", ["one of four", "three of four", "the chief"])
def test_those_that_are_left_go_on_when_others_are_killed(who: str, tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:1", "127.0.0.1:3")
    job.wait_for_start(1, processes=4)
    ranks = job.wait_for_ranks(4)
    _kill({
        "one of four": [rank for rank in ranks if rank.host == "localhost"],
        "three of four": [rank for rank in ranks if rank.host == "127.0.0.1"],
        "the chief": ranks[:1],
    }[who])  # fmt: skip
    job.wait_for_start(2, processes=4)
    said = job.stop()
    assert re.search(r"goes on from step \d+, which rank \d has in memory", said), said
    assert ">:Traceback" not in said  # of a rank; the launcher's own server may print one where a rank dies as it asks
    _assert_undisturbed(job)


def test_a_frozen_rank_is_found_and_left_behind(tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:1", "127.0.0.1:1", stall_timeout_seconds=40)
    job.wait_for_start(1, processes=2)
    _kill(job.wait_for_ranks(2)[1:], signal.SIGSTOP)
    job.wait_for_start(2, processes=2)
    assert "rank 1 has been frozen for 20 seconds, so it was ended" in job.stop()
    _assert_undisturbed(job)


def test_processes_that_come_are_taken_in(tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:2")
    job.wait_for_start(1, processes=2)
    first = job.wait_for_ranks(2)
    job.set_hosts("localhost:2", "127.0.0.1:2")
    job.wait_for_start(1, processes=4)
    assert {rank.pid for rank in first} < {rank.pid for rank in job.ranks()}  # with no restart of those that were there
    job.stop()
    _assert_undisturbed(job)


def test_all_can_be_replaced_one_by_one(tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:1", "127.0.0.1:1")
    job.wait_for_start(1, processes=2)
    first = job.wait_for_ranks(2)
    for number, victim in enumerate(first, start=2):
        _kill([victim])
        job.wait_for_start(number, processes=2)
    assert not {rank.pid for rank in first} & {rank.pid for rank in job.wait_for_ranks(2)}
    job.stop()
    _assert_undisturbed(job)
