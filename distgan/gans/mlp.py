"""The MLP GAN: dense layers."""

import keras

from distgan.config import Config
from distgan.data.base import Shape
from distgan.gans.noise_to_image import NoiseToImage
from distgan.nets import mlp
from distgan.nets.normalization import BatchNorm


class MLP(NoiseToImage):
    """Networks of dense layers."""

    def make_generator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a generator: three dense layers and one to the image."""
        return mlp.generator(image_shape, latent_dim=self.latent_size, batch_norm=batch_norm, seed=config.seed)

    def make_discriminator(self, config: Config, image_shape: Shape, batch_norm: BatchNorm) -> keras.Model:
        """Create a discriminator: two dense layers and one to the logit."""
        return mlp.discriminator(
            image_shape, spectral_norm=config.gan.spectral_norm, seed=config.seed, num_classes=self.num_classes
        )
