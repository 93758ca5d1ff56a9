"""The directory in which a run keeps its config and its checkpoints, and which it locks against other runs."""

import contextlib
import dataclasses
import errno
import math
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import tensorflow as tf

from distgan import paths
from distgan.config import Config, changed_settings, load_config
from distgan.config.fields import every
from distgan.errors import TrainingError, UserError
from distgan.replicas.base import Replicas
from distgan.store import atomic, checkpoint
from distgan.store.lock import RunLock

BEST = "best"  # the directory of the checkpoint with the best samples
FRECHET_DISTANCE, FEATURES = "frechet_distance", "features"  # in its manifest
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors that more free space solves
DIVERGED = 5  # exit status of a run whose replicas must be equal and are not


class State(Protocol):
    """The interface of a run's state that a run directory needs: `training.state.TrainState`."""

    step: tf.Variable
    images_shown: tf.Variable
    variables: dict[str, tf.Variable]

    def arrays(self) -> dict[str, np.ndarray]: ...
    def restore(self, arrays: Mapping[str, np.ndarray]) -> None: ...
    def start_from(self, arrays: Mapping[str, np.ndarray]) -> None: ...


@dataclasses.dataclass
class Snapshot:
    """A copy of a run's state after a step, in a process's memory; `step` is -1 while there is none."""

    step: int = -1
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def keep(self, state: State) -> None:
        """Copy the state in place of the previous copy; waits for the device."""
        arrays = state.arrays()
        self.step, self.arrays = int(arrays["step"]), arrays


