"""The tasks that are made of MNIST."""

import numpy as np
import pytest

from distgan.data import derived
from distgan.data.arrays import open_mnist
from distgan.data.base import Wanted
from distgan.data.sources import open_source
from distgan.errors import UserError


def test_an_edge_pair_is_an_outline_and_the_digit_in_the_colour_of_its_class() -> None:
    source = open_source("mnist-edges", "test", Wanted())
    assert source.streams == {"pairs": 10_000}
    assert (source.image_shape, source.example_shape) == ((32, 32, 3), (32, 32, 6))
    outlines, digits = np.split(source.read("pairs", np.arange(200)), 2, axis=3)
    mnist = open_mnist("test")
    assert mnist.labels is not None
    labels, pixels = mnist.labels[:200], mnist.pixels[:200]
    assert set(np.unique(outlines)) == {0, 255}
    assert 0 < (outlines > 0).sum() < (digits.max(3) > 127).sum() * 3  # white in three channels, and part of the digit
    assert np.array_equal(digits.max(3)[:, 2:30, 2:30], pixels[..., 0])  # the brightest channel is the digit
    peaks = digits.reshape(200, -1, 3).max(1) / 255
    nearest = np.abs(peaks[:, None] - derived.CLASS_COLOURS).sum(2).argmin(1)
    assert np.array_equal(nearest, labels)


def test_domains_share_no_digit_and_the_texture_is_darker_than_digits() -> None:
    source = open_source("mnist-domains", "test", Wanted())
    assert source.streams == {"A": 5000, "B": 5000}
    a, b = (source.read(stream, np.arange(50)) for stream in "AB")
    pixels = open_mnist("test").pixels
    assert np.array_equal(a[:, 2:30, 2:30, :1], pixels[0:100:2])
    ground = pixels[1:100:2, ..., 0] == 0
    assert b.max(3)[:, 2:30, 2:30][ground].max() <= 255 * derived.BRIGHTEST_TEXTURE + 1
    assert b.max(3)[:, 2:30, 2:30][pixels[1:100:2, ..., 0] == 255].min() == 255
    assert len({example.tobytes() for example in b}) == 50


@pytest.mark.parametrize("data", ["mnist-colours", "mnist-edges", "mnist-domains"])
def test_examples_depend_on_their_number_only(data: str) -> None:
    source, again = (open_source(data, "train", Wanted()) for _ in range(2))
    for stream in source.streams:
        whole = source.read(stream, np.array([5, 7, 11]))
        assert np.array_equal(again.read(stream, np.array([11, 5])), whole[[2, 0]])
    assert source.fingerprint == again.fingerprint


def test_examples_come_in_any_size_with_margins() -> None:
    source = open_source("mnist-edges", "train", Wanted(image_size=(64, 48), margin_pixels=6))
    assert (source.image_shape, source.example_shape) == ((64, 48, 3), (70, 54, 6))
    assert source.read("pairs", np.arange(3)).shape == (3, 70, 54, 6)


def test_classes_may_be_fewer() -> None:
    source = open_source("mnist-edges", "train", Wanted(max_classes=2, max_images_per_class=10))
    assert source.streams == {"pairs": 20}


def test_grey_is_refused() -> None:
    with pytest.raises(UserError, match="remove --channels=1"):
        open_source("mnist-edges", "train", Wanted(channels=1))
