"""Spectral norm (Miyato et al. 2018): layers whose weights are divided by their largest singular value."""

from typing import Any

import keras
import tensorflow as tf

from distgan.nets.convolutions import Convolution
from distgan.nets.normalization import SumInStep


class SpectralNorm(keras.layers.Layer):
    """A mixin that divides a layer's kernel by sigma, the current estimate of the kernel's largest singular value.

    The kernel, `[..., outputs]`, is treated as a matrix W of `outputs` rows. `direction` is the paper's unit vector u,
    `[outputs]`: a variable of the network that is not trained, equal on all replicas, and changed only by `iterate`. So
    all passes between two updates use the same sigma.
    """

    def __init__(self, *arguments: Any, first_direction: Any, **settings: Any) -> None:
        """Accept the layer's arguments, and the initializer that draws the first u."""
        super().__init__(*arguments, **settings)
        self._first_direction = lambda shape, dtype: tf.math.l2_normalize(first_direction(shape, dtype))

    def build(self, input_shape: Any) -> None:
        """Create the layer's variables and u."""
        super().build(input_shape)
        self._kernel._autocast = False  # sigma is computed in full precision, also with a mixed policy
        self.direction = self.add_weight(
            self._kernel.shape[-1:], self._first_direction, trainable=False, autocast=False, name="direction"
        )

    @property
    def kernel(self) -> tf.Tensor:
        """The kernel divided by sigma = ||W^T u||; gradients pass through sigma (eq. 8 and 12)."""
        sigma = tf.norm(tf.linalg.matvec(self._transposed(), self.direction.value))
        return tf.cast(self._kernel.value / sigma, self.compute_dtype)

    def next_direction(self) -> tf.Tensor:
        """Return u after one more round of the power iteration (algorithm 1)."""
        v = tf.math.l2_normalize(tf.linalg.matvec(self._transposed(), self.direction.value))
        return tf.math.l2_normalize(tf.linalg.matvec(self._transposed(), v, transpose_a=True))

    def _transposed(self) -> tf.Tensor:
        return tf.reshape(self._kernel.value, [-1, self._kernel.shape[-1]])


class SpectralDense(SpectralNorm, keras.layers.Dense):
    """A dense layer with spectral norm."""


class SpectralConvolution(SpectralNorm, Convolution):
    """A convolution with spectral norm."""


def iterate(network: keras.Model, sum_in_step: SumInStep) -> None:
    """Run one round of the power iteration for each layer with spectral norm; inside a step.

    The new u is the mean over replicas. Their values differ by rounding only, and are equal on equal machines.
    """
    layers = [layer for layer in network.layers if isinstance(layer, SpectralNorm)]
    if not layers:
        return
    directions = [layer.next_direction() for layer in layers]
    *totals, replicas = sum_in_step([*directions, tf.ones([], directions[0].dtype)])
    for layer, total in zip(layers, totals, strict=True):
        layer.direction.assign(total / replicas)
