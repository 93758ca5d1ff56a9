"""From a data set to the batch that one replica sees in one phase of one step."""

from typing import Any, NamedTuple

import tensorflow as tf

from distgan.data import order
from distgan.replicas.base import Shard


class Batch(NamedTuple):
    """One replica's share of the global batch of one phase: everything random about it, and nothing else.

    `images` are float32 `[count, height, width, channels]` in [-1, 1], None in a phase that shows no real ones.
    """

    images: tf.Tensor | None
    draws: order.Draws


def images_at(pixels: tf.Tensor, examples: tf.Tensor) -> tf.Tensor:
    """The images, float32 `[n, height, width, channels]` in [-1, 1], of examples, int64 `[n]`, of a resident data set.

    `pixels` are uint8 `[num_examples, height, width, channels]`, on this replica's device.
    """
    return tf.cast(tf.gather(pixels, examples), tf.float32) / 127.5 - 1.0


def make_shares(
    shard: Shard, *, batch_size: int, num_examples: int, seed: int, first_position: int, image_phases: int
) -> tf.data.Dataset:
    """An endless data set that gives, step after step, each replica of `shard` in turn its share of the batch.

    A share is `{"rows": int64 [count], "examples": int64 [image_phases, count]}`: which rows of the global batch, and
    the examples that stand there in each phase that shows real images. Positions go on from `first_position`.
    """
    shares = [order.share(batch_size, shard.total, shard.first + replica) for replica in range(shard.count)]
    even = len({count for _, count in shares}) == 1
    firsts, counts = (tf.constant(column, tf.int64) for column in zip(*shares, strict=True))

    def share_of(number: tf.Tensor) -> dict[str, tf.Tensor]:
        replica = number % shard.count
        rows = firsts[replica] + tf.range(counts[replica])
        if even:
            rows = tf.ensure_shape(rows, [shares[0][1]])  # static shapes, where there is one
        batch = first_position + number // shard.count * (batch_size * image_phases)
        examples = [
            order.examples_at(batch + phase * batch_size + rows, num_examples, seed) for phase in range(image_phases)
        ]
        return {"rows": rows, "examples": tf.stack(examples) if examples else tf.zeros([0, tf.size(rows)], tf.int64)}

    shares_without_end = tf.data.Dataset.counter().map(share_of, num_parallel_calls=1)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    return shares_without_end.prefetch(4).with_options(options)


def make_batch(
    share: dict[str, tf.Tensor], image_phase: int | None, pixels: tf.Tensor, *, name: str, step: Any
) -> Batch:
    """One replica's batch of a phase, made on the device from its share; `name` keys the random draws.

    `image_phase` counts the phases that show real images; it is None in one that does not.
    """
    rows = share["rows"]
    images = None if image_phase is None else images_at(pixels, share["examples"][image_phase])
    return Batch(images, order.Draws(name, step, rows[0], tf.size(rows)))


def part_of(share: dict[str, tf.Tensor], parts: int, part: Any) -> dict[str, tf.Tensor]:
    """One of `parts` parts of a share, for gradient accumulation."""
    if parts == 1:
        return share
    first, count = order.share(tf.size(share["rows"]), parts, part)
    return {name: values[..., first : first + count] for name, values in share.items()}
