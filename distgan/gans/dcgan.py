"""The DCGANs."""

import keras

from distgan.config import Config
from distgan.data.base import Shape
from distgan.gans.noise_to_image import NoiseToImage
from distgan.gans.noise_to_image_options import DCGANOptions
from distgan.nets import dcgan
from distgan.nets.normalization import BatchNorm

FAMILIES = {"mnist": dcgan.TUTORIAL, "dcgan": dcgan.LINEAR, "dcgan64": dcgan.RADFORD}  # by architecture


class DCGAN(NoiseToImage):
    """Convolutional networks, of the family that `--architecture` names."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """A generator with `--generator_filters` channels before the image."""
        assert isinstance(config.gan, DCGANOptions)
        return dcgan.generator(
            FAMILIES[config.architecture],
            image_shape,
            latent_dim=self.latent_size,
            size=_size(config, image_shape, config.gan.generator_filters or config.gan.filters),
            batch_norm=batch_norm,
            seed=config.seed,
        )

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """A discriminator with `--filters` channels after the image."""
        assert isinstance(config.gan, DCGANOptions)
        return dcgan.discriminator(
            FAMILIES[config.architecture],
            image_shape,
            size=_size(config, image_shape, config.gan.filters),
            batch_norm=batch_norm,
            spectral_norm=config.gan.spectral_norm,
            seed=config.seed,
            num_classes=self.num_classes,
        )


def _size(config: Config, image_shape: Shape, filters: int) -> dcgan.Size:
    options = config.gan
    assert isinstance(options, DCGANOptions)
    depth = options.depth or FAMILIES[config.architecture].default_depth(*image_shape[:2])
    return dcgan.Size(filters, options.kernel_size, options.stride, depth, options.dropout)
