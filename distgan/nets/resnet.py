"""The residual generator of CycleGAN (Zhu et al. 2017, appendix 7.2; Johnson et al. 2016)."""

from typing import Any

import keras
import tensorflow as tf

from distgan.data.base import Shape
from distgan.nets.layers import Initial, Layers, ReflectionPadding, network, network_input, reflected, relu
from distgan.nets.normalization import INSTANCE_NORM, instance_normalized

DEVIATION = 0.02  # of the initial weights
LARGE_IMAGE_PIXELS = 256


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


def suitable_blocks(height: int, width: int) -> int:
    """Return the number of residual blocks for images of a size."""
    return 9 if min(height, width) >= LARGE_IMAGE_PIXELS else 6


def resnet(
    name: str, image_shape: Shape, *, filters: int, residual_blocks: int, recompute: bool, seed: int
) -> keras.Model:
    """Return a generator from images `[batch, height, width, channels]` in [-1, 1] to images of the same shape.

    With `recompute`, the residual blocks store only their inputs for the backward pass. Height and width must be
    multiples of 4.
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
