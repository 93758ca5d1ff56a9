"""Functions of tensors as TensorFlow's graphs."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def traced(function: Callable[..., Any], **settings: Any) -> Any:
    """A `tf.function`, with these settings, of code that makes its branches and loops by TensorFlow's operations.

    Python's own are run as they stand while it is traced. Several runs in a process each trace it anew, which
    TensorFlow does not warn of.
    """
    made = tf.function(function, autograph=False, **settings)
    made._omit_frequent_tracing_warning = True
    return made
