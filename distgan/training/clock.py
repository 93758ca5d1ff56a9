"""The progress of a run in steps, images and epochs, and its speed; needs no device."""

import math
import time
from collections.abc import Iterable
from typing import Protocol

from distgan.config.fields import every


class Counts(Protocol):
    """The training so far: steps made, and real images shown in them. A `Trainer` counts them."""

    step_number: int
    images_shown: int
    images_per_step: int
    num_examples: int


class Clock:
    """The progress of a run in steps, images and epochs, and the actions that are due.

    Attributes:
        total_steps: the step after which the run ends.
    """

    def __init__(self, counts: Counts, *, steps: int | None, epochs: int | None) -> None:
        """Measure progress by `counts`; the run ends after `steps` steps, or `epochs` epochs."""
        self._counts, self._total_epochs = counts, epochs
        images_left = max(0, (epochs or 0) * counts.num_examples - counts.images_shown)
        self.total_steps = steps if steps is not None else self.step + math.ceil(images_left / counts.images_per_step)

    @property
    def step(self) -> int:
        """The number of steps made."""
        return self._counts.step_number

    @property
    def images_shown(self) -> int:
        """The number of real images shown."""
        return self._counts.images_shown

    @property
    def is_over(self) -> bool:
        """True if the run has reached its length."""
        return self.step >= self.total_steps

    @property
    def epochs(self) -> float:
        """The passes over the data so far."""
        return self.images_shown / self._counts.num_examples

    @property
    def total_epochs(self) -> float:
        """The passes over the data in the whole run; its last step may show a few images more."""
        images = self.images_shown + max(0, self.total_steps - self.step) * self._counts.images_per_step
        return self._total_epochs or images / self._counts.num_examples

    def due(self, cadence: str) -> bool:
        """Return whether the last step has completed a multiple of a cadence, a number of steps or of epochs.

        A cadence in seconds is never due here: it is not the same for all processes.
        """
        wanted = every(cadence)
        if wanted is None or wanted.unit == "seconds":
            return False
        if wanted.unit == "steps":
            return self.step % int(wanted.number) == 0
        images = int(wanted.number) * self._counts.num_examples
        return self.images_shown // images > (self.images_shown - self._counts.images_per_step) // images

    def steps_until_due(self, cadences: Iterable[str], stops: Iterable[int] = ()) -> int:
        """Return the number of steps to the first that is the last one, a stop, or the end of one of `cadences`."""
        steps = [stop - self.step for stop in (self.total_steps, *stops)]
        for wanted in filter(None, map(every, cadences)):
            if wanted.unit == "steps":
                steps.append(int(wanted.number) - self.step % int(wanted.number))
            elif wanted.unit == "epochs":
                images = int(wanted.number) * self._counts.num_examples
                steps.append(math.ceil((images - self.images_shown % images) / self._counts.images_per_step))
        return min(number for number in steps if number > 0)


class Speed:
    """The images per second since the last log and over the run; excludes the first call, which compiles."""

    def __init__(self, step: int, batch_size: int) -> None:
        self._batch_size = batch_size
        self._first_step = self._logged_step = step + 1
        self._first_seconds = self._logged_seconds = math.nan

    def stepped(self, step: int) -> None:
        """Start the time measurement after the first call, up to a step; must be called after each call."""
        if math.isnan(self._first_seconds):
            self._first_step = self._logged_step = step
            self._first_seconds = self._logged_seconds = time.perf_counter()

    def pause(self, seconds: float) -> None:
        """Exclude seconds that were spent on something other than training."""
        self._first_seconds += seconds
        self._logged_seconds += seconds

    def since_log(self, step: int) -> float:
        """Return the images per second since the previous call; NaN if no step was made since."""
        rate = self._rate(step - self._logged_step, self._logged_seconds)
        self._logged_step, self._logged_seconds = step, time.perf_counter()
        return rate

    def average(self, step: int) -> float:
        """Return the images per second over the run."""
        return self._rate(step - self._first_step, self._first_seconds)

    def seconds_for(self, steps: int, step: int) -> float:
        """Return the seconds that `steps` more steps will take."""
        return steps * self._batch_size / self.average(step)

    def _rate(self, steps: int, since_seconds: float) -> float:
        return steps * self._batch_size / (time.perf_counter() - since_seconds) if steps > 0 else math.nan
