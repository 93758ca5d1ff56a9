"""How far a run is, in steps, in images and in epochs, and how fast it gets there; needs no device."""

import math
import time


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
