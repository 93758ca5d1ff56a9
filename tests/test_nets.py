"""The networks and their layers."""

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from distgan.config import Config
from distgan.data.order import Draws
from distgan.gans.base import make_gan
from distgan.nets import dcgan
from distgan.nets.layers import Dropout, Initial
from distgan.nets.normalization import NO_BATCH_NORM, BatchNorm, BatchNormalization
from distgan.nets.translation import resnet
from distgan.training import precision


def _networks(image_shape: tuple[int, int, int], **settings: Any) -> dict[str, keras.Model]:
    return make_gan(Config(**settings), image_shape, list, ()).networks


def test_the_mnist_recipe_has_its_numbers_of_parameters() -> None:
    networks = _networks((28, 28, 1))
    trainable = {
        name: sum(int(np.prod(v.shape)) for v in model.trainable_variables) for name, model in networks.items()
    }
    assert trainable == {"generator": 2_305_472, "discriminator": 212_865}


@pytest.mark.parametrize("image_shape", [(28, 28, 1), (32, 32, 3), (30, 17, 3), (5, 9, 1)])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_images_of_any_size_go_through(image_shape: tuple[int, int, int], depth: int) -> None:
    networks = _networks(image_shape, depth=depth, filters=2, latent_dim=3)
    images = networks["generator"](tf.zeros([2, 3]))
    assert tuple(images.shape) == (2, *image_shape)
    assert tuple(networks["discriminator"](images).shape) == (2, 1)


@pytest.mark.parametrize("number_format", ["float32", "mixed_bfloat16", "mixed_float16", "float64"])
def test_outputs_are_at_least_float32_and_weights_start_equal_in_any_precision(number_format: str) -> None:
    with precision.policy(number_format):
        networks = _networks((28, 28, 1), filters=2)
    expected = "float64" if number_format == "float64" else "float32"
    images = networks["generator"](tf.zeros([2, 100]))
    assert images.dtype == networks["discriminator"](images).dtype == expected
    for name, model in _networks((28, 28, 1), filters=2).items():
        for ours, theirs in zip(networks[name].variables, model.variables, strict=True):
            assert np.array_equal(ours.numpy(), theirs.numpy())


def test_a_policy_is_put_back() -> None:
    before = keras.config.dtype_policy().name
    with precision.policy("float64"):
        assert keras.config.dtype_policy().name == "float64"
    assert keras.config.dtype_policy().name == before


def test_weights_depend_on_the_seed_and_differ_between_layers() -> None:
    kernels = [
        layer.kernel.numpy().tobytes()
        for seed in (0, 1)
        for layer in _networks((28, 28, 1), seed=seed, filters=2)["discriminator"].layers
        if hasattr(layer, "kernel")
    ]
    assert len(set(kernels)) == len(kernels) == 6


def test_initial_weights_are_drawn_on_the_cpu_as_a_gpu_s_differ_in_the_last_digits() -> None:
    with tf.Graph().as_default() as graph:
        Initial(keras.initializers.RandomNormal, 0, "kernel", stddev=0.02)((2, 3))
    draws = [node for node in graph.get_operations() if "Normal" in node.type]
    assert draws
    assert all("CPU:0" in node.device for node in draws)


def test_dropout_masks_are_slices_of_the_global_mask() -> None:
    layer, ones = Dropout(0.3, name="drop"), tf.ones([20, 6, 6, 3])
    whole = layer(ones, draws=Draws("pass", 1, 0, 20), training=True)
    part = layer(ones[:5], draws=Draws("pass", 1, 10, 5), training=True)
    assert np.array_equal(part, whole[10:15])
    assert not np.array_equal(layer(ones[:5], draws=Draws("other pass", 1, 10, 5), training=True), part)


def test_dropout_keeps_the_mean_and_the_rate() -> None:
    dropped = Dropout(0.3)(tf.ones([100, 1000]), draws=Draws("pass", 0, 0, 100), training=True).numpy()
    assert abs((dropped == 0).mean() - 0.3) < 0.01
    assert abs(dropped.mean() - 1) < 0.01


def test_dropout_does_nothing_outside_training() -> None:
    assert np.array_equal(Dropout(0.5)(tf.ones([3, 4])), tf.ones([3, 4]))


def test_batch_norm_is_keras_s_on_one_replica() -> None:
    inputs = tf.random.stateless_normal([16, 5, 5, 3], [1, 2]) * 3 + 1
    ours, theirs = BatchNormalization(BatchNorm("sync", list)), keras.layers.BatchNormalization()
    assert np.allclose(ours(inputs, training=True), theirs(inputs, training=True), atol=1e-5)
    for mine, other in ((ours.moving_mean, theirs.moving_mean), (ours.moving_variance, theirs.moving_variance)):
        assert np.allclose(mine.numpy(), other.numpy(), atol=1e-6)
    assert np.allclose(ours(inputs), theirs(inputs), atol=1e-5)


@pytest.mark.parametrize("number_format", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(16, 5, 5, 3), (16, 7), (1, 4, 4, 2)])
def test_batch_norm_has_keras_s_gradients(number_format: str, shape: tuple[int, ...]) -> None:
    inputs = tf.cast(tf.random.stateless_normal(shape, [1, 2]) * 3 + 1, number_format)
    random = keras.initializers.RandomNormal
    gradients = []
    for kind in (functools.partial(BatchNormalization, BatchNorm("sync", list)), keras.layers.BatchNormalization):
        layer = kind(dtype=number_format, gamma_initializer=random(seed=1), beta_initializer=random(seed=2))
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.sin(layer(inputs, training=True)))
        gradients.append(tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value]))
    for ours, theirs in zip(*gradients, strict=True):
        assert np.allclose(ours, theirs, rtol=0, atol=5e-4 if number_format == "float32" else 1e-11)


def test_local_batch_norm_normalises_by_its_share_and_does_not_communicate() -> None:
    inputs = tf.random.stateless_normal([8, 3], [1, 2])

    def refused(_: list[tf.Tensor]) -> list[tf.Tensor]:
        raise AssertionError("it communicates")

    local, alone = BatchNormalization(BatchNorm("local", refused)), BatchNormalization(BatchNorm("sync", list))
    assert np.array_equal(local(inputs, training=True), alone(inputs, training=True))
    assert np.array_equal(local.moving_variance.numpy(), alone.moving_variance.numpy())


def test_draws_reach_dropout_through_a_network() -> None:
    network = dcgan.discriminator(
        dcgan.TUTORIAL,
        (28, 28, 1),
        size=dcgan.Size(4, 3, 2, 2, 0.5),
        batch_norm=NO_BATCH_NORM,
        spectral_norm=False,
        seed=0,
    )
    images = tf.ones([4, 28, 28, 1])
    one, same, other = (network(images, training=True, draws=Draws(name, 0, 0, 4)).numpy() for name in ("a", "a", "b"))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_with_recompute_a_block_is_computed_again_in_training_only() -> None:
    def num_convolutions(training: bool, recompute: bool) -> int:
        network = resnet("generator", (32, 32, 3), filters=2, residual_blocks=1, recompute=recompute, seed=0)

        @tf.function
        def gradients(images: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(network(images, training=training))
            return tape.gradient(loss, network.trainable_variables)

        graph = gradients.get_concrete_function(tf.TensorSpec([1, 32, 32, 3])).graph
        return sum(operation.type == "Conv2D" for operation in graph.get_operations())

    once = num_convolutions(training=True, recompute=False)
    assert num_convolutions(training=True, recompute=True) == once + 2
    assert num_convolutions(training=False, recompute=True) == once
