"""Runs under a real `horovodrun --min-np`, and what a test does with them."""

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
import small_runs

SETTINGS = {"precision": "float64", "commit_every_steps": 3, "checkpoint_every_steps": 100_000,
            "sample_every_steps": 100_000, "keep_checkpoints": 1}  # fmt: skip
LIMIT_SECONDS = 240
DISCOVER = Path(__file__).parent.parent / "launch" / "hosts.sh"


class Rank(NamedTuple):
    """A process that trains."""

    pid: int
    rank: int  # when it was started
    host: str


class Job:
    """A run without an end under an elastic launcher, in `path`, on hosts such as `localhost:2`."""

    def __init__(
        self, path: Path, *hosts: str, interface: str = "lo",
        on: Callable[..., list[str]] = lambda *command: list(command), hash_seed: int | None = None, **settings: object,
    ) -> None:  # fmt: skip
        """Start it, by the command that `on` makes of the launcher's; its order of hosts depends on the hash seed."""
        self.run_dir, self._hosts = path / "run", path / "hosts"
        self.set_hosts(*hosts)
        slots = sum(int(host.split(":")[1]) for host in hosts)
        elastic = ["-np", slots, "--min-np", 1, "--max-np", 4, "--host-discovery-script", DISCOVER,
                   "--network-interfaces", interface, "--blacklist-cooldown-range", 1, 2]  # fmt: skip
        flags = small_runs.flags(self.run_dir, steps=1_000_000, **SETTINGS | settings)
        command = on(*map(str, [layouts.HOROVODRUN, *elastic, sys.executable, "-m", "distgan.train", *flags]))
        environment = {"DISTGAN_HOSTS": str(self._hosts)}
        if hash_seed is not None:
            environment["PYTHONHASHSEED"] = str(hash_seed)
        self._output = (path / "output").open("w+")
        self._process = subprocess.Popen(
            command, stdout=self._output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            env=os.environ | environment,
        )  # fmt: skip

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
        plural = ("", "") if processes == 1 else ("s", "es")
        words = f"backend horovod: {processes} replica{plural[0]} in {processes} process{plural[1]}\n"
        self._wait(lambda: self.output().count(words) >= number, words)
        self.wait_for_step(max(small_runs.logged_steps(self.run_dir), default=0) + 10)

    def wait_for_words(self, words: str) -> None:
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

    def stop(self) -> str:
        """Have it saved; what it said, once it has ended well."""
        os.kill(self.ranks()[0].pid, signal.SIGTERM)
        status = self._ended(LIMIT_SECONDS)
        assert status == 0, self.output()[-5000:]
        return self.output()

    def terminate(self, limit_seconds: float) -> str:
        """Have the launcher end all; what it said, once it has ended within the limit, well or not."""
        self._process.terminate()
        self._ended(limit_seconds)
        return self.output()

    def _ended(self, limit_seconds: float) -> int:
        """The launcher's exit status."""
        try:
            return self._process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise AssertionError(f"no end after {limit_seconds} s: {self.output()[-5000:]}") from None

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while not is_so():
            assert time.monotonic() < end, f"{what} after {LIMIT_SECONDS} s: {self.output()[-5000:]}"
            assert self._process.poll() is None, f"it ended before {what}: {self.output()[-5000:]}"
            time.sleep(0.1)


def assert_undisturbed(job: Job) -> None:
    """The weights are those of a run of one process, so each image was shown when it was there; each step is logged."""
    (step,) = small_runs.checkpoints(job.run_dir)
    alone = job.run_dir.with_name("alone")
    small_runs.train(alone, steps=step, **SETTINGS)
    state, expected = (small_runs.state(run_dir, step) for run_dir in (job.run_dir, alone))
    assert max(np.abs(state[name] - expected[name]).max() for name in expected) < 1e-10
    assert small_runs.logged_steps(job.run_dir) == list(range(1, step + 1))
