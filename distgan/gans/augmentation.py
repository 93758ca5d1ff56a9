"""Differentiable augmentation of all images that a discriminator sees (Zhao et al. 2020, "DiffAugment").

Unlike the augmentation of a data set (`data/pipeline.py`), it also applies to generated images, and the generator's
gradient passes through it. So generated images do not imitate it.
"""

from typing import Any

import tensorflow as tf

from distgan.data.order import Draws
from distgan.errors import UserError
from distgan.gans.augmentation_options import AugmentationOptions

SHIFT = 1 / 8  # of the size: the largest shift in each direction
SQUARE = 1 / 2  # of the size: the side of the square
SIGN, PROBABILITY = "augmentation/sign", "augmentation/probability"  # names in the log


def coloured(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Change the brightness, then the saturation, then the contrast of each image, each by a random amount.

    As in the authors' code: brightness by -0.5 to 0.5, saturation by 0 to 2 times, contrast by 0.5 to 1.5 times.
    """
    numbers = tf.cast(draws.uniform((3, 1, 1, 1)), images.dtype)
    brightness, saturation, contrast = (numbers[:, number] for number in range(3))
    images += brightness - 0.5
    grey = tf.reduce_mean(images, 3, keepdims=True)
    images = (images - grey) * (2 * saturation) + grey
    middle = tf.reduce_mean(images, [1, 2, 3], keepdims=True)
    return (images - middle) * (contrast + 0.5) + middle


def translated(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Shift each image by whole pixels in any direction, and fill up with zeros.

    The shift is a product with matrices of zeros and ones, as gathering pixels has a slow gradient.
    """
    _, height, width, _ = images.shape
    most = [int(size * SHIFT + 0.5) for size in (height, width)]
    moves = _whole(draws, [2 * shift + 1 for shift in most]) - most
    down, right = moves[:, 0], moves[:, 1]  # int64 has no GPU kernel to unstack it
    images = tf.einsum("bij,bjwc->biwc", _moving(down, height, images.dtype), images)
    return tf.einsum("bij,bhjc->bhic", _moving(right, width, images.dtype), images)


def _moving(by: tf.Tensor, size: int, dtype: tf.DType) -> tf.Tensor:
    """Return matrices `[batch, size, size]` that shift a line of pixels, each by its own number of pixels."""
    pixels = tf.range(size, dtype=tf.int64)
    return tf.cast(pixels[None, :, None] == pixels[None, None, :] + by[:, None, None], dtype)


def cut_out(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Set a square of half the size of each image to zero; its centre is any pixel."""
    _, height, width, _ = images.shape
    sizes = [int(size * SQUARE + 0.5) for size in (height, width)]
    # As in the authors' code: the centre of an even square lies between pixels, so it has one more place.
    middles = _whole(draws, [whole + 1 - size % 2 for whole, size in zip((height, width), sizes, strict=True)])
    firsts = middles - [size // 2 for size in sizes]
    in_rows, in_columns = _covered(firsts[:, 0], sizes[0], height), _covered(firsts[:, 1], sizes[1], width)
    kept = ~(in_rows[:, :, None, None] & in_columns[:, None, :, None])
    return images * tf.cast(kept, images.dtype)


def _covered(first: tf.Tensor, size: int, whole: int) -> tf.Tensor:
    """Return which pixels of a line of `whole` are in the `size` from `first` on, bool `[batch, whole]`."""
    pixels = tf.range(whole, dtype=tf.int64)[None] - first[:, None]
    return (pixels >= 0) & (pixels < size)


def _whole(draws: Draws, counts: list[int]) -> tf.Tensor:
    """Return random whole numbers from 0 to below each of `counts`, int64 `[batch, len(counts)]`.

    TensorFlow computes with int32 on the host.
    """
    return tf.cast(draws.uniform((len(counts),)) * tf.constant(counts, tf.float32), tf.int64)


AUGMENTATIONS = {"color": coloured, "translation": translated, "cutout": cut_out}


def augmented(images: tf.Tensor, names: tuple[str, ...], draws: Draws, probability: Any = None) -> tf.Tensor:
    """Apply the named `AUGMENTATIONS` to images `[batch, height, width, channels]`, one after the other.

    With a `probability`, a number or a variable, each is applied to each image with it, independently; else to all.
    """
    for name in names:
        changed = AUGMENTATIONS[name](images, draws.of(name))
        if probability is not None:
            changed = tf.where(draws.of(f"{name}/applied").uniform((1, 1, 1)) < probability, changed, images)
        images = changed
    return images


class Policy:
    """The augmentations of a GAN, each applied to an image with a probability, which may adapt.

    An adaptive probability starts at 0, rises in steps in which the discriminator separates real images too well, and
    falls where it separates them too badly (Karras et al. 2020, "Training generative adversarial networks with limited
    data", sec. 3).

    Attributes:
        memory: the adaptive probability by name, as a variable of the run's state; else empty.
    """

    def __init__(self, options: AugmentationOptions, batch_size: int) -> None:
        """Take the settings, and the size of the global batch; must run in the scope of the replicas."""
        self._names = () if options.augment == "none" else tuple(options.augment.split(","))
        self._probability: Any = None if options.augment_probability == 1 else options.augment_probability
        self._batch_size, self._goal = batch_size, batch_size * options.augment_target
        self._move = batch_size / options.augment_adapt_images
        self.memory: dict[str, tf.Variable] = {}
        if options.augment_target:
            self._probability = self.memory[PROBABILITY] = tf.Variable(0.0, trainable=False)

    def __call__(self, images: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Apply the augmentations to images `[batch, height, width, channels]`."""
        return augmented(images, self._names, draws, self._probability)

    def signs(self, real_logits: tf.Tensor, threshold: Any) -> dict[str, tf.Tensor]:
        """Return the sum of the signs of real logits `[batch, 1]` minus a threshold; {} if nothing adapts.

        Raises `UserError` if there is no threshold.
        """
        if not self.memory:
            return {}
        if threshold is None:
            raise UserError("--augment_target needs a --loss with a logit from which on an image counts as real.")
        return {SIGN: tf.reduce_sum(tf.sign(real_logits - threshold))}

    def adapt(self, means: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Move the probability, if the `means` over the global batch include that of the signs (eq. 1, r_t).

        Returns the new probability, to log; {} if it does not move.
        """
        if SIGN not in means:
            return {}
        total = tf.round(means[SIGN] * self._batch_size)  # a whole number, equal on any number of replicas
        # NaN, as in a step that float16 skips, is no move.
        direction = tf.cast(total > self._goal, tf.float32) - tf.cast(total < self._goal, tf.float32)
        moved = tf.clip_by_value(self._probability + direction * self._move, 0.0, 1.0)
        self._probability.assign(moved)
        return {PROBABILITY: moved}
