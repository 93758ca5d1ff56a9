"""Number formats: which one is fast here, the Keras policy of it, and loss scaling."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from distgan.replicas.devices import processor


class _Adam(keras.optimizers.Adam):
    """Keras's Adam, whose update is TensorFlow's one kernel for it and not a dozen that pass over memory."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Move one variable; called for each copy of it."""
        index = self._get_variable_index(variable)
        settings = self.iterations.value + 1, self.beta_1, self.beta_2, learning_rate, self.epsilon
        step, beta_1, beta_2, rate, epsilon = (tf.cast(setting, gradient.dtype) for setting in settings)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=self._momentums[index].value.handle, v=self._velocities[index].value.handle,
            beta1_power=beta_1**step, beta2_power=beta_2**step,
            lr=rate, beta1=beta_1, beta2=beta_2, epsilon=epsilon, grad=gradient,
        )  # fmt: skip


_OPTIMIZERS = {
    "adam": lambda rate, beta_1, beta_2, name: _Adam(rate, beta_1=beta_1, beta_2=beta_2, name=name),
    "rmsprop": lambda rate, _, __, name: keras.optimizers.RMSprop(rate, name=name),
    "sgd": lambda rate, momentum, _, name: keras.optimizers.SGD(rate, momentum=momentum, name=name),
}


def resolve(precision: str) -> str:
    """What `--precision=auto` means on this hardware: the fastest format that has units for it."""
    if precision != "auto":
        return precision
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = min(tf.config.experimental.get_device_details(gpu)["compute_capability"] for gpu in gpus)
        return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"
    return "mixed_bfloat16" if {"amx_bf16", "avx512_bf16"} & processor().flags else "float32"


@contextlib.contextmanager
def policy(precision: str) -> Iterator[None]:
    """Make Keras layers of a precision, for as long as this is open."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def make_optimizer(
    kind: str, learning_rate: float, beta_1: float, beta_2: float = 0.999, *, name: str, precision: str
) -> keras.optimizers.Optimizer:
    """An optimizer called `name`; under float16 it scales the loss, and skips a step whose gradients overflowed."""
    optimizer = _OPTIMIZERS[kind](learning_rate, beta_1, beta_2, name)
    return keras.optimizers.LossScaleOptimizer(optimizer, name=name) if precision == "mixed_float16" else optimizer
