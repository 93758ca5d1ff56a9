"""An image buffer, by which a discriminator also sees earlier generated images (Shrivastava et al. 2017)."""

import keras
import tensorflow as tf

from distgan.data.base import Shape
from distgan.data.pipeline import Batch
from distgan.nets.normalization import SumInStep


class ImageBuffer:
    """The image buffer of one domain: a part of the run's state, the same on all replicas.

    Attributes:
        images: `[size, height, width, channels]`; filled: the number of images stored so far.
    """

    def __init__(self, name: str, size: int, image_shape: Shape, sum_in_step: SumInStep) -> None:
        """Create an empty buffer, in the scope of the replicas; `sum_in_step` gathers the images of all replicas."""
        dtype = tf.as_dtype(keras.config.dtype_policy().variable_dtype)
        self.images = tf.Variable(tf.zeros([size, *image_shape], dtype), trainable=False)
        self.filled = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._name, self._size, self._sum_in_step = name, size, sum_in_step

    def exchange(self, fakes: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Store this replica's generated images; return as many to show, `[count, height, width, channels]`.

        Images come one after the other. Until the buffer is full, each is stored and shown. Then, with probability 1/2,
        an image replaces a random stored one, and the stored one is shown instead.
        """
        draws = batch.together(self._name)
        swaps = draws.of("swaps").uniform(())
        slots = tf.cast(draws.of("slots").uniform(()) * self._size, tf.int64) % self._size
        kept, shown, filled = exchanges(self.filled, swaps < 0.5, slots, self._size)
        of_all = tf.concat([self.images, self._of_all_replicas(fakes, batch)], 0)
        self.images.assign(tf.gather(of_all, kept))
        self.filled.assign(filled)
        first, count = batch.draws.first, tf.cast(batch.draws.count, tf.int64)
        return tf.cast(tf.gather(of_all, shown[first : first + count]), fakes.dtype)

    def _of_all_replicas(self, fakes: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Return the generated images of the global batch: the sum of each replica's rows, padded with zeros."""
        before = tf.cast(batch.draws.first, tf.int32)
        after = batch.size - before - tf.cast(batch.draws.count, tf.int32)
        rows = tf.pad(tf.cast(fakes, self.images.dtype), [[before, after], [0, 0], [0, 0], [0, 0]])
        return self._sum_in_step([tf.ensure_shape(rows, [batch.size, *fakes.shape[1:]])])[0]


def exchanges(
    filled: tf.Tensor, swaps: tf.Tensor, slots: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the images stored and shown after a batch, as indices into the `size` stored ones, then the batch.

    `swaps`, bool `[batch]`, and `slots`, int64 `[batch]`: whether each image of the batch replaces a stored one, and
    which. Returns the stored indices, int64 `[size]`, the shown ones, int64 `[batch]`, and the number of stored images.
    """

    def step(number: tf.Tensor, kept: tf.Tensor, shown: tf.Tensor, filled: tf.Tensor) -> tuple[tf.Tensor, ...]:
        is_filling = filled < size
        slot = tf.where(is_filling, filled, slots[number])
        new = tf.cast(number, tf.int64) + size
        is_kept = is_filling | swaps[number]
        old = tf.where(is_kept & ~is_filling, kept[slot], new)
        kept = tf.where(is_kept & (tf.range(size, dtype=tf.int64) == slot), new, kept)
        shown = tf.tensor_scatter_nd_update(shown, [[number]], [old])
        return number + 1, kept, shown, filled + tf.cast(is_filling, tf.int64)

    batch_size = swaps.shape[0]
    start = (tf.constant(0), tf.range(size, dtype=tf.int64), tf.zeros([batch_size], tf.int64), tf.identity(filled))
    _, kept, shown, filled = tf.while_loop(lambda number, *_: number < batch_size, step, start)
    return kept, shown, filled
