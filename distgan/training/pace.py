"""The number of steps that one call of the compiled step makes."""

import statistics
import time

import tensorflow as tf

from distgan.config import Config
from distgan.replicas.base import Replicas

CALL_SECONDS = 0.05  # of a call, unless --steps_per_call is given: signals and requests are noticed between calls
MOST_STEPS, MOST_BYTES = 64, 8 * 2**20  # of a call then, and of the images that are read for it
CALLS = 10  # calls from one decision to the next


def most_steps(config: Config, image_bytes: int) -> int:
    """Return the largest number of steps of a call, which ends at a log; a step reads `image_bytes` from files."""
    if config.steps_per_call or not tf.config.list_logical_devices("GPU"):
        return min(config.steps_per_call or 1, config.log_every_steps)
    return max(1, min(MOST_STEPS, config.log_every_steps, MOST_BYTES // max(1, image_bytes)))


def shares_per_call(most: int, compiler: str) -> int:
    """Return the length of the first axis of the shares of a call of at most `most` steps; if it is 1 there is none.

    XLA's loop and its single step round differently: it always makes a loop, so that bits don't depend on `most`.
    """
    return max(2, most) if compiler == "whole" else most


class Pace:
    """The number of steps of the next call: `--steps_per_call` or, on GPUs, doubled while a call takes a short time.

    Attributes:
        steps: that number; the same for all processes.
    """

    def __init__(self, config: Config, replicas: Replicas, most: int) -> None:
        """Start with one step, unless `--steps_per_call` is given; make at most `most`."""
        self.steps, self._most, self._replicas = min(config.steps_per_call or 1, most), most, replicas
        self._ends = [time.perf_counter()]

    def called(self) -> None:
        """Count a call that was made; all processes must do so."""
        if self.steps == self._most:
            return
        self._ends.append(time.perf_counter())
        if len(self._ends) <= CALLS:
            return
        seconds = statistics.median(end - start for start, end in zip(self._ends, self._ends[1:], strict=False))
        self._most = self._most if 2 * self._replicas.agree(seconds) < CALL_SECONDS else self.steps
        self.steps, self._ends = min(2 * self.steps, self._most), self._ends[-1:]
