"""GANs that turn noise into images: one generator, one discriminator."""

import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.order import STEPS, Draws
from distgan.data.pipeline import Batch
from distgan.gans import losses, penalties
from distgan.gans.augmentation import augmented
from distgan.gans.base import GAN, Losses
from distgan.gans.noise_to_image_options import NoiseToImageOptions
from distgan.nets.layers import network_input
from distgan.nets.normalization import BatchNorm, SumInStep

FRAMES_PER_STOP = 12  # of a walk, at most
GENERATED_AT_ONCE = 500  # images


class NoiseToImage(GAN):
    """A generator of images from noise, and a discriminator.

    Both move at once, over one forward pass; or one after the other, each against the other as it is by then.

    Attributes:
        latent_size: of the generator's input: the noise and, after it, the class as a one-hot vector.
    """

    def __init__(self, config: Config, image_shape: Shape, sum_in_step: SumInStep, num_classes: int = 0) -> None:
        """Make the two networks, and choose the losses."""
        super().__init__(config, image_shape, sum_in_step)
        options: NoiseToImageOptions = config.gan
        self.num_classes, self.latent_size = num_classes, options.latent_dim + num_classes
        batch_norm = BatchNorm(options.normalization, sum_in_step)
        self.networks = {
            "generator": self.make_generator(config, image_shape, batch_norm),
            "discriminator": self.make_discriminator(config, image_shape, batch_norm),
        }
        if config.ema_half_life_images:
            self.averages = {"generator": self.make_generator(config, image_shape, batch_norm)}
        self._noise_shape = (options.latent_dim,)
        self._noise, self._loss = options.noise, losses.loss_called(options.loss, options.real_label)
        self._augmentations = () if options.augment == "none" else tuple(options.augment.split(","))
        self._gradient_penalty, self._r1_weight = options.gradient_penalty, options.r1_weight
        if options.r1_weight:
            self.lazy_terms = {"loss/r1": ("discriminator", options.r1_every_steps)}
        turns = options.discriminator_updates, options.generator_updates
        if options.alternating or turns != (1, 1):
            self.phases = (("discriminator",),) * turns[0] + (("generator",),) * turns[1]
            self.image_phases = (True,) * turns[0] + (False,) * turns[1]

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """The generator of an architecture, for images of a shape."""
        raise NotImplementedError

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """The discriminator of an architecture, for images of a shape."""
        raise NotImplementedError

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """What `--loss` says that the players want, penalties, and how well the discriminator tells real from fake."""
        draws, classes = batch.draws, self._one_hot(self._classes(batch))
        fakes = self._fakes(draws, classes, learns="generator" in phase)
        fake_logits = self._logits(fakes, classes, draws.of("fake"))
        sums, logged = {}, {}
        if "generator" in phase:
            sums["generator"] = logged["loss/generator"] = tf.reduce_sum(self._loss.generator(fake_logits))
        if "discriminator" in phase:
            reals = tf.cast(batch.images["images"], fakes.dtype)
            real_logits = self._logits(reals, classes, draws.of("real"))
            game = tf.reduce_sum(self._loss.discriminator(real_logits, fake_logits))
            paid = self._penalties(reals, tf.stop_gradient(fakes), classes, draws)
            # A term that is computed every n steps counts n times.
            sums["discriminator"] = game + sum(self._steps_of(name) * value for name, value in paid.items())
            logged |= {"loss/discriminator": game} | paid
            logged |= losses.accuracies(real_logits, fake_logits, self._loss.threshold)
        return sums, logged

    def _classes(self, batch: Batch) -> tf.Tensor | None:
        """The classes of a batch, `[count]`: its images', so that a fake stands beside a real one of the same."""
        if not self.num_classes:
            return None
        return batch.draws.of("classes").below(self.num_classes) if batch.labels is None else batch.labels

    def _one_hot(self, classes: Any) -> tf.Tensor | None:
        """Classes `[count]` as one-hot vectors `[count, num_classes]`; None where there are none."""
        return None if classes is None else tf.one_hot(classes, self.num_classes)

    def _fakes(self, draws: Draws, classes: tf.Tensor | None, *, learns: bool) -> tf.Tensor:
        """Images of this step's noise, through which the generator learns or not."""
        latents = _joined(self._latents(draws.of("noise")), classes)
        fakes = self.networks["generator"](latents, training=True, draws=draws.of("generator"))
        return fakes if learns else tf.stop_gradient(fakes)

    def _logits(self, images: tf.Tensor, classes: tf.Tensor | None, draws: Draws) -> tf.Tensor:
        """The discriminator's answer to images, which are augmented like all that it sees in training."""
        images = augmented(images, self._augmentations, draws)
        inputs = images if classes is None else [images, tf.cast(classes, images.dtype)]
        return self.networks["discriminator"](inputs, training=True, draws=draws)

    def _penalties(
        self, reals: tf.Tensor, fakes: tf.Tensor, classes: tf.Tensor | None, draws: Draws
    ) -> dict[str, tf.Tensor]:
        """What the discriminator pays for its slopes, by the names that are logged."""
        paid = {}
        if self._gradient_penalty:
            between = draws.of("between")
            terms = penalties.gradient_penalty(lambda x: self._logits(x, classes, between), reals, fakes, between)
            paid["loss/gradient_penalty"] = self._gradient_penalty * tf.reduce_sum(terms)
        if self._r1_weight:
            steps = self._steps_of("loss/r1")
            compute = functools.partial(self._paid_for_reals, reals, classes, draws)
            paid["loss/r1"] = penalties.once_in(steps, draws.step, compute, reals.dtype)
        return paid

    def _steps_of(self, term: str) -> int:
        """The number of steps from one to the next in which a term of the loss is computed."""
        return self.lazy_terms.get(term, ("", 1))[1]

    def _paid_for_reals(self, reals: tf.Tensor, classes: tf.Tensor | None, draws: Draws) -> tf.Tensor:
        """R1, in the pass that the game's loss is of."""
        terms = penalties.r1(lambda x: self._logits(x, classes, draws.of("real")), reals)
        return self._r1_weight * tf.reduce_sum(terms)

    def rebuilt(self, name: str) -> keras.Model:
        """As that of any GAN; of one that is told classes, from noise and whole numbers `[n]`, named `classes`."""
        network = super().rebuilt(name)
        if not self.num_classes or name != "generator":
            return network
        noise, classes = network_input(self._noise_shape, "noise"), keras.Input((1,), name="classes", dtype="int32")
        one_hot = keras.layers.CategoryEncoding(self.num_classes, "one_hot", name="one_hot")(classes)
        latents = keras.layers.Concatenate(name="latents")([noise, one_hot])
        return keras.Model([noise, classes], network(latents), name=name)

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """`count` images that the generator makes, float32 `[count, height, width, channels]`, sorted by class."""
        classes = np.arange(count) * self.num_classes // count if self.num_classes else None
        return self.generate(count, seed % STEPS, classes=classes)

    def generate(
        self, count: int, seed: int, first: int = 0, averaged: bool = True, classes: np.ndarray | None = None
    ) -> tf.Tensor:
        """`count` images, float32 `[count, height, width, channels]`; image i depends on the seed and on i only.

        It is of `classes[i]` if they are given, `[count]`; else of one that depends on the seed and on i too.
        """
        generator = self.shown("generator") if averaged else self.networks["generator"]
        if classes is None:
            classes = self.classes_of(count, seed, first)
        noise = self._latents(_of_samples(seed, first, count))
        return self._images(_joined(noise, self._one_hot(classes)), generator)

    def classes_of(self, count: int, seed: int, first: int = 0) -> np.ndarray | None:
        """The classes, int32 `[count]`, of the images that `generate` makes by itself; None where it is told none."""
        if not self.num_classes:
            return None
        return np.asarray(_of_samples(seed, first, count).of("classes").below(self.num_classes))

    def walk(self, count: int, seed: int) -> tf.Tensor:
        """`count` images on a closed walk through three latents or more, float32 `[count, height, width, channels]`."""
        num_stops = max(3, -(-count // FRAMES_PER_STOP))
        stops = self._latents(_of_samples(seed, 0, num_stops))
        stage, way = tf.range(count) * num_stops // count, tf.range(count) * num_stops % count
        part = tf.cast(way, tf.float32)[:, None] / count
        between = _between(stops, stage, (1 - part, part))
        if self._noise == "normal":
            # On great circles, as the sum of independent normal vectors, so weighted, is a normal vector too.
            between = _between(stops, stage, (tf.cos(part * math.pi / 2), tf.sin(part * math.pi / 2)))
        classes = self._one_hot(self.classes_of(num_stops, seed))
        if classes is not None:
            classes = _between(classes, stage, (1 - part, part))
        return self._images(_joined(between, classes), self.shown("generator"))

    def _images(self, latents: tf.Tensor, generator: keras.Model) -> tf.Tensor:
        if not tf.executing_eagerly():  # whose number is known only when it is asked for
            return generator(latents, training=False)
        starts = range(0, len(latents), GENERATED_AT_ONCE)
        parts = (latents[start : start + GENERATED_AT_ONCE] for start in starts)
        return tf.concat([generator(part, training=False) for part in parts], 0)

    def _latents(self, draws: Draws) -> tf.Tensor:
        if self._noise == "uniform":
            return 2 * draws.uniform(self._noise_shape) - 1
        return draws.normal(self._noise_shape)


def _of_samples(seed: int, first: int, count: int) -> Draws:
    return Draws("samples", seed, first, count)


def _joined(noise: tf.Tensor, classes: tf.Tensor | None) -> tf.Tensor:
    return noise if classes is None else tf.concat([noise, classes], 1)


def _between(stops: tf.Tensor, stage: tf.Tensor, weights: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Points on the way from each stop to the next one, round and round."""
    return weights[0] * tf.gather(stops, stage) + weights[1] * tf.gather(tf.roll(stops, -1, axis=0), stage)
