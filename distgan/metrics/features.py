"""The networks whose features measure the distance between sets of images."""

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from distgan import paths
from distgan.data.base import Shape
from distgan.data.pipeline import to_images
from distgan.errors import UserError, first_line
from distgan.metrics import digits, imagenet
from distgan.nets.classifier import FEATURES
from distgan.tracing import traced

INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
INCEPTION_SIZE = 299  # pixels
RUN_AT_ONCE = 50  # images; the activations of a part of `quality` take gigabytes
_OF_DIGITS = ("mnist", "mnist-colours")  # data sets for which the digit classifier is used at each size it accepts


class FeatureNetwork(NamedTuple):
    """A network that computes features and class probabilities of images.

    name: the name for users; fingerprint: equal for equal features.
    width: the length of a feature vector; num_classes: the number of classes, or 0.
    read: takes pixels, uint8 `[n, height, width, channels]`; returns features, float32 `[n, width]`, and class
      probabilities, float32 `[n, num_classes]`.
    of: takes images, float32 `[n, height, width, channels]` in [-1, 1]; returns features, differentiable.
    """

    name: str
    fingerprint: str
    width: int
    num_classes: int
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    of: Callable[[tf.Tensor], tf.Tensor]


def choose(given: str | None, data: str, image_shape: Shape) -> str:
    """Return the value of `--features`; if not given, "" for the digit classifier, if it suits the data.

    For other data it is "inception" if its weights are on this machine, else "imagenet" if its package is, else
    "inception", which is downloaded.
    """
    if given is not None:
        return given
    is_small = image_shape == digits.IMAGE_SHAPE
    if is_small or (data in _OF_DIGITS and digits.reads(image_shape)):
        return ""
    keras_home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    has_inception = Path(keras_home, "models", INCEPTION_FILE).is_file()
    return "imagenet" if imagenet.weights_file() and not has_inception else "inception"


def network_for(given: str | None, data: str, image_shape: Shape) -> FeatureNetwork:
    """Load the network that `choose` names."""
    return load(choose(given, data, image_shape))


def load(chosen: str) -> FeatureNetwork:
    """Load the network that `choose` has returned. Raises `UserError` if it cannot be loaded."""
    if not chosen:
        facts = "digits", digits.WEIGHTS_SHA256, FEATURES, digits.NUM_CLASSES
        return FeatureNetwork(*facts, _read_digits, lambda images: digits.outputs(images)[0])
    return _NAMED[chosen]() if chosen in _NAMED else _of_file(paths.local("features", chosen))


def _read_digits(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, logits = digits.outputs(to_images(pixels))
    return features.numpy(), tf.nn.softmax(logits).numpy()


def _of_file(path: Path) -> FeatureNetwork:
    """Load a network that maps each image to one vector; no code in its file is executed."""
    if path.suffix != ".keras":
        raise UserError(f"--features={path} is refused: it must be {', '.join(_NAMED)} or a FILE.keras.")
    if not path.is_file():
        raise UserError(f"--features={path} does not exist, or is not a file.")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        # If a file is not an archive, Keras reports that it does not exist.
        why = first_line(error)[:200] if zipfile.is_zipfile(path) else "it is not a .keras archive"
        raise UserError(f"--features={path} can't be loaded as a Keras model ({why}).") from None
    inputs, outputs = model.input_shape, model.output_shape
    is_of_images = isinstance(inputs, tuple) and len(inputs) == 4 and None not in inputs[1:] and inputs[3] in (1, 3)
    if not is_of_images or not isinstance(outputs, tuple) or len(outputs) != 2:
        raise UserError(
            f"--features={path} turns {inputs} into {outputs}: it must turn images [n, height, width, 1 or 3], of one "
            "size, into features [n, width]."
        )
    return _of_model(path.name, digest, model, inputs[1:])


def _inception() -> FeatureNetwork:
    """Load Keras's Inception V3 with ImageNet weights: its pooled features and its 1,000 classes."""
    try:
        model = keras.applications.InceptionV3(weights="imagenet")
    except Exception as error:  # a download can fail with errors of many types
        raise UserError(
            "Evaluating images other than small digits needs Inception's weights, which Keras can't download here "
            f"({first_line(error)}): put {INCEPTION_FILE} from Keras's releases into ~/.keras/models, or "
            f"run {imagenet.INSTALL}, or give --features=FILE.keras."
        ) from None
    both = keras.Model(model.input, [model.get_layer("avg_pool").output, model.output])
    digest = hashlib.sha256(b"".join(weights.tobytes() for weights in model.get_weights())).hexdigest()
    return _of_model("inception", digest, both, (INCEPTION_SIZE, INCEPTION_SIZE, 3))


def _imagenet() -> FeatureNetwork:
    """Load EfficientNet-Lite0 with ImageNet weights: its pooled features and its 1,000 classes."""
    return _of_model("imagenet", imagenet.WEIGHTS_SHA256, imagenet.model(), imagenet.IMAGE_SHAPE)


def _of_model(name: str, fingerprint: str, model: keras.Model, shape: Shape) -> FeatureNetwork:
    """Return the network of a model from images of a shape to features and, if it has them, class probabilities."""
    outputs, nothing = outputs_of(model, shape), np.zeros((0, 0), np.float32)
    run = traced(outputs, reduce_retracing=True)
    width, num_classes = [output.shape[1] for output in (*model.outputs, nothing)][:2]

    def read(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [run(tf.constant(pixels[start : start + RUN_AT_ONCE])) for start in range(0, len(pixels), RUN_AT_ONCE)]
        found = [np.concatenate(output).astype(np.float32) for output in zip(*parts, strict=True)]
        return found[0], [*found, nothing][1]

    return FeatureNetwork(name, fingerprint, width, num_classes, read, lambda images: outputs(images)[0])


_NAMED = {"imagenet": _imagenet, "inception": _inception}


def outputs_of(model: keras.Model, shape: Shape) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Return a function that converts pixels, or images in [-1, 1], to a shape and runs the model on them."""

    def outputs(pixels: tf.Tensor) -> list[tf.Tensor]:
        images = to_images(pixels) if pixels.dtype == tf.uint8 else pixels
        if images.shape[1:3] != shape[:2]:
            images = _resized(images, *shape[:2])
        if images.shape[3] != shape[2]:
            grey = tf.image.rgb_to_grayscale
            images = tf.repeat(images, 3, axis=3) if shape[2] == 3 else grey(images)
        return tf.nest.flatten(model(images, training=False))

    return outputs


def _resized(images: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Return `tf.image.resize(images, (height, width), antialias=True)`, whose operation has no GPU kernel."""
    with tf.init_scope(), tf.device("CPU:0"):  # the weights of the old rows and columns for the new ones
        of_rows, of_columns = (
            tf.image.resize(tf.eye(old)[..., None], (new, old), antialias=True)[..., 0].numpy()
            for old, new in zip(images.shape[1:3], (height, width), strict=True)
        )
    return tf.einsum("bhwc,ih,jw->bijc", images, of_rows, of_columns)
