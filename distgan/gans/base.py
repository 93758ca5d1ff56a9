"""What a GAN is to the trainer, and to what makes images by it."""

import pkgutil

import keras
import numpy as np
import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.order import STEPS, Draws
from distgan.data.pipeline import Batch
from distgan.errors import UserError
from distgan.gans.registry import GANS
from distgan.nets import spectral
from distgan.nets.normalization import SumInStep
from distgan.nets.stock import stock

Losses = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]


class Sampling:
    """What makes images by trained networks: what previews, programs, exports and measurements call.

    Attributes:
        networks: the networks by name.
        averages: networks of the same kind, by the name of the one whose EMA they hold.
        shows_data: whether a preview is made of held-out images.
        directions: those of "AtoB" and "BtoA" in which it has learnt to translate images.
        draws_in_translation: whether `translate` draws random numbers.
        num_classes: the number of classes it can be asked for; 0 for none.
    """

    networks: dict[str, keras.Model]
    averages: dict[str, keras.Model]
    shows_data = False
    directions: tuple[str, ...] = ()
    draws_in_translation = False
    num_classes = 0

    def shown(self, name: str) -> keras.Model:
        """The network to generate with: the running average of the one called `name` if it is kept, else itself."""
        return self.averages.get(name, self.networks[name])

    def rebuilt(self, name: str) -> keras.Model:
        """The network to generate with, of Keras's own layers. Raises `UserError` where it can't be made of them."""
        return stock(self.shown(name))

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """`count` pictures that show what the GAN can do, float32 `[count, height, width, channels]` in [-1, 1].

        `held_out` are images by stream, float32 `[n, height, width, channels]`, where the GAN shows data; else empty.
        """
        return self.generate(count, seed % STEPS)

    def generate(
        self, count: int, seed: int, first: int = 0, averaged: bool = True, classes: np.ndarray | None = None
    ) -> tf.Tensor:
        """`count` images `[count, height, width, channels]` in [-1, 1] from number `first` on.

        Image i depends on the seed and on i only, and on `classes[i]` if classes `[count]` are given. They are made by
        the running average where one is kept, unless `averaged` is false.

        The seed is below `STEPS`; in a compiled function both are tensors. Raises `UserError` where the GAN makes none
        of noise.
        """
        raise UserError(f"A {type(self).__name__} generates no images of noise: give it images with --input.")

    def classes_of(self, count: int, seed: int, first: int = 0) -> np.ndarray | None:
        """The classes, int32 `[count]`, of the images that `generate` makes; None where it is told none."""
        return None

    def walk(self, count: int, seed: int) -> tf.Tensor:
        """`count` images on a closed walk between latents, float32 `[count, height, width, channels]`.

        Raises `UserError` where the GAN has no latents to walk between.
        """
        raise UserError(f"A {type(self).__name__} has no latents to walk between.")

    def translate(self, images: tf.Tensor, direction: str, draws: Draws) -> tf.Tensor:
        """Images of one domain, float32 `[n, height, width, channels]` in [-1, 1], as images of the other one.

        Raises `UserError` where the GAN translates none.
        """
        raise UserError(f"A {type(self).__name__} translates no images: remove --input.")


class GAN(Sampling):
    """What trains: networks, the players that train them, the order of their moves, and their losses.

    Attributes:
        players: for each player the names of the networks it trains; "generator" and "discriminator" are the players
            whose optimizers have flags.
        phases: the moves of a step, in order; the players of one phase move at once, on one batch. Each phase has a
            batch of its own.
        image_phases: for each phase, whether its batch holds real images; the others take none from the data.
        lazy_terms: terms of a player's loss that are computed every n steps only, from step 0 on, by the name under
            which they are logged, each with (player, n).
        memory: further variables of the run's state, by name, that losses read and write.
    """

    players: dict[str, tuple[str, ...]] = {  # noqa: RUF012 - never mutated
        "generator": ("generator",),
        "discriminator": ("discriminator",),
    }
    phases: tuple[tuple[str, ...], ...] = (("generator", "discriminator"),)
    image_phases: tuple[bool, ...] = (True,)
    lazy_terms: dict[str, tuple[str, int]] = {}  # noqa: RUF012 - never mutated

    def __init__(self, config: Config, image_shape: Shape, sum_in_step: SumInStep) -> None:
        """Make the networks for images of a shape, in the scope of the replicas; a subclass sets `networks`.

        `sum_in_step` sums tensors over the replicas, inside a step. Raises `UserError` where they can't be made.
        """
        self.averages = {}
        self._sum_in_step = sum_in_step
        self.memory: dict[str, tf.Variable] = {}

    def trainable(self, player: str) -> list[keras.Variable]:
        """The variables that a player moves."""
        return [variable for name in self.players[player] for variable in self.networks[name].trainable_variables]

    def prepare(self, phase: tuple[str, ...]) -> None:
        """Update what the losses of a phase are computed by, such as spectral norms; inside a step."""
        for player in phase:
            for name in self.players[player]:
                spectral.iterate(self.networks[name], self._sum_in_step)

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """The loss of each player of a phase, and what is worth logging: both **sums** over this replica's examples.

        The trainer divides by the size of the global batch.
        """
        raise NotImplementedError


def make_gan(config: Config, image_shape: Shape, sum_in_step: SumInStep, num_classes: int) -> GAN:
    """The GAN that `config` describes; its players see classes if the run is conditional. Raises `UserError`."""
    conditions = {"num_classes": num_classes} if config.gan.uses_classes else {}
    gan_class: type[GAN] = pkgutil.resolve_name(GANS[config.architecture].gan)
    gan = gan_class(config, image_shape, sum_in_step, **conditions)
    if config.ema_half_life_images and not gan.averages:
        raise UserError(f"--ema_half_life_images is not used by --architecture={config.architecture}: remove it.")
    return gan
