"""One step of training, on one replica, and several steps in one call."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.pipeline import Augmentation, Share, make_batch
from distgan.errors import UserError
from distgan.gans.base import GAN
from distgan.nets.normalization import moving_statistics_of_shares
from distgan.replicas.base import Move, Replicas
from distgan.tracing import traced
from distgan.training.state import TrainState


def make_step(
    gan: GAN,
    state: TrainState,
    replicas: Replicas,
    *,
    augment: Augmentation,
    example_shape: Shape,
    config: Config,
    compiler: str,
) -> Callable[[dict[str, tf.Tensor], Share, tf.Tensor], dict[str, tf.Tensor]]:
    """Return a function that makes one step from the resident data set, this replica's share and its flags.

    The share is of the global batch. The function returns the values to log, averaged over the global batch, and
    `flags`, the sum of the flags of all replicas. `compiler` is "whole" or "parts", of which XLA compiles the step, or
    empty.
    """
    batch_size = config.batch_size
    statistics = moving_statistics_of_shares(gan.networks.values()) if replicas.num_replicas > 1 else []
    batch_of = functools.partial(make_batch, augment=augment, example_shape=example_shape, size=batch_size)

    def step(resident: dict[str, tf.Tensor], share: Share, flags: tf.Tensor) -> dict[str, tf.Tensor]:
        values: dict[str, tf.Tensor] = {}
        for number, phase in enumerate(gan.phases):
            gan.prepare(phase)
            gradients, scalars = compute(resident, share, number)
            moves = [Move(state.optimizers[player], gradients[player], gan.trainable(player)) for player in phase]
            is_last = number == len(gan.phases) - 1
            if is_last:
                scalars["flags"] = tf.cast(flags, moves[0].gradients[0].dtype)  # one data type: one all-reduce
            means = replicas.update(moves, scalars, config.wire_dtype, statistics if is_last else ())
            values |= means | gan.adapt(means)
        state.advance(images=batch_size * sum(gan.image_phases))
        return values

    def gradients_of_batch(resident: dict[str, tf.Tensor], share: Share, number: int) -> Any:
        phase = gan.phases[number]
        image_phase = sum(gan.image_phases[:number]) if gan.image_phases[number] else None
        batch = batch_of(share, resident, image_phase, name=f"{config.seed}/{number}", step=state.step)
        # A tape for each player: with one tape, TensorFlow also computes gradients of the generator's layers from the
        # discriminator's loss, which nobody uses but all replicas would sum.
        tapes = {player: tf.GradientTape(watch_accessed_variables=False) for player in phase}
        with contextlib.ExitStack() as stack:
            for player, tape in tapes.items():
                stack.enter_context(tape).watch([variable.value for variable in gan.trainable(player)])
            sums, logged = gan.losses(batch, phase)
            wanted = {player: state.optimizers[player].scale_loss(sums[player] / batch_size) for player in phase}
        gradients = {player: tapes[player].gradient(wanted[player], gan.trainable(player)) for player in phase}
        return gradients, {name: value / batch_size for name, value in logged.items()}

    compute = gradients_of_batch
    if compiler == "whole":
        return traced(step, jit_compile=True)
    if compiler == "parts":  # the code between two all-reduces, as XLA can't compile an all-reduce
        compute = traced(gradients_of_batch, jit_compile=True)
    return replicas.compile(step)


def compiler_for(config: Config, replicas: Replicas) -> str:
    """Return what of a step XLA compiles: "whole", "parts" or nothing; by default it compiles what it can on GPUs."""
    if config.jit_compile is None:
        if config.deterministic or not tf.config.list_logical_devices("GPU"):
            return ""
        try:
            config.gan.check_compiles(replicas.num_replicas)
        except UserError:
            return ""
    elif not config.jit_compile:
        return ""
    return "whole" if replicas.num_replicas == 1 and replicas.backend in ("single", "horovod") else "parts"


def in_one_call(step: Any, most: int, compiler: str) -> Callable[..., Any]:
    """Return a function that makes up to `most` steps in one call, from their shares along a first axis of `most`.

    It also takes the number of steps. Its results have a first axis of `most`, except the flags, which are equal in all
    steps.
    """

    def steps(resident: Any, shares: Any, flags: tf.Tensor, count: tf.Tensor) -> dict[str, tf.Tensor]:
        def share(number: tf.Tensor) -> Any:
            return tf.nest.map_structure(lambda values: values[number], shares, expand_composites=True)

        def one_more(number: tf.Tensor, results: dict[str, tf.TensorArray]) -> Any:
            values = step(resident, share(number), flags)
            return number + 1, {name: results[name].write(number, value) for name, value in values.items()}

        form = step.get_concrete_function(resident, share(tf.constant(0)), flags).structured_outputs
        empty = {name: tf.TensorArray(value.dtype, most, element_shape=value.shape) for name, value in form.items()}
        made = tf.while_loop(lambda number, _: number < count, one_more, (0, empty), parallel_iterations=1)[1]
        results = {name: values.stack() for name, values in made.items()}
        return results | {"flags": results["flags"][0]}

    return traced(steps, jit_compile=compiler == "whole")
