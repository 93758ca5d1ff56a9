"""The PatchGAN discriminator of Pix2Pix and CycleGAN (Isola et al. 2017, appendix 6.1.2), with 70x70 patches."""

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Layers, leaky_relu, network, network_input
from distgan.nets.normalization import BatchNorm

DEVIATION = 0.02  # of the initial weights
STAGES = 3  # of stride 2
SMALL_IMAGE_PIXELS = 64  # below this side, one stage fewer: patches of 34x34


def patch_discriminator(
    name: str, image_shape: Shape, *, inputs: int, filters: int, batch_norm: BatchNorm, spectral_norm: bool, seed: int
) -> keras.Model:
    """Build a model of `inputs` images `[batch, height, width, channels]` to logits `[batch, rows, columns, 1]`."""
    stages = STAGES if min(image_shape[:2]) >= SMALL_IMAGE_PIXELS else STAGES - 1
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
