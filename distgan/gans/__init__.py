"""What the players of a game want: objectives over networks, that know nothing of devices."""

from collections.abc import Callable

from distgan.config import Config
from distgan.gans import cyclegan, noise_to_image, pix2pix
from distgan.gans.base import GAN
from distgan.nets.layers import SumInStep

GANS: dict[str, Callable[[Config, tuple[int, int, int], SumInStep], GAN]] = {
    "mnist": noise_to_image.of_mnist,
    "mlp": noise_to_image.of_mlp,
    "dcgan": noise_to_image.of_dcgan,
    "dcgan64": noise_to_image.of_dcgan64,
    "pix2pix": pix2pix.Pix2Pix,
    "cyclegan": cyclegan.CycleGAN,
}  # by architecture
