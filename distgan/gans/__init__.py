"""What the players of a game want: objectives over networks, that know nothing of devices."""

from distgan.config import Config
from distgan.data.base import Shape
from distgan.gans.base import GAN
from distgan.gans.cyclegan import CycleGAN
from distgan.gans.noise_to_image import MLP, AnyDCGAN, MnistDCGAN, RadfordDCGAN
from distgan.gans.pix2pix import Pix2Pix
from distgan.nets.normalization import SumInStep

GANS: dict[str, type[GAN]] = {
    "mnist": MnistDCGAN,
    "mlp": MLP,
    "dcgan": AnyDCGAN,
    "dcgan64": RadfordDCGAN,
    "pix2pix": Pix2Pix,
    "cyclegan": CycleGAN,
}  # by architecture


def make_gan(config: Config, image_shape: Shape, sum_in_step: SumInStep, num_classes: int) -> GAN:
    """The GAN that `config` describes; players are told classes where it says so. Raises `UserError`."""
    conditions = {"num_classes": num_classes} if config.conditional else {}
    return GANS[config.architecture](config, image_shape, sum_in_step, **conditions)
