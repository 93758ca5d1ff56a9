"""Residual networks without normalisation, after R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!").

Each stage works at twice the size of the one below it, and is a chain of residual blocks; the shorter side of the first
one's images has 4 pixels or a few more. The initial values are those of fix-up (Zhang et al. 2019): each block begins
as the identity. A step has one all-reduce, as no layer communicates.
"""

import functools
import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from distgan.data.base import Shape
from distgan.nets.convolutions import Convolution
from distgan.nets.layers import Initial, Layers, centre_crop, leaky_relu, network, network_input

SMALLEST = 4  # pixels, at least, of the first stage's shorter side
MOST_TIMES = 8  # the most channels of a stage, as a multiple of `filters`
EXPANSION = 2  # channels inside of a block, as a multiple of those outside
LAYERS_IN_BLOCK = 3
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # that keeps the variance through a leaky ReLU (He et al. 2015, eq. 15)


class Size(NamedTuple):
    """The size of a network: channels next to the image, blocks of a stage, and channels of a convolution's group."""

    filters: int
    blocks: int
    group_channels: int


class GroupedConvolution(Convolution):
    """A convolution whose filters see only the channels of their group (Xie et al. 2017).

    TensorFlow 2.21 has no gradient of it on CPUs: there, each group is a convolution of its own.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Return the convolution, without bias and activation."""
        if self.groups == 1 or tf.config.list_logical_devices("GPU"):
            return super().convolution_op(inputs, kernel)
        parts = zip(tf.split(inputs, self.groups, 3), tf.split(kernel, self.groups, 3), strict=True)
        return tf.concat(
            [tf.nn.conv2d(part, weights, self.strides, self.padding.upper()) for part, weights in parts], 3
        )


class Doubled(keras.layers.Layer):
    """Images at twice the size, by linear interpolation between the middles of pixels."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Enlarge `[batch, height, width, channels]`."""
        return doubled(images)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the enlarged images."""
        batch, height, width, channels = shape
        return (batch, height and 2 * height, width and 2 * width, channels)


def doubled(images: Any) -> Any:
    """Return the result of `Doubled`, by operations of Keras; Keras's `UpSampling2D` rounds to float32."""
    for axis in (1, 2):
        length = images.shape[axis]
        first, rest = keras.ops.split(images, [1], axis)
        most, last = keras.ops.split(images, [length - 1], axis)
        before, after = keras.ops.concatenate([first, most], axis), keras.ops.concatenate([rest, last], axis)
        pairs = keras.ops.stack([0.75 * images + 0.25 * before, 0.75 * images + 0.25 * after], axis + 1)
        images = keras.ops.reshape(pairs, (-1, *images.shape[1:axis], 2 * length, *images.shape[axis + 1 :]))
    return images


class Clipped(keras.layers.Layer):
    """Images clipped to [-1, 1], but not in training, where the gradient has to reach what is beyond."""

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Clip images of any shape."""
        return images if training else tf.clip_by_value(images, -1.0, 1.0)


class _Stages(NamedTuple):
    """The stages of a network, smallest first: the first one's (height, width), and the channels of each."""

    base: tuple[int, int]
    widths: list[int]

    @classmethod
    def of(cls, image_shape: Shape, filters: int) -> "_Stages":
        height, width, _ = image_shape
        doublings = max(0, int(math.log2(min(height, width) / SMALLEST)))
        widths = [filters * min(2**left, MOST_TIMES) for left in range(doublings, -1, -1)]
        return cls((math.ceil(height / 2**doublings), math.ceil(width / 2**doublings)), widths)


