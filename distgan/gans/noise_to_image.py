"""GANs that turn noise into images: one generator, one discriminator."""

import math
from typing import Any

import keras
import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.order import Draws
from distgan.data.pipeline import Batch
from distgan.gans import losses
from distgan.gans.base import GAN, Losses
from distgan.nets import dcgan, dcgan64, mlp, mnist
from distgan.nets.normalization import BatchNorm, SumInStep

FRAMES_PER_STOP = 12  # of a walk, at most
GENERATED_AT_ONCE = 500  # images


class NoiseToImage(GAN):
    """A generator of images from noise, and a discriminator.

    Both move at once, over one forward pass; or one after the other, each against the other as it is by then.
    """

    def __init__(self, config: Config, image_shape: Shape, sum_in_step: SumInStep) -> None:
        """Let two networks play, as `config` says."""
        super().__init__(config, image_shape, sum_in_step)
        batch_norm = BatchNorm(config.normalization, sum_in_step)
        self.networks = {
            "generator": self.make_generator(config, image_shape, batch_norm),
            "discriminator": self.make_discriminator(config, image_shape, batch_norm),
        }
        if config.average_half_life_images:
            self.averages = {"generator": self.make_generator(config, image_shape, batch_norm)}
        self._noise_shape = tuple(self.networks["generator"].input_shape[1:])
        self._noise, self._real_label = config.noise, config.real_label
        turns = config.discriminator_updates, config.generator_updates
        if config.alternating or turns != (1, 1):
            self.phases = (("discriminator",),) * turns[0] + (("generator",),) * turns[1]
            self.image_phases = (True,) * turns[0] + (False,) * turns[1]

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """The generator of an architecture, for images of a shape."""
        raise NotImplementedError

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """The discriminator of an architecture, for images of a shape."""
        raise NotImplementedError

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """The non-saturating losses of the players, and how well the discriminator tells real from fake."""
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        draws = batch.draws
        latents = self._latents(draws.of("noise"))
        fakes = generator(latents, training=True, draws=draws.of("generator"))
        if "generator" not in phase:
            fakes = tf.stop_gradient(fakes)
        fake_logits = discriminator(fakes, training=True, draws=draws.of("fake"))
        sums, logged = {}, {}
        if "generator" in phase:
            sums["generator"] = tf.reduce_sum(losses.non_saturating_loss(fake_logits))
        if "discriminator" in phase:
            real_logits = discriminator(batch.images["images"], training=True, draws=draws.of("real"))
            loss = losses.discriminator_loss(real_logits, fake_logits, self._real_label)
            sums["discriminator"] = tf.reduce_sum(loss)
            logged = losses.accuracies(real_logits, fake_logits)
        return sums, {f"loss/{player}": value for player, value in sums.items()} | logged

    def generate(self, count: int, seed: int) -> tf.Tensor:
        """`count` images, float32 `[count, height, width, channels]`; image i depends on the seed and on i only."""
        return self._images(self._samples(count, seed))

    def walk(self, count: int, seed: int) -> tf.Tensor:
        """`count` images on a closed walk through three latents or more, float32 `[count, height, width, channels]`."""
        num_stops = max(3, -(-count // FRAMES_PER_STOP))
        stops = self._samples(num_stops, seed)
        stage, way = tf.range(count) * num_stops // count, tf.range(count) * num_stops % count
        part = tf.cast(way, tf.float32)[:, None] / count
        start, end = tf.gather(stops, stage), tf.gather(tf.roll(stops, -1, axis=0), stage)
        if self._noise == "uniform":
            return self._images((1 - part) * start + part * end)
        # On great circles, as the sum of independent normal vectors, so weighted, is a normal vector too.
        return self._images(tf.cos(part * math.pi / 2) * start + tf.sin(part * math.pi / 2) * end)

    def _images(self, latents: tf.Tensor) -> tf.Tensor:
        if not tf.executing_eagerly():  # whose number is known only when it is asked for
            return self.shown("generator")(latents, training=False)
        starts = range(0, len(latents), GENERATED_AT_ONCE)
        parts = (latents[start : start + GENERATED_AT_ONCE] for start in starts)
        return tf.concat([self.shown("generator")(part, training=False) for part in parts], 0)

    def _samples(self, count: int, seed: int) -> tf.Tensor:
        return self._latents(Draws("samples", seed, 0, count))

    def _latents(self, draws: Draws) -> tf.Tensor:
        if self._noise == "uniform":
            return 2 * draws.uniform(self._noise_shape) - 1
        return draws.normal(self._noise_shape)


class MnistDCGAN(NoiseToImage):
    """The `mnist` architecture: the networks of the TensorFlow DCGAN tutorial."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Of 7x7 pixels or so, doubled `--depth` times."""
        return mnist.generator(
            image_shape, noise_size=config.noise_size, filters=config.filters, kernel_size=config.kernel_size,
            depth=config.depth or mnist.suitable_depth(*image_shape[:2]), batch_norm=batch_norm, seed=config.seed,
        )  # fmt: skip

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Without batch norm, with dropout."""
        return mnist.discriminator(
            image_shape, filters=config.filters, kernel_size=config.kernel_size, dropout=config.dropout,
            seed=config.seed,
        )  # fmt: skip


class MLP(NoiseToImage):
    """The `mlp` architecture: dense layers."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Of three dense layers and one to the image."""
        return mlp.generator(image_shape, noise_size=config.noise_size, batch_norm=batch_norm, seed=config.seed)

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Of two dense layers and one to the logit."""
        return mlp.discriminator(image_shape, seed=config.seed)


class AnyDCGAN(NoiseToImage):
    """The `dcgan` architecture, which has a setting for everything."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Of `--depth` stages."""
        return dcgan.generator(image_shape, noise_size=config.noise_size, **self._shared(config, batch_norm))

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Of `--depth` convolutions."""
        return dcgan.discriminator(image_shape, **self._shared(config, batch_norm))

    @staticmethod
    def _shared(config: Config, batch_norm: BatchNorm) -> dict[str, Any]:
        return {
            "filters": config.filters, "kernel_size": config.kernel_size, "stride": config.stride,
            "depth": config.depth or 3, "dropout": config.dropout, "batch_norm": batch_norm, "seed": config.seed,
        }  # fmt: skip


class RadfordDCGAN(NoiseToImage):
    """The `dcgan64` architecture: Radford et al. 2015."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Of `--depth` stages, down to `--generator_filters` channels."""
        return dcgan64.generator(
            image_shape, noise_size=config.noise_size, filters=config.generator_filters,
            kernel_size=config.kernel_size, depth=config.depth or 4, batch_norm=batch_norm, seed=config.seed,
        )  # fmt: skip

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Of `--depth` convolutions, from `--filters` channels up."""
        return dcgan64.discriminator(
            image_shape, filters=config.filters, kernel_size=config.kernel_size, depth=config.depth or 4,
            batch_norm=batch_norm, seed=config.seed,
        )  # fmt: skip
