"""What a GAN is to the trainer."""

import keras
import tensorflow as tf

from distgan.data.pipeline import Batch

Losses = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]


class GAN:
    """Which networks exist, who plays, in which order they move and what each of them wants; nothing of devices.

    Attributes:
        networks: the networks by name.
        averages: networks of the same kind, by the name of the one whose running average they hold.
        players: for each player the names of the networks it trains; "generator" and "discriminator" are the players
            whose optimizers have flags.
        phases: the moves of a step, in order; the players of one phase move at once, on one batch. Each phase has a
            batch of its own.
        image_phases: for each phase, whether its batch holds real images; the others take none from the data.
        streams: the streams of images that the data must have.
        shows_data: whether a preview is made of held-out images.
        memory: further variables of the run's state, by name, that losses read and write.
    """

    networks: dict[str, keras.Model]
    averages: dict[str, keras.Model]
    players: dict[str, tuple[str, ...]]
    phases: tuple[tuple[str, ...], ...]
    image_phases: tuple[bool, ...]
    streams: tuple[str, ...]
    shows_data = False

    def __init__(self) -> None:
        """Keep no averages and no memory."""
        self.averages = {}
        self.memory: dict[str, tf.Variable] = {}

    def trainable(self, player: str) -> list[keras.Variable]:
        """The variables that a player moves."""
        return [variable for name in self.players[player] for variable in self.networks[name].trainable_variables]

    def shown(self, name: str) -> keras.Model:
        """The network to generate with: the running average of the one called `name` if it is kept, else itself."""
        return self.averages.get(name, self.networks[name])

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """The loss of each player of a phase, and what is worth logging: both **sums** over this replica's examples.

        The trainer divides by the size of the global batch.
        """
        raise NotImplementedError

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """`count` pictures that show what the GAN can do, float32 `[count, height, width, channels]` in [-1, 1].

        `held_out` are images by stream, float32 `[n, height, width, channels]`, where the GAN shows data; else empty.
        """
        raise NotImplementedError
