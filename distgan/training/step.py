"""One step of training, on one replica."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.pipeline import Augmentation, Share, make_batch
from distgan.gans.base import GAN
from distgan.replicas.base import Move, Replicas
from distgan.tracing import traced
from distgan.training.state import TrainState


def make_step(
    gan: GAN, state: TrainState, replicas: Replicas, *, augment: Augmentation, example_shape: Shape, config: Config
) -> Callable[[dict[str, tf.Tensor], Share, tf.Tensor], dict[str, tf.Tensor]]:
    """Return a function that makes one step from the resident data set, this replica's share and its flags.

    The share is of the global batch. The function returns the values to log, averaged over the global batch, and
    `flags`, the sum of the flags of all replicas.
    """
    batch_size = config.batch_size
    batch_of = functools.partial(make_batch, augment=augment, example_shape=example_shape, size=batch_size)

    def step(resident: dict[str, tf.Tensor], share: Share, flags: tf.Tensor) -> dict[str, tf.Tensor]:
        values: dict[str, tf.Tensor] = {}
        for number, phase in enumerate(gan.phases):
            gan.prepare(phase)
            gradients, scalars = compute(resident, share, number)
            moves = [Move(state.optimizers[player], gradients[player], gan.trainable(player)) for player in phase]
            if number == len(gan.phases) - 1:
                scalars["flags"] = tf.cast(flags, moves[0].gradients[0].dtype)  # one data type: one all-reduce
            values |= replicas.update(moves, scalars, config.wire_dtype)
        state.advance(images=batch_size * sum(gan.image_phases))
        return values

    def gradients_of_batch(resident: dict[str, tf.Tensor], share: Share, number: int) -> Any:
        phase = gan.phases[number]
        image_phase = sum(gan.image_phases[:number]) if gan.image_phases[number] else None
        batch = batch_of(share, resident, image_phase, name=f"{config.seed}/{number}", step=state.step)
        with tf.GradientTape(persistent=True) as tape:
            sums, logged = gan.losses(batch, phase)
            wanted = {player: state.optimizers[player].scale_loss(sums[player] / batch_size) for player in phase}
        gradients = {player: tape.gradient(wanted[player], gan.trainable(player)) for player in phase}
        return gradients, {name: value / batch_size for name, value in logged.items()}

    whole = config.jit_compile and replicas.backend == "single"
    # With other backends XLA compiles only the code between two all-reduces, as it can't compile an all-reduce.
    compute = traced(gradients_of_batch, jit_compile=True) if config.jit_compile and not whole else gradients_of_batch
    return traced(step, jit_compile=True) if whole else replicas.compile(step)
