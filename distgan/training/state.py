"""All that a run is at one moment: the one list of what is checkpointed, broadcast and compared."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from distgan.config import Config
from distgan.config.sections import Optimizer
from distgan.errors import UserError
from distgan.gans.base import GAN
from distgan.tracing import traced
from distgan.training import precision as precisions

AVERAGE = "average/"  # begins the names of running averages
NOT_FINITE = 3  # exit status of a run whose numbers are no longer finite
LOSS_SCALE = "loss_scale/"  # part of the names of variables that only mixed_float16 has
_RAMP = 0.05  # a half-life is at most this part of the images shown: Karras et al. 2020, appendix B


class TrainState:
    """The step, the number of real images shown, the networks and the optimizers of a run.

    Attributes:
        variables: every variable of the state by its name, in a fixed order.
        network_names: the names of those that belong to networks and their averages.
        num_examples: how many images an epoch has.
    """

    def __init__(self, gan: GAN, config: Config, precision: str, num_examples: int) -> None:
        """Make the optimizers of a GAN's players; in the scope of the replicas."""
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.images_shown = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._lazy_parts = {player: _lazy_part(player, gan, getattr(config, player)) for player in gan.players}
        self.optimizers = {
            player: _make_optimizer(player, getattr(config, player), self._lazy_parts[player], precision)
            for player in gan.players
        }
        for player, optimizer in self.optimizers.items():
            optimizer.build(gan.trainable(player))
        self.variables: dict[str, tf.Variable] = {"step": self.step, "images_shown": self.images_shown}
        networks = network_variables(gan)
        self.network_names = list(networks)
        self.variables |= networks | gan.memory
        self.num_examples = num_examples
        self._config = config
        self._are_finite = traced(
            lambda variables: tf.stack([tf.reduce_all(tf.math.is_finite(variable)) for variable in variables])
        )
        for player, optimizer in self.optimizers.items():
            self.variables |= _optimizer_variables(player, optimizer)

    def advance(self, images: int) -> None:
        """Count a step and the real images it has shown; set the learning rates of the next one; inside a step.

        The averages follow the networks: what they hold of earlier weights halves every `--ema_half_life_images`,
        sooner at the start.
        """
        self.step.assign_add(1)
        self.images_shown.assign_add(images)
        if self._config.learning_rate_schedule != "constant":
            part = self._part_of_learning_rate()
            for player, optimizer in self.optimizers.items():
                rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
                whole = self._lazy_parts[player] * getattr(self._config, player).learning_rate
                rate.assign(tf.cast(part * whole, rate.dtype))
        half_life = tf.minimum(_RAMP * tf.cast(self.images_shown, tf.float64), float(self._config.ema_half_life_images))
        kept = 0.5 ** (images / half_life)
        for name, average in self.variables.items():
            if name.startswith(AVERAGE):
                now = self.variables[name.removeprefix(AVERAGE)]
                average.assign(now + tf.cast(kept, now.dtype) * (average - now))

    def _part_of_learning_rate(self) -> tf.Tensor:
        """What the schedule leaves of the learning rates after the images shown, a float64 from 1 to 0."""
        epochs = tf.cast(self.images_shown, tf.float64) / self.num_examples
        passed = tf.clip_by_value((epochs - self._config.constant_epochs) / self._config.decay_epochs, 0.0, 1.0)
        return 1 - passed if self._config.learning_rate_schedule == "linear" else (1 + tf.cos(math.pi * passed)) / 2

    def not_finite(self) -> str:
        """The first variable that holds a NaN or an infinity, in words; empty if none does. Waits for the device."""
        names = [name for name, variable in self.variables.items() if variable.dtype.is_floating]
        well = self._are_finite([self.variables[name] for name in names]).numpy()
        bad = next((name for name, is_finite in zip(names, well, strict=True) if not is_finite), None)
        return f"{bad} holds numbers that are not finite after step {int(self.step.numpy())}" if bad else ""

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the values of a checkpoint. Raises `UserError` where they do not fit."""
        assign(self.variables, arrays, optional=[name for name in self.variables if LOSS_SCALE in name])

    def start_from(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the weights of another run's checkpoint; an average that it did not keep starts from its network.

        Raises `UserError` where they do not fit.
        """
        with_averages = {AVERAGE + name: array for name, array in arrays.items()} | dict(arrays)
        assign({name: self.variables[name] for name in self.network_names}, with_averages)

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of all values; waits for the device."""
        return {name: variable.numpy() for name, variable in self.variables.items()}


def network_variables(gan: GAN) -> dict[str, tf.Variable]:
    """The variables of a GAN's networks, and of their running averages, by name, in a fixed order."""
    named = [
        (f"{prefix}{variable.path}", variable.value)
        for prefix, networks in (("", gan.networks), (AVERAGE, gan.averages))
        for network in networks.values()
        for variable in network.variables
    ]
    assert len(dict(named)) == len(named), (
        "two variables have one name: build each network in a `Layers` of its own name"
    )
    return dict(named)


def assign(
    variables: Mapping[str, tf.Variable], arrays: Mapping[str, np.ndarray], optional: Collection[str] = ()
) -> None:
    """Give variables the values of the arrays of their names, converted to their data types.

    Raises `UserError`, before anything is changed, where one that is not optional has no array of its shape.
    """
    for name, variable in variables.items():
        held = list(arrays[name].shape) if name in arrays else "missing"
        if held != list(variable.shape) and not (name in optional and name not in arrays):
            raise UserError(f"The checkpoint does not fit: {name} is {held} there and {list(variable.shape)} here.")
    for name, variable in variables.items():
        if name in arrays:
            variable.assign(arrays[name].astype(variable.dtype.as_numpy_dtype))


def _make_optimizer(player: str, settings: Optimizer, part: float, precision: str) -> keras.optimizers.Optimizer:
    rate, beta_1, beta_2 = part * settings.learning_rate, settings.beta_1**part, settings.beta_2**part
    return precisions.make_optimizer(settings.optimizer, rate, beta_1, beta_2, name=player, precision=precision)


def _lazy_part(player: str, gan: GAN, settings: Optimizer) -> float:
    """The factor of Adam's learning rate, and of the exponents of its betas, if a term of the loss is lazy.

    As if the term, computed every n steps, was a step of its own: n / (n + 1) (Karras et al. 2020, appendix B).
    """
    steps = max([number for of, number in gan.lazy_terms.values() if of == player], default=1)
    return steps / (steps + 1) if steps > 1 and settings.optimizer == "adam" else 1.0


def _optimizer_variables(player: str, optimizer: Any) -> dict[str, tf.Variable]:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    named = {variable.path: variable.value for variable in inner.variables}
    assert len(named) == len(inner.variables), f"{player} moves two variables of one name"
    if inner is not optimizer:
        scaling = (optimizer.dynamic_scale, optimizer.step_counter)
        named |= {f"{player}/{LOSS_SCALE}{variable.name}": variable.value for variable in scaling}
    return named
