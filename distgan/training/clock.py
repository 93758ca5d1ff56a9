"""How far a run is, in steps, in images and in epochs, and how fast it gets there; needs no device."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

STARTING_STEPS = 3  # of which nothing is told: one before the first, one before it was made, and it, which compiles


class Clock:
    """Counts the steps and the real images of a run, and says what is due.

    Attributes:
        step: steps made; images_shown: real images shown in them; total_steps: where the run ends.
    """

    def __init__(
        self,
        step: int,
        images_shown: int,
        *,
        images_per_step: int,
        num_examples: int,
        steps: int | None,
        epochs: int | None,
    ) -> None:
        """Stand at a checkpoint's counts; the run ends after `steps` steps or `epochs` passes over `num_examples`."""
        self.step, self.images_shown = step, images_shown
        self._images_per_step, self._num_examples = images_per_step, num_examples
        self._total_epochs = epochs
        images_left = max(0, (epochs or 0) * num_examples - images_shown)
        self.total_steps = steps if steps is not None else step + math.ceil(images_left / images_per_step)

    def tick(self) -> None:
        """A step was made."""
        self.step += 1
        self.images_shown += self._images_per_step

    @property
    def is_over(self) -> bool:
        """Whether the run has reached its length."""
        return self.step >= self.total_steps

    @property
    def epochs(self) -> float:
        """Passes over the data so far."""
        return self.images_shown / self._num_examples

    @property
    def total_epochs(self) -> float:
        """Passes over the data of the whole run; its last step may show some images more."""
        images = self.images_shown + max(0, self.total_steps - self.step) * self._images_per_step
        return self._total_epochs or images / self._num_examples

    def due(self, *, steps: int | None = None, epochs: int | None = None) -> bool:
        """Whether the last step has completed a multiple of `steps` steps or of `epochs` epochs; None is never."""
        before = self.images_shown - self._images_per_step
        in_steps = steps is not None and self.step % steps == 0
        in_images = epochs is not None and self.images_shown // (epochs * self._num_examples) > before // (
            epochs * self._num_examples
        )
        return in_steps or in_images


class Speed:
    """Images a second, since the last log and over the run; the first step, which compiles, is left out."""

    def __init__(self, step: int, batch_size: int) -> None:
        self._batch_size = batch_size
        self._first_step = self._logged_step = step + 1
        self._first_seconds = self._logged_seconds = math.nan

    def stepped(self, step: int) -> None:
        """Must be called after each step."""
        if step == self._first_step:
            self._first_seconds = self._logged_seconds = time.perf_counter()

    def pause(self, seconds: float) -> None:
        """Leave out seconds that were spent on something else than training."""
        self._first_seconds += seconds
        self._logged_seconds += seconds

    def since_log(self, step: int) -> float:
        """Images a second since the call before; NaN where no step was made since."""
        rate = self._rate(step - self._logged_step, self._logged_seconds)
        self._logged_step, self._logged_seconds = step, time.perf_counter()
        return rate

    def average(self, step: int) -> float:
        """Images a second over the run."""
        return self._rate(step - self._first_step, self._first_seconds)

    def seconds_for(self, steps: int, step: int) -> float:
        """How long `steps` more steps will take."""
        return steps * self._batch_size / self.average(step)

    def _rate(self, steps: int, since_seconds: float) -> float:
        return steps * self._batch_size / (time.perf_counter() - since_seconds) if steps > 0 else math.nan


class Ranks:
    """What each rank spends on a step: seconds in which it waits for its data, and seconds of its processor.

    A rank tells of its last step in the sum that each step makes anyway, in two slots of its own, so that nobody waits
    to hear it.
    """

    def __init__(self, rank: int, size: int, num_replicas: int) -> None:
        """Each rank has `num_replicas / size` replicas, which tell the same."""
        self._rank, self._times_told = rank, num_replicas / size
        self._input_seconds, self._processor_seconds = 0.0, time.process_time()
        self._heard = np.zeros([size, 2])
        self._steps = -STARTING_STEPS

    def timed(self, wait: Callable[[], Any]) -> Any:
        """What `wait` gives, which the step is to be made of."""
        started = time.perf_counter()
        waited_for = wait()
        self._input_seconds = time.perf_counter() - started
        return waited_for

    def told(self) -> list[float]:
        """What all ranks are told: zeros but in this one's slots."""
        now = time.process_time()
        told = np.zeros_like(self._heard)
        told[self._rank] = self._input_seconds, now - self._processor_seconds
        self._processor_seconds = now
        return told.ravel().tolist()

    def heard(self, sums: Sequence[float]) -> None:
        """Take what came of the slots of all ranks in a step."""
        self._steps += 1
        if self._steps > 0:
            self._heard += np.reshape(sums, self._heard.shape) / self._times_told

    def since_log(self) -> dict[str, float]:
        """Means over the steps since the call before, by rank; none where nothing was heard."""
        if self._steps <= 0:
            return {}
        means = self._heard / self._steps
        self._heard, self._steps = np.zeros_like(self._heard), 0
        return {
            f"speed/rank_{rank}_{kind}_seconds": float(seconds)
            for rank, spent in enumerate(means)
            for kind, seconds in zip(("input", "processor"), spent, strict=True)
        }
