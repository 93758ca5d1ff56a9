"""Control flags summed with the gradients of each step, so that no process waits for them.

With votes, any process can make all of them stop, save or the like after the same step. Each process also sends the
seconds that it spends on a step, in two slots of its own.
"""

import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from distgan.replicas import watchdog
from distgan.replicas.base import Replicas

MOST_LOGGED = 64  # ranks whose seconds are logged: from the fastest to the slowest, with as many between any two
STARTING_CALLS = 3  # received times to skip: initial zeros, the time before call 1, and call 1, which compiles


class Votes(NamedTuple):
    """The number of processes that request each action, which all processes then take."""

    stop: float = 0.0
    save: float = 0.0
    settle: float = 0.0  # as the last checkpoint can't be written
    report_files: float = 0.0  # as there are new files that are not images
    regroup: float = 0.0  # as the set of workers changes


class Exchange:
    """An exchange that sends this process's votes and times with each call, and receives the previous call's sums."""

    def __init__(self, replicas: Replicas) -> None:
        """Start without votes. Each process has `num_replicas / size` replicas, which send the same values."""
        self._replicas = replicas
        self._copies = replicas.num_replicas / replicas.size
        self._received = tf.zeros(len(Votes._fields) + 2 * replicas.size)
        self._spent = np.zeros(2 * replicas.size)
        self._calls, self._sent_steps = -STARTING_CALLS, 1
        self._processor_seconds = time.process_time()

    def send(self, votes: Votes, input_seconds: float, steps: int = 1) -> tf.Tensor:
        """Return the flags for a call of so many steps: the votes, and this process's seconds per step.

        These are the seconds of waiting for its data, and of CPU time in the call before it.
        """
        flags, now = np.zeros(len(votes) + 2 * self._replicas.size, np.float32), time.process_time()
        own = len(votes) + 2 * self._replicas.rank
        flags[: len(votes)], flags[own : own + 2] = (
            votes,
            (input_seconds / steps, (now - self._processor_seconds) / self._sent_steps),
        )
        self._processor_seconds, self._sent_steps = now, steps
        watchdog.waits()
        return tf.constant(flags)

    def receive(self, sums: tf.Tensor) -> Votes:
        """Return the votes of the call before the one that gave `sums`: that call is done, so this does not wait."""
        received, self._received = self._received.numpy(), sums
        watchdog.works()
        self._calls += 1
        if self._calls > 0:
            self._spent += received[len(Votes._fields) :]
        return Votes(*received[: len(Votes._fields)].tolist())

    def seconds_since_log(self) -> dict[str, float]:
        """Return seconds per step, by rank, of waiting for data and of CPU time: means of calls since the last log."""
        if self._calls <= 0:
            return {}
        means = self._spent.reshape(-1, 2) / (self._calls * self._copies)
        self._spent, self._calls = np.zeros_like(self._spent), 0
        places = np.unique(np.linspace(0, len(means) - 1, MOST_LOGGED, dtype=int))
        return {
            f"speed/rank_{rank}_{kind}_seconds": float(seconds)
            for rank in sorted(means.sum(1).argsort(kind="stable")[places].tolist())
            for kind, seconds in zip(("input", "processor"), means[rank], strict=True)
        }
