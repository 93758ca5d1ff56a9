"""What processes ask of each other while they train, in the sum that each step makes anyway."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from distgan import heartbeat
from distgan.replicas.base import Replicas
from distgan.store.run_directory import RunDirectory
from distgan.training.clock import Ranks
from distgan.training.faults import Faults

STOPPING = (signal.SIGTERM, signal.SIGINT)
SAVING = signal.SIGUSR1


class Asked(NamedTuple):
    """How many processes asked all of them to do something."""

    to_stop: float = 0.0
    to_save: float = 0.0
    to_settle: float = 0.0  # the last checkpoint, which can't be written
    to_tell: float = 0.0  # of files that are no images
    to_regroup: float = 0.0


class Requests:
    """Asks for all that this process wants, and hears what all of them do."""

    def __init__(self, caught: list[int], directory: RunDirectory, faults: Faults, replicas: Replicas) -> None:
        """`caught` is where signals come in."""
        self._caught, self._directory, self._faults, self._replicas = caught, directory, faults, replicas
        self._ranks = Ranks(replicas.rank, replicas.size, replicas.num_replicas)
        self._answer = tf.zeros(len(Asked._fields) + 2 * replicas.size)

    def timed(self, wait: Callable[[], Any]) -> Any:
        """What `wait` gives, which the step is to be made of."""
        return self._ranks.timed(wait)

    def told(self) -> tf.Tensor:
        """What is handed to a step."""
        asked = Asked(
            to_stop=any(number in STOPPING for number in self._caught),
            to_save=self._directory.wants_to_save() or SAVING in self._caught,
            to_settle=self._directory.has_failed(),
            to_tell=self._faults.are_new(),
            to_regroup=self._replicas.is_to_regroup(),
        )
        if SAVING in self._caught:
            self._caught.remove(SAVING)
        heartbeat.waits()
        return tf.constant(np.array([*asked, *self._ranks.told()], np.float32))

    def heard(self, answer: tf.Tensor) -> Asked:
        """What all asked for in the step before: that one is done on the device by now, so nobody waits for it."""
        sums, self._answer = self._answer.numpy(), answer
        heartbeat.works()
        self._ranks.heard(sums[len(Asked._fields) :])
        return Asked(*sums[: len(Asked._fields)])

    def speeds_since_log(self) -> dict[str, float]:
        """What each rank spent on a step since the call before, and what checkpoints took."""
        return self._ranks.since_log() | self._directory.stall_since_log()

    def stopped_by(self) -> signal.Signals:
        """The signal that stopped this process, or, of another one, the usual one."""
        return signal.Signals(next((number for number in self._caught if number in STOPPING), signal.SIGTERM))


@contextlib.contextmanager
def signals(caught: list[int]) -> Iterator[None]:
    """Collect signals in a list, for the end of a step; another SIGINT, a second later, interrupts."""
    interrupts_from_seconds = math.inf

    def remember(number: int, frame: object) -> None:
        nonlocal interrupts_from_seconds
        if number == signal.SIGINT:  # one may come twice: from a launcher to all, and by way of our parent
            if time.monotonic() > interrupts_from_seconds:
                raise KeyboardInterrupt
            interrupts_from_seconds = min(interrupts_from_seconds, time.monotonic() + 1)
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may have handlers
        return
    before = {number: signal.signal(number, remember) for number in (*STOPPING, SAVING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
