"""CycleGAN: unpaired image-to-image translation (Zhu et al. 2017)."""

from typing import Any

import keras
import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.order import Draws
from distgan.data.pipeline import Batch
from distgan.gans import losses
from distgan.gans.base import GAN, Losses
from distgan.gans.image_buffer import ImageBuffer
from distgan.gans.translation_options import DIRECTIONS, CycleGANOptions
from distgan.nets.normalization import INSTANCE_NORM, SumInStep
from distgan.nets.translation import patch_discriminator, refuse_size, resnet, suitable_blocks

THRESHOLD = 0.5  # halfway between the least-squares labels of generated (0) and real (1) images


class CycleGAN(GAN):
    """Two generators, from A to B and from B to A, each with a discriminator of its target domain.

    All are updated together, from the weights before the update. Discriminators see generated images from a buffer.
    """

    players = {  # noqa: RUF012 - never mutated
        "generator": ("generator_AtoB", "generator_BtoA"),
        "discriminator": ("discriminator_A", "discriminator_B"),
    }
    shows_data = True
    directions = DIRECTIONS

    def __init__(self, config: Config, image_shape: Shape, sum_in_step: SumInStep) -> None:
        """Create the networks and the image buffers. Raises `UserError` if the image shape does not suit them."""
        super().__init__(config, image_shape, sum_in_step)
        refuse_size(image_shape, 4)

        options: CycleGANOptions = config.gan
        blocks = options.residual_blocks or suitable_blocks(*image_shape[:2])
        shared: dict[str, Any] = {"image_shape": image_shape, "filters": options.filters, "seed": config.seed}
        judges = shared | {"inputs": 1, "batch_norm": INSTANCE_NORM, "spectral_norm": options.spectral_norm}

        def generators() -> dict[str, keras.Model]:
            own = shared | {"residual_blocks": blocks, "recompute": options.recompute}
            return {name: resnet(name, **own) for name in self.players["generator"]}

        self.networks = generators()
        self.networks |= {name: patch_discriminator(name, **judges) for name in self.players["discriminator"]}
        if config.ema_half_life_images:
            self.averages = generators()
        self._buffers = {}
        for domain in options.streams if options.image_buffer_size else ():
            buffer = self._buffers[domain] = ImageBuffer(domain, options.image_buffer_size, image_shape, sum_in_step)
            # Named as in the checkpoints of older versions.
            self.memory |= {f"history_{domain}/images": buffer.images, f"history_{domain}/filled": buffer.filled}
        self._cycle_weight, self._identity_weight = options.cycle_weight, options.identity_weight

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """Return least-squares, cycle and identity losses (eq. 1 to 3, sec. 5.2), summed over both directions."""
        there, back = self._one_way(batch, "A", "B"), self._one_way(batch, "B", "A")
        logged = {name: there[name] + back[name] for name in there}
        identity = self._cycle_weight * self._identity_weight * logged["loss/identity"]
        sums = {
            "generator": logged["loss/game"] + self._cycle_weight * logged["loss/cycle"] + identity,
            "discriminator": logged.pop("halved"),
        }
        means = {name: value / 2 for name, value in logged.items() if name.startswith("accuracy/")}
        return sums, logged | means | {f"loss/{player}": value for player, value in sums.items()}

    def _one_way(self, batch: Batch, source: str, target: str) -> dict[str, tf.Tensor]:
        """Return sums over this replica's examples, for the way from one domain to the other and back."""
        there, back = self.networks[f"generator_{source}to{target}"], self.networks[f"generator_{target}to{source}"]
        discriminator = self.networks[f"discriminator_{target}"]
        images, reals = batch.images[source], batch.images[target]
        fakes = there(images, training=True)
        real_logits = discriminator(reals, training=True)
        shown = tf.stop_gradient(fakes)
        if target in self._buffers:
            shown = self._buffers[target].exchange(shown, batch)
        shown_logits = discriminator(shown, training=True)
        terms = {
            "loss/game": losses.least_squares_generator_loss(discriminator(fakes, training=True)),
            "loss/cycle": losses.l1(back(fakes, training=True), images),
            "loss/identity": losses.l1(there(reals, training=True), reals)
            if self._identity_weight
            else fakes[:, 0, 0, 0] * 0,
            # Halved, so that it learns more slowly than the generator (appendix 7.1).
            "halved": losses.least_squares_discriminator_loss(real_logits, shown_logits) / 2,
        }
        sums = {name: tf.reduce_sum(values) for name, values in terms.items()}
        return sums | losses.accuracies(real_logits, shown_logits, THRESHOLD)

    def translate(self, images: tf.Tensor, direction: str, draws: Draws) -> tf.Tensor:
        """Translate images with the generator of a direction."""
        return self.shown(f"generator_{direction}")(images, training=False)

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return rows of held-out image, translation and translation back: one half from A, the other from B."""
        rows, halves = [], (("A", *DIRECTIONS, -(-count // 2)), ("B", *DIRECTIONS[::-1], count // 2))
        for source, direction, back, number in halves[:count]:
            images = held_out[source][:number]
            draws = Draws(f"{seed}/preview", 0, 0, len(images))
            fakes = self.translate(images, direction, draws)
            returned = self.translate(fakes, back, draws)
            rows.append(tf.concat([images, tf.cast(fakes, tf.float32), tf.cast(returned, tf.float32)], 2))
        return tf.concat(rows, 0)
