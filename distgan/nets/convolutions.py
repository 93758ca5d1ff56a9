"""Keras's convolutions, computed by other operations if these are faster on a CPU.

TensorFlow's convolutions are slow on a CPU for two kinds of GAN layers. This module computes both by other operations.
It uses TensorFlow's with `way("direct")`, outside compiled functions, in precisions other than float32 and float64, and
if there is a GPU. Fourier transforms need a batch size that is known when the step is compiled, as with equal shares.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import keras
import numpy as np
import tensorflow as tf

WAYS = ("auto", "direct")
_WORTH_IT = 0.6  # of the direct multiplications; transforms take longer for each, as they move more memory
_LARGEST_AREA = 1024  # pixels of the small image; a transform matrix has at least the square of it in values
_FEW_CHANNELS = 4  # at most, as in images

_way = WAYS[0]


@contextlib.contextmanager
def way(of_computing: str) -> Iterator[None]:
    """Compute the layers that are created in this context in one of `WAYS`."""
    global _way  # noqa: PLW0603 - as Keras keeps its data type policy
    before, _way = _way, of_computing
    try:
        yield
    finally:
        _way = before


class _EitherWay(keras.layers.Layer):
    """A mixin of the two layers: the way of computing, and the choice of operations."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Accept the arguments of Keras's layer."""
        super().__init__(*arguments, **settings)
        self._way = _way

    def _computed(self, inputs: tf.Tensor, kernel: Any, *, adjoint: bool) -> tf.Tensor | None:
        """Return the convolution or, as the adjoint, the transposed one; None if TensorFlow's is to be used."""
        geometry = _Geometry.of(self, inputs.shape, divided_by=1 if adjoint else self.strides[0])
        if self._way == "direct" or geometry is None or not _is_slow(inputs.dtype):
            return None
        kernel = tf.convert_to_tensor(kernel)
        if geometry.suits_fourier(inputs.shape[0], *kernel.shape[2:]):
            return _fourier(inputs, geometry.weights(kernel), geometry, adjoint=adjoint)
        few_channels = kernel.shape[2] <= _FEW_CHANNELS
        return _of_few_channels(inputs, kernel, geometry, adjoint=adjoint) if few_channels else None


class Convolution(_EitherWay, keras.layers.Conv2D):
    """A convolution of images `[batch, height, width, channels]`."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Return the convolution, without bias and activation."""
        outputs = self._computed(inputs, kernel, adjoint=False)
        return super().convolution_op(inputs, kernel) if outputs is None else outputs


class TransposedConvolution(_EitherWay, keras.layers.Conv2DTranspose):
    """A transposed convolution, which enlarges images `[batch, height, width, channels]`."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve, add the bias and apply the activation."""
        outputs = self._computed(inputs, self.kernel, adjoint=True)
        if outputs is None:
            return super().call(inputs)
        return self.activation(outputs + self.bias if self.use_bias else outputs)


def _is_slow(dtype: tf.DType) -> bool:
    """Return whether TensorFlow's convolutions in a data type are slow here: in a compiled function, without a GPU.

    Outside a compiled function they are fast enough, and the result for an image does not depend on the batch size.
    """
    traced = not tf.executing_eagerly()
    return traced and dtype in (tf.float32, tf.float64) and not tf.config.list_logical_devices("GPU")


