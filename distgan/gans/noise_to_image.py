"""GANs that turn noise into images: one generator, one discriminator."""

import math

import keras
import tensorflow as tf

from distgan.config import Config
from distgan.data.order import Draws
from distgan.data.pipeline import Batch
from distgan.gans import losses
from distgan.gans.base import GAN
from distgan.nets import dcgan
from distgan.nets.layers import SumInStep

FRAMES_PER_STOP = 12  # of a walk, at most
GENERATED_AT_ONCE = 500  # images


class NoiseToImage(GAN):
    """A generator of images from normal noise, and a discriminator; both move at once, over one forward pass."""

    players = {"G": ("generator",), "D": ("discriminator",)}  # noqa: RUF012 - never mutated
    phases = (("G", "D"),)
    image_phases = (True,)

    def __init__(self, generator: keras.Model, discriminator: keras.Model, average: keras.Model | None = None) -> None:
        """Let the two networks play; `average`, another such generator, is to hold the first one's running average."""
        self.networks = {"generator": generator, "discriminator": discriminator}
        self.averages = {"generator": average} if average else {}
        self._noise_shape = tuple(generator.input_shape[1:])

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """The non-saturating losses of both players, and how well the discriminator tells real from fake."""
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        draws = batch.draws
        fakes = generator(draws.of("noise").normal(self._noise_shape), training=True, draws=draws.of("generator"))
        real_logits = discriminator(batch.images, training=True, draws=draws.of("real"))
        fake_logits = discriminator(fakes, training=True, draws=draws.of("fake"))
        sums = {
            "G": tf.reduce_sum(losses.non_saturating_loss(fake_logits)),
            "D": tf.reduce_sum(losses.discriminator_loss(real_logits, fake_logits)),
        }
        logged = {"loss/generator": sums["G"], "loss/discriminator": sums["D"]}
        return sums, logged | losses.accuracies(real_logits, fake_logits)

    def generate(self, count: int, seed: int) -> tf.Tensor:
        """`count` images; image i depends on the seed and on i only."""
        return self._images(self._latents(count, seed))

    def walk(self, count: int, seed: int) -> tf.Tensor:
        """`count` images on great circles through three latents or more, and back to the first."""
        num_stops = max(3, -(-count // FRAMES_PER_STOP))
        stops = self._latents(num_stops, seed)
        stage, way = tf.range(count) * num_stops // count, tf.range(count) * num_stops % count
        angle = tf.cast(way, tf.float32)[:, None] * (math.pi / 2 / count)
        start, end = tf.gather(stops, stage), tf.gather(tf.roll(stops, -1, axis=0), stage)
        # Of independent normal vectors: so each point of the way is a normal vector too.
        return self._images(tf.cos(angle) * start + tf.sin(angle) * end)

    def _images(self, latents: tf.Tensor) -> tf.Tensor:
        generator = self.shown("generator")
        return tf.concat(
            [generator(part, training=False) for part in tf.split(latents, _parts(len(latents), GENERATED_AT_ONCE))], 0
        )

    def _latents(self, count: int, seed: int) -> tf.Tensor:
        return Draws(f"{seed}/samples", 0, 0, count).normal(self._noise_shape)


def _parts(total: int, at_most: int) -> list[int]:
    return [min(at_most, total - first) for first in range(0, total, at_most)]


def mnist(config: Config, image_shape: tuple[int, int, int], sum_in_step: SumInStep) -> NoiseToImage:
    """The `mnist` recipe: the networks of the TensorFlow DCGAN tutorial."""

    def generator() -> keras.Model:
        return dcgan.generator(
            image_shape,
            noise_size=config.noise_size,
            filters=config.filters,
            kernel_size=config.kernel_size,
            depth=config.depth,
            normalization=config.normalization,
            sum_in_step=sum_in_step,
            seed=config.seed,
        )

    discriminator = dcgan.discriminator(
        image_shape,
        filters=config.filters,
        kernel_size=config.kernel_size,
        depth=config.depth,
        dropout=config.dropout,
        seed=config.seed,
    )
    return NoiseToImage(generator(), discriminator, generator() if config.average_half_life_images else None)
