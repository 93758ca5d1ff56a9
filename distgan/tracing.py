"""Functions of tensors as TensorFlow graphs."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def traced(function: Callable[..., Any], **settings: Any) -> Any:
    """Return a `tf.function`, with these settings, of code whose branches and loops are TensorFlow operations.

    Python's own branches and loops run during tracing. Several runs in a process each trace it again; TensorFlow's
    warning about that is off.
    """
    made = tf.function(function, autograph=False, **settings)
    made._omit_frequent_tracing_warning = True
    return made
