"""The networks of the `mlp` recipe: dense layers on flattened images."""

import math

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Layers, leaky_relu, network, network_input
from distgan.nets.normalization import BatchNorm

GENERATOR_UNITS = (256, 512, 1024)
DISCRIMINATOR_UNITS = (512, 256)


def generator(image_shape: Shape, *, latent_dim: int, batch_norm: BatchNorm, seed: int) -> keras.Model:
    """Return a generator from latents `[batch, latent_dim]` to images `[batch, height, width, channels]` in [-1, 1].

    Batch norm, with momentum 0.8, follows the activation.
    """
    with Layers("generator", seed, batch_norm, momentum=0.8) as layer:
        noise = x = network_input((latent_dim,), "noise")
        for number, units in enumerate(GENERATOR_UNITS, 1):
            name = f"dense_{number}"
            x = layer.normalized(leaky_relu(layer.dense(x, name, units), name), name)
        x = layer.dense(x, "to_image", math.prod(image_shape))
        return network("generator", noise, keras.layers.Reshape(image_shape, name="reshape")(x), activation="tanh")


def discriminator(image_shape: Shape, *, spectral_norm: bool, seed: int, num_classes: int = 0) -> keras.Model:
    """Return a discriminator from images `[batch, height, width, channels]` to logits `[batch, 1]` of being real."""
    with Layers("discriminator", seed, spectral_norm=spectral_norm) as layer:
        images = network_input(image_shape, "images")
        x = keras.layers.Flatten(name="flatten")(images)
        for number, units in enumerate(DISCRIMINATOR_UNITS, 1):
            name = f"dense_{number}"
            x = leaky_relu(layer.dense(x, name, units), name)
        return network("discriminator", *layer.judged(x, images, num_classes))
