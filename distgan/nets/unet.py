"""The U-Net generator of Pix2Pix (Isola et al. 2017, appendix 6.1.1)."""

import math

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Layers, dropped, leaky_relu, network, network_input, relu
from distgan.nets.normalization import BatchNorm

DEVIATION = 0.02  # of the initial weights
MOST_STAGES = 8
MOST_TIMES_FILTERS = 8
DROPPED_STAGES = 3  # first stages that double the size


def suitable_depth(height: int, width: int) -> int:
    """Return how many times an image can be halved without a remainder, at most 8."""
    depth = 0
    while depth < MOST_STAGES and height % 2 == width % 2 == 0:
        height, width, depth = height // 2, width // 2, depth + 1
    return depth


def unet(
    image_shape: Shape, *, filters: int, depth: int, dropout: float, batch_norm: BatchNorm, seed: int
) -> keras.Model:
    """Return a generator from images `[batch, height, width, channels]` in [-1, 1] to images of the same shape.

    `depth` stages halve the size, and as many double it again, with skip connections. Channels range from `filters` to
    8 times that. Height and width must be multiples of 2^depth.
    """
    widths = [filters * min(2**stage, MOST_TIMES_FILTERS) for stage in range(depth)]
    with Layers("generator", seed, batch_norm, deviation=DEVIATION) as layer:
        images = x = network_input(image_shape, "images")
        seen = []
        for stage, width in enumerate(widths, 1):
            name = f"down_{stage}"
            x = layer.convolution(x, name, width, 4, 2, use_bias=layer.needs_bias)
            norm = layer.normalized if math.prod(x.shape[1:3]) > 1 else layer.scaled
            x = leaky_relu(x if stage == 1 else norm(x, name), name)
            seen.append(x)
        for stage in range(1, depth):
            name = f"up_{stage}"
            x = layer.transposed(x, name, widths[-1 - stage], 4, 2, use_bias=layer.needs_bias)
            x = layer.normalized(x, name)
            x = relu(dropped(x, name, dropout) if stage <= DROPPED_STAGES else x, name)
            x = keras.layers.Concatenate(name=f"{name}_beside")([x, seen[-1 - stage]])
        x = layer.transposed(x, "to_image", image_shape[2], 4, 2, use_bias=True)
        return network("generator", images, x, activation="tanh")
