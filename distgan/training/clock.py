"""How far a run is, in steps, in images and in epochs: arithmetic that needs no device."""

import math


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
