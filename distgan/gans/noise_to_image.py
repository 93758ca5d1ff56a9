"""GANs that turn noise into images: one generator, one discriminator."""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from distgan.config import Config
from distgan.data.order import Draws
from distgan.data.pipeline import Batch
from distgan.gans import losses
from distgan.gans.base import GAN, Losses
from distgan.nets import dcgan, dcgan64, mlp, mnist
from distgan.nets.layers import BatchNorm, SumInStep

FRAMES_PER_STOP = 12  # of a walk, at most
GENERATED_AT_ONCE = 500  # images


class NoiseToImage(GAN):
    """A generator of images from noise, and a discriminator.

    Both move at once, over one forward pass; or one after the other, each against the other as it is by then.
    """

    players = {"generator": ("generator",), "discriminator": ("discriminator",)}  # noqa: RUF012 - never mutated
    streams = ("images",)

    def __init__(
        self, make_generator: Callable[[], keras.Model], make_discriminator: Callable[[], keras.Model], config: Config
    ) -> None:
        """Let two networks play, as `config` says."""
        super().__init__()
        self.networks = {"generator": make_generator(), "discriminator": make_discriminator()}
        if config.average_half_life_images:
            self.averages = {"generator": make_generator()}
        self._noise_shape = tuple(self.networks["generator"].input_shape[1:])
        self._noise, self._real_label = config.noise, config.real_label
        self.phases, self.image_phases = (("generator", "discriminator"),), (True,)
        turns = config.discriminator_updates, config.generator_updates
        if config.alternating or turns != (1, 1):
            self.phases = (("discriminator",),) * turns[0] + (("generator",),) * turns[1]
            self.image_phases = (True,) * turns[0] + (False,) * turns[1]

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """The non-saturating losses of the players, and how well the discriminator tells real from fake."""
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        draws = batch.draws
        latents = self._latents(draws.of("noise"))
        fakes = generator(latents, training=True, draws=draws.of("generator"))
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

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """Generated images, always of the same latents."""
        return self.generate(count, seed)

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
        generator = self.shown("generator")
        return tf.concat(
            [generator(part, training=False) for part in tf.split(latents, _parts(len(latents), GENERATED_AT_ONCE))], 0
        )

    def _samples(self, count: int, seed: int) -> tf.Tensor:
        return self._latents(Draws(f"{seed}/samples", 0, 0, count))

    def _latents(self, draws: Draws) -> tf.Tensor:
        if self._noise == "uniform":
            return 2 * draws.uniform(self._noise_shape) - 1
        return draws.normal(self._noise_shape)


def _parts(total: int, at_most: int) -> list[int]:
    return [min(at_most, total - first) for first in range(0, total, at_most)]


def of_mnist(config: Config, image_shape: tuple[int, int, int], sum_in_step: SumInStep) -> NoiseToImage:
    """The `mnist` architecture: the networks of the TensorFlow DCGAN tutorial."""
    shared: dict[str, Any] = {"filters": config.filters, "kernel_size": config.kernel_size, "seed": config.seed}
    return NoiseToImage(
        lambda: mnist.generator(
            image_shape, noise_size=config.noise_size, batch_norm=BatchNorm(config.normalization, sum_in_step),
            depth=config.depth or mnist.suitable_depth(*image_shape[:2]), **shared,
        ),
        lambda: mnist.discriminator(image_shape, dropout=config.dropout, **shared),
        config,
    )  # fmt: skip


def of_mlp(config: Config, image_shape: tuple[int, int, int], sum_in_step: SumInStep) -> NoiseToImage:
    """The `mlp` architecture: dense layers."""
    batch_norm = BatchNorm(config.normalization, sum_in_step)
    return NoiseToImage(
        lambda: mlp.generator(image_shape, noise_size=config.noise_size, batch_norm=batch_norm, seed=config.seed),
        lambda: mlp.discriminator(image_shape, seed=config.seed),
        config,
    )


def of_dcgan(config: Config, image_shape: tuple[int, int, int], sum_in_step: SumInStep) -> NoiseToImage:
    """The `dcgan` architecture, which has a setting for everything."""
    shared: dict[str, Any] = {
        "filters": config.filters, "kernel_size": config.kernel_size, "stride": config.stride,
        "depth": config.depth or 3, "dropout": config.dropout, "seed": config.seed,
        "batch_norm": BatchNorm(config.normalization, sum_in_step),
    }  # fmt: skip
    return NoiseToImage(
        lambda: dcgan.generator(image_shape, noise_size=config.noise_size, **shared),
        lambda: dcgan.discriminator(image_shape, **shared),
        config,
    )


def of_dcgan64(config: Config, image_shape: tuple[int, int, int], sum_in_step: SumInStep) -> NoiseToImage:
    """The `dcgan64` architecture: Radford et al. 2015."""
    shared: dict[str, Any] = {
        "kernel_size": config.kernel_size, "depth": config.depth or 4, "seed": config.seed,
        "batch_norm": BatchNorm(config.normalization, sum_in_step),
    }  # fmt: skip
    return NoiseToImage(
        lambda: dcgan64.generator(
            image_shape, noise_size=config.noise_size, filters=config.generator_filters, **shared
        ),
        lambda: dcgan64.discriminator(image_shape, filters=config.filters, **shared),
        config,
    )
