"""The classifier that reads the digits of generated images."""

from pathlib import Path

import keras
import numpy as np
import pytest

from distgan.data.arrays import LabelledImages, open_mnist
from distgan.errors import UserError
from distgan.metrics import digits
from distgan.nets.classifier import classifier
from distgan.training import precision

COLOURED = 2000  # enough to tell 99 %: another digit changes it by 0.05 %


@pytest.fixture(scope="module")
def mnist() -> LabelledImages:
    return open_mnist("test")


@pytest.fixture(scope="module")
def images(mnist: LabelledImages) -> np.ndarray:
    return (mnist.pixels / np.float32(127.5) - 1).astype(np.float32)


def _padded(images: np.ndarray) -> np.ndarray:
    return np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=-1)


def _coloured(images: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Each image in a colour of its own, whose brightest channel is `least` to 1 of white."""
    colours = np.random.default_rng(0).uniform(0, 1, [len(images), 1, 1, 3]).astype(np.float32)
    brightest = np.random.default_rng(1).uniform(least, 1, [len(images), 1, 1, 1]).astype(np.float32)
    return (images + 1) * colours / colours.max(3, keepdims=True) * brightest - 1


@pytest.mark.slow
def test_it_reads_the_test_digits(images: np.ndarray, mnist: LabelledImages) -> None:
    read = digits.read_digits(images)
    assert read.dtype == np.int64
    assert (read == mnist.labels).mean() >= 0.993


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2, 4])
def test_it_reads_coloured_and_padded_digits_of_several_sizes(
    times: int, images: np.ndarray, mnist: LabelledImages
) -> None:
    assert mnist.labels is not None
    coloured = _coloured(_padded(images[:COLOURED]), least=0.3).repeat(times, 1).repeat(times, 2)
    assert (digits.read_digits(coloured) == mnist.labels[:COLOURED]).mean() >= 0.99


def test_size_and_colour_change_nothing_of_a_bright_digit(images: np.ndarray) -> None:
    few = images[:20]
    for same in (_padded(few), _padded(few).repeat(2, 1).repeat(2, 2), few.repeat(3, 3), _coloured(few, least=0.6)):
        assert np.allclose(digits.prepare(same), digits.prepare(few), atol=1e-5)


def test_black_stays_black_and_dark_stays_dark() -> None:
    black, dark = np.full([1, 28, 28, 1], -1, np.float32), np.full([1, 28, 28, 1], -0.1, np.float32)
    assert np.array_equal(digits.prepare(black), black)
    assert np.allclose(digits.prepare(dark), dark)


def test_batches_make_no_difference(images: np.ndarray) -> None:
    whole = digits.read_digits(images[: digits.BATCH_SIZE + 3])
    assert whole.shape == (digits.BATCH_SIZE + 3,)
    assert np.array_equal(whole[-3:], digits.read_digits(images[digits.BATCH_SIZE : digits.BATCH_SIZE + 3]))


def test_features_are_64_of_which_the_logits_are_linear(images: np.ndarray) -> None:
    features, logits = (output.numpy() for output in digits.outputs(images[:5]))
    assert features.shape == (5, 64)
    assert features.dtype == np.float32
    kernel, bias = digits.load().get_layer("logits").get_weights()
    assert np.allclose(features @ kernel + bias, logits, atol=1e-4)


@pytest.mark.parametrize(
    "shape", [(2, 30, 30, 1), (2, 28, 32, 1), (2, 28, 28, 2), (2, 48, 48, 3), (2, 0, 0, 1), (28, 28, 1)]
)
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        digits.read_digits(np.zeros(shape, np.float32))


def test_every_weight_is_loaded() -> None:
    with np.load(digits.WEIGHTS, allow_pickle=False) as stored:
        weights = dict(stored)
    loaded = {variable.path: variable.numpy() for variable in digits.load().weights}
    assert set(loaded) == set(weights)
    assert all(np.array_equal(loaded[path], weights[path]) for path in weights)


def test_the_weights_are_small() -> None:
    assert digits.WEIGHTS.stat().st_size < 1_000_000


def test_damaged_or_missing_weights_are_refused(tmp_path: Path) -> None:
    content = bytearray(digits.WEIGHTS.read_bytes())
    content[1000] ^= 1
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(content)
    for path, fault in ((damaged, "is damaged"), (tmp_path / "missing.npz", "cannot be read")):
        with pytest.raises(UserError, match=rf"{path.name} .*{fault}.*: reinstall distgan\.$"):
            digits.load(path)


@pytest.mark.parametrize("number_format", ["mixed_bfloat16", "float64"])
def test_the_classifier_is_float32_in_any_precision(number_format: str) -> None:
    with precision.policy(number_format):
        model = classifier((28, 28, 1), 10, seed=0)
    assert {variable.dtype for variable in model.weights} == {"float32"}
    assert keras.ops.dtype(model(np.zeros([1, 28, 28, 1], np.float32))) == "float32"


def test_its_weights_start_by_the_seed() -> None:
    one, same, other = (classifier((28, 28, 1), 10, seed).get_layer("features").kernel.numpy() for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