class _Geometry(NamedTuple):
    """A convolution of stride s from a large image to a small one, written as one of stride 1 over s x s phases.

    On each axis, large pixel s * (i + q) + r is pixel i + q of phase r. Small pixel i reads taps q from `low` on.
    """

    small: tuple[int, int]
    kernel: tuple[int, int]
    stride: int

    @classmethod
    def of(cls, layer: Any, shape: Any, divided_by: int) -> Self | None:
        """Return the geometry of a layer for input images of `shape`, or None if phases can't express it."""
        height, width = shape[1:3]
        stride = layer.strides[0]
        fits = layer.padding == "same" and min(layer.kernel_size) >= stride
        if not fits or None in (height, width) or height % divided_by or width % divided_by:
            return None
        return cls((height // divided_by, width // divided_by), tuple(layer.kernel_size), stride)

    def suits_fourier(self, batch: int | None, channels: int, filters: int) -> bool:
        """Return whether Fourier transforms save enough multiplications; they need a known batch size."""
        area, phases = math.prod(self.small), self.stride**2 * channels
        if batch is None or area > _LARGEST_AREA:
            return False
        products = math.prod(self.periods) * 3 // 2
        direct = area * math.prod(self.kernel) * channels * filters
        transforms = products * area * (phases + filters)
        of_weights = products * math.prod(self.taps) * phases * filters / batch
        return transforms + products * phases * filters + of_weights <= _WORTH_IT * direct

    @property
    def low(self) -> list[int]:
        """The first tap on each axis, 0 or below."""
        return [-math.ceil((size - self.stride) // 2 / self.stride) for size in self.kernel]

    @property
    def high(self) -> list[int]:
        """The last tap on each axis; the padding after an image is that before it, or larger by 1."""
        return [(size - 1 - (size - self.stride) // 2) // self.stride for size in self.kernel]

    @property
    def taps(self) -> list[int]:
        """The number of taps on each axis."""
        return [high - low + 1 for low, high in zip(self.low, self.high, strict=True)]

    @property
    def periods(self) -> list[int]:
        """The length of the Fourier transform on each axis: just enough that no needed pixel wraps around the edge."""
        return [size + high for size, high in zip(self.small, self.high, strict=True)]

    def weights(self, kernel: tf.Tensor) -> tf.Tensor:
        """Map `[height, width, large channels, small channels]` to `[taps, s^2 * large channels, small channels]`."""
        s, (height, width) = self.stride, self.taps
        before = [-low * s - (size - s) // 2 for low, size in zip(self.low, self.kernel, strict=True)]
        after = [taps * s - size - first for taps, size, first in zip(self.taps, self.kernel, before, strict=True)]
        edges = (*zip(before, after, strict=True), (0, 0), (0, 0))
        kernel = tf.reshape(tf.pad(kernel, edges), [height, s, width, s, *kernel.shape[2:]])
        return tf.reshape(tf.transpose(kernel, [0, 2, 1, 3, 4, 5]), [height * width, -1, kernel.shape[-1]])


@functools.cache
def _bilinear(geometry: _Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return matrices A, G and C that give the convolution over the phases as `C (A x * G w)`, in float64.

    Two complex numbers are multiplied by three real products (Gauss), and one of two conjugate frequencies is computed.
    """
    sizes = geometry.periods

    def wave(frequency: tuple[int, int], starts: Any, lengths: Any) -> np.ndarray:
        axes = zip(frequency, starts, lengths, sizes, strict=True)
        rows = [np.exp(2j * np.pi * f * (start + np.arange(length)) / size) for f, start, length, size in axes]
        return np.outer(*rows).ravel()

    of_pixels, of_weights, back = [], [], []
    for frequency in np.ndindex(*sizes):
        conjugate = tuple(-f % size for f, size in zip(frequency, sizes, strict=True))
        if conjugate < frequency:
            continue
        y = wave(frequency, (0, 0), geometry.small)
        x, w = y.conj(), wave(frequency, geometry.low, geometry.taps)
        y /= math.prod(sizes)
        if conjugate == frequency:
            of_pixels += [x.real]
            of_weights += [w.real]
            back += [y.real]
        else:
            of_pixels += [x.real + x.imag, x.real, x.imag]
            of_weights += [w.real, w.imag - w.real, w.real + w.imag]
            back += [2 * (y.real - y.imag), -2 * y.imag, -2 * y.real]
    return np.array(of_pixels), np.array(of_weights), np.array(back).T


def _fourier(images: tf.Tensor, weights: tf.Tensor, geometry: _Geometry, *, adjoint: bool) -> tf.Tensor:
    """Return the convolution from large images to small ones or, as the adjoint, from small ones to large ones."""
    into, of_weights, back = (tf.constant(matrix, images.dtype) for matrix in _bilinear(geometry))
    if adjoint:
        into, back = tf.transpose(back), tf.transpose(into)
    pixels = _by_pixel(images, 1 if adjoint else geometry.stride)
    area, _, channels = pixels.shape
    x = tf.reshape(into @ tf.reshape(pixels, [area, -1]), [into.shape[0], -1, channels])
    w = tf.reshape(of_weights @ tf.reshape(weights, [weights.shape[0], -1]), [-1, *weights.shape[1:]])
    products = tf.matmul(x, w, transpose_b=adjoint)
    filters = products.shape[-1]
    y = tf.reshape(back @ tf.reshape(products, [into.shape[0], -1]), [area, -1, filters])
    return _of_pixels(y, geometry.small, geometry.stride if adjoint else 1)


def _by_pixel(images: tf.Tensor, stride: int) -> tf.Tensor:
    """Rearrange `[batch, s * height, s * width, channels]` to `[height * width, batch, s * s * channels]`."""
    height, width, channels = images.shape[1] // stride, images.shape[2] // stride, images.shape[3]
    rows = tf.reshape(images, [-1, height, stride, width, stride * channels])
    return tf.reshape(tf.transpose(rows, [1, 3, 0, 2, 4]), [height * width, -1, stride * stride * channels])


def _of_pixels(pixels: tf.Tensor, small: tuple[int, int], stride: int) -> tf.Tensor:
    """Invert `_by_pixel`."""
    (height, width), channels = small, pixels.shape[-1] // stride**2
    rows = tf.reshape(pixels, [height, width, -1, stride, stride * channels])
    return tf.reshape(tf.transpose(rows, [2, 0, 3, 1, 4]), [-1, stride * height, stride * width, channels])


def _of_few_channels(images: tf.Tensor, kernel: tf.Tensor, geometry: _Geometry, *, adjoint: bool) -> tf.Tensor:
    """Return the convolution of large images of few channels or, as the adjoint, the transposed one to them.

    The transposed one is computed as a convolution over phases: TensorFlow's transposed one uses few of the processor's
    vector lanes. Each is the gradient of the other.
    """
    forward, backward = (_over_phases, _forward) if adjoint else (_forward, _over_phases)

    @tf.custom_gradient
    def compute(images: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            large, small = (upstream, images) if adjoint else (images, upstream)
            strides = [1, geometry.stride, geometry.stride, 1]
            of_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=large, filter_sizes=kernel.shape, out_backprop=small, strides=strides, padding="SAME"
            )
            return backward(upstream, kernel, geometry), of_kernel

        return forward(images, kernel, geometry), gradient

    return compute(images, kernel)


def _forward(large: tf.Tensor, kernel: tf.Tensor, geometry: _Geometry) -> tf.Tensor:
    return tf.nn.conv2d(large, kernel, geometry.stride, "SAME")


def _over_phases(small: tf.Tensor, kernel: tf.Tensor, geometry: _Geometry) -> tf.Tensor:
    weights = tf.reshape(geometry.weights(kernel), [*geometry.taps, -1, kernel.shape[-1]])
    turned = tf.transpose(tf.reverse(weights, [0, 1]), [0, 1, 3, 2])
    edges = [(high, -low) for low, high in zip(geometry.low, geometry.high, strict=True)]
    phases = tf.nn.conv2d(small, turned, 1, [(0, 0), *edges, (0, 0)])
    return tf.nn.depth_to_space(phases, geometry.stride) if geometry.stride > 1 else phases
