"""The networks that translate images: U-Net, residual generator and PatchGAN discriminator."""

import math
from typing import Any

import keras
import tensorflow as tf

from distgan.data.base import Shape
from distgan.errors import UserError
from distgan.nets.layers import Initial, Layers, dropped, leaky_relu, network, network_input, relu
from distgan.nets.normalization import INSTANCE_NORM, BatchNorm, instance_normalized

DEVIATION = 0.02  # of the initial weights
SMALLEST_PIXELS = 32
MOST_STAGES = 8  # of the U-Net, that halve the size
MOST_TIMES_FILTERS = 8
DROPPED_STAGES = 3  # first stages that double the size
PATCH_STAGES = 3  # of stride 2
SMALL_IMAGE_PIXELS = 64  # below this side, one stage fewer: patches of 34x34


def refuse_size(image_shape: Shape, multiple: int) -> None:
    """Raise `UserError` if height or width is no multiple of `multiple`, or too small for the networks."""
    height, width, _ = image_shape
    if height % multiple or width % multiple or min(height, width) < SMALLEST_PIXELS:
        raise UserError(
            f"--image_size={height}x{width} does not suit the networks: both must be multiples of {multiple}, and "
            f"{SMALLEST_PIXELS} at least."
        )


def suitable_depth(height: int, width: int) -> int:
    """Return how many times an image can be halved without a remainder, at most 8."""
    depth = 0
    while depth < MOST_STAGES and height % 2 == width % 2 == 0:
        height, width, depth = height // 2, width // 2, depth + 1
    return depth


def unet(
    image_shape: Shape, *, filters: int, depth: int, dropout: float, batch_norm: BatchNorm, seed: int
) -> keras.Model:
    """Return a U-Net from images `[batch, height, width, channels]` in [-1, 1] to images of the same shape.

    See Isola et al. 2017, appendix 6.1.1. `depth` stages halve the size, and as many double it again, with skip
    connections. Channels range from `filters` to 8 times that. Height and width must be multiples of 2^depth.
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


class ReflectionPadding(keras.layers.Layer):
    """Padding of images by their mirror image."""

    def __init__(self, pixels: int, **kwargs: Any) -> None:
        """Add `pixels` on each side."""
        super().__init__(**kwargs)
        self.pixels = pixels

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pad `[batch, height, width, channels]`."""
        return reflected(inputs, self.pixels)


def reflected(x: tf.Tensor, pixels: int) -> tf.Tensor:
    """Pad images with `pixels` of their mirror image on each side."""
    return tf.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="REFLECT")


class Residual(keras.layers.Layer):
    """A residual block: images plus the result of two 3x3 convolutions."""

    def __init__(self, initials: list[Initial], recompute: bool, **kwargs: Any) -> None:
        """Draw the kernels from `initials`; with `recompute`, store nothing between them for the backward pass."""
        super().__init__(**kwargs)
        self._initials, self._recompute = initials, recompute

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create two kernels and two biases."""
        channels = input_shape[-1]
        self._parts = []
        for number, initial in enumerate(self._initials, 1):
            kernel = self.add_weight((3, 3, channels, channels), initial, name=f"kernel_{number}")
            self._parts.append((kernel, self.add_weight((channels,), "zeros", name=f"bias_{number}")))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the images `[batch, height, width, channels]` plus the result of the convolutions."""
        # Weights are arguments, as recompute_grad does not find the variables of a strategy.
        change = tf.recompute_grad(_change) if self._recompute and training else _change
        return inputs + change(inputs, *(tf.convert_to_tensor(weight) for part in self._parts for weight in part))


def _change(x: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    for number in (0, 2):
        x = tf.nn.conv2d(reflected(x, 1), weights[number], 1, "VALID") + weights[number + 1]
        x = instance_normalized(x)
        x = x if number else tf.nn.relu(x)
    return x


def resnet(
    name: str, image_shape: Shape, *, filters: int, residual_blocks: int, recompute: bool, seed: int
) -> keras.Model:
    """Return a residual generator from images `[batch, height, width, channels]` in [-1, 1] to images of their shape.

    See Zhu et al. 2017, appendix 7.2; Johnson et al. 2016. With `recompute`, the residual blocks store only their
    inputs for the backward pass. Height and width must be multiples of 4.
    """
    with Layers(name, seed, INSTANCE_NORM, deviation=DEVIATION) as layer:
        images = network_input(image_shape, "images")
        x = ReflectionPadding(3, name="from_image_pad")(images)
        x = layer.convolution(x, "from_image", filters, 7, 1, padding="valid")
        x = relu(layer.normalized(x, "from_image"), "from_image")
        for down, width in (("down_1", 2 * filters), ("down_2", 4 * filters)):
            x = relu(layer.normalized(layer.convolution(x, down, width, 3, 2), down), down)
        for number in range(1, residual_blocks + 1):
            block = f"residual_{number}"
            x = Residual([layer.initial(f"{block}/{half}") for half in (1, 2)], recompute, name=block)(x)
        for up, width in (("up_1", 2 * filters), ("up_2", filters)):
            x = relu(layer.normalized(layer.transposed(x, up, width, 3, 2, use_bias=True), up), up)
        x = ReflectionPadding(3, name="to_image_pad")(x)
        x = layer.convolution(x, "to_image", image_shape[2], 7, 1, padding="valid")
        return network(name, images, x, activation="tanh")


def patch_discriminator(
    name: str, image_shape: Shape, *, inputs: int, filters: int, batch_norm: BatchNorm, spectral_norm: bool, seed: int
) -> keras.Model:
    """Return a PatchGAN of 70x70 patches (Isola et al. 2017, appendix 6.1.2).

    From `inputs` images `[batch, height, width, channels]` to logits `[batch, rows, columns, 1]`.
    """
    stages = PATCH_STAGES if min(image_shape[:2]) >= SMALL_IMAGE_PIXELS else PATCH_STAGES - 1
    with Layers(name, seed, batch_norm, deviation=DEVIATION, spectral_norm=spectral_norm) as layer:
        images = [network_input(image_shape, f"images_{number + 1}") for number in range(inputs)]
        x = keras.layers.Concatenate(name="together")(images) if inputs > 1 else images[0]
        for stage in range(stages + 1):
            block, width = f"shrink_{stage + 1}", filters * 2**stage
            stride, padding = (2, "same") if stage < stages else (1, "valid")
            x = x if stage < stages else keras.layers.ZeroPadding2D(name=f"{block}_pad")(x)
            x = layer.convolution(x, block, width, 4, stride, use_bias=layer.needs_bias, padding=padding)
            x = leaky_relu(layer.normalized(x, block) if stage else x, block)
        x = layer.convolution(keras.layers.ZeroPadding2D(name="logit_pad")(x), "logit", 1, 4, 1, padding="valid")
        return network(name, images, x)
