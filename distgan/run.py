"""A trained run, for use from Python."""

import operator
import os
from collections.abc import Sequence
from typing import Any, TextIO

import keras
import numpy as np

from distgan import latent_search, paths
from distgan.config import Config, load_config
from distgan.data.base import Shape
from distgan.data.order import STEPS, Draws
from distgan.data.pipeline import to_images, to_pixels
from distgan.errors import UserError, in_short
from distgan.gans.base import GAN, make_gan
from distgan.nets import convolutions
from distgan.replicas.connect import connect
from distgan.store.run_directory import read_checkpoint
from distgan.training import elastic, precision
from distgan.training.evaluation import Evaluator
from distgan.training.state import assign, network_variables

TRANSLATED_AT_ONCE = 8  # images
MOST_IMAGES = 2**31


class Run:
    """A run's networks at one step, ready to generate or to translate.

    Attributes:
        config: the run's config.
        gan: its networks and losses.
        step: the step of the weights.
        image_shape: (height, width, channels).
    """

    def __init__(self, config: Config, gan: GAN, step: int, image_shape: Shape) -> None:
        """Wrap a GAN that is trained or loaded."""
        self.config, self.gan, self.step, self.image_shape = config, gan, step, image_shape

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The Keras models by name; the EMA of a network if there is one."""
        return {name: self.gan.shown(name) for name in self.gan.networks}

    def generate(self, num_images: int, seed: int = 0, classes: Sequence[int | str] | None = None) -> np.ndarray:
        """Generate images, uint8 `[num_images, height, width, channels]`; image i depends on the seed and on i only.

        In a conditional run, image i has class `classes[i]` or, if they are not given, a class drawn by the seed. A
        class is a label of the data, or the name of a folder.

        Raises `UserError` if the GAN of the run translates images, or `classes` are unknown or not one per image.
        """
        num_images, seed = operator.index(num_images), operator.index(seed)  # of tensors too
        if not (0 <= num_images < MOST_IMAGES and 0 <= seed < STEPS):
            raise UserError(f"num_images={num_images} must be below 2**31, seed={seed} below 2**63, both 0 or more.")
        numbers = None if classes is None else self.numbers_of(classes, num_images)
        if not num_images:
            return np.zeros((0, *self.image_shape), np.uint8)
        wanted: dict[str, Any] = {} if numbers is None else {"classes": numbers}
        return to_pixels(self.gan.generate(num_images, seed, **wanted)).numpy()

    def generate_from(self, latents: Any, classes: Sequence[int | str] | None = None) -> np.ndarray:
        """Generate images as `generate` does, from latents `[n, latent_dim]`; a conditional run needs their classes.

        Raises `UserError` if the latents or the classes do not suit the run.
        """
        latents, width = np.asarray(latents, np.float32), self.gan.latents(Draws("samples", 0, 0, 1)).shape[1]
        if latents.ndim != 2 or latents.shape[1] != width:
            raise UserError(f"The run takes latents [number, {width}], not {list(latents.shape)}.")
        classes = [] if classes is None and self.gan.num_classes else classes
        numbers = None if classes is None else self.numbers_of(classes, len(latents))
        if not len(latents):
            return np.zeros((0, *self.image_shape), np.uint8)
        return to_pixels(self.gan.images_of(latents, numbers)).numpy()

    project = latent_search.project

    def numbers_of(self, classes: Sequence[int | str], num_images: int) -> np.ndarray:
        """Return classes by number, int32. Raises `UserError` if they are unknown, or not one per image."""
        names = self.gan.class_names
        if not names:
            raise UserError("The run is not class-conditional: remove the classes, or train with --conditional.")
        known = {name: number for number, name in enumerate(names)}
        classes = np.asarray(classes).tolist()
        unknown = [str(one) for one in dict.fromkeys(classes) if str(one) not in known]
        if unknown:
            raise UserError(f"The run has no class {', '.join(unknown)}: its classes are {in_short(names)}.")
        if len(classes) != num_images:
            raise UserError(f"There are {len(classes)} classes for {num_images} images: give one class per image.")
        return np.array([known[str(one)] for one in classes], np.int32)

    def scores(self, evaluator: Evaluator, seed: int = 0) -> dict[str, float]:
        """Return quality scores of the images that `generate` makes, by name; see `training.evaluation`."""
        return evaluator.scores(self.gan, seed)

    def walk(self, num_frames: int, seed: int = 0) -> np.ndarray:
        """Generate a closed walk between latents, uint8 `[num_frames, height, width, channels]`: the frames of a film.

        Raises `UserError` if the GAN of the run translates images.
        """
        return to_pixels(self.gan.walk(num_frames, seed)).numpy()

    def translate(
        self, pixels: Sequence[np.ndarray] | np.ndarray, direction: str | None = None, first: int = 0, seed: int = 0
    ) -> np.ndarray:
        """Translate images of one domain to the other, both uint8 `[n, height, width, channels]`.

        Each depends on itself, on the seed and, if the GAN draws random numbers, on its number, which counts from
        `first`. `direction` is "AtoB" or "BtoA"; if not given, the first one that the run has learnt.

        Raises `UserError` if the run has not learnt the direction, or images have another shape.
        """
        learnt = self.gan.directions
        if learnt and direction not in (None, *learnt):
            raise UserError(f"The run translates {' and '.join(learnt)}, not {direction}.")
        pixels = np.asarray(pixels)
        if len(pixels) and (pixels.dtype != np.uint8 or pixels.shape[1:] != self.image_shape):
            shape, found = list(self.image_shape), list(pixels.shape)
            raise UserError(f"The run translates uint8 images [number, {str(shape)[1:]}, not {pixels.dtype} {found}.")
        parts = [np.zeros((0, *self.image_shape), np.uint8)]
        for start in range(0, len(pixels), TRANSLATED_AT_ONCE):
            images = to_images(pixels[start : start + TRANSLATED_AT_ONCE])
            draws = Draws("translate", seed, first + start, len(images))
            translated = self.gan.translate(images, direction or learnt[0] if learnt else "", draws)
            parts.append(to_pixels(translated).numpy())
        return np.concatenate(parts)


def train(config: Config, console: TextIO | None = None) -> Run:
    """Train in this process, together with the others if a launcher or `TF_CONFIG` names some.

    Resumes from the run directory's newest checkpoint. Raises `UserError` if config, data or directory is unsuitable.
    """
    replicas = connect(config)
    trainer, _ = elastic.train(config, replicas, console)
    return Run(config, trainer.gan, trainer.step_number, trainer.source.image_shape)


def load(
    run_dir: str | os.PathLike[str],
    checkpoint: str = "newest",
    *,
    number_format: str | None = None,
    way: str | None = None,
) -> Run:
    """Load the run in a directory, at its newest intact checkpoint or, if "best", the one with the best samples.

    Needs no data. `number_format` and `way`, one of `convolutions.WAYS`, are those of the run if not given. Raises
    `UserError` if there is no checkpoint.
    """
    directory = paths.local("run_dir", run_dir)
    arrays, manifest, _ = read_checkpoint(directory, checkpoint)
    config = load_config(directory / "config.json")
    image_shape = tuple(manifest["image_shape"])
    class_names = manifest.get("class_names") or [str(number) for number in range(manifest.get("num_classes", 0))]
    with precision.policy(number_format or manifest["precision"]), convolutions.way(way or config.convolutions):
        gan = make_gan(config, image_shape, list, class_names)
    assign(network_variables(gan), arrays)
    return Run(config, gan, manifest["step"], image_shape)
