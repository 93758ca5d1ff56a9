"""One step of training, as one replica sees it."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.pipeline import Augmentation, Share, make_batch, part_of
from distgan.gans.base import GAN
from distgan.replicas.base import Move, Replicas
from distgan.tracing import traced
from distgan.training.state import TrainState


def make_step(
    gan: GAN, state: TrainState, replicas: Replicas,
    *, augment: Augmentation, example_shape: Shape, batch_size: int, config: Config,
) -> Callable[[dict[str, tf.Tensor], Share, tf.Tensor], dict[str, tf.Tensor]]:  # fmt: skip
    """A function of the resident data set, this replica's share of the global batch and its requests: makes one step.

    It returns what is worth logging, averaged over the global batch, and `requests`, the sum over all replicas of a
    vector by which any of them may ask the others for something.
    """
    accumulate_steps = config.accumulate_steps

    def step(resident: dict[str, tf.Tensor], share: Share, requests: tf.Tensor) -> dict[str, tf.Tensor]:
        values: dict[str, tf.Tensor] = {}
        for number, phase in enumerate(gan.phases):
            gan.prepare(phase)
            gradients, scalars = gradients_of_share(resident, share, number)
            moves = [Move(state.optimizers[player], gradients[player], gan.trainable(player)) for player in phase]
            if number == len(gan.phases) - 1:
                dtype = moves[0].gradients[0].dtype  # one data type: one all-reduce
                scalars["requests"] = tf.cast(requests, dtype)
            values |= replicas.update(moves, scalars, config.wire_dtype)
        state.advance(images=batch_size * sum(gan.image_phases))
        return values

    def gradients_of_share(resident: dict[str, tf.Tensor], share: Share, number: int) -> Any:
        """Gradients and scalars of a phase; in parts, one after the other, if memory is short."""
        sums = compute(resident, part_of(share, accumulate_steps, 0), number)
        if accumulate_steps == 1:
            return sums

        def add_part(part: tf.Tensor, sums: Any) -> Any:
            of_part = compute(resident, part_of(share, accumulate_steps, part), number)
            return part + 1, tf.nest.map_structure(tf.add, sums, of_part)

        return tf.while_loop(lambda part, _: part < accumulate_steps, add_part, (1, sums), parallel_iterations=1)[1]

    def gradients_of_batch(resident: dict[str, tf.Tensor], share: Share, number: int) -> Any:
        phase = gan.phases[number]
        image_phase = sum(gan.image_phases[:number]) if gan.image_phases[number] else None
        batch = make_batch(
            share, resident, image_phase, augment, example_shape=example_shape,
            name=f"{config.seed}/{number}", step=state.step, size=batch_size,
        )  # fmt: skip
        with tf.GradientTape(persistent=True) as tape:
            sums, logged = gan.losses(batch, phase)
            wanted = {player: state.optimizers[player].scale_loss(sums[player] / batch_size) for player in phase}
        gradients = {player: tape.gradient(wanted[player], gan.trainable(player)) for player in phase}
        return gradients, {name: value / batch_size for name, value in logged.items()}

    compute = traced(gradients_of_batch, jit_compile=True) if config.jit_compile else gradients_of_batch
    return replicas.compile(step)
