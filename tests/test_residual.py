"""The residual networks: their layers, their first values and their sizes."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from distgan.config import Config
from distgan.errors import UserError
from distgan.nets import residual
from distgan.nets.residual import Doubled, GroupedConvolution, Size
from distgan.nets.stock import stock

SIZE = Size(filters=4, blocks=2, group_channels=4)
RNG = np.random.default_rng(0)


def _parts(**settings: Any) -> tuple[keras.Model, keras.Model]:
    shape = settings.pop("shape", (16, 16, 3))
    return (
        residual.generator(shape, latent_dim=5, size=SIZE, seed=1),
        residual.discriminator(shape, size=SIZE, seed=1, **settings),
    )


def test_images_are_doubled_as_tensorflow_does() -> None:
    images = tf.constant(RNG.normal(size=(2, 3, 5, 4)), tf.float32)
    assert np.allclose(Doubled()(images), tf.image.resize(images, (6, 10), "bilinear"), atol=1e-6)


def test_groups_are_those_of_one_convolution_whose_other_weights_are_zero() -> None:
    images, (kernel, bias) = tf.constant(RNG.normal(size=(2, 5, 5, 6))), (RNG.normal(size=(3, 3, 2, 9)), np.ones(9))
    grouped = GroupedConvolution(9, 3, padding="same", groups=3, dtype="float64")
    whole = keras.layers.Conv2D(9, 3, padding="same", dtype="float64")
    wide = np.zeros((3, 3, 6, 9))
    for group in range(3):
        wide[:, :, 2 * group : 2 * group + 2, 3 * group : 3 * group + 3] = kernel[..., 3 * group : 3 * group + 3]
    results = []
    for layer, weights in ((grouped, kernel), (whole, wide)):
        layer.build(images.shape)
        layer.set_weights([weights, bias])
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images)
            total = tf.reduce_sum(outputs**3)
        results.append([outputs, tape.gradient(total, images)])
    for ours, theirs in zip(*results, strict=True):
        assert np.allclose(ours, theirs, rtol=1e-12)


def test_every_block_begins_as_the_identity_and_keeps_the_variance_in_it() -> None:
    generator, _ = _parts()
    block = [layer for layer in generator.layers if layer.name.startswith("block_0_0")]
    inputs = tf.constant(RNG.normal(size=(64, 4, 4, 16)), tf.float32)
    named = {layer.name: layer for layer in block}
    assert not named["block_0_0_out"].get_weights()[0].any()
    inside = named["block_0_0_in_activation"](named["block_0_0_in"](inputs))
    num_blocks = 3 * SIZE.blocks
    assert float(tf.sqrt(tf.reduce_mean(inside**2))) == pytest.approx(num_blocks**-0.25, rel=0.1)


@pytest.mark.parametrize(("shape", "num_classes"), [((28, 20, 1), 3), ((8, 12, 3), 0), ((5, 5, 1), 0)])
def test_images_of_any_size_come_and_go(shape: tuple[int, int, int], num_classes: int) -> None:
    generator, discriminator = _parts(shape=shape, num_classes=num_classes)
    images = generator(tf.zeros([2, 5]))
    assert images.shape == (2, *shape)
    classes = [tf.one_hot([0, 1], num_classes)] if num_classes else []
    assert discriminator([images, *classes] if classes else images).shape == (2, 1)
    side = min(shape[:2]) / 2 ** int(math.log2(min(shape[:2]) / residual.SMALLEST))
    assert min(generator.get_layer("basis").output.shape[1:3]) == math.ceil(side)


def test_images_are_clipped_but_not_in_training() -> None:
    generator, _ = _parts()
    generator.get_layer("to_image").set_weights([np.zeros((1, 1, 4, 3)), np.array([3.0, -3.0, 0.5])])
    for training, expected in ((False, [1.0, -1.0, 0.5]), (True, [3.0, -3.0, 0.5])):
        assert np.allclose(generator(tf.ones([1, 5]), training=training)[0, 0, 0], expected)


def test_the_networks_are_rebuilt_from_keras_s_layers() -> None:
    generator, discriminator = _parts(shape=(12, 12, 1))
    for network in (generator, discriminator):
        network.set_weights([RNG.normal(scale=0.3, size=weights.shape) for weights in network.get_weights()])
    latents = tf.constant(RNG.normal(size=(3, 5)), tf.float32)
    images = generator(latents)
    assert np.allclose(stock(generator)(latents), images, atol=1e-4)
    assert np.allclose(stock(discriminator)(images), discriminator(images), atol=1e-3)


def test_spectral_norm_and_batch_norm_are_refused() -> None:
    with pytest.raises(UserError, match="--spectral_norm is not used by --architecture=residual: remove it"):
        Config(architecture="residual", spectral_norm=True)
    with pytest.raises(UserError, match="--normalization is not used by --architecture=residual"):
        Config(architecture="residual", normalization="sync")
