"""The table of GANs: a row for each value of --architecture."""

import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from distgan.gans.cyclegan_options import CycleGANOptions
from distgan.gans.options import GANOptions
from distgan.gans.noise_to_image_options import DCGANOptions, NoiseToImageOptions, NormalizedDCGANOptions
from distgan.gans.pix2pix_options import Pix2PixOptions

if TYPE_CHECKING:
    from distgan.config import Config
    from distgan.gans.base import GAN


class Row(NamedTuple):
    """A GAN: the settings that it adds, and "module:Class", which is imported when networks are made.

    Keras takes seconds to load, and the flags of a program are read before.
    """

    options: type[GANOptions]
    gan: str


GANS = {
    "mnist": Row(DCGANOptions, "distgan.gans.dcgan:DCGAN"),
    "dcgan": Row(NormalizedDCGANOptions, "distgan.gans.dcgan:DCGAN"),
    "dcgan64": Row(NormalizedDCGANOptions, "distgan.gans.dcgan:DCGAN"),
    "mlp": Row(NoiseToImageOptions, "distgan.gans.mlp:MLP"),
    "pix2pix": Row(Pix2PixOptions, "distgan.gans.pix2pix:Pix2Pix"),
    "cyclegan": Row(CycleGANOptions, "distgan.gans.cyclegan:CycleGAN"),
}


def make_gan(
    config: "Config", image_shape: tuple[int, int, int], sum_in_step: Callable[[list[Any]], list[Any]], num_classes: int
) -> "GAN":
    """The GAN that `config` describes; its players see class labels if it says so. Raises `UserError`."""
    conditions = {"num_classes": num_classes} if config.gan.uses_classes else {}
    gan: GAN = pkgutil.resolve_name(GANS[config.architecture].gan)(config, image_shape, sum_in_step, **conditions)
    return gan
