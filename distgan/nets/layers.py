"""Layers whose results do not depend on the number of replicas."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf

from distgan.data.order import Draws
from distgan.nets.convolutions import Convolution, TransposedConvolution
from distgan.nets.normalization import NO_BATCH_NORM, BatchNorm, BatchNormalization, InstanceNormalization
from distgan.nets.spectral import SpectralConvolution, SpectralDense


class Dropout(keras.layers.Layer):
    """Inverted dropout (Srivastava et al. 2014) whose mask is this replica's rows of the global batch's mask.

    A network with this layer is called with `draws`, the random numbers of the pass; without them nothing is dropped.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        """Zero each element with probability `rate`, with a resolution of 1/256."""
        super().__init__(**kwargs)
        self._register_call_context_args("draws")
        self.threshold = min(max(round(rate * 2**8), int(rate > 0)), 2**8 - 1)

    def call(self, inputs: tf.Tensor, draws: Draws | None = None, training: bool = False) -> tf.Tensor:
        """Drop elements of `[batch, ...]`. Raises `ValueError` in training without `draws`."""
        if self.threshold == 0:
            return inputs
        if draws is None:
            if training:
                raise ValueError(f"{self.name} needs `draws` if training=True")
            return inputs
        kept = draws.of(self.name).bytes(tuple(inputs.shape[1:])) >= tf.constant(self.threshold, tf.uint8)
        scale = tf.constant(2**8 / (2**8 - self.threshold), inputs.dtype)
        return inputs * (tf.cast(kept, inputs.dtype) * scale)


class Initial:
    """An initializer of one layer: `distribution` keyed by (seed, name), drawn in float32 in any precision."""

    def __init__(self, distribution: Callable[..., keras.Initializer], seed: int, name: str, **arguments: Any) -> None:
        """Draw from `distribution(**arguments)`."""
        key = int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest(), "little")
        self._draw = distribution(seed=key % 2**31, **arguments)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
        """Return the initial values, of shape `shape`."""
        with tf.device("CPU:0"):  # a GPU's logarithms and cosines differ from a CPU's in the last digits
            return tf.cast(self._draw(shape, dtype="float32"), dtype or "float32")


