"""The networks of the `dcgan64` and `faces` recipes: Radford et al. 2015, figure 1, for images of any size."""

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Layers, centre_crop, leaky_relu, network, network_input, relu, scaled_down
from distgan.nets.normalization import BatchNorm

DEVIATION = 0.02  # of the initial weights
MOMENTUM, EPSILON = 0.9, 1e-5  # of batch norm


def generator(
    image_shape: Shape, *, noise_size: int, filters: int, kernel_size: int, depth: int, batch_norm: BatchNorm, seed: int
) -> keras.Model:
    """Noise `[batch, noise_size]` to images `[batch, height, width, channels]` in [-1, 1].

    Each stage doubles the size; the last one before the image has `filters` channels, each before it twice as many:
    4x4x1024, 8x8x512, 16x16x256, 32x32x128, 64x64x3 with 128.
    """
    height, width, channels = image_shape
    base = (scaled_down(height, 2, depth), scaled_down(width, 2, depth), filters * 2 ** (depth - 1))
    with Layers("generator", seed, batch_norm, deviation=DEVIATION, momentum=MOMENTUM, epsilon=EPSILON) as layer:
        noise = network_input((noise_size,), "noise")
        x = layer.dense(noise, "project", base[0] * base[1] * base[2], use_bias=layer.needs_bias)
        x = keras.layers.Reshape(base, name="reshape")(x)
        x = relu(layer.normalized(x, "project"), "project")
        for stage in range(1, depth):
            name = f"grow_{stage}"
            x = layer.transposed(x, name, base[2] // 2**stage, kernel_size, 2, use_bias=layer.needs_bias)
            x = relu(layer.normalized(x, name), name)
        x = layer.transposed(x, "to_image", channels, kernel_size, 2, use_bias=True)
        return network("generator", noise, centre_crop(x, height, width), activation="tanh")


def discriminator(
    image_shape: Shape, *, filters: int, kernel_size: int, depth: int, batch_norm: BatchNorm, spectral_norm: bool,
    seed: int, num_classes: int = 0,
) -> keras.Model:  # fmt: skip
    """Images `[batch, height, width, channels]` to logits `[batch, 1]` of being real; no norm on the first stage."""
    with Layers(
        "discriminator", seed, batch_norm, deviation=DEVIATION, momentum=MOMENTUM, epsilon=EPSILON,
        spectral_norm=spectral_norm,
    ) as layer:  # fmt: skip
        images = x = network_input(image_shape, "images")
        for stage in range(depth):
            name = f"shrink_{stage + 1}"
            x = layer.convolution(x, name, filters * 2**stage, kernel_size, 2, use_bias=not stage or layer.needs_bias)
            x = leaky_relu(layer.normalized(x, name) if stage else x, name)
        x = keras.layers.Flatten(name="flatten")(x)
        return network("discriminator", *layer.judged(x, images, num_classes))
