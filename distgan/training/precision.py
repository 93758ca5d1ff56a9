"""Number formats: the choice of the fastest one for this hardware, and its Keras policy."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from distgan.replicas.devices import processor


def resolve(precision: str) -> str:
    """Return `precision`, or for `auto` the fastest format for which this hardware has units."""
    if precision != "auto":
        return precision
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = min(tf.config.experimental.get_device_details(gpu)["compute_capability"] for gpu in gpus)
        return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"
    return "mixed_bfloat16" if {"amx_bf16", "avx512_bf16"} & processor().flags else "float32"


@contextlib.contextmanager
def policy(precision: str) -> Iterator[None]:
    """Set the precision of the Keras layers that are created while this context is open.

    Meanwhile Keras's other settings have its defaults, whatever the user's keras.json or program has set.
    """
    config = keras.config
    before = config.dtype_policy(), config.floatx(), config.image_data_format(), config.epsilon()
    _configure(precision, "float32", "channels_last", 1e-7)
    try:
        yield
    finally:
        _configure(*before)


def _configure(policy: Any, floatx: str, data_format: str, epsilon: float) -> None:
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(data_format)
    keras.config.set_epsilon(epsilon)
