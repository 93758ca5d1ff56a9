"""The PatchGAN discriminator of Pix2Pix and CycleGAN (Isola et al. 2017, appendix 6.1.2), with 70x70 patches."""

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Layers, leaky_relu, network, network_input
from distgan.nets.normalization import BatchNorm

DEVIATION = 0.02  # of the initial weights
MOST_TIMES_FILTERS = 8
STAGES = 3  # of stride 2
SMALL_IMAGE_PIXELS = 64  # below this side, one stage fewer: patches of 34x34


def patch_discriminator(
    name: str,
    image_shape: Shape,
    *,
    num_images: int,
    filters: int,
    batch_norm: BatchNorm,
    spectral_norm: bool,
    seed: int,
) -> keras.Model:
    """Build a model of `num_images` images `[batch, height, width, channels]` to logits `[batch, rows, columns, 1]`."""
    stages = STAGES if min(image_shape[:2]) >= SMALL_IMAGE_PIXELS else STAGES - 1
    with Layers(name, seed, batch_norm, deviation=DEVIATION, spectral_norm=spectral_norm) as layer:
        images = [network_input(image_shape, f"images_{number + 1}") for number in range(num_images)]
        x = keras.layers.Concatenate(name="together")(images) if num_images > 1 else images[0]
        for stage in range(stages + 1):
            layer_name, last = f"shrink_{stage + 1}", stage == stages
            if last:
                x = keras.layers.ZeroPadding2D(name=f"{layer_name}_pad")(x)
            x = layer.convolution(
                x,
                layer_name,
                filters * min(2**stage, MOST_TIMES_FILTERS),
                4,
                1 if last else 2,
                use_bias=layer.needs_bias,
                padding="valid" if last else "same",
            )
            x = leaky_relu(layer.normalized(x, layer_name) if stage else x, layer_name)
        x = layer.convolution(keras.layers.ZeroPadding2D(name="logit_pad")(x), "logit", 1, 4, 1, padding="valid")
        return network(name, images, x)
