"""Differentiable augmentation of all that a discriminator sees (Zhao et al. 2020, "DiffAugment").

Other than what is done to a data set's images (`data/pipeline.py`), it is done to fakes too, and the generator learns
through it; so it does not leak into what is generated.
"""

import tensorflow as tf

from distgan.data.order import Draws

SHIFT = 1 / 8  # of the size, at most, to each side
SQUARE = 1 / 2  # of the size


def translated(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Each image moved by whole pixels to any side, and filled up with zeros.

    By matrices of zeros and ones, as gathering pixels has a slow gradient.
    """
    _, height, width, _ = images.shape
    most = [int(size * SHIFT + 0.5) for size in (height, width)]
    down, right = tf.unstack(_whole(draws, [2 * shift + 1 for shift in most]) - most, axis=1)
    images = tf.einsum("bij,bjwc->biwc", _moving(down, height, images.dtype), images)
    return tf.einsum("bij,bhjc->bhic", _moving(right, width, images.dtype), images)


def _moving(by: tf.Tensor, size: int, dtype: tf.DType) -> tf.Tensor:
    """Matrices `[batch, size, size]` that move a line of pixels, each by its own number of them."""
    pixels = tf.range(size)
    return tf.cast(pixels[None, :, None] == pixels[None, None, :] + by[:, None, None], dtype)


def cut_out(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Each image with a square of zeros, of half its size, whose middle is any pixel."""
    _, height, width, _ = images.shape
    sizes = [int(size * SQUARE + 0.5) for size in (height, width)]
    # As its authors have it: between pixels where the square is even, and so in one place more.
    middles = _whole(draws, [whole + 1 - size % 2 for whole, size in zip((height, width), sizes, strict=True)])
    rows, columns = tf.unstack(middles - [size // 2 for size in sizes], axis=1)
    in_rows, in_columns = _covered(rows, sizes[0], height), _covered(columns, sizes[1], width)
    kept = ~(in_rows[:, :, None, None] & in_columns[:, None, :, None])
    return images * tf.cast(kept, images.dtype)


def _covered(first: tf.Tensor, size: int, whole: int) -> tf.Tensor:
    """Which pixels of a line of `whole` lie in the `size` from `first` on, bool `[batch, whole]`."""
    pixels = tf.range(whole)[None] - first[:, None]
    return (pixels >= 0) & (pixels < size)


def _whole(draws: Draws, counts: list[int]) -> tf.Tensor:
    """Numbers of 0 to below each of `counts`, int32 `[batch, len(counts)]`."""
    return tf.cast(draws.uniform((len(counts),)) * tf.constant(counts, tf.float32), tf.int32)


AUGMENTATIONS = {"translation": translated, "cutout": cut_out}


def augmented(images: tf.Tensor, names: tuple[str, ...], draws: Draws) -> tf.Tensor:
    """Images `[batch, height, width, channels]` changed by some of `AUGMENTATIONS`, one after the other."""
    for name in names:
        images = AUGMENTATIONS[name](images, draws.of(name))
    return images
