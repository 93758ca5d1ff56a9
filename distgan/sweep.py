"""Train with each of several settings, and compare the runs.

    python -m distgan.sweep sweep.json
    python -m distgan.sweep sweep.json --array=slurm >sweep.sbatch

docs/sweep.md says what is in the file. Rerun the same command to go on after a stop; finished runs are kept.
"""

import json
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jinja2
from absl import flags

from distgan import hardware, launch_agent, paths, program
from distgan.errors import UserError, sentence_of
from distgan.report import comparison, recorded
from distgan.report.document import TEMPLATES
from distgan.report.numbers import duration
from distgan.store import atomic
from distgan.trials import Trial, read

_PARALLEL = flags.DEFINE_integer("parallel", None, "Runs at a time. Default: the number of GPUs, or 1.", lower_bound=1)
_ONLY = flags.DEFINE_integer("only", None, "Train only this run, counted from 0; for arrays.", lower_bound=0)
_BY = flags.DEFINE_enum("by", "frechet_distance", comparison.ORDERS, "The score by which runs are ordered.")
_ARRAY = flags.DEFINE_enum("array", None, ["slurm", "kubernetes"], "Print an array job of the runs, and train nothing.")
_GRACE_SECONDS = flags.DEFINE_integer("grace_seconds", 60, "Time to save when stopped, until runs are killed.", 0)
ARRAYS = {"slurm": "sweep.sbatch.j2", "kubernetes": "sweep.yaml.j2"}
PAGE = "compare.html"


def main(words: list[str]) -> int:
    """Train what is not finished, compare all, and return the exit status: 0, or of a run that failed."""
    if len(words) != 1:
        raise UserError("Give one file with the settings to try, e.g. sweep.json; docs/sweep.md says what is in it.")
    path = paths.local("sweep", words[0])
    directory, trials = read(path)
    if _ARRAY.value:
        name = re.sub("[^a-z0-9]+", "-", directory.name.lower()).strip("-") or "sweep"
        facts = {"name": name, "number": len(trials), "file": shlex.quote(str(path)), "python": sys.executable}
        print(jinja2.Template((TEMPLATES / ARRAYS[_ARRAY.value]).read_text()).render(facts))
        return 0
    if _ONLY.value is not None and _ONLY.value >= len(trials):
        raise UserError(f"--only={_ONLY.value}: the sweep has {len(trials)} runs, counted from 0.")
    try:
        status = _Sweep().run(trials if _ONLY.value is None else [trials[_ONLY.value]])
        logged = [one.config.directory for one in trials if (one.config.directory / recorded.METRICS).exists()]
        if logged:
            runs = comparison.ordered([recorded.read(one) for one in logged], _BY.value)
            atomic.write(directory / PAGE, comparison.make(runs))
            print(*comparison.ranking(runs, _BY.value), directory / PAGE, sep="\n", flush=True)
    except OSError as error:
        raise UserError(sentence_of(error)) from None
    return status


class _Sweep:
    """The runs that are being trained, each by an agent of `launch_agent`, which ends it if this process is lost."""

    def __init__(self) -> None:
        self._agents: list[subprocess.Popen[bytes]] = []
        self._slots: queue.SimpleQueue[list[str]] = queue.SimpleQueue()  # the GPUs of each run at a time
        self._stopped_by, self._lock = 0, threading.Lock()

    def run(self, trials: list[Trial]) -> int:
        """Train those that are not finished, as many at a time as there are slots; return the exit status."""
        gpus = hardware.gpu_numbers()
        slots = _PARALLEL.value or max(1, len(gpus))
        for slot in range(slots):
            self._slots.put(gpus[slot::slots] or gpus[slot % max(1, len(gpus)) :][:1])
        for number in launch_agent.STOPPING:
            signal.signal(number, self._stop)
        begins = [f"run {place} of {len(trials)}, {trial.name}:" for place, trial in enumerate(trials, start=1)]
        with ThreadPoolExecutor(slots) as pool:
            statuses = list(pool.map(self._train, trials, begins))
        return 128 + self._stopped_by if self._stopped_by else next(filter(None, statuses), 0)

    def _stop(self, number: int, _: object) -> None:
        """Pass a signal on to all runs, and start no other."""
        with self._lock:
            self._stopped_by = number
            for agent in self._agents:
                launch_agent.tell(agent, str(number))

    def _train(self, trial: Trial, begin: str) -> int:
        """Train a run, with its output in a file, and return its exit status; `begin` names it in what is printed."""
        if self._stopped_by:
            return 0
        if trial.is_finished():
            print(f"{begin} is finished", flush=True)
            return 0
        directory = trial.config.directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        config, log = directory.with_name(f"{directory.name}.json"), directory.with_name(f"{directory.name}.log")
        atomic.write(config, trial.config.to_json().encode())
        gpus, started = self._slots.get(), time.monotonic()
        own = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        command = [sys.executable, "-m", "distgan.train", f"--config={config}"]
        print(f"{begin} started, with its output in {log}", flush=True)
        try:
            status = self._follow(json.dumps([command, {}, own, _GRACE_SECONDS.value]), log)
        finally:
            self._slots.put(gpus)
        how = f"failed with status {status}" if status else "stopped" if self._stopped_by else "finished"
        print(f"{begin} {how} after {duration(time.monotonic() - started)}", flush=True)
        return status

    def _follow(self, task: str, log: Path) -> int:
        """Give an agent its task, copy what it prints to a file, and return its exit status."""
        agent = subprocess.Popen(
            [sys.executable, "-I", launch_agent.__file__],
            env={name: value for name, value in os.environ.items() if name != "JOB_COMPLETION_INDEX"},  # of the array
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # without Ctrl-C, which is passed on once
        )
        assert agent.stdout
        agent.stdout.readline()  # a port, for processes that meet
        with self._lock:
            self._agents.append(agent)
            launch_agent.tell(agent, task)
            if self._stopped_by:
                launch_agent.tell(agent, str(self._stopped_by))
        with log.open("ab") as file:
            shutil.copyfileobj(agent.stdout, file)
        return agent.wait()


if __name__ == "__main__":
    program.run_on(main)
