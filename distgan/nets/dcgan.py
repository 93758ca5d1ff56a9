"""DCGAN networks: convolutions from images to a logit, transposed convolutions from a small image to a large one."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Layers, centre_crop, dropped, leaky_relu, network, network_input, relu

Bias = Literal["yes", "no", "unless normalized"]
SMALLEST = 7  # pixels a side of the tutorial's smallest image


class Family(NamedTuple):
    """The properties in which the networks of one recipe differ from those of the others.

    growing: channels of the generator's stage 0 (the projection), 1, ..., given --generator_filters and --depth.
    shrinking: channels of the discriminator's stage 1, 2, ..., given --filters.
    default_depth: the number of stages if --depth is not given, for images of a size.
    stay: whether the generator's first stage keeps the size.
    discriminator_depth: the discriminator's number of stages; --depth if None.
    normalized_from: the first stage of the discriminator that has batch norm; None for none.
    dropout_first: whether the discriminator's dropout comes before its activation.
    """

    growing: Callable[[int, int, int], int]
    shrinking: Callable[[int, int], int]
    default_depth: Callable[[int, int], int]
    slope: float = 0.2  # of the discriminator's leaky ReLUs
    generator_slope: float = 0.0
    generator_times: int = 1  # the generator's channels before the image, as a multiple of --filters, if not given
    stay: bool = False
    discriminator_depth: int | None = None
    normalized_from: int | None = None
    normalizes_channels: bool = False  # batch norm of the projection by channel, not by value
    generator_dropout: bool = False
    dropout_first: bool = False
    bias: Bias = "yes"  # of layers; the generator's last layer has one unless this is "no"
    layers: Mapping[str, Any] = MappingProxyType({})  # further arguments of `Layers`


class Size(NamedTuple):
    """The size of a network; `filters` are the channels of the stage next to the image."""

    filters: int
    kernel_size: int
    stride: int
    depth: int
    dropout: float


def suitable_depth(height: int, width: int) -> int:
    """Return the number of stages that double an image of about 7 pixels a side to a size."""
    depth = 2
    while min(height, width) >= SMALLEST * 2 ** (depth + 1):
        depth += 1
    return depth


# The TensorFlow tutorial: no batch norm in the discriminator, which has two stages.
TUTORIAL = Family(
    growing=lambda stage, depth, filters: max(1, 4 * filters // 2**stage),
    shrinking=lambda stage, filters: filters * 2 ** (stage - 1),
    default_depth=suitable_depth,
    slope=0.3,
    generator_slope=0.3,
    stay=True,
    discriminator_depth=2,
    bias="no",
)
# Settings for everything: each stage adds the same number of channels.
LINEAR = Family(
    growing=lambda stage, depth, filters: filters * (depth - stage),
    shrinking=lambda stage, filters: filters * stage,
    default_depth=lambda height, width: 3,
    normalized_from=1,
    generator_dropout=True,
    dropout_first=True,
    layers={"momentum": 0.9},
)
# Radford et al. 2015, figure 1.
RADFORD = Family(
    growing=lambda stage, depth, filters: filters * 2 ** (depth - 1 - stage),
    shrinking=lambda stage, filters: filters * 2 ** (stage - 1),
    default_depth=lambda height, width: 4,
    generator_times=2,
    normalized_from=2,
    normalizes_channels=True,
    bias="unless normalized",
    layers={"deviation": 0.02, "momentum": 0.9, "epsilon": 1e-5},
)


def generator(family: Family, image_shape: Shape, *, latent_dim: int, size: Size, **rest: Any) -> keras.Model:
    """Return a generator from latents `[batch, latent_dim]` to images `[batch, height, width, channels]` in [-1, 1].

    A dense layer makes a small image, 1/stride^depth of the size, rounded up; excess pixels at the edges are cropped.
    With `RADFORD`, 128 filters and a depth of 4: 4x4x1024, 8x8x512, 16x16x256, 32x32x128, 64x64x3. `rest` are the
    arguments of `Layers` that the family leaves open.
    """
    height, width, channels = image_shape
    last = size.depth if family.stay else size.depth - 1
    filters = [family.growing(stage, size.depth, size.filters) for stage in range(last + 1)]
    base = (*(math.ceil(length / size.stride**size.depth) for length in (height, width)), filters[0])
    with Layers("generator", **family.layers, **rest) as layer:

        def activated(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
            x = layer.normalized(x, name)
            return leaky_relu(x, name, family.generator_slope) if family.generator_slope else relu(x, name)

        noise = network_input((latent_dim,), "noise")
        reshape = keras.layers.Reshape(base, name="reshape")
        use_bias = family.bias == "yes" or (family.bias == "unless normalized" and layer.needs_bias)
        x = layer.dense(noise, "project", math.prod(base), use_bias=use_bias)
        x = activated(reshape(x), "project") if family.normalizes_channels else reshape(activated(x, "project"))
        x = dropped(x, "project", size.dropout) if family.generator_dropout else x
        for stage in range(1, last + 1):
            name, stride = f"grow_{stage}", 1 if family.stay and stage == 1 else size.stride
            x = activated(layer.transposed(x, name, filters[stage], size.kernel_size, stride, use_bias=use_bias), name)
        x = layer.transposed(x, "to_image", channels, size.kernel_size, size.stride, use_bias=family.bias != "no")
        return network("generator", noise, centre_crop(x, height, width), activation="tanh")


def discriminator(family: Family, image_shape: Shape, *, size: Size, num_classes: int = 0, **rest: Any) -> keras.Model:
    """Return a discriminator from images `[batch, height, width, channels]` to logits `[batch, 1]`."""
    with Layers("discriminator", **family.layers, **rest) as layer:
        images = x = network_input(image_shape, "images")
        for stage in range(1, (family.discriminator_depth or size.depth) + 1):
            name, filters = f"shrink_{stage}", family.shrinking(stage, size.filters)
            is_normalized = family.normalized_from is not None and stage >= family.normalized_from
            use_bias = family.bias != "unless normalized" or not is_normalized or layer.needs_bias
            x = layer.convolution(x, name, filters, size.kernel_size, size.stride, use_bias=use_bias)
            x = layer.normalized(x, name) if is_normalized else x
            x = dropped(x, name, size.dropout) if family.dropout_first else x
            x = leaky_relu(x, name, family.slope)
            x = x if family.dropout_first else dropped(x, name, size.dropout)
        x = keras.layers.Flatten(name="flatten")(x)
        return network("discriminator", *layer.judged(x, images, num_classes))