class _Blocks:
    """Adds the layers of one network, whose initial values depend on the number of its blocks."""

    def __init__(self, layers: Layers, size: Size, stages: _Stages) -> None:
        self._layers, self._size = layers, size
        self._gain = GAIN * (len(stages.widths) * size.blocks) ** (-1 / (2 * LAYERS_IN_BLOCK - 2))

    def chain(self, x: Any, stage: int) -> Any:
        """Apply the blocks of a stage."""
        for number in range(self._size.blocks):
            x = self._block(x, f"block_{stage}_{number}")
        return x

    def _block(self, x: Any, name: str) -> Any:
        width, inside = x.shape[-1], EXPANSION * x.shape[-1]
        groups = max(1, inside // self._size.group_channels)
        y = leaky_relu(self.convolution(x, f"{name}_in", inside, 1, self._gain), f"{name}_in", SLOPE)
        y = self.convolution(y, f"{name}_middle", inside, 3, self._gain, groups=groups if inside % groups == 0 else 1)
        y = leaky_relu(y, f"{name}_middle", SLOPE)
        y = self.convolution(y, f"{name}_out", width, 1, 0.0, use_bias=False)
        return keras.layers.Add(name=f"{name}_sum")([x, y])

    def changed(self, x: Any, name: str, width: int) -> Any:
        """Apply a convolution of single pixels to so many channels, if `x` has another number."""
        return x if x.shape[-1] == width else self.convolution(x, name, width, 1, 1.0, use_bias=False)

    def convolution(self, x: Any, name: str, filters: int, kernel: int, gain: float, **settings: Any) -> Any:
        """Apply a convolution that multiplies the deviation by `gain`; of a gain of 0, all weights are zero."""
        initial = keras.initializers.Zeros() if not gain else self.initial(name, gain)
        layer = GroupedConvolution(filters, kernel, padding="same", kernel_initializer=initial, name=name, **settings)
        return layer(x)

    def initial(self, name: str, gain: float) -> Initial:
        """Return an initializer of weights that multiply the deviation by `gain`."""
        name = f"{self._layers.network_name}/{name}"
        scaled = functools.partial(keras.initializers.VarianceScaling, distribution="untruncated_normal")
        return Initial(scaled, self._layers.seed, name, scale=gain**2, mode="fan_in")


def generator(image_shape: Shape, *, latent_dim: int, size: Size, seed: int) -> keras.Model:
    """Return a generator from latents `[batch, latent_dim]` to images `[batch, height, width, channels]`.

    The first image is a learnt one, whose channels are scaled by a linear function of the latents. The images are in
    [-1, 1], but not in training.
    """
    stages = _Stages.of(image_shape, size.filters)
    with Layers("generator", seed) as layer:
        blocks = _Blocks(layer, size, stages)
        latents = network_input((latent_dim,), "noise")
        scale = {"use_bias": False, "kernel_initializer": blocks.initial("project", 1.0), "name": "project"}
        x = keras.layers.Dense(stages.widths[0], **scale)(latents)
        basis = Initial(keras.initializers.RandomNormal, seed, "generator/basis", stddev=1.0)
        shape = (*stages.base, stages.widths[0])
        x = keras.layers.EinsumDense("bc,hwc->bhwc", shape, kernel_initializer=basis, name="basis")(x)
        x = blocks.chain(x, 0)
        for stage, filters in enumerate(stages.widths[1:], 1):
            x = blocks.chain(Doubled(name=f"grow_{stage}")(blocks.changed(x, f"change_{stage}", filters)), stage)
        x = centre_crop(blocks.convolution(x, "to_image", image_shape[2], 1, 1.0), *image_shape[:2])
        return network("generator", latents, Clipped(name="clipped")(x))


def discriminator(image_shape: Shape, *, size: Size, seed: int, num_classes: int = 0) -> keras.Model:
    """Return a discriminator from images `[batch, height, width, channels]` to logits `[batch, 1]`."""
    stages = _Stages.of(image_shape, size.filters)
    with Layers("discriminator", seed) as layer:
        blocks = _Blocks(layer, size, stages)
        images = network_input(image_shape, "images")
        x = blocks.changed(images, "from_image", stages.widths[-1])
        for stage in range(len(stages.widths) - 1, 0, -1):
            x = keras.layers.AveragePooling2D(2, padding="same", name=f"shrink_{stage}")(blocks.chain(x, stage))
            x = blocks.changed(x, f"change_{stage}", stages.widths[stage - 1])
        x = blocks.chain(x, 0)
        basis = Initial(
            keras.initializers.RandomNormal, seed, "discriminator/basis", stddev=math.prod(x.shape[1:3]) ** -0.5
        )
        x = keras.layers.EinsumDense("bhwc,hwc->bc", x.shape[-1], kernel_initializer=basis, name="basis")(x)
        inputs, logits = layer.judged(x, images, num_classes)
        return network("discriminator", inputs, logits)