@dataclasses.dataclass
class Layers:
    """A context that adds layers to one network, with names below the network's and initial values of their own.

    Weights are drawn from N(0, deviation), or Glorot-uniform if None; `momentum`, `epsilon` are batch norm's. Dense
    layers and convolutions have `spectral_norm`; transposed ones, which only generators use, do not.
    """

    network_name: str
    seed: int
    batch_norm: BatchNorm = NO_BATCH_NORM
    _: dataclasses.KW_ONLY
    deviation: float | None = None
    momentum: float = 0.99
    epsilon: float = 1e-3
    spectral_norm: bool = False

    def __enter__(self) -> Self:
        """Open the network's name scope."""
        self._scope = keras.name_scope(self.network_name)
        self._scope.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Close the network's name scope."""
        self._scope.__exit__(*error)

    @property
    def needs_bias(self) -> bool:
        """True if a layer that is normalised needs a bias; batch norm cancels it and adds its own."""
        return self.batch_norm.kind in ("none", "instance")

    def initial(self, name: str, mean: float = 0.0) -> Initial:
        """Return an initializer for the weights called `name`."""
        name = f"{self.network_name}/{name}"
        if self.deviation is None:
            return Initial(keras.initializers.GlorotUniform, self.seed, name)
        return Initial(keras.initializers.RandomNormal, self.seed, name, mean=mean, stddev=self.deviation)

    def dense(self, x: Any, name: str, units: int, *, use_bias: bool = True) -> Any:
        """Apply a dense layer."""
        kind = SpectralDense if self.spectral_norm else keras.layers.Dense
        return kind(units, use_bias=use_bias, **self._named(name))(x)

    def convolution(
        self, x: Any, name: str, filters: int, kernel: int, stride: int, *, use_bias: bool = True, padding: str = "same"
    ) -> Any:
        """Apply a convolution."""
        kind = SpectralConvolution if self.spectral_norm else Convolution
        return kind(filters, kernel, stride, padding=padding, use_bias=use_bias, **self._named(name))(x)

    def _named(self, name: str) -> dict[str, Any]:
        """Return the arguments of a layer with a kernel that depend on its name."""
        named = {"name": name, "kernel_initializer": self.initial(name)}
        if self.spectral_norm:
            direction = f"{self.network_name}/{name}/direction"
            named["first_direction"] = Initial(keras.initializers.RandomNormal, self.seed, direction, stddev=1.0)
        return named

    def transposed(self, x: Any, name: str, filters: int, kernel: int, stride: int, *, use_bias: bool = False) -> Any:
        """Apply a transposed convolution, which scales the image by `stride`."""
        initial = self.initial(name)
        return TransposedConvolution(
            filters, kernel, stride, padding="same", use_bias=use_bias, kernel_initializer=initial, name=name
        )(x)

    def judged(self, x: Any, images: Any, num_classes: int) -> tuple[Any, Any]:
        """Return the inputs of a discriminator of `images` and the logits `[batch, 1]` of features x `[batch, width]`.

        With classes, the image's class is a second input, as a one-hot vector. The dot product of its embedding and the
        features is added to the logit (the projection of Miyato & Koyama 2018, eq. 3).
        """
        logits = self.dense(x, "logit", 1)
        if not num_classes:
            return images, logits
        classes = network_input((num_classes,), "classes")
        fitting = self.dense(classes, "embedding", x.shape[-1], use_bias=False)
        fit = keras.layers.Dot(axes=1, name="fit")([x, fitting])
        return [images, classes], keras.layers.Add(name="logit_of_class")([logits, fit])

    def normalized(self, x: Any, name: str) -> Any:
        """Apply the network's normalisation, if it has one."""
        if self.batch_norm.kind == "none":
            return x
        if self.batch_norm.kind == "instance":
            return InstanceNormalization(name=f"{name}_norm")(x)
        settings = {"momentum": self.momentum, "epsilon": self.epsilon, "name": f"{name}_norm"}
        if self.deviation is not None:
            settings["gamma_initializer"] = self.initial(f"{name}_norm", mean=1.0)
        return BatchNormalization(self.batch_norm, **settings)(x)

    def scaled(self, x: Any, name: str) -> Any:
        """Apply only batch norm's scale and offset: the own statistics of a one-pixel image would make it zero."""
        if self.needs_bias:
            return x
        named = {"kernel_initializer": self.initial(f"{name}_norm", mean=1.0), "name": f"{name}_norm"}
        return keras.layers.EinsumDense("bhwc,c->bhwc", x.shape[1:], bias_axes="c", **named)(x)


def leaky_relu(x: Any, name: str, slope: float = 0.2) -> Any:
    """Apply a leaky ReLU (Maas et al. 2013)."""
    return keras.layers.LeakyReLU(slope, name=f"{name}_activation")(x)


def relu(x: Any, name: str) -> Any:
    """Apply a ReLU."""
    return keras.layers.ReLU(name=f"{name}_activation")(x)


def dropped(x: Any, name: str, rate: float) -> Any:
    """Apply dropout."""
    return Dropout(rate, name=f"{name}_dropout")(x)


def network_input(shape: tuple[int, ...], name: str) -> Any:
    """Return an input `[batch, *shape]` of a network, in its variables' data type; Keras's rounds to float32."""
    return keras.Input(shape, name=name, dtype=keras.config.dtype_policy().variable_dtype)


def network(name: str, inputs: Any, outputs: Any, activation: str = "linear") -> keras.Model:
    """Return a model with outputs of at least float32 that passes on `draws` and `own_statistics`, like `training`."""
    precise = keras.config.dtype_policy().variable_dtype
    outputs = keras.layers.Activation(activation, dtype=precise, name="output")(outputs)
    model = keras.Model(inputs, outputs, name=name)
    model._register_call_context_args("draws", "own_statistics")
    return model


def centre_crop(images: Any, height: int, width: int) -> Any:
    """Crop `[batch, h, w, channels]` to its central `height` x `width` if it is larger."""
    top, left = images.shape[1] - height, images.shape[2] - width
    if not top and not left:
        return images
    edges = ((top // 2, top - top // 2), (left // 2, left - left // 2))
    return keras.layers.Cropping2D(edges, name="centre_crop")(images)
