"""The complete state of a run: the single list of the variables that are checkpointed, broadcast and compared."""

from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf

from distgan.config import Config
from distgan.errors import UserError
from distgan.gans.base import GAN
from distgan.tracing import traced
from distgan.training import ema, optimizers

NOT_FINITE = 3  # exit status of a run with NaN or infinite values


class TrainState:
    """The step, the number of real images shown, the networks and the optimizers of a run.

    Attributes:
        variables: every variable of the state by its name, in a fixed order.
        network_names: the names of the variables of the networks and of their EMA.
        num_examples: the number of images in an epoch.
    """

    def __init__(self, gan: GAN, config: Config, precision: str, num_examples: int) -> None:
        """Create the optimizers of a GAN's players; must run in the scope of the replicas."""
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.images_shown = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.optimizers, self._rates = {}, {}
        for player in gan.players:
            settings = getattr(config, player)
            part = optimizers.lazy_part(player, gan, settings)
            self._rates[player] = part * settings.learning_rate
            self.optimizers[player] = optimizers.make_optimizer(
                player, settings, part, precision, config.clip_gradients
            )
            self.optimizers[player].build(gan.trainable(player))
        self.variables: dict[str, tf.Variable] = {"step": self.step, "images_shown": self.images_shown}
        networks = network_variables(gan)
        self.network_names = list(networks)
        self.variables |= networks | gan.memory
        self.num_examples = num_examples
        self._config, gan.scheduled_part = config, self.scheduled_part
        self._are_finite = traced(
            lambda variables: tf.stack([tf.reduce_all(tf.math.is_finite(variable)) for variable in variables])
        )
        for player, optimizer in self.optimizers.items():
            self.variables |= optimizers.variables_of(player, optimizer)

    def scheduled_part(self) -> tf.Tensor:
        """Return the schedule's factor of the learning rates in this step, float64, from 1 to 0."""
        return optimizers.scheduled_part(self._config, tf.cast(self.images_shown, tf.float64) / self.num_examples)

    def advance(self, images: int) -> None:
        """Count a step and its real images, and set the learning rates of the next one; runs inside the step.

        Also updates the EMA of the networks.
        """
        self.step.assign_add(1)
        self.images_shown.assign_add(images)
        if self._config.learning_rate_schedule != "constant":
            part = self.scheduled_part()
            for player, optimizer in self.optimizers.items():
                rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
                rate.assign(tf.cast(part * self._rates[player], rate.dtype))
        ema.update(self.variables, self.images_shown, images, self._config.ema_half_life_images)

    def not_finite(self) -> str:
        """Return a sentence about the first NaN or infinite variable; empty if there is none. Waits for the device."""
        names = [name for name, variable in self.variables.items() if variable.dtype.is_floating]
        well = self._are_finite([self.variables[name] for name in names]).numpy()
        bad = next((name for name, is_finite in zip(names, well, strict=True) if not is_finite), None)
        return f"{bad} holds NaN or infinite values after step {int(self.step.numpy())}" if bad else ""

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set all variables from the arrays of a checkpoint. Raises `UserError` if they do not fit."""
        assign(self.variables, arrays, optional=[name for name in self.variables if optimizers.LOSS_SCALE in name])

    def start_from(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the weights from another run's checkpoint; an EMA that it does not contain starts from its network.

        Raises `UserError` if they do not fit.
        """
        with_averages = {ema.PREFIX + name: array for name, array in arrays.items()} | dict(arrays)
        assign({name: self.variables[name] for name in self.network_names}, with_averages)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return a copy of all values; waits for the device."""
        return {name: variable.numpy() for name, variable in self.variables.items()}


def network_variables(gan: GAN) -> dict[str, tf.Variable]:
    """Return the variables of a GAN's networks, and of their EMA, by name, in a fixed order."""
    named = [
        (f"{prefix}{variable.path}", variable.value)
        for prefix, networks in (("", gan.networks), (ema.PREFIX, gan.averages))
        for network in networks.values()
        for variable in network.variables
    ]
    assert len(dict(named)) == len(named), (
        "two variables have the same name: give the `Layers` of each network a name of its own"
    )
    return dict(named)


def assign(
    variables: Mapping[str, tf.Variable], arrays: Mapping[str, np.ndarray], optional: Collection[str] = ()
) -> None:
    """Set variables from the arrays of the same names, converted to the data types of the variables.

    Raises `UserError`, before anything is changed, if a variable that is not optional has no array of its shape.
    """
    for name, variable in variables.items():
        held = list(arrays[name].shape) if name in arrays else "missing"
        if held != list(variable.shape) and not (name in optional and name not in arrays):
            raise UserError(
                f"The checkpoint does not match the networks: {name} is {held} there, but "
                f"{list(variable.shape)} in this run."
            )
    for name, variable in variables.items():
        if name in arrays:
            variable.assign(arrays[name].astype(variable.dtype.as_numpy_dtype))
