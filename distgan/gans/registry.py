"""The table of GANs: a row for each value of --architecture."""

from typing import NamedTuple

from distgan.gans.noise_to_image_options import DCGANOptions, NoiseToImageOptions, NormalizedDCGANOptions
from distgan.gans.options import GANOptions
from distgan.gans.residual_options import ResidualOptions
from distgan.gans.translation_options import CycleGANOptions, Pix2PixOptions


class Row(NamedTuple):
    """A GAN: the settings that it adds, and "module:Class", imported with Keras only when networks are created."""

    options: type[GANOptions]
    gan: str


GANS = {
    "mnist": Row(DCGANOptions, "distgan.gans.noise_to_image:DCGAN"),
    "dcgan": Row(NormalizedDCGANOptions, "distgan.gans.noise_to_image:DCGAN"),
    "dcgan64": Row(NormalizedDCGANOptions, "distgan.gans.noise_to_image:DCGAN"),
    "residual": Row(ResidualOptions, "distgan.gans.residual:ResidualGAN"),
    "mlp": Row(NoiseToImageOptions, "distgan.gans.noise_to_image:MLP"),
    "pix2pix": Row(Pix2PixOptions, "distgan.gans.pix2pix:Pix2Pix"),
    "cyclegan": Row(CycleGANOptions, "distgan.gans.cyclegan:CycleGAN"),
}
