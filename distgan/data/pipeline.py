"""From a data set to the batch that one replica sees in one phase of one step."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from distgan.data import order
from distgan.data.base import Shape, Source
from distgan.replicas.base import Shard

LABELS = "labels"
READERS = 2  # batches that are read from files at once; a source has threads of its own for each

Share = dict[str, Any]


class Batch(NamedTuple):
    """One replica's share of the global batch of one phase: everything random about it, and nothing else.

    `images` are float32 `[count, height, width, channels]` in [-1, 1] by stream, empty in a phase that shows no real
    ones. `size` is the size of the global batch. `labels` are the classes of the images, int32 `[count]`, in a run that
    wants them.
    """

    images: dict[str, tf.Tensor]
    draws: order.Draws
    size: int
    labels: tf.Tensor | None = None

    def together(self, name: str) -> order.Draws:
        """All rows of a stream of random numbers, for decisions that all replicas make alike."""
        return order.Draws(f"{self.draws.name}/{name}", self.draws.step, 0, self.size)


class Augmentation(NamedTuple):
    """What is done at random to examples: cut to `height` x `width` pixels somewhere, and mirrored."""

    height: int
    width: int
    mirror: bool

    def __call__(self, images: tf.Tensor, draws: order.Draws) -> tf.Tensor:
        """Cut and mirror float32 `[count, h, w, channels]`; each example has its own place and side."""
        images = _cut(images, 1, self.height, draws.of("top"))
        images = _cut(images, 2, self.width, draws.of("left"))
        if self.mirror:
            mirrored = draws.of("mirror").uniform((1, 1, 1)) < 0.5
            images = tf.where(mirrored, tf.reverse(images, [2]), images)
        return images


def _cut(images: tf.Tensor, axis: int, length: int, draws: order.Draws) -> tf.Tensor:
    places = images.shape[axis] - length + 1
    if places == 1:
        return images
    first = tf.minimum(tf.cast(draws.uniform((1,)) * places, tf.int32), places - 1)
    return tf.gather(images, first + tf.range(length), axis=axis, batch_dims=1)


def to_images(pixels: Any) -> tf.Tensor:
    """Pixels, uint8 of any shape, as images, float32 in [-1, 1]."""
    return tf.cast(pixels, tf.float32) / 127.5 - 1.0


def to_pixels(images: tf.Tensor) -> tf.Tensor:
    """Images, float of any shape in [-1, 1], as pixels, uint8; NaN becomes black."""
    levels = (tf.cast(images, tf.float32) + 1.0) * 127.5
    known = tf.where(tf.math.is_nan(levels), 0.0, levels)
    return tf.cast(tf.clip_by_value(tf.round(known), 0, 255), tf.uint8)


def make_shares(
    shard: Shard, source: Source, *, batch_size: int, seed: int, first_position: int, image_phases: int
) -> tf.data.Dataset:
    """An endless data set that gives, step after step, each replica of `shard` in turn its share of the batch.

    A share is `{"rows": int64 [count], "examples": {stream: int64 [count, image_phases]}}`: which rows of the global
    batch, and the examples that stand there in each phase that shows real images. Of a source that is not in memory it
    has `"pixels": {stream: uint8 [count, image_phases, height, width, channels]}` too. Positions go on from
    `first_position`.
    """
    shares = [order.fair_range(batch_size, shard.total, shard.first + replica) for replica in range(shard.count)]
    even = len({count for _, count in shares}) == 1
    firsts, counts = (tf.constant(column, tf.int64) for column in zip(*shares, strict=True))

    @tf.autograph.experimental.do_not_convert  # which would take seconds, and leave files in the temporary directory
    def share_of(number: tf.Tensor) -> Share:
        replica = number % shard.count
        rows = firsts[replica] + tf.range(counts[replica])
        if even:
            rows = tf.ensure_shape(rows, [shares[0][1]])  # static shapes, where there is one
        batch = first_position + number // shard.count * (batch_size * image_phases)

        def examples(stream: str, num_examples: int) -> tf.Tensor:
            firsts_of_phases = [batch + phase * batch_size for phase in range(image_phases)]
            return tf.stack([order.examples_at(p + rows, num_examples, seed, stream) for p in firsts_of_phases], axis=1)

        return {"rows": rows, "examples": {stream: examples(stream, n) for stream, n in source.streams.items()}}

    @tf.autograph.experimental.do_not_convert
    def read(share: Share) -> Share:
        return share | {"pixels": {stream: _read(source, stream, at) for stream, at in share["examples"].items()}}

    shares_without_end = tf.data.Dataset.counter().map(share_of, num_parallel_calls=1)
    if not source.arrays:
        shares_without_end = shares_without_end.map(read, num_parallel_calls=READERS, deterministic=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1 if source.arrays else READERS
    options.autotune.enabled = False
    return shares_without_end.prefetch(4 if source.arrays else 2 * READERS).with_options(options)


def _read(source: Source, stream: str, examples: tf.Tensor) -> tf.Tensor:
    def pixels(numbers: np.ndarray) -> np.ndarray:
        return source.read(stream, numbers.ravel()).reshape(*numbers.shape, *source.example_shape)

    read = tf.numpy_function(pixels, [examples], tf.uint8, stateful=False)
    return tf.ensure_shape(read, [*examples.shape, *source.example_shape])


def hold(source: Source, place: Callable[[np.ndarray], Any], *, with_labels: bool) -> dict[str, Any]:
    """A data set in memory, put by `place` where `make_batch` gathers its `resident` examples; of files, nothing.

    Examples are rows of int64, filled up with zeros, and labels int64, `[num_examples]`: TensorFlow 2.21 has no GPU
    kernel that gathers uint8, and keeps int32 in the host's memory.
    """
    held = {stream: place(_as_words(pixels)) for stream, pixels in source.arrays.items()}
    if with_labels and source.labels is not None:
        held[LABELS] = place(source.labels.astype(np.int64))
    return held


def _as_words(pixels: np.ndarray) -> np.ndarray:
    rows = pixels.reshape(len(pixels), -1)
    missing = -rows.shape[1] % np.int64().nbytes
    return np.ascontiguousarray(np.pad(rows, [(0, 0), (0, missing)]) if missing else rows).view(np.int64)


def _as_pixels(words: tf.Tensor, shape: Shape) -> tf.Tensor:
    """Rows of words as uint8 `[count, *shape]`, without what they were filled up with."""
    rows = tf.reshape(tf.bitcast(words, tf.uint8), [-1, words.shape[1] * np.int64().nbytes])
    return tf.reshape(rows[:, : math.prod(shape)], [-1, *shape])


def make_batch(
    share: Share,
    resident: dict[str, tf.Tensor],
    image_phase: int | None,
    augment: Augmentation,
    *,
    example_shape: Shape,
    name: str,
    step: Any,
    size: int,
) -> Batch:
    """One replica's batch of a phase, made on the device from its share; `name` keys the random draws.

    `resident` is what `hold` put on this replica's device, and `example_shape` the shape of an example in it.
    `image_phase` counts the phases that show real images; it is None in one that does not.
    """
    rows = share["rows"]
    draws = order.Draws(name, step, rows[0], tf.size(rows))
    images, labels = {}, None
    for stream, examples in share["examples"].items() if image_phase is not None else ():
        pixels = (
            _as_pixels(tf.gather(resident[stream], examples[:, image_phase]), example_shape)
            if stream in resident
            else share["pixels"][stream][:, image_phase]
        )
        images[stream] = augment(to_images(pixels), draws.of(stream))
        if LABELS in resident:
            labels = tf.cast(tf.gather(resident[LABELS], examples[:, image_phase]), tf.int32)
    return Batch(images, draws, size, labels)
