"""Pix2Pix: paired image-to-image translation (Isola et al. 2017)."""

from typing import Any

import keras
import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.order import Draws
from distgan.data.pipeline import Batch
from distgan.gans import losses
from distgan.gans.base import GAN, Losses
from distgan.gans.translation_options import DIRECTIONS, Pix2PixOptions
from distgan.nets.normalization import BatchNorm, SumInStep
from distgan.nets.stock import stock
from distgan.nets.translation import patch_discriminator, refuse_size, suitable_depth, unet

LEAST_DEPTH = 5  # of the U-Net, unless --depth is given


class Pix2Pix(GAN):
    """A generator from input to target, and a discriminator of the input with the real or the generated target.

    Both are updated together: the discriminator sees images from before the generator's update.
    """

    shows_data = True

    def __init__(self, config: Config, image_shape: Shape, sum_in_step: SumInStep) -> None:
        """Create the networks. Raises `UserError` if they do not suit images of the shape."""
        super().__init__(config, image_shape, sum_in_step)
        options: Pix2PixOptions = config.gan
        depth = options.depth or max(LEAST_DEPTH, suitable_depth(*image_shape[:2]))
        refuse_size(image_shape, 2**depth)
        batch_norm = BatchNorm(options.normalization, sum_in_step)
        shared: dict[str, Any] = {"filters": options.filters, "batch_norm": batch_norm, "seed": config.seed}

        def generator() -> keras.Model:
            return unet(image_shape, depth=depth, dropout=options.dropout, **shared)

        discriminator = patch_discriminator(
            "discriminator", image_shape, inputs=2, spectral_norm=options.spectral_norm, **shared
        )
        self.networks = {"generator": generator(), "discriminator": discriminator}
        if config.ema_half_life_images:
            self.averages = {"generator": generator()}
        self.directions = (options.direction,)
        self.draws_in_translation = options.dropout > 0
        self._l1_weight = options.l1_weight

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """Return cross-entropies over patches, plus the generator's L1 distance to the target (eq. 1 to 4)."""
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        draws = batch.draws
        inputs, targets = self._input_and_target(batch.images["pairs"])
        fakes = generator(inputs, training=True, draws=draws.of("generator"))
        real_logits = discriminator([inputs, targets], training=True, draws=draws.of("real"))
        fake_logits = discriminator([inputs, fakes], training=True, draws=draws.of("fake"))
        distance = tf.reduce_sum(losses.l1(fakes, targets))
        game = tf.reduce_sum(losses.non_saturating_loss(fake_logits))
        sums = {
            "generator": game + self._l1_weight * distance,
            # Halved, so that it learns more slowly than the generator (sec. 3.3).
            "discriminator": tf.reduce_sum(losses.discriminator_loss(real_logits, fake_logits)) / 2,
        }
        logged = {f"loss/{player}": value for player, value in sums.items()} | {"loss/l1": distance}
        return sums, logged | losses.accuracies(real_logits, fake_logits)

    def _input_and_target(self, pairs: tf.Tensor) -> list[tf.Tensor]:
        halves = tf.split(pairs, 2, axis=3)
        return halves if self.directions == DIRECTIONS[:1] else halves[::-1]

    def translate(self, images: tf.Tensor, direction: str, draws: Draws) -> tf.Tensor:
        """Translate images, with dropout and normalisation by their own statistics (sec. 3.3)."""
        return self.shown("generator")(images, training=False, draws=draws, own_statistics=True)

    def rebuilt(self, name: str) -> keras.Model:
        """Return the network to translate with, from Keras's own layers; dropout masks differ from `translate`'s."""
        return stock(self.shown(name), as_in_training=True)

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return held-out pairs: input, output and target side by side."""
        inputs, targets = self._input_and_target(held_out["pairs"][:count])
        outputs = self.translate(inputs, self.directions[0], Draws(f"{seed}/preview", 0, 0, inputs.shape[0]))
        return tf.concat([inputs, tf.cast(outputs, tf.float32), targets], 2)
