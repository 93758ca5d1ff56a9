"""The networks of the `mnist` recipe: the TensorFlow DCGAN tutorial's, for images of any size."""

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Layers, centre_crop, dropped, leaky_relu, network, network_input, scaled_down
from distgan.nets.normalization import BatchNorm

LEAK = 0.3  # negative slope of the leaky ReLUs
SMALLEST = 7  # pixels that images grow from


def suitable_depth(height: int, width: int) -> int:
    """How many times images of a size are doubled, from 7 pixels or so."""
    depth = 2
    while min(height, width) >= SMALLEST * 2 ** (depth + 1):
        depth += 1
    return depth


def generator(
    image_shape: Shape, *, noise_size: int, filters: int, kernel_size: int, depth: int, batch_norm: BatchNorm, seed: int
) -> keras.Model:
    """Noise `[batch, noise_size]` to images `[batch, height, width, channels]` in [-1, 1].

    A dense layer makes `4 * filters` channels at 1/2^depth of the size; transposed convolutions halve the channels
    and, after the first, double the size: 7x7x256, 7x7x128, 14x14x64, 28x28x1 for MNIST.
    """
    height, width, channels = image_shape
    base = (scaled_down(height, 2, depth), scaled_down(width, 2, depth), 4 * filters)
    with Layers("generator", seed, batch_norm) as layer:
        noise = network_input((noise_size,), "noise")
        x = layer.dense(noise, "project", base[0] * base[1] * base[2], use_bias=False)
        x = leaky_relu(layer.normalized(x, "project"), "project", LEAK)
        x = keras.layers.Reshape(base, name="reshape")(x)
        for stage in range(depth):
            name, stride = f"grow_{stage + 1}", 1 if stage == 0 else 2
            x = layer.transposed(x, name, max(1, base[2] // 2 ** (stage + 1)), kernel_size, stride)
            x = leaky_relu(layer.normalized(x, name), name, LEAK)
        x = centre_crop(layer.transposed(x, "to_image", channels, kernel_size, 2), height, width)
        return network("generator", noise, x, activation="tanh")


def discriminator(
    image_shape: Shape, *, filters: int, kernel_size: int, dropout: float, spectral_norm: bool, seed: int,
    num_classes: int = 0,
) -> keras.Model:  # fmt: skip
    """Images `[batch, height, width, channels]` to logits `[batch, 1]` of being real, by two convolutions."""
    with Layers("discriminator", seed, spectral_norm=spectral_norm) as layer:
        images = x = network_input(image_shape, "images")
        for stage in range(2):
            name = f"shrink_{stage + 1}"
            x = layer.convolution(x, name, filters * 2**stage, kernel_size, 2)
            x = dropped(leaky_relu(x, name, LEAK), name, dropout)
        x = keras.layers.Flatten(name="flatten")(x)
        return network("discriminator", *layer.judged(x, images, num_classes))
