"""Runs under a real `horovodrun --min-np`, and what a test does with them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import layouts
import limits
import numpy as np
import psutil
import small_runs

SETTINGS = {"precision": "float64", "commit_every_steps": 3, "checkpoint_every": "100000steps",
            "sample_every": "100000steps", "keep_checkpoints": 1}  # fmt: skip
GLOO_SECONDS = round(max(30.0, 6 * limits.LOAD_SECONDS))  # by when a newcomer must have loaded TensorFlow
DISCOVER = Path(__file__).parent.parent / "launch" / "hosts.sh"


class Rank(NamedTuple):
    """A process that trains."""

    process: psutil.Process
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
        self._starts = Counter[str]()
        self.log_every_steps = int(str(settings.get("log_every_steps", 1)))
        self.set_hosts(*hosts)
        slots = sum(int(host.split(":")[1]) for host in hosts)
        elastic = ["-np", slots, "--min-np", 1, "--max-np", 4, "--host-discovery-script", DISCOVER,
                   "--network-interfaces", interface, "--blacklist-cooldown-range", 1, 2,
                   "--gloo-timeout-seconds", GLOO_SECONDS]  # fmt: skip
        flags = small_runs.flags(self.run_dir, steps=1_000_000, **SETTINGS | settings)
        command = on(*map(str, [layouts.HOROVODRUN, *elastic, sys.executable, "-m", "distgan.train", *flags]))
        environment = {"DISTGAN_HOSTS": str(self._hosts)}
        if hash_seed is not None:
            environment["PYTHONHASHSEED"] = str(hash_seed)
        self._output = path / "output"
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
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

    def wait_for_start(self, processes: int) -> None:
        """Until so many have joined once more than when this was last asked, and have trained together."""
        plural = ("", "") if processes == 1 else ("s", "es")
        words = f"backend horovod: {processes} replica{plural[0]} in {processes} process{plural[1]}\n"
        self._wait(lambda: self.output().count(words) > self._starts[words], words)
        self.wait_for_step(max(small_runs.logged_steps(self.run_dir), default=0) + 10)
        self._starts[words] = self.output().count(words)

    def wait_for_words(self, words: str) -> None:
        self._wait(lambda: words in self.output(), words)

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def ranks(self) -> list[Rank]:
        """The processes that train, by rank; each is the child of one that watches it."""
        found = []
        for process in small_runs.workers(self.run_dir):
            with contextlib.suppress(psutil.Error):  # it has just ended
                values = process.environ()
                found.append(Rank(process, int(values["HOROVOD_RANK"]), values["HOROVOD_HOSTNAME"]))
        return sorted(found, key=lambda rank: rank.rank)

    def stop(self) -> str:
        """Have it saved; what it said, once it has ended well."""
        self.ranks()[0].process.send_signal(signal.SIGTERM)
        self._wait_for_end()
        assert self._process.returncode == 0, self.output()[-5000:]
        return self.output()

    def terminate(self) -> str:
        """Have the launcher end all; what it said, once it has ended, well or not."""
        self._process.terminate()
        self._wait_for_end()
        return self.output()

    def _wait_for_end(self) -> None:
        limits.wait_until(lambda: self._process.poll() is not None, "end", said=self.output)

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        limits.wait_until(is_so, what, goes_on=lambda: self._process.poll() is None, said=self.output)


def assert_undisturbed(job: Job) -> None:
    """The weights are those of a run of one process, so each image was shown when it was there; no log is missing."""
    (step,) = small_runs.checkpoints(job.run_dir)
    alone = job.run_dir.with_name("alone")
    small_runs.train(alone, steps=step, **SETTINGS)
    state, expected = (small_runs.state(run_dir, step) for run_dir in (job.run_dir, alone))
    assert max(np.abs(state[name] - expected[name]).max() for name in expected) < 1e-10
    logged = small_runs.logged_steps(job.run_dir)
    assert logged == sorted(set(logged))
    # A chief that is killed between a step and its log line takes the line with it, and others resume from that step.
    resumed_from = {int(found) for found in re.findall(r"from step (\d+)", job.output())}
    assert set(range(job.log_every_steps, step + 1, job.log_every_steps)) - set(logged) <= resumed_from
