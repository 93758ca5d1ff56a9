"""The players' optimizers: their updates, learning-rate schedules and loss scales."""

import math
from typing import Any

import keras
import tensorflow as tf

from distgan.config import Config
from distgan.config.sections import Optimizer
from distgan.gans.base import GAN

LOSS_SCALE = "loss_scale/"  # part of the names of variables that only mixed_float16 has


class _Adam(keras.optimizers.Adam):
    """Keras's Adam with TensorFlow's single update kernel, in place of a dozen kernels that each pass over memory."""

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        """Update the variables; scalars are computed once for all of them."""
        settings = self.iterations.value + 1, self.beta_1, self.beta_2, learning_rate, self.epsilon
        step, beta_1, beta_2, rate, epsilon = (tf.cast(setting, grads[0].dtype) for setting in settings)
        betas = {"beta1": beta_1, "beta2": beta_2, "beta1_power": beta_1**step, "beta2_power": beta_2**step}
        super()._backend_update_step(grads, trainable_variables, betas | {"lr": rate, "epsilon": epsilon})

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, scalars: dict[str, tf.Tensor]) -> None:
        """Update one variable; called for each copy of it. Keras calls the scalars `learning_rate`."""
        index = self._get_variable_index(variable)
        moments = {"m": self._momentums[index].value.handle, "v": self._velocities[index].value.handle}
        tf.raw_ops.ResourceApplyAdam(var=variable.handle, **moments, **scalars, grad=gradient)


_OPTIMIZERS = {
    "adam": lambda rate, beta_1, beta_2, name: _Adam(rate, beta_1=beta_1, beta_2=beta_2, name=name),
    "rmsprop": lambda rate, _, __, name: keras.optimizers.RMSprop(rate, name=name),
    "sgd": lambda rate, momentum, _, name: keras.optimizers.SGD(rate, momentum=momentum, name=name),
}


def make_optimizer(
    player: str, settings: Optimizer, part: float, precision: str, most_norm: float | None = None
) -> keras.optimizers.Optimizer:
    """Return the optimizer of a player, with a `part` of its learning rate (see `lazy_part`).

    It scales gradients down to the norm `most_norm`, if given. Under float16 it scales the loss, and skips a step whose
    gradients overflowed.
    """
    rate, beta_1, beta_2 = part * settings.learning_rate, settings.beta_1**part, settings.beta_2**part
    optimizer = _OPTIMIZERS[settings.optimizer](rate, beta_1, beta_2, player)
    optimizer.global_clipnorm = most_norm
    return keras.optimizers.LossScaleOptimizer(optimizer, name=player) if precision == "mixed_float16" else optimizer


def scheduled_part(config: Config, epochs: tf.Tensor) -> tf.Tensor:
    """Return the schedule's factor of the learning rates after `epochs`, a float64 from 1 to 0."""
    passed = tf.clip_by_value((epochs - config.constant_epochs) / config.decay_epochs, 0.0, 1.0)
    return 1 - passed if config.learning_rate_schedule == "linear" else (1 + tf.cos(math.pi * passed)) / 2


def lazy_part(player: str, gan: GAN, settings: Optimizer) -> float:
    """Return the factor of Adam's learning rate, and the exponent of its betas, if a term of the loss is lazy; else 1.

    A term computed every n steps is treated as a step of its own: n / (n + 1) (Karras et al. 2020, appendix B).
    """
    steps = max([number for of, number in gan.lazy_terms.values() if of == player], default=1)
    return steps / (steps + 1) if steps > 1 and settings.optimizer == "adam" else 1.0


def variables_of(player: str, optimizer: Any) -> dict[str, tf.Variable]:
    """Return the variables of a player's optimizer by name."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    named = {variable.path: variable.value for variable in inner.variables}
    assert len(named) == len(inner.variables), f"two variables of {player} have the same name: give layers unique names"
    if inner is not optimizer:
        scaling = (optimizer.dynamic_scale, optimizer.step_counter)
        named |= {f"{player}/{LOSS_SCALE}{variable.name}": variable.value for variable in scaling}
    return named
