"""GANs that generate images from noise, by one generator and one discriminator: the DCGANs and the MLP."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.order import STEPS, Draws
from distgan.data.pipeline import Batch
from distgan.gans import losses
from distgan.gans.augmentation import Policy
from distgan.gans.base import GAN, Losses
from distgan.gans.noise_to_image_options import NoiseToImageOptions
from distgan.nets import dcgan, mlp
from distgan.nets.layers import network_input
from distgan.nets.normalization import BatchNorm, SumInStep

FRAMES_PER_STOP = 12  # of a walk, at most
GENERATED_AT_ONCE = 500  # images
FAMILIES = {"mnist": dcgan.TUTORIAL, "dcgan": dcgan.LINEAR, "dcgan64": dcgan.RADFORD}  # by architecture


class NoiseToImage(GAN):
    """A generator of images from noise, and a discriminator.

    Both are updated together, after one forward pass, or in turn, each with the current weights of the other.

    Attributes:
        latent_size: the length of the generator's input: the noise, then the class as a one-hot vector.
    """

    def __init__(self, config: Config, image_shape: Shape, sum_in_step: SumInStep, num_classes: int = 0) -> None:
        """Create the two networks, and choose the losses."""
        super().__init__(config, image_shape, sum_in_step)
        options: NoiseToImageOptions = config.gan
        self.num_classes, self.latent_size = num_classes, options.latent_dim + num_classes
        parts = config, image_shape, BatchNorm(options.normalization, sum_in_step)
        self.networks = {"generator": self.make_generator(*parts), "discriminator": self.make_discriminator(*parts)}
        if config.ema_half_life_images:
            self.averages = {"generator": self.make_generator(*parts)}
        self._noise_shape = (options.latent_dim,)
        self._noise, self._loss = options.noise, losses.loss_called(options.loss, options.real_label)
        self._augmented = Policy(options, config.batch_size)
        self.memory |= self._augmented.memory
        self._gradient_penalty, self._fall = options.gradient_penalty, 1 - options.final_penalty_part
        weights = {"r1": options.r1_weight, "r2": options.r2_weight}
        self._slope_weights = {name: weight for name, weight in weights.items() if weight}
        self.lazy_terms = {f"loss/{name}": ("discriminator", options.r1_every_steps) for name in self._slope_weights}
        turns = options.discriminator_updates, options.generator_updates
        if options.alternating or turns != (1, 1):
            self.phases = (("discriminator",),) * turns[0] + (("generator",),) * turns[1]
            self.image_phases = (True,) * turns[0] + (self._loss.relativistic,) * turns[1]

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create the generator of an architecture, for images of a shape."""
        raise NotImplementedError

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create the discriminator of an architecture, for images of a shape."""
        raise NotImplementedError

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """Return the adversarial losses of `--loss` with penalties, and values to log, such as accuracies."""
        draws, classes = batch.draws, self._one_hot(self._classes(batch))
        latents = _joined(self.latents(draws.of("noise")), classes)
        fakes = self.networks["generator"](latents, training=True, draws=draws.of("generator"))
        fakes = fakes if "generator" in phase else tf.stop_gradient(fakes)
        fake_logits = self._logits(fakes, classes, draws.of("fake"))
        logits, sums, logged = [fake_logits], {}, {}
        if batch.images:
            reals = tf.cast(batch.images["images"], fakes.dtype)
            real_logits = self._logits(reals, classes, draws.of("real"))
            logits += [real_logits] * self._loss.relativistic
        if "generator" in phase:
            sums["generator"] = logged["loss/generator"] = losses.summed(self._loss.generator(*logits))
        if "discriminator" in phase:
            game = losses.summed(self._loss.discriminator(real_logits, fake_logits))
            paid = self._penalties(reals, tf.stop_gradient(fakes), classes, draws)
            # A term that is computed every n steps counts n times.
            sums["discriminator"] = game + sum(self._steps_of(name) * value for name, value in paid.items())
            logged |= {"loss/discriminator": game} | paid
            logged |= losses.accuracies(real_logits, fake_logits, self._loss.threshold)
            threshold = fake_logits if self._loss.relativistic else self._loss.threshold
            logged |= self._augmented.signs(real_logits, threshold)
        return sums, logged

    def adapt(self, means: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Move the probability of the augmentations, if it adapts; return it."""
        return self._augmented.adapt(means)

    def _classes(self, batch: Batch) -> tf.Tensor | None:
        """Return the classes of a batch, `[count]`: those of its images, for the generated images too."""
        if not self.num_classes:
            return None
        return batch.draws.of("classes").below(self.num_classes) if batch.labels is None else batch.labels

    def _one_hot(self, classes: Any) -> tf.Tensor | None:
        """Return classes `[count]` as one-hot vectors `[count, num_classes]`; None if there are none."""
        return None if classes is None else tf.one_hot(classes, self.num_classes)

    def _logits(self, images: tf.Tensor, classes: tf.Tensor | None, draws: Draws) -> tf.Tensor:
        """Return the discriminator's logits for images, after the augmentation of all its training inputs."""
        images = self._augmented(images, draws)
        inputs = images if classes is None else [images, tf.cast(classes, images.dtype)]
        return self.networks["discriminator"](inputs, training=True, draws=draws)

    def _penalties(
        self, reals: tf.Tensor, fakes: tf.Tensor, classes: tf.Tensor | None, draws: Draws
    ) -> dict[str, tf.Tensor]:
        """Return the discriminator's gradient penalties, by their names in the log."""
        paid = {}
        if self._gradient_penalty:
            between = draws.of("between")
            terms = losses.gradient_penalty(lambda x: self._logits(x, classes, between), reals, fakes, between)
            paid["loss/gradient_penalty"] = self._gradient_penalty * tf.reduce_sum(terms)

        left = 1 - self._fall * tf.cast(1 - self.scheduled_part(), reals.dtype) if self._fall else 1
        for name, weight in self._slope_weights.items():
            images, stream = (reals, "real") if name == "r1" else (fakes, "fake")

            # With the random numbers of the adversarial loss's forward pass.
            def penalty(images: tf.Tensor = images, stream: str = stream) -> tf.Tensor:
                return tf.reduce_sum(losses.r1(lambda x: self._logits(x, classes, draws.of(stream)), images))

            every = self._steps_of(f"loss/{name}")
            paid[f"loss/{name}"] = weight * left * losses.once_in(every, draws.step, penalty, images.dtype)
        return paid

    def _steps_of(self, term: str) -> int:
        """Return n if a term of the loss is computed every n steps."""
        return self.lazy_terms.get(term, ("", 1))[1]

    def rebuilt(self, name: str) -> keras.Model:
        """Return the rebuilt network; a conditional generator has inputs `noise` and `classes`, whole numbers `[n]`."""
        network = super().rebuilt(name)
        if not self.num_classes or name != "generator":
            return network
        noise, classes = network_input(self._noise_shape, "noise"), keras.Input((1,), name="classes", dtype="int32")
        one_hot = keras.layers.CategoryEncoding(self.num_classes, "one_hot", name="one_hot")(classes)
        latents = keras.layers.Concatenate(name="latents")([noise, one_hot])
        return keras.Model([noise, classes], network(latents), name=name)

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """Generate `count` images, float32 `[count, height, width, channels]`, sorted by class."""
        classes = np.arange(count) * self.num_classes // count if self.num_classes else None
        return self.generate(count, seed % STEPS, classes=classes)

    def generate(
        self, count: int, seed: int, first: int = 0, averaged: bool = True, classes: np.ndarray | None = None
    ) -> tf.Tensor:
        """Generate images, float32 `[count, height, width, channels]`; without `classes`, by `classes_of`."""
        generator = self.shown("generator") if averaged else self.networks["generator"]
        if classes is None:
            classes = self.classes_of(count, seed, first)
        noise = self.latents(Draws("samples", seed, first, count))
        return self._images(_joined(noise, self._one_hot(classes)), generator)

    def classes_of(self, count: int, seed: int, first: int = 0) -> np.ndarray | None:
        """Return the classes, int64 `[count]`, that `generate` chooses by itself; None if it is not conditional."""
        if not self.num_classes:
            return None
        return np.asarray(Draws("samples", seed, first, count).of("classes").below(self.num_classes))

    def walk(self, count: int, seed: int) -> tf.Tensor:
        """Generate `count` images on a closed walk through 3+ latents, float32 `[count, height, width, channels]`."""
        num_stops = max(3, -(-count // FRAMES_PER_STOP))
        stops = self.latents(Draws("samples", seed, 0, num_stops))
        stage, way = tf.range(count) * num_stops // count, tf.range(count) * num_stops % count
        part = tf.cast(way, tf.float32)[:, None] / count
        # On great circles: with these weights, the sum of independent normal vectors is a normal vector too.
        circular = tf.cos(part * math.pi / 2), tf.sin(part * math.pi / 2)
        latents = _between(stops, stage, circular if self._noise == "normal" else (1 - part, part))
        classes = self._one_hot(self.classes_of(num_stops, seed))
        classes = None if classes is None else _between(classes, stage, (1 - part, part))
        return self._images(_joined(latents, classes), self.shown("generator"))

    def images_of(self, latents: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Generate images from latents, differentiably."""
        one_hot = self._one_hot(classes) if self.num_classes else None
        return self._images(_joined(latents, one_hot), self.shown("generator"))

    def _images(self, latents: tf.Tensor, generator: keras.Model) -> tf.Tensor:
        if not tf.executing_eagerly():  # the number of latents is unknown while tracing
            return generator(latents, training=False)
        starts = range(0, len(latents), GENERATED_AT_ONCE)
        parts = (latents[start : start + GENERATED_AT_ONCE] for start in starts)
        return tf.concat([generator(part, training=False) for part in parts], 0)

    def latents(self, draws: Draws) -> tf.Tensor:
        """Return random latents, float32 `[count, latent_dim]`."""
        is_uniform = self._noise == "uniform"
        return 2 * draws.uniform(self._noise_shape) - 1 if is_uniform else draws.normal(self._noise_shape)


def _joined(noise: tf.Tensor, classes: tf.Tensor | None) -> tf.Tensor:
    return noise if classes is None else tf.concat([noise, classes], 1)


def _between(stops: tf.Tensor, stage: tf.Tensor, weights: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Return points between each stop and the next one; after the last stop comes the first."""
    return weights[0] * tf.gather(stops, stage) + weights[1] * tf.gather(tf.roll(stops, -1, axis=0), stage)


class DCGAN(NoiseToImage):
    """Convolutional networks, of the family that `--architecture` names."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a generator with `--generator_filters` channels before the image."""
        filters = config.gan.generator_filters or FAMILIES[config.architecture].generator_times * config.gan.filters
        family, size = _family_and_size(config, image_shape, filters)
        return dcgan.generator(
            family, image_shape, latent_dim=self.latent_size, size=size, batch_norm=batch_norm, seed=config.seed
        )

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a discriminator with `--filters` channels after the image."""
        family, size = _family_and_size(config, image_shape, config.gan.filters)
        further = {"spectral_norm": config.gan.spectral_norm, "seed": config.seed, "num_classes": self.num_classes}
        return dcgan.discriminator(family, image_shape, size=size, batch_norm=batch_norm, **further)


def _family_and_size(config: Config, image_shape: Shape, filters: int) -> tuple[dcgan.Family, dcgan.Size]:
    family, options = FAMILIES[config.architecture], config.gan
    depth = options.depth or family.default_depth(*image_shape[:2])
    return family, dcgan.Size(filters, options.kernel_size, options.stride, depth, options.dropout)


class MLP(NoiseToImage):
    """Networks of dense layers."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a generator: three dense layers and one to the image."""
        return mlp.generator(image_shape, latent_dim=self.latent_size, batch_norm=batch_norm, seed=config.seed)

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a discriminator: two dense layers and one to the logit."""
        return mlp.discriminator(
            image_shape, spectral_norm=config.gan.spectral_norm, seed=config.seed, num_classes=self.num_classes
        )
