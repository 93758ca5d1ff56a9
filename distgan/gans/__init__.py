"""What the players of a game want: objectives over networks, that know nothing of devices."""

from distgan.gans.base import GAN
from distgan.gans.cyclegan import CycleGAN
from distgan.gans.noise_to_image import MLP, AnyDCGAN, MnistDCGAN, RadfordDCGAN
from distgan.gans.pix2pix import Pix2Pix

GANS: dict[str, type[GAN]] = {
    "mnist": MnistDCGAN,
    "mlp": MLP,
    "dcgan": AnyDCGAN,
    "dcgan64": RadfordDCGAN,
    "pix2pix": Pix2Pix,
    "cyclegan": CycleGAN,
}  # by architecture
