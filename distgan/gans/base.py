"""The interface of a GAN to the trainer and to everything that makes images."""

import pkgutil
from collections.abc import Callable, Sequence

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
    """The interface for making images with trained networks, for previews, programs, exports and evaluation.

    Attributes:
        networks: the networks by name.
        averages: the EMA networks, by the name of the network that they average.
        shows_data: whether a preview is made of held-out images.
        directions: the directions of translation that it has learnt, of "AtoB" and "BtoA".
        draws_in_translation: whether `translate` draws random numbers.
        num_classes: the number of classes that it can generate; 0 if it is not conditional.
        class_names: the label or the folder of each of them, in the data that it was trained on.
    """

    networks: dict[str, keras.Model]
    averages: dict[str, keras.Model]
    shows_data = False
    directions: tuple[str, ...] = ()
    draws_in_translation = False
    num_classes = 0
    class_names: tuple[str, ...] = ()

    def shown(self, name: str) -> keras.Model:
        """Return the network to generate with: the EMA of the one called `name` if there is one, else itself."""
        return self.averages.get(name, self.networks[name])

    def rebuilt(self, name: str) -> keras.Model:
        """Return `shown(name)` rebuilt from Keras's own layers. Raises `UserError` if that is impossible."""
        return stock(self.shown(name))

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return `count` preview pictures, float32 `[count, height, width, channels]` in [-1, 1].

        `held_out` holds images by stream, float32 `[n, height, width, channels]`, if `shows_data`; else it is empty.
        """
        return self.generate(count, seed % STEPS)

    def generate(
        self, count: int, seed: int, first: int = 0, averaged: bool = True, classes: np.ndarray | None = None
    ) -> tf.Tensor:
        """Generate `count` images `[count, height, width, channels]` in [-1, 1] from number `first` on.

        Image i depends only on the seed, on i and, if classes `[count]` are given, on `classes[i]`. The EMA generates
        them if there is one, unless `averaged` is false.

        The seed is below `STEPS`; in a compiled function, `count` and `seed` are tensors. Raises `UserError` if the GAN
        does not generate images from noise.
        """
        raise UserError(f"A {type(self).__name__} does not generate images from noise: give input images with --input.")

    def classes_of(self, count: int, seed: int, first: int = 0) -> np.ndarray | None:
        """Return the classes, int64 `[count]`, of the images of `generate`; None if it is not conditional."""
        return None

    def walk(self, count: int, seed: int) -> tf.Tensor:
        """Generate `count` images on a closed walk between latents, float32 `[count, height, width, channels]`.

        Raises `UserError` if the GAN has no latents.
        """
        raise UserError(f"A {type(self).__name__} has no latents to interpolate: --output can't be a .gif.")

    def latents(self, draws: Draws) -> tf.Tensor:
        """Return random latents, float32 `[count, latent_dim]`. Raises `UserError` if the GAN has none."""
        raise UserError(f"A {type(self).__name__} has no latents: choose a run that generates images from noise.")

    def images_of(self, latents: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Generate images `[n, height, width, channels]` in [-1, 1]; `classes`, `[n]`, are not used if it has none."""
        raise UserError(f"A {type(self).__name__} has no latents: choose a run that generates images from noise.")

    def translate(self, images: tf.Tensor, direction: str, draws: Draws) -> tf.Tensor:
        """Translate images of one domain, float32 `[n, height, width, channels]` in [-1, 1], to the other domain.

        Raises `UserError` if the GAN does not translate images.
        """
        raise UserError(f"A {type(self).__name__} translates no images: remove --input.")


class GAN(Sampling):
    """A GAN in training: networks, the players that train them, the order of their updates, and their losses.

    Attributes:
        players: for each player the names of the networks it trains; "generator" and "discriminator" are the players
            whose optimizers have flags.
        phases: the updates of a step, in order; the players of one phase are updated together, on one batch. Each
            phase has its own batch.
        image_phases: for each phase, whether its batch holds real images; the other phases read no data.
        lazy_terms: terms of a player's loss that are computed only every n steps, from step 0 on: (player, n) by the
            name in the log.
        memory: further variables of the run's state, by name, that losses and `adapt` read and write.
        scheduled_part: returns the factor of the learning rates in a step, if they have a schedule; set by the trainer.
    """

    scheduled_part: Callable[[], tf.Tensor]
    players: dict[str, tuple[str, ...]] = {  # noqa: RUF012 - never mutated
        "generator": ("generator",),
        "discriminator": ("discriminator",),
    }
    phases: tuple[tuple[str, ...], ...] = (("generator", "discriminator"),)
    image_phases: tuple[bool, ...] = (True,)
    lazy_terms: dict[str, tuple[str, int]] = {}  # noqa: RUF012 - never mutated

    def __init__(self, config: Config, image_shape: Shape, sum_in_step: SumInStep) -> None:
        """Create the networks for images of a shape, in the scope of the replicas; a subclass sets `networks`.

        `sum_in_step` sums tensors over the replicas, inside a step. Raises `UserError` if they can't be created.
        """
        self.averages = {}
        self._sum_in_step = sum_in_step
        self.memory: dict[str, tf.Variable] = {}

    def trainable(self, player: str) -> list[keras.Variable]:
        """Return the variables that a player trains."""
        return [variable for name in self.players[player] for variable in self.networks[name].trainable_variables]

    def prepare(self, phase: tuple[str, ...]) -> None:
        """Update the inputs of the losses of a phase, such as spectral norms; inside a step."""
        for player in phase:
            for name in self.players[player]:
                spectral.iterate(self.networks[name], self._sum_in_step)

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """Return the losses of a phase by player, and the values to log: both **sums** over this replica's examples.

        The trainer divides them by the global batch size.
        """
        raise NotImplementedError

    def adapt(self, means: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Update `memory` from the values to log of a phase, as means over the global batch; inside a step.

        Returns further values to log.
        """
        return {}


def make_gan(config: Config, image_shape: Shape, sum_in_step: SumInStep, class_names: Sequence[str]) -> GAN:
    """Create the GAN that `config` describes, with classes if the run is conditional. Raises `UserError`."""
    conditions = {"num_classes": len(class_names)} if config.gan.uses_classes else {}
    gan_class: type[GAN] = pkgutil.resolve_name(GANS[config.architecture].gan)
    gan = gan_class(config, image_shape, sum_in_step, **conditions)
    gan.class_names = tuple(class_names) if conditions else ()
    if config.ema_half_life_images and not gan.averages:
        raise UserError(f"--ema_half_life_images is not used by --architecture={config.architecture}: remove it.")
    return gan
