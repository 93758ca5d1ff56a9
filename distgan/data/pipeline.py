"""The pipeline from a data set to the batch of one replica in one phase of one step."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from distgan.data import order
from distgan.data.base import Shape, Source
from distgan.replicas.base import Shard

LABELS = "labels"
STEPS_AT_ONCE = 64  # whose examples are drawn together, if no files are read for them
READERS = 2  # batches that are read from files in parallel; each read also uses the source's own threads

Share = dict[str, Any]


class Batch(NamedTuple):
    """One replica's share of the global batch of one phase: all random input of the phase, and nothing else.

    `images` are float32 `[count, height, width, channels]` in [-1, 1] by stream, empty in a phase without real images.
    `size` is the size of the global batch. `labels` are the classes of the images, int32 `[count]`, or None in a run
    without labels.
    """

    images: dict[str, tf.Tensor]
    draws: order.Draws
    size: int
    labels: tf.Tensor | None = None

    def together(self, name: str) -> order.Draws:
        """Return all rows of a stream of random numbers, for decisions that must be equal on all replicas."""
        return order.Draws(f"{self.draws.name}/{name}", self.draws.step, 0, self.size)


class Augmentation(NamedTuple):
    """A random change of examples: a crop of `height` x `width` pixels at a random place, and a mirror."""

    height: int
    width: int
    mirror: bool

    def __call__(self, images: tf.Tensor, draws: order.Draws) -> tf.Tensor:
        """Crop and mirror float32 `[count, h, w, channels]`, each example independently."""
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
    return tf.gather(images, draws.below(places)[:, None] + tf.range(length, dtype=tf.int64), axis=axis, batch_dims=1)


def to_images(pixels: Any) -> tf.Tensor:
    """Return pixels, uint8 of any shape, as images, float32 in [-1, 1].

    It rounds once: from `pixels / 127.5 - 1` compilers make different last bits.
    """
    return (2.0 * tf.cast(pixels, tf.float32) - 255.0) * (1 / 255)


def to_pixels(images: tf.Tensor) -> tf.Tensor:
    """Return images, float of any shape in [-1, 1], as pixels, uint8; NaN becomes black."""
    levels = (tf.cast(images, tf.float32) + 1.0) * 127.5
    known = tf.where(tf.math.is_nan(levels), 0.0, levels)
    return tf.cast(tf.clip_by_value(tf.round(known), 0, 255), tf.uint8)


def make_shares(
    shard: Shard, source: Source, *, batch_size: int, seed: int, first_position: int, image_phases: int
) -> Iterator[Share]:
    """Yield without end, for each step, the share of the batch of each replica of `shard` in turn.

    A share is `{"rows": int64 [count], "examples": {stream: int64 [count, image_phases]}}`: the rows of the global
    batch, and the examples in these rows in each phase with real images. If the source is not in memory, the share also
    has `"pixels": {stream: uint8 [count, image_phases, height, width, channels]}`. Positions start at
    `first_position`.
    """
    steps = STEPS_AT_ONCE if source.arrays else 1
    shares = [order.fair_range(batch_size, shard.total, shard.first + replica) for replica in range(shard.count)]
    even = len({count for _, count in shares}) == 1
    firsts, counts = (tf.constant(column, tf.int64) for column in zip(*shares, strict=True))

    @tf.autograph.experimental.do_not_convert  # conversion takes seconds and leaves files in the temporary directory
    def share_of(number: tf.Tensor) -> Share:
        replica = number % shard.count
        rows = firsts[replica] + tf.range(counts[replica])
        if even:
            rows = tf.ensure_shape(rows, [shares[0][1]])  # a static shape, if all shares have one size
        batches = tf.range(steps * image_phases, dtype=tf.int64) + number // shard.count * (steps * image_phases)
        positions = first_position + batches[:, None] * batch_size + rows

        def examples(stream: str, num_examples: int) -> tf.Tensor:
            drawn = order.examples_at(tf.reshape(positions, [-1]), num_examples, seed, stream)
            of_phases = tf.unstack(tf.reshape(drawn, [steps, image_phases, rows.shape[0] or -1]), axis=1)
            return tf.stack(of_phases, axis=2)  # `tf.transpose` of int64 makes oneDNN print a warning

        return {"rows": rows, "examples": {stream: examples(stream, n) for stream, n in source.streams.items()}}

    @tf.autograph.experimental.do_not_convert
    def read(share: Share) -> Share:
        examples = {stream: at[0] for stream, at in share["examples"].items()}
        pixels = {stream: _read(source, stream, at) for stream, at in examples.items()}
        return share | {"examples": examples, "pixels": pixels}

    shares_without_end = tf.data.Dataset.counter().map(share_of, num_parallel_calls=1)
    if not source.arrays:
        shares_without_end = shares_without_end.map(read, num_parallel_calls=READERS, deterministic=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1 if source.arrays else READERS
    options.autotune.enabled = False
    shares_without_end = shares_without_end.prefetch(2 if source.arrays else 2 * READERS).with_options(options)
    return _each_step(shares_without_end, shard.count, steps) if source.arrays else iter(shares_without_end)


def _each_step(dataset: tf.data.Dataset, replicas: int, steps: int) -> Iterator[Share]:
    """Yield the shares, as NumPy arrays, from a data set whose elements hold the shares of several steps."""
    elements = dataset.as_numpy_iterator()
    while True:
        of_replicas = [next(elements) for _ in range(replicas)]
        for step in range(steps):
            for share in of_replicas:
                yield share | {"examples": {stream: at[step] for stream, at in share["examples"].items()}}


def _read(source: Source, stream: str, examples: tf.Tensor) -> tf.Tensor:
    def pixels(numbers: np.ndarray) -> np.ndarray:
        return source.read(stream, numbers.ravel()).reshape(*numbers.shape, *source.example_shape)

    read = tf.numpy_function(pixels, [examples], tf.uint8, stateful=False)
    return tf.ensure_shape(read, [*examples.shape, *source.example_shape])


def hold(source: Source, place: Callable[[np.ndarray], Any], *, with_labels: bool) -> dict[str, Any]:
    """Put an in-memory data set on the device with `place`, as `resident` of `make_batch`; return {} for files.

    Examples become rows of int64, padded with zeros, and labels int64, `[num_examples]`: TensorFlow 2.21 has no GPU
    kernel that gathers uint8, and it keeps int32 in the host's memory.
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
    """Return rows of words as uint8 `[count, *shape]`, without the padding."""
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
    """Make one replica's batch of a phase on the device from its share; `name` is the key of the random draws.

    `resident` is the data that `hold` put on this replica's device, and `example_shape` the shape of its examples.
    `image_phase` is the index among the phases with real images; None in a phase without real images.
    """
    draws = order.Draws(name, step, share["rows"][0], tf.size(share["rows"]))
    images, labels = {}, None
    for stream, examples in share["examples"].items() if image_phase is not None else ():
        at = examples[:, image_phase]
        if stream in resident:
            pixels = _as_pixels(tf.gather(resident[stream], at), example_shape)
        else:
            pixels = share["pixels"][stream][:, image_phase]
        images[stream] = augment(to_images(pixels), draws.of(stream))
        if LABELS in resident:
            labels = tf.cast(tf.gather(resident[LABELS], at), tf.int32)
    return Batch(images, draws, size, labels)