class RunDirectory:
    """A run's directory: its config, its checkpoints, and the lock that is held while this context is open.

    All processes call its methods. Only the chief reads and writes, and its failures are reported to the others.
    """

    def __init__(self, config: Config, replicas: Replicas) -> None:
        """Prepare to enter `config.directory`."""
        self.path = config.directory
        self._config_path, self._checkpoints = self.path / "config.json", self.path / "checkpoints"
        self._config, self._replicas = config, replicas
        self._lock = RunLock(self.path)
        self._saved_at_seconds = time.monotonic()
        self._saved_step = -1
        self._asked = False
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[tuple[str, str] | None] | None = None  # on the chief: the error, and what helps
        self._problems: list[str] = []
        self._stall_seconds = 0.0

    def __enter__(self) -> Self:
        """Lock the directory. Raises `UserError` if another run holds it, or if it contains another config's run."""
        try:
            self._replicas.on_chief(self._take)
        except UserError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Unlock the directory."""
        self._writer.shutdown()
        self._lock.release()

    def _take(self) -> None:
        with self._written_to():
            self._lock.acquire()
        if self._config_path.exists():  # if it is of another program, this raises an error
            changed = changed_settings(load_config(self._config_path), self._config)
            if changed and checkpoint.newest_path(self._checkpoints):
                raise UserError(
                    f"{self.path} holds a run that can't be resumed with {' and '.join(changed)}: choose another "
                    f"--run_dir; --init_from={self.path} starts it from these weights."
                )

    @contextlib.contextmanager
    def _written_to(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"--run_dir={self.path} can't be written to ({error.strerror or error}): {_help(error)}, or choose "
                "another directory."
            ) from None

    def restore(self, state: State, fingerprint: str, snapshot: Snapshot) -> list[str]:
        """Restore `state` from the newest intact checkpoint, or the weights of `--init_from`, on all processes.

        Then store the config as the run's own. A newer `snapshot` in the memory of a process takes precedence.
        Returns notes for the user. Raises `UserError` if the run has seen data of another fingerprint.
        """
        notes = self._replicas.on_chief(lambda: self._restore_on_chief(state, fingerprint))
        self._saved_step = self._replicas.agree(int(state.step.numpy()))
        committed = self._replicas.gather(snapshot.step)
        source = max(range(len(committed)), key=lambda rank: committed[rank])
        if committed[source] <= self._saved_step:
            source = 0
        else:
            notes = [f"resumes from step {committed[source]}, which rank {source} has in memory"]
            if source == self._replicas.rank:
                state.restore(snapshot.arrays)
        self._replicas.broadcast(list(state.variables.values()), source)
        return notes

    def _restore_on_chief(self, state: State, fingerprint: str) -> list[str]:
        notes: list[str] = []
        found = checkpoint.load_newest(self._checkpoints)
        if found:
            arrays, manifest, damaged = found
            if manifest["data"] != fingerprint:
                raise UserError(
                    f"--data={self._config.data} is not the data of the run in {self.path}: give that, "
                    "or another --run_dir."
                )
            state.restore(arrays)
            for path, reason in damaged.items():
                aside = checkpoint.put_aside(path)
                notes.append(f"checkpoint {path.name} is damaged ({reason}) and was put aside as {aside.name}")
            notes.append(f"resumes from step {manifest['step']}")
        elif self._config.init_from:
            state.start_from(read_checkpoint(paths.local("init_from", self._config.init_from)).arrays)
            notes.append(f"starts from the weights of {self._config.init_from}")
        elif self._config_path.exists():
            notes.append("it holds no checkpoint yet, so the run starts from the beginning")
        with self._written_to():
            atomic.write(self._config_path, self._config.to_json().encode())
        return notes

    def wants_to_save(self) -> bool:
        """Return whether the seconds of `--checkpoint_every` have passed: only on the chief, and once per save."""
        cadence = every(self._config.checkpoint_every)
        if self._asked or not self._replicas.is_chief or cadence is None or cadence.unit != "seconds":
            return False
        self._asked = time.monotonic() - self._saved_at_seconds >= cadence.number
        return self._asked

    def save(self, state: State, facts: dict[str, Any]) -> None:
        """Checkpoint the state, unless this step is saved already; the chief writes it while training continues.

        Raises `TrainingError` that names the variables in which replicas differ, `UserError` if the previous
        checkpoint couldn't be written.
        """
        step = int(state.step.numpy())
        if step == self._saved_step:
            return
        started = time.monotonic()
        arrays = state.arrays()
        of_variables = checkpoint.digests(arrays)
        self._compare(state, of_variables)
        shown, digest = int(state.images_shown.numpy()), checkpoint.state_digest(of_variables)
        facts = {"step": step, "images_shown": shown, "state_digest": digest, **facts}
        self.settle()
        if self._replicas.is_chief:
            self._written = self._writer.submit(self._write, arrays, facts)
        self._saved_step, self._saved_at_seconds, self._asked = step, time.monotonic(), False
        self._stall_seconds += time.monotonic() - started

    def stall_since_log(self) -> dict[str, float]:
        """Return the seconds for which checkpoints paused training since the previous call; empty if none."""
        stalled, self._stall_seconds = self._stall_seconds, 0.0
        return {"speed/checkpoint_seconds": stalled} if stalled else {}

    def has_failed(self) -> bool:
        """Return whether the chief has found that its last checkpoint can't be written."""
        written = self._written
        return bool(written and written.done() and (written.exception() or written.result()))

    def settle(self, is_last: bool = False) -> None:
        """Wait until the last checkpoint is written.

        Raises `UserError` on all processes if it can't be written; with `--on_checkpoint_error=warn` only if `is_last`.
        """
        written, self._written = self._written, None
        problem = self._replicas.on_chief(lambda: written.result() if written else None)
        if not problem:
            return
        what, helps = problem
        if is_last or self._config.on_checkpoint_error == "stop":
            raise UserError(f"{what}: {helps}.")
        self._problems.append(f"{what}; the run continues without it.")

    def problems(self) -> list[str]:
        """Return the checkpoint problems since the previous call that did not end the run."""
        problems, self._problems = self._problems, []
        return problems

    def _write(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> tuple[str, str] | None:
        """Write a checkpoint in parallel with training; returns the error and what helps, or None."""
        self._lock.check()
        try:
            checkpoint.save(self._checkpoints, arrays, facts, self._config.keep_checkpoints)
        except OSError as error:
            before = checkpoint.newest_path(self._checkpoints)
            return (
                f"The checkpoint of step {facts['step']} can't be written into {self._checkpoints} "
                f"({error.strerror or error})",
                f"{_help(error)}, then rerun the command, which "
                f"{f'resumes from {before.name}' if before else 'starts anew'}",
            )
        return None

    def keep_if_best(self, distance: float, features: str) -> None:
        """Keep the checkpoint just saved as the best, unless the best has no larger distance by the same features."""
        self.settle()

        def keep() -> None:
            newest, best = checkpoint.newest_path(self._checkpoints), checkpoint.newest_path(self.path / BEST)
            if best and checkpoint.fact(best, FEATURES, features) != features:
                best = None
            if newest and not (best and checkpoint.fact(best, FRECHET_DISTANCE, math.inf) <= distance):
                checkpoint.keep_as_only(newest, self.path / BEST, {FRECHET_DISTANCE: distance, FEATURES: features})

        self._replicas.on_chief(keep)

    def _compare(self, state: State, of_variables: dict[str, str]) -> None:
        chiefs = self._replicas.agree(of_variables)
        differs = np.array([of_variables[name] != chiefs[name] for name in of_variables], np.int32)
        for number, variable in enumerate(state.variables.values()):
            first, *others = (copy.numpy().tobytes() for copy in self._replicas.local_values(variable))
            differs[number] |= any(copy != first for copy in others)
        anywhere = self._replicas.sum([differs])[0]
        if anywhere.any():
            names = [name for name, count in zip(of_variables, anywhere, strict=True) if count]
            raise TrainingError(
                f"Replicas have different values of {', '.join(names)}: no checkpoint was saved. "
                "Resume from the last one.",
                DIVERGED,
            )

    def newest_checkpoint(self) -> str:
        """Return the newest checkpoint's name; empty if there is none."""
        path = checkpoint.newest_path(self._checkpoints)
        return path.name if path else ""


def _help(error: OSError) -> str:
    return "make room" if error.errno in FULL else "make it writable"


def read_checkpoint(run_dir: Path, which: str = "newest") -> checkpoint.Checkpoint:
    """Return a run's newest intact checkpoint, or the one with the best samples. Raises `UserError` if it has none."""
    found = checkpoint.load_newest(run_dir / (BEST if which == BEST else "checkpoints"))
    if not found:
        raise UserError(
            f"{run_dir} holds no best checkpoint: its samples were not measured; --evaluate_every=1epochs does that."
            if which == BEST
            else f"{run_dir} holds no checkpoint: it is not the directory of a run, or the run has saved none yet."
        )
    for damaged, reason in found.damaged.items():
        print(f"Checkpoint {damaged} is damaged ({reason}); taking an older one.", file=sys.stderr)
    return found
