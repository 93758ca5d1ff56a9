"""What processes tell each other in the sum that each step makes anyway, so that nobody waits to hear it.

Votes, by which any process has all of them stop, save or the like after the same step; and what each process spends on
a step, in two slots of its own.
"""

import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from distgan.replicas import watchdog
from distgan.replicas.base import Replicas

STARTING_STEPS = 3  # of which no time is told: one before the first, one before it was made, and it, which compiles


class Votes(NamedTuple):
    """How many processes want all of them to do something."""

    stop: float = 0.0
    save: float = 0.0
    settle: float = 0.0  # the last checkpoint, which can't be written
    report_files: float = 0.0  # that are no images
    regroup: float = 0.0  # as processes come or go


class Exchange:
    """Sends this process's votes and times with each step, and receives the sums of the step before."""

    def __init__(self, replicas: Replicas) -> None:
        """Each process has `num_replicas / size` replicas, which send the same."""
        self._replicas = replicas
        self._copies = replicas.num_replicas / replicas.size
        self._received = tf.zeros(len(Votes._fields) + 2 * replicas.size)
        self._spent = np.zeros([replicas.size, 2])
        self._steps = -STARTING_STEPS
        self._processor_seconds = time.process_time()

    def send(self, votes: Votes, input_seconds: float) -> tf.Tensor:
        """Return what is handed to a step: the votes, and the seconds that this process waited for its data."""
        spent, now = np.zeros_like(self._spent), time.process_time()
        spent[self._replicas.rank] = input_seconds, now - self._processor_seconds
        self._processor_seconds = now
        watchdog.waits()
        return tf.constant(np.array([*votes, *spent.ravel()], np.float32))

    def receive(self, sums: tf.Tensor) -> Votes:
        """Return the votes of the step before the one that gave `sums`: that one is done, so nobody waits for it."""
        received, self._received = self._received.numpy(), sums
        watchdog.works()
        self._steps += 1
        if self._steps > 0:
            self._spent += np.reshape(received[len(Votes._fields) :], self._spent.shape) / self._copies
        return Votes(*received[: len(Votes._fields)])

    def seconds_since_log(self) -> dict[str, float]:
        """Means by rank of the seconds a step since the call before: waiting for data, and of the processor."""
        if self._steps <= 0:
            return {}
        means = self._spent / self._steps
        self._spent, self._steps = np.zeros_like(self._spent), 0
        return {
            f"speed/rank_{rank}_{kind}_seconds": float(seconds)
            for rank, spent in enumerate(means)
            for kind, seconds in zip(("input", "processor"), spent, strict=True)
        }
