"""Normalisation over the global batch, a replica's share of it, or an image."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

INSTANCE_EPSILON = 1e-5  # of instance norm

SumInStep = Callable[[list[tf.Tensor]], list[tf.Tensor]]
_Moments = tuple[tf.Tensor, tf.Tensor]  # mean and variance by channel


class BatchNorm(NamedTuple):
    """A network's kind of normalisation (sync, local, instance or none), and its sum over replicas."""

    kind: str
    sum_in_step: SumInStep


NO_BATCH_NORM, INSTANCE_NORM = BatchNorm("none", list), BatchNorm("instance", list)


class BatchNormalization(keras.layers.BatchNormalization):
    """Batch norm (Ioffe & Szegedy 2015) over the global batch, or each replica's share of it.

    Statistics are computed in the data type of the variables, from sums of x and x^2 and the count, so that shares may
    differ in size. The moving statistics of local batch norm differ until `Replicas.update` averages them.
    """

    def __init__(self, over: BatchNorm, **kwargs: Any) -> None:
        """Communicate by `over.sum_in_step`, unless `over.kind` is local."""
        super().__init__(**kwargs)
        self._register_call_context_args("own_statistics")
        self.is_local = over.kind == "local"
        self._sum_in_step = list if self.is_local else over.sum_in_step

    def call(self, inputs: tf.Tensor, training: bool = False, own_statistics: bool | None = None) -> tf.Tensor:
        """Normalise `[batch, ..., channels]`: by the batch in training, else by the moving statistics.

        With `own_statistics`, normalise each example by itself, in any batch, and update nothing. Its default is None,
        as Keras stores any other default as a given argument when a network is built.
        """
        inputs = tf.cast(inputs, self.variable_dtype)
        if training and not own_statistics:
            outputs = tf.reshape(self._by_batch(inputs), tf.shape(inputs))
            return tf.cast(tf.ensure_shape(outputs, inputs.shape), self.compute_dtype)
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if own_statistics:
            mean, variance = tf.nn.moments(inputs, list(range(1, len(inputs.shape) - 1)), keepdims=True)
        outputs = tf.nn.batch_normalization(inputs, mean, variance, self.beta.value, self.gamma.value, self.epsilon)
        return tf.cast(outputs, self.compute_dtype)

    def _by_batch(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return normalised rows `[rows, 1, 1, channels]`; the gradient makes as few passes over memory as possible."""
        rows = tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])

        @tf.custom_gradient
        def normalize(rows: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
            summed = self._sum_in_step([_sums(rows)])[0]
            mean, variance = moments = _moments(summed)

            def gradient(upstream: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
                straight, of_gamma, of_beta = _fixed_gradients(upstream, rows, gamma, moments, self.epsilon)
                means = self._sum_in_step([tf.stack([of_gamma, of_beta])])[0] / summed[-1]
                deviations = tf.math.rsqrt(variance + self.epsilon)
                slope = gamma * deviations * deviations * means[0]
                through_statistics = rows * slope + (gamma * deviations * means[1] - mean * slope)
                return straight - through_statistics, of_gamma, of_beta

            return (_fixed(rows, gamma, beta, moments, self.epsilon), summed), gradient

        outputs, summed = normalize(rows, tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta))
        for moving, new in zip((self.moving_mean, self.moving_variance), _moments(summed), strict=True):
            moving.assign(moving.value * self.momentum + new * (1 - self.momentum))
        return outputs


def moving_statistics_of_shares(networks: Iterable[keras.Model]) -> list[keras.Variable]:
    """Return the moving statistics of local batch norms, which each step must average over the replicas."""
    layers = [layer for network in networks for layer in network.layers if isinstance(layer, BatchNormalization)]
    return [moving for layer in layers if layer.is_local for moving in (layer.moving_mean, layer.moving_variance)]


def _is_fused(rows: tf.Tensor) -> bool:
    """Return whether to use TensorFlow's fused kernels; those of GPUs fail with many rows and `--deterministic`."""
    return rows.dtype == tf.float32 and not tf.config.list_logical_devices("GPU")


def _sums(rows: tf.Tensor) -> tf.Tensor:
    """Return the sums of x and of x^2 by channel, and the number of rows: `[2 * channels + 1]`."""
    count = tf.cast(tf.shape(rows)[:1], rows.dtype)
    if _is_fused(rows):  # the fastest in measurements, although it also normalises; the variance is unbiased
        ones, none = tf.ones([rows.shape[-1]]), tf.zeros([0])
        _, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=rows, scale=ones, offset=ones, mean=none, variance=none, is_training=True
        )
        sums, squares = mean * count, variance * (count - 1) + mean * mean * count
    else:
        sums, squares = tf.reduce_sum(rows, [0, 1, 2]), tf.reduce_sum(rows * rows, [0, 1, 2])
    return tf.concat([sums, squares, count], 0)


def _moments(summed: tf.Tensor) -> _Moments:
    channels = summed.shape[0] // 2
    mean = summed[:channels] / summed[-1]
    return mean, tf.maximum(summed[channels : 2 * channels] / summed[-1] - mean * mean, 0)


def _fixed(rows: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, moments: _Moments, epsilon: float) -> tf.Tensor:
    """Normalise rows by given statistics."""
    mean, variance = moments
    if _is_fused(rows):
        return tf.raw_ops.FusedBatchNormV3(
            x=rows, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=epsilon, is_training=False
        ).y
    return tf.nn.batch_normalization(rows, mean, variance, beta, gamma, epsilon)


def _fixed_gradients(
    upstream: tf.Tensor, rows: tf.Tensor, gamma: tf.Tensor, moments: _Moments, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the gradients of `_fixed` with respect to the rows, gamma and beta."""
    mean, variance = moments
    if _is_fused(rows):
        reserved = {"reserve_space_1": mean, "reserve_space_2": variance, "reserve_space_3": variance}
        return tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=upstream, x=rows, scale=gamma, **reserved, epsilon=epsilon, is_training=False
        )[:3]
    deviations = tf.math.rsqrt(variance + epsilon)
    of_gamma = tf.reduce_sum(upstream * (rows - mean) * deviations, [0, 1, 2])
    return upstream * gamma * deviations, of_gamma, tf.reduce_sum(upstream, [0, 1, 2])


class InstanceNormalization(keras.layers.Layer):
    """Instance norm (Ulyanov et al. 2016): mean 0 and variance 1 for each example's channels; no weights, no sums."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise `[batch, height, width, channels]`."""
        return instance_normalized(inputs)


def instance_normalized(x: tf.Tensor) -> tf.Tensor:
    """Return the result of `InstanceNormalization`; computed in float32 at least."""
    wide = tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
    mean, variance = tf.nn.moments(wide, [1, 2], keepdims=True)
    return tf.cast((wide - mean) * tf.math.rsqrt(variance + INSTANCE_EPSILON), x.dtype)
