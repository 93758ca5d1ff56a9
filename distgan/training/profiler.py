"""A TensorFlow profile of some steps and, under Horovod, a timeline of the collectives."""

from pathlib import Path

import tensorflow as tf

from distgan.replicas.base import Replicas


class Profiler:
    """A profiler of a range of steps; with an empty range it does nothing."""

    def __init__(self, steps: range, run_dir: Path, replicas: Replicas) -> None:
        """Prepare to profile `steps`, on the chief, into `run_dir`."""
        self._steps, self._run_dir, self._replicas = steps, run_dir, replicas
        self._is_open = False

    @property
    def stops(self) -> tuple[int, ...]:
        """The steps after which the profile starts and ends."""
        return (self._steps[0] - 1, self._steps[-1]) if self._steps else ()

    def before(self, step: int) -> None:
        """Start the profile if `step` is the first one."""
        if not self._is_open and step in self._steps:
            self._is_open = True
            if self._replicas.is_chief:
                tf.profiler.experimental.start(str(self._run_dir / "tensorboard"))
            self._replicas.start_timeline(self._run_dir / "horovod_timeline.json")

    def after(self, step: int) -> None:
        """End the profile if `step` was the last one."""
        if self._is_open and step == self._steps[-1]:
            self.close()

    def close(self) -> None:
        """End the profile if it is still open, as it is when the run ends within the range."""
        if self._is_open:
            self._is_open = False
            self._steps = range(0)
            if self._replicas.is_chief:
                tf.profiler.experimental.stop()
            self._replicas.stop_timeline()
