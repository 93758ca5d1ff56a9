"""The classifier of MNIST digits, trained by benchmarks/train_digit_classifier.py."""

import functools
import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from distgan.data.base import Shape
from distgan.nets.classifier import classifier
from distgan.paths import embedded

WEIGHTS = Path(__file__).with_name("digits.npz")
WEIGHTS_SHA256 = "63c0433cd10b7c76f47ae44be10b7a9f278a159e4db4b644da2ab4e4c96838d9"
IMAGE_SHAPE = (28, 28, 1)
NUM_CLASSES = 10
EDGE = 2  # black pixels on each side of MNIST's 28
PADDED_SIZE = IMAGE_SHAPE[0] + 2 * EDGE
STRETCHED_ABOVE = 0.0  # brightness in [-1, 1]; an image without a brighter pixel shows no digit and is not stretched
BATCH_SIZE = 500


@functools.cache
def load(path: Path = WEIGHTS) -> keras.Model:
    """Build the classifier of `[batch, 28, 28, 1]` with the weights that are part of distgan; the result is cached.

    Raises `UserError` if the weights are missing or their SHA-256 is not WEIGHTS_SHA256.
    """
    content = embedded(path, WEIGHTS_SHA256, " of the digit classifier")
    model = classifier(IMAGE_SHAPE, NUM_CLASSES, seed=0)
    with np.load(io.BytesIO(content), allow_pickle=False) as weights:
        for variable in model.weights:
            variable.assign(weights[variable.path])
    return model


def read_digits(images: Any) -> np.ndarray:
    """Return the predicted digit of each image, int64 `[batch]`; see `prepare` for the images."""
    batches = (images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE))
    return np.concatenate([np.argmax(outputs(batch)[1], 1) for batch in batches])


def outputs(images: Any) -> list[tf.Tensor]:
    """Return features, float32 `[batch, 64]`, and logits `[batch, 10]`, differentiable; see `prepare` for images."""
    return _with_features()(prepare(images), training=False)


def reads(image_shape: Shape) -> bool:
    """Return whether the classifier accepts images of a shape (height, width, channels)."""
    height, width, channels = image_shape
    of_size = height == IMAGE_SHAPE[0] or (height > 0 and height % PADDED_SIZE == 0)
    return height == width and of_size and channels in (1, 3)


def prepare(images: Any) -> tf.Tensor:
    """Convert light digits on black, `[batch, size, size, 1 or 3]` in [-1, 1], to the classifier's input.

    A size of 28 is kept; 32 is cut to its middle 28; a larger multiple of 32 is first averaged down to 32. A colour
    becomes the grey of its brightest channel. MNIST's digits are white at their core, so an image whose brightest value
    is above STRETCHED_ABOVE is stretched: that value becomes 1, and black stays black.

    Raises `ValueError` if the images have another shape.
    """
    if not (len(images.shape) == 4 and reads(images.shape[1:])):
        raise ValueError(
            f"Images of shape {list(images.shape)} cannot be read: they must be [batch, size, size, 1 or 3], "
            f"of size {IMAGE_SHAPE[0]} or a multiple of {PADDED_SIZE}."
        )
    grey = tf.reduce_max(tf.cast(images, tf.float32), 3, keepdims=True)
    if grey.shape[1] != IMAGE_SHAPE[0]:
        factor = grey.shape[1] // PADDED_SIZE
        padded = tf.reduce_mean(tf.reshape(grey, [-1, PADDED_SIZE, factor, PADDED_SIZE, factor, 1]), [2, 4])
        grey = padded[:, EDGE:-EDGE, EDGE:-EDGE]
    brightest = tf.reduce_max(grey, [1, 2, 3], keepdims=True)
    top = tf.where(brightest > STRETCHED_ABOVE, brightest, 1.0)
    return (grey + 1) * (2 / (top + 1)) - 1


@functools.cache
def _with_features() -> keras.Model:
    model = load()
    return keras.Model(model.input, [model.get_layer("features").output, model.output], name="with_features")
