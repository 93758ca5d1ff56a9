"""The networks of the `dcgan` recipe, which has a setting for everything: kernel, stride, depth, channels, dropout."""

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Layers, centre_crop, dropped, leaky_relu, network, network_input, relu, scaled_down
from distgan.nets.normalization import BatchNorm

MOMENTUM = 0.9  # of batch norm


def generator(
    image_shape: Shape, *, noise_size: int, filters: int, kernel_size: int, stride: int, depth: int, dropout: float,
    batch_norm: BatchNorm, seed: int,
) -> keras.Model:  # fmt: skip
    """Noise `[batch, noise_size]` to images `[batch, height, width, channels]` in [-1, 1].

    A dense layer makes `filters * depth` channels at 1/stride^depth of the size, rounded up; each stage has `filters`
    less, and what is too much at the edges is cut off.
    """
    height, width, channels = image_shape
    base = (scaled_down(height, stride, depth), scaled_down(width, stride, depth), filters * depth)
    with Layers("generator", seed, batch_norm, momentum=MOMENTUM) as layer:
        noise = network_input((noise_size,), "noise")
        x = layer.dense(noise, "project", base[0] * base[1] * base[2])
        x = relu(layer.normalized(x, "project"), "project")
        x = dropped(keras.layers.Reshape(base, name="reshape")(x), "project", dropout)
        for stage in range(1, depth):
            name = f"grow_{stage}"
            x = layer.transposed(x, name, filters * (depth - stage), kernel_size, stride, use_bias=True)
            x = relu(layer.normalized(x, name), name)
        x = layer.transposed(x, "to_image", channels, kernel_size, stride, use_bias=True)
        return network("generator", noise, centre_crop(x, height, width), activation="tanh")


def discriminator(
    image_shape: Shape, *, filters: int, kernel_size: int, stride: int, depth: int, dropout: float,
    batch_norm: BatchNorm, spectral_norm: bool, seed: int, num_classes: int = 0,
) -> keras.Model:  # fmt: skip
    """Images `[batch, height, width, channels]` to logits `[batch, 1]` of being real; `filters` more each stage."""
    with Layers("discriminator", seed, batch_norm, momentum=MOMENTUM, spectral_norm=spectral_norm) as layer:
        images = x = network_input(image_shape, "images")
        for stage in range(1, depth + 1):
            name = f"shrink_{stage}"
            x = layer.normalized(layer.convolution(x, name, filters * stage, kernel_size, stride), name)
            x = leaky_relu(dropped(x, name, dropout), name)
        x = keras.layers.Flatten(name="flatten")(x)
        return network("discriminator", *layer.judged(x, images, num_classes))
