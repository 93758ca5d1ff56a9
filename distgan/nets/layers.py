"""Layers that make the same numbers whatever the number of replicas."""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from distgan.data.order import Draws

SumInStep = Callable[[list[tf.Tensor]], list[tf.Tensor]]


class Dropout(keras.layers.Layer):
    """Inverted dropout (Srivastava et al. 2014) whose mask is this replica's rows of the global batch's mask.

    A network that holds one is called with `draws`, the random numbers of the pass, as it is with `training`.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        """Zero each element with probability `rate`, to 1 part in 65,536."""
        super().__init__(**kwargs)
        self._register_call_context_args("draws")
        self.threshold = min(round(rate * 2**16), 2**16 - 1)

    def call(self, inputs: tf.Tensor, draws: Draws | None = None, training: bool = False) -> tf.Tensor:
        """Drop elements of `[batch, ...]` in training; needs `draws` then."""
        if not training or self.threshold == 0 or draws is None:
            return inputs
        kept = draws.of(self.name).words(tuple(inputs.shape[1:])) >= tf.constant(self.threshold, tf.uint16)
        scale = tf.constant(2**16 / (2**16 - self.threshold), inputs.dtype)
        return tf.where(kept, inputs * scale, tf.zeros([], inputs.dtype))


class BatchNormalization(keras.layers.BatchNormalization):
    """Batch norm (Ioffe & Szegedy 2015) over the global batch, or over each replica's share of it.

    Either way the moving statistics are those of the global batch, equal on all replicas. Statistics are computed in
    the variables' data type, by sums of x, x^2 and their number, so that shares may differ in size.
    """

    def __init__(self, sum_in_step: SumInStep, local: bool, **kwargs: Any) -> None:
        """Communicate by `sum_in_step`; with `local`, only for the moving statistics."""
        super().__init__(**kwargs)
        self._sum_in_step, self._local = sum_in_step, local

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalise `[batch, ..., channels]`: by the batch in training, else by the moving statistics."""
        inputs = tf.cast(inputs, self.variable_dtype)
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training:
            summed = self._sum_in_step([_sums(inputs)])[0] if not self._local else _sums(inputs)
            mean, variance = _moments(summed)
            everywhere = self._sum_in_step([tf.stop_gradient(summed)])[0] if self._local else summed
            self._follow(*_moments(everywhere))
        outputs = tf.nn.batch_normalization(inputs, mean, variance, self.beta.value, self.gamma.value, self.epsilon)
        return tf.cast(outputs, self.compute_dtype)

    def _follow(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving.value * self.momentum + tf.stop_gradient(new) * (1 - self.momentum))


def _sums(inputs: tf.Tensor) -> tf.Tensor:
    """Sums of x and of x^2 over all but the channels, and how many there were: `[2 * channels + 1]`."""
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    count = tf.cast(tf.shape(rows)[:1], rows.dtype)
    return tf.concat([tf.reduce_sum(rows, 0), tf.reduce_sum(rows * rows, 0), count], 0)


def _moments(summed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    channels = summed.shape[0] // 2
    mean = summed[:channels] / summed[-1]
    return mean, tf.maximum(summed[channels : 2 * channels] / summed[-1] - mean * mean, 0)


class Initial:
    """An initializer of a layer of its own: `distribution` keyed by (seed, name), drawn in float32 in any precision."""

    def __init__(self, distribution: type[keras.Initializer], seed: int, name: str, **arguments: Any) -> None:
        """Draw from `distribution(**arguments)`."""
        key = int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest(), "little")
        self._draw = distribution(seed=key % 2**31, **arguments)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
        """The initial values, `shape`."""
        return tf.cast(self._draw(shape, dtype="float32"), dtype or "float32")


def network(name: str, inputs: Any, outputs: Any, activation: str = "linear") -> keras.Model:
    """A model whose outputs are at least float32, and that hands `draws` on to its layers as it does `training`."""
    precise = keras.config.dtype_policy().variable_dtype
    outputs = keras.layers.Activation(activation, dtype=precise, name="output")(outputs)
    model = keras.Model(inputs, outputs, name=name)
    model._register_call_context_args("draws")
    return model


def centre_crop(images: Any, height: int, width: int) -> Any:
    """Cut `[batch, h, w, channels]` to its middle `height` x `width`, where it is larger."""
    top, left = images.shape[1] - height, images.shape[2] - width
    if not top and not left:
        return images
    edges = ((top // 2, top - top // 2), (left // 2, left - left // 2))
    return keras.layers.Cropping2D(edges, name="centre_crop")(images)


def halvings(size: int, times: int) -> int:
    """What is left of a length after `times` convolutions of stride 2."""
    return math.ceil(size / 2**times)
