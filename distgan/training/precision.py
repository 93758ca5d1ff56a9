"""Number formats: the choice of the fastest one for this hardware, and its Keras policy."""

import contextlib
from collections.abc import Iterator

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
    """Set the precision of the Keras layers that are created while this context is open."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
