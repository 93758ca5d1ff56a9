"""What a GAN is to the trainer."""

import keras
import tensorflow as tf

from distgan.data.pipeline import Batch


class GAN:
    """Which networks exist, who plays, in which order they move and what each of them wants; nothing of devices.

    Attributes:
        networks: the networks by name.
        averages: networks of the same kind, by the name of the one whose running average they hold.
        players: for each player the names of the networks it trains.
        phases: the moves of a step, in order; the players of one phase move at once, on one batch. Each phase has a
            batch of its own.
        image_phases: for each phase, whether its batch holds real images; the others take none from the data.
    """

    networks: dict[str, keras.Model]
    averages: dict[str, keras.Model]
    players: dict[str, tuple[str, ...]]
    phases: tuple[tuple[str, ...], ...]
    image_phases: tuple[bool, ...]

    def trainable(self, player: str) -> list[keras.Variable]:
        """The variables that a player moves."""
        return [variable for name in self.players[player] for variable in self.networks[name].trainable_variables]

    def shown(self, name: str) -> keras.Model:
        """The network to generate with: the running average of the one called `name` if it is kept, else itself."""
        return self.averages.get(name, self.networks[name])

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Each player's loss, and what is worth logging, as scalars: both **sums** over the examples of this replica.

        The trainer divides by the size of the global batch.
        """
        raise NotImplementedError

    def generate(self, count: int, seed: int) -> tf.Tensor:
        """`count` images, float32 `[count, height, width, channels]` in [-1, 1], a function of the seed."""
        raise NotImplementedError

    def walk(self, count: int, seed: int) -> tf.Tensor:
        """`count` images on a closed walk between latents, float32 `[count, height, width, channels]` in [-1, 1]."""
        raise NotImplementedError
