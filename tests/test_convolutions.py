"""Convolutions by other means are the same convolutions."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from distgan.config import Config
from distgan.gans.base import make_gan
from distgan.nets import convolutions
from distgan.nets.convolutions import Convolution, TransposedConvolution
from distgan.training import precision

LAYERS = (Convolution, TransposedConvolution)


def _results(make: Callable[..., keras.Layer], way: str, images: tf.Tensor) -> list[np.ndarray]:
    """A layer's outputs, and the gradients of their weighted sum by the images and the variables."""
    with convolutions.way(way):
        layer = make(
            padding="same", dtype=images.dtype.name, kernel_initializer=_normal, bias_initializer=_normal,
        )  # fmt: skip
    layer.build(images.shape)

    @tf.function
    def compute(images: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images)
            weights = tf.sin(tf.cast(tf.range(tf.size(outputs)), outputs.dtype))
            loss = tf.reduce_sum(weights * tf.reshape(outputs, [-1]))
        return [outputs, *tape.gradient(loss, [images, layer.kernel.value, layer.bias.value])]

    return [part.numpy() for part in compute(images)]


def _normal(shape: tuple[int, ...], dtype: str = "float64") -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=shape), dtype)


@pytest.mark.parametrize("worth_it", [0.0, 1e9], ids=["by phases", "by Fourier transforms"])
@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize("kernel_size", [2, 5, (3, 4)])
@pytest.mark.parametrize("filters", [3, pytest.param(6, marks=pytest.mark.slow)])
def test_outputs_and_gradients_are_those_of_keras(
    monkeypatch: pytest.MonkeyPatch, worth_it: float, layer_class: type, kernel_size: object, filters: int
) -> None:
    monkeypatch.setattr(convolutions, "_WORTH_IT", worth_it)
    for shape, stride in itertools.product([(4, 6, 1), (9, 6, 6)], [1, 2, 3]):
        images = _normal((3, *shape))
        make = functools.partial(layer_class, filters, kernel_size, stride)
        ours, theirs = (_results(make, way, images) for way in convolutions.WAYS)
        for our, their in zip(ours, theirs, strict=True):
            assert our.shape == their.shape
            np.testing.assert_allclose(our, their, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layer_class", LAYERS)
def test_in_float32_the_fourier_transform_is_as_exact_as_the_sum(
    monkeypatch: pytest.MonkeyPatch, layer_class: type
) -> None:
    monkeypatch.setattr(convolutions, "_WORTH_IT", 1e9)
    images = _normal((8, 8, 8, 64))
    make = functools.partial(layer_class, 5, 5, 2)
    exact = _results(make, "direct", images)
    errors = {
        way: [np.std(part - right) / np.std(right) for part, right in zip(
            _results(make, way, tf.cast(images, tf.float32)), exact, strict=True)]
        for way in convolutions.WAYS
    }  # fmt: skip
    assert max(errors["auto"]) < 2e-6 > max(errors["direct"])


def _kinds_of_products(way: str, **settings: Any) -> set[str]:
    """The operations that a `mnist` generator is made of, for a batch of 64."""
    with precision.policy(str(settings.get("precision", "float32"))), convolutions.way(way):
        generator = make_gan(Config(**settings), (28, 28, 1), list, ()).networks["generator"]
    graph = tf.function(generator).get_concrete_function(tf.TensorSpec([64, 100])).graph
    return {operation.type for operation in graph.get_operations()} & {"BatchMatMulV2", "Conv2DBackpropInput", "Conv2D"}


def test_the_recipe_takes_the_fast_way_where_there_is_one() -> None:
    assert _kinds_of_products("auto") == {"BatchMatMulV2", "Conv2D"}
    assert _kinds_of_products("direct") == {"Conv2DBackpropInput"}
    assert _kinds_of_products("auto", precision="mixed_bfloat16") == {"Conv2DBackpropInput"}


def test_the_way_is_put_back() -> None:
    with pytest.raises(ValueError), convolutions.way("direct"):
        raise ValueError
    assert convolutions._way == "auto"
