"""A trained run, from Python."""

import sys
from pathlib import Path
from typing import TextIO

import keras
import numpy as np

from distgan import pictures
from distgan.config import Config, load_config
from distgan.data.order import Draws
from distgan.data.pipeline import to_images
from distgan.errors import UserError
from distgan.gans import GANS
from distgan.gans.base import GAN
from distgan.gans.noise_to_image import NoiseToImage
from distgan.gans.translation import Translator
from distgan.replicas.connect import connect
from distgan.training import loop, precision
from distgan.training.run_directory import read_checkpoint
from distgan.training.state import assign, network_variables


class Run:
    """A run's networks at one step, ready to generate or to translate.

    Attributes:
        config: the run's config; step: the step the networks are of; image_shape: (height, width, channels).
    """

    def __init__(self, config: Config, gan: GAN, step: int, image_shape: tuple[int, int, int]) -> None:
        """Take over a GAN that is trained or loaded."""
        self.config, self.step, self.image_shape, self._gan = config, step, image_shape, gan

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The Keras models by name."""
        return self._gan.networks

    def generate(self, num_images: int, seed: int = 0) -> np.ndarray:
        """Images, uint8 `[num_images, height, width, channels]`; image i depends on the seed and on i only.

        Raises `UserError` where the run is of a GAN that translates images.
        """
        return pictures.to_pixels(self._of_noise().generate(num_images, seed).numpy())

    def walk(self, num_frames: int, seed: int = 0) -> np.ndarray:
        """A closed walk between latents, uint8 `[num_frames, height, width, channels]`: the frames of a film.

        Raises `UserError` where the run is of a GAN that translates images.
        """
        return pictures.to_pixels(self._of_noise().walk(num_frames, seed).numpy())

    def translate(self, pixels: np.ndarray, direction: str | None = None, first: int = 0, seed: int = 0) -> np.ndarray:
        """Images of one domain as images of the other, both uint8 `[n, height, width, channels]`.

        Each depends on itself, on the seed and, where the GAN draws random numbers, on its number, `first` being that
        of the first. `direction` is "AtoB" or "BtoA"; if not given, the one the run has learnt. Raises `UserError`
        where the run has not learnt it.
        """
        gan = self._gan
        if not isinstance(gan, Translator):
            raise UserError(f"A run of --architecture={self.config.architecture} generates images; it translates none.")
        direction = direction or gan.directions[0]
        if direction not in gan.directions:
            raise UserError(f"The run has learnt {' and '.join(gan.directions)}, not {direction}.")
        draws = Draws(f"{seed}/translate", 0, first, len(pixels))
        return pictures.to_pixels(gan.translate(to_images(pixels), direction, draws).numpy())

    def _of_noise(self) -> NoiseToImage:
        if not isinstance(self._gan, NoiseToImage):
            raise UserError(
                f"A run of --architecture={self.config.architecture} translates images; it generates none of noise: "
                "give it some with --input."
            )
        return self._gan


def train(config: Config, console: TextIO = sys.stdout) -> Run:
    """Train in this process, together with the others if a launcher or `TF_CONFIG` names some.

    Goes on from the run directory's newest checkpoint. Raises `UserError` where config, data or directory are unfit.
    """
    replicas = connect(config)
    outcome = loop.train(config, replicas, console)
    return Run(config, outcome.gan, outcome.step, outcome.image_shape)


def load(run_dir: str | Path) -> Run:
    """The run in a directory, at its newest sound checkpoint; needs no data. Raises `UserError` where there is none."""
    directory = Path(run_dir)
    arrays, manifest, _ = read_checkpoint(directory)
    config = load_config(directory / "config.json")
    image_shape = tuple(manifest["image_shape"])
    with precision.policy(manifest["precision"]):
        gan = GANS[config.architecture](config, image_shape, list)
    assign(network_variables(gan), arrays)
    return Run(config, gan, manifest["step"], image_shape)
