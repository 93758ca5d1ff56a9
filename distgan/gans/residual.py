"""The residual GAN (Huang et al. 2024)."""

from typing import Any

import keras

from distgan.config import Config
from distgan.data.base import Shape
from distgan.gans.noise_to_image import NoiseToImage
from distgan.nets import residual
from distgan.nets.normalization import BatchNorm


class ResidualGAN(NoiseToImage):
    """Residual networks without normalisation."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a generator."""
        size = _size(config.gan)
        return residual.generator(image_shape, latent_dim=self.latent_size, size=size, seed=config.seed)

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a discriminator of the same size."""
        size = _size(config.gan)
        return residual.discriminator(image_shape, size=size, seed=config.seed, num_classes=self.num_classes)


def _size(options: Any) -> residual.Size:
    return residual.Size(options.filters, options.blocks, options.group_channels)
