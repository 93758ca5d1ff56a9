"""Spectral norm against numpy's singular values."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_runs
import tensorflow as tf

from distgan.config import Config
from distgan.gans.base import GAN, make_gan
from distgan.nets.layers import Layers, network, network_input
from distgan.nets.spectral import SpectralNorm, iterate
from distgan.training import precision

PRESETS = {
    "mnist": {"filters": 4}, "mlp": {}, "dcgan": {"filters": 4}, "dcgan64": {"filters": 4, "generator_filters": 4},
    "pix2pix": {"filters": 4}, "cyclegan": {"filters": 4},
}  # fmt: skip


def _gan(preset: str, **settings: Any) -> GAN:
    config = Config(preset=preset, data="mnist", spectral_norm=True, **PRESETS[preset] | settings)
    return make_gan(config, (32, 32, 3), list, ())


def _largest_singular_value(kernel: Any) -> float:
    return float(np.linalg.svd(np.reshape(kernel, [-1, kernel.shape[-1]]), compute_uv=False)[0])


@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=pytest.mark.slow) if name == "cyclegan" else name for name in PRESETS]
)
def test_every_weight_of_a_discriminator_comes_to_a_largest_singular_value_of_1(preset: str) -> None:
    gan = _gan(preset)
    for _ in range(200):
        gan.prepare(("generator", "discriminator"))
    for name, net in gan.networks.items():
        weighted = [layer for layer in net.layers if hasattr(layer, "kernel")]
        assert weighted
        for layer in weighted:
            assert isinstance(layer, SpectralNorm) == name.startswith("discriminator")
            if isinstance(layer, SpectralNorm):
                assert _largest_singular_value(layer.kernel.numpy()) == pytest.approx(1, abs=0.01)


def _dense(number_format: str = "float64") -> tuple[keras.Model, SpectralNorm]:
    with precision.policy(number_format), Layers("net", 0, spectral_norm=True) as layer:
        inputs = network_input((5,), "inputs")
        net = network("net", inputs, layer.dense(inputs, "dense", 3))
    return net, net.get_layer("dense")


def test_one_round_is_the_paper_s_power_iteration() -> None:
    net, layer = _dense()
    matrix, u = layer._kernel.numpy().T, layer.direction.numpy()  # outputs x inputs
    assert np.linalg.norm(u) == pytest.approx(1)
    v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
    expected = matrix @ v / np.linalg.norm(matrix @ v)
    iterate(net, list)
    assert np.allclose(layer.direction.numpy(), expected, rtol=1e-12)
    sigma = np.linalg.norm(matrix.T @ expected)
    images = np.random.default_rng(0).normal(size=(2, 5))
    assert np.allclose(net(images), images @ matrix.T / sigma, rtol=1e-12)


def test_weights_learn_through_sigma_as_in_the_paper() -> None:
    """Equation 12: (E[delta h^T] - lambda u v^T) / sigma."""
    net, layer = _dense()
    images = np.random.default_rng(0).normal(size=(2, 5))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(images) ** 2) / 2
    gradient = tape.gradient(loss, layer._kernel.value).numpy().T
    matrix, u = layer._kernel.numpy().T, layer.direction.numpy()
    sigma = np.linalg.norm(matrix.T @ u)
    v, outputs = matrix.T @ u / sigma, images @ matrix.T / sigma
    through_outputs = outputs.T @ images
    expected = (through_outputs - np.sum(through_outputs * matrix / sigma) * np.outer(u, v)) / sigma
    assert np.allclose(gradient, expected, rtol=1e-10)


def test_sigma_is_exact_in_mixed_precision() -> None:
    net, layer = _dense("mixed_bfloat16")
    iterate(net, list)
    with tf.GradientTape():
        assert layer.kernel.dtype == tf.bfloat16
    sigma = np.linalg.norm(layer._kernel.numpy() @ layer.direction.numpy())
    assert np.array_equal(layer.kernel, tf.cast(layer._kernel.numpy() / np.float32(sigma), tf.bfloat16))


def test_replicas_take_the_mean_of_their_directions() -> None:
    net, layer = _dense()
    ours = layer.next_direction().numpy()
    iterate(net, lambda tensors: [tensors[0] + 0.5, tensors[1] + 1])  # of two, the other one's being 0.5
    assert np.allclose(layer.direction.numpy(), (ours + 0.5) / 2)


@pytest.mark.slow
def test_a_run_that_goes_on_finds_its_directions_again(tmp_path: Path) -> None:
    settings = {"spectral_norm": True, "loss": "hinge", "checkpoint_every": "1steps"}
    small_runs.train(tmp_path / "whole", steps=4, **settings)
    small_runs.train(tmp_path / "parts", steps=2, **settings)
    small_runs.train(tmp_path / "parts", steps=4, **settings)
    assert small_runs.digest(tmp_path / "whole", 4) == small_runs.digest(tmp_path / "parts", 4)
    one, other = (small_runs.state(tmp_path / "whole", step)["discriminator/shrink_2/direction"] for step in (2, 4))
    assert not np.array_equal(one, other)


@pytest.mark.slow
def test_a_direction_moves_once_an_update_compiled_too(tmp_path: Path) -> None:
    settings = {"spectral_norm": True, "precision": "float64", "normalization": "none", "steps": 3}
    small_runs.train(tmp_path / "plain", **settings)
    small_runs.train(tmp_path / "compiled", **settings, jit_compile=True)
    plain, compiled = (small_runs.state(tmp_path / name, 3) for name in ("plain", "compiled"))
    assert max(np.abs(plain[name] - compiled[name]).max() for name in plain) < 1e-8
