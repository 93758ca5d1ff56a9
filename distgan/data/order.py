"""The example and the random numbers of each position: pure arithmetic, equal for any number of replicas."""

import hashlib
import math
from typing import Any, Self

import tensorflow as tf

PHILOX = 1  # the value of tf.random.Algorithm for Philox in StatelessRandom*V2
WORDS_PER_COUNT = 4  # 32-bit words per value of Philox's counter
STEPS = 2**63  # the number of steps in a stream


def fair_range(total: Any, parts: int, part: Any) -> tuple[Any, Any]:
    """Return the first element and the number of elements of one of `parts` fair shares of `range(total)`.

    Share sizes differ by at most one, larger shares first: 256 in 3 is 86 + 85 + 85. Takes numbers or tensors.
    """
    small, larger = total // parts, total % parts
    minimum = tf.minimum if tf.is_tensor(total) else min
    first = part * small + minimum(part, larger)
    return first, (part + 1) * small + minimum(part + 1, larger) - first


def examples_at(positions: tf.Tensor, num_examples: int, seed: int, stream: str) -> tf.Tensor:
    """Return a stream's examples, int64 `[n]`, at positions, int64 `[n]`: each epoch is a new permutation.

    Epoch `e` shows the examples in the order of a stateless permutation keyed by `(seed, stream, e)`, so a batch
    may cross the end of an epoch, and a run may start at any position.
    """
    epochs = positions // num_examples
    key = _hash64("order", str(seed), stream)
    halves = tf.constant([key >> 32, key & 0xFFFFFFFF], tf.uint32)
    seeds = tf.concat([tf.tile(halves[None], [tf.size(positions), 1]), tf.cast(epochs, tf.uint32)[:, None]], axis=1)
    last = tf.constant(num_examples - 1, tf.int64)
    return tf.raw_ops.RandomIndexShuffle(index=positions % num_examples, seed=seeds, max_index=last, rounds=4)


class Draws:
    """One replica's rows of a step's random numbers.

    The numbers of the global batch are one Philox stream: its key is a hash of the use (seed, phase, layer, call), and
    its counter is (step, element). A replica starts the counter at its first element and computes only its own rows
    (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
    """

    def __init__(self, name: str, step: Any, first: Any, count: Any) -> None:
        """Take rows `first` to `first + count` of the streams of `step` (scalars, int64) below `name`."""
        self.name, self.step, self.first, self.count = name, step, first, count

    def of(self, name: str) -> Self:
        """Return the same rows of another stream, for a separate use."""
        return type(self)(f"{self.name}/{name}", self.step, self.first, self.count)

    def normal(self, shape: tuple[int, ...]) -> tf.Tensor:
        """Return standard normal numbers, float32 `[count, *shape]` (Box and Muller 1958).

        Computed in float64: in float32 the last bits of logarithms and cosines differ between devices and rows.
        """
        first, second = tf.unstack(tf.cast(self.uniform((*shape, 2)), tf.float64), axis=-1)
        return tf.cast(tf.sqrt(-2 * tf.math.log1p(-first)) * tf.cos(2 * math.pi * second), tf.float32)

    def uniform(self, shape: tuple[int, ...]) -> tf.Tensor:
        """Return uniform numbers in [0, 1), float32 `[count, *shape]`.

        Computed from words, because XLA and TensorFlow compute different fractions from the same key.
        """
        return tf.cast(tf.bitwise.right_shift(self._words(shape), tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24

    def below(self, end: int) -> tf.Tensor:
        """Return integers from 0 to `end` - 1, int64 `[count]`, equally likely to 1 part in 2^24."""
        return tf.minimum(tf.cast(self.uniform(()) * end, tf.int64), end - 1)

    def bytes(self, shape: tuple[int, ...]) -> tf.Tensor:
        """Return random bytes, uint8 `[count, *shape]`, for masks, at a quarter of the cost of `uniform`."""
        size = math.prod(shape)
        words = self._words((-(-size // 4),))
        return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1, 4 * words.shape[1]])[:, :size], [-1, *shape])

    def _words(self, shape: tuple[int, ...]) -> tf.Tensor:
        """Return random words, uint32 `[count, *shape]`."""
        size = math.prod(shape)
        width = -(-size // WORDS_PER_COUNT) * WORDS_PER_COUNT  # a row must start at a counter value
        first_count = tf.cast(self.first, tf.int64) * (width // WORDS_PER_COUNT)
        counter = tf.cast(tf.stack([first_count, tf.cast(self.step, tf.int64)]), tf.uint64)
        key, rows = tf.constant([_hash64(self.name)], tf.uint64), tf.stack([tf.cast(self.count, tf.int32), width])
        words = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=rows, key=key, counter=counter, alg=PHILOX, dtype=tf.uint32
        )
        return tf.reshape(tf.ensure_shape(words, [None, width])[:, :size], [-1, *shape])


def _hash64(*words: str) -> int:
    return int.from_bytes(hashlib.blake2b("/".join(words).encode(), digest_size=8).digest(), "little")
