"""What is done to the images that a discriminator sees."""

import numpy as np
import pytest
import tensorflow as tf

from distgan.data.order import Draws
from distgan.gans.augmentation import augmented, coloured, cut_out, translated

COUNT = 300


def _images(height: int, width: int, channels: int = 2) -> np.ndarray:
    """Images without a zero."""
    return np.random.default_rng(0).uniform(0.1, 1, (COUNT, height, width, channels)).astype(np.float32)


def _shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width, _ = image.shape
    shifted = np.zeros_like(image)
    shifted[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return shifted


@pytest.mark.parametrize(("height", "width", "most"), [(28, 28, (4, 4)), (16, 9, (2, 1))])
def test_a_translation_moves_each_image_by_up_to_an_eighth(height: int, width: int, most: tuple[int, int]) -> None:
    images = _images(height, width)
    found = set()
    for image, moved in zip(images, translated(tf.constant(images), Draws("x", 5, 0, COUNT)).numpy(), strict=True):
        by = [
            (down, right)
            for down in range(-most[0], most[0] + 1)
            for right in range(-most[1], most[1] + 1)
            if np.array_equal(_shifted(image, down, right), moved)
        ]
        assert len(by) == 1
        found.update(by)
    assert len(found) > 0.9 * (2 * most[0] + 1) * (2 * most[1] + 1)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (10, 6)])
def test_a_cutout_is_a_square_of_half_the_size_anywhere(height: int, width: int) -> None:
    images = _images(height, width)
    cut = cut_out(tf.constant(images), Draws("x", 5, 0, COUNT)).numpy()
    middles = set()
    for image, left in zip(images, cut, strict=True):
        is_gone = left == 0
        rows, columns = np.flatnonzero(is_gone.any((1, 2))), np.flatnonzero(is_gone.any((0, 2)))
        assert is_gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert is_gone.sum() == len(rows) * len(columns) * 2
        assert np.array_equal(left[~is_gone], image[~is_gone])
        for places, size in ((rows, height), (columns, width)):
            is_at_an_edge = places[0] == 0 or places[-1] == size - 1
            whole = (size + 1) // 2
            assert len(places) == whole or (is_at_an_edge and whole // 2 <= len(places) < whole)
        middles.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert len(middles) > 40


def _factor(of: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The number k of each image for which `of` is k times `by`."""
    factors = (of * by).sum((1, 2, 3)) / (by * by).sum((1, 2, 3))
    assert np.allclose(of, factors[:, None, None, None] * by, atol=1e-5)
    return factors


def test_colours_change_in_brightness_saturation_and_contrast() -> None:
    images = _images(6, 5, channels=3)
    changed = coloured(tf.constant(images), Draws("x", 5, 0, COUNT)).numpy()
    (means, greys), (new_means, new_greys) = (
        (values.mean((1, 2, 3), keepdims=True), values.mean(3, keepdims=True)) for values in (images, changed)
    )
    brighter, contrast = (new_means - means).ravel(), _factor(new_greys - new_means, greys - means)
    saturation = _factor(changed - new_greys, images - greys) / contrast
    for values, least, most in ((brighter, -0.5, 0.5), (saturation, 0, 2), (contrast, 0.5, 1.5)):
        assert least - 1e-5 <= values.min() < least + 0.05 * (most - least)
        assert most - 0.05 * (most - least) < values.max() <= most + 1e-5
        assert abs(values.mean() - (least + most) / 2) < 0.1 * (most - least)
    assert abs(np.corrcoef([brighter, saturation, contrast]) - np.eye(3)).max() < 0.2


@pytest.mark.parametrize("names", [("color",), ("translation",), ("cutout",), ("color", "translation", "cutout")])
def test_an_image_is_changed_by_its_position_alone(names: tuple[str, ...]) -> None:
    images = tf.constant(_images(12, 12))
    whole = augmented(images, names, Draws("x", 5, 0, COUNT)).numpy()
    part = augmented(images[37:51], names, Draws("x", 5, 37, 14)).numpy()
    assert np.array_equal(part, whole[37:51])
    assert not np.array_equal(augmented(images, names, Draws("x", 6, 0, COUNT)), whole)
    assert not np.array_equal(augmented(images, names, Draws("y", 5, 0, COUNT)), whole)


def test_gradients_go_back_to_the_pixels_that_are_left() -> None:
    images = tf.ones([COUNT, 8, 8, 1])
    with tf.GradientTape() as tape:
        tape.watch(images)
        changed = augmented(images, ("translation", "cutout"), Draws("x", 0, 0, COUNT))
    gradients = tape.gradient(changed, images).numpy()
    assert set(np.unique(gradients)) == {0, 1}
    assert np.array_equal(gradients.sum((1, 2, 3)), changed.numpy().sum((1, 2, 3)))


def test_without_a_name_nothing_is_changed() -> None:
    images = tf.constant(_images(4, 4))
    assert augmented(images, (), Draws("x", 0, 0, COUNT)) is images
