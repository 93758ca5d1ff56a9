"""A trained run, from Python."""

import sys
from pathlib import Path
from typing import TextIO

import keras
import numpy as np

from distgan import pictures
from distgan.config import Config, load_config
from distgan.gans import GANS
from distgan.gans.base import GAN
from distgan.replicas.connect import connect
from distgan.training import loop, precision
from distgan.training.run_directory import read_checkpoint
from distgan.training.state import assign, network_variables


class Run:
    """A run's networks at one step, ready to generate.

    Attributes:
        config: the run's config; step: the step the networks are of.
    """

    def __init__(self, config: Config, gan: GAN, step: int) -> None:
        """Take over a GAN that is trained or loaded."""
        self.config, self.step, self._gan = config, step, gan

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The Keras models by name."""
        return self._gan.networks

    def generate(self, num_images: int, seed: int = 0) -> np.ndarray:
        """Images, uint8 `[num_images, height, width, channels]`; image i depends on the seed and on i only."""
        return pictures.to_pixels(self._gan.generate(num_images, seed).numpy())

    def walk(self, num_frames: int, seed: int = 0) -> np.ndarray:
        """A closed walk between latents, uint8 `[num_frames, height, width, channels]`: the frames of a film."""
        return pictures.to_pixels(self._gan.walk(num_frames, seed).numpy())


def train(config: Config, console: TextIO = sys.stdout) -> Run:
    """Train in this process, together with the others if a launcher or `TF_CONFIG` names some.

    Goes on from the run directory's newest checkpoint. Raises `UserError` where config, data or directory are unfit.
    """
    replicas = connect(config)
    outcome = loop.train(config, replicas, console)
    return Run(config, outcome.gan, outcome.step)


def load(run_dir: str | Path) -> Run:
    """The run in a directory, at its newest sound checkpoint; needs no data. Raises `UserError` where there is none."""
    directory = Path(run_dir)
    arrays, manifest, _ = read_checkpoint(directory)
    config = load_config(directory / "config.json")
    with precision.policy(manifest["precision"]):
        gan = GANS[config.preset](config, tuple(manifest["image_shape"]), list)
    assign(network_variables(gan), arrays)
    return Run(config, gan, manifest["step"])
