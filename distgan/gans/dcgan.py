"""The DCGANs."""

import keras

from distgan.config import Config
from distgan.data.base import Shape
from distgan.gans.noise_to_image import NoiseToImage
from distgan.nets import dcgan
from distgan.nets.normalization import BatchNorm

FAMILIES = {"mnist": dcgan.TUTORIAL, "dcgan": dcgan.LINEAR, "dcgan64": dcgan.RADFORD}  # by architecture


class DCGAN(NoiseToImage):
    """Convolutional networks, of the family that `--architecture` names."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a generator with `--generator_filters` channels before the image."""
        filters = config.gan.generator_filters or FAMILIES[config.architecture].generator_times * config.gan.filters
        family, size = _family_and_size(config, image_shape, filters)
        return dcgan.generator(
            family, image_shape, latent_dim=self.latent_size, size=size, batch_norm=batch_norm, seed=config.seed
        )

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a discriminator with `--filters` channels after the image."""
        family, size = _family_and_size(config, image_shape, config.gan.filters)
        further = {"spectral_norm": config.gan.spectral_norm, "seed": config.seed, "num_classes": self.num_classes}
        return dcgan.discriminator(family, image_shape, size=size, batch_norm=batch_norm, **further)


def _family_and_size(config: Config, image_shape: Shape, filters: int) -> tuple[dcgan.Family, dcgan.Size]:
    family, options = FAMILIES[config.architecture], config.gan
    depth = options.depth or family.default_depth(*image_shape[:2])
    return family, dcgan.Size(filters, options.kernel_size, options.stride, depth, options.dropout)
