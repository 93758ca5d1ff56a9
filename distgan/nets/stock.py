"""Networks rebuilt from Keras's own layers, which load wherever Keras is installed."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from distgan.errors import UserError
from distgan.nets.convolutions import Convolution, TransposedConvolution
from distgan.nets.layers import Dropout
from distgan.nets.normalization import INSTANCE_EPSILON, BatchNormalization, InstanceNormalization
from distgan.nets.residual import Clipped, Doubled, GroupedConvolution, doubled
from distgan.nets.translation import ReflectionPadding, Residual

_OF_CONVOLUTIONS = ("filters", "kernel_size", "strides", "padding", "use_bias", "activation")
# Layers with parts that Keras can't store, such as our initializers: Keras's counterpart, and the settings to copy.
_COUNTERPARTS: dict[type[keras.Layer], tuple[type[keras.Layer], tuple[str, ...]]] = {
    Convolution: (keras.layers.Conv2D, _OF_CONVOLUTIONS),
    GroupedConvolution: (keras.layers.Conv2D, (*_OF_CONVOLUTIONS, "groups")),
    TransposedConvolution: (keras.layers.Conv2DTranspose, _OF_CONVOLUTIONS),
    BatchNormalization: (keras.layers.BatchNormalization, ("momentum", "epsilon")),
    keras.layers.Dense: (keras.layers.Dense, ("units", "use_bias", "activation")),
}


def stock(network: keras.Model, as_in_training: bool = False) -> keras.Model:
    """Return `network` rebuilt from Keras's own layers, with its weights and outputs, in Keras's current precision.

    With `as_in_training`, batch norm uses each image's own statistics, and dropout stays on, with random numbers from
    Keras. Raises `UserError` if Keras has no counterpart for a layer.
    """
    return keras.models.clone_model(
        network, clone_function=lambda layer: functools.partial(_rebuilt, layer, as_in_training)
    )


def _rebuilt(layer: keras.Layer, as_in_training: bool, inputs: Any, training: bool | None = None) -> Any:
    """Apply the counterpart of a layer to symbolic inputs; Keras passes the `training` of the layer's call."""
    if type(layer) in _SPECIAL:
        return _SPECIAL[type(layer)](layer, inputs)
    if isinstance(layer, Dropout):
        rate, name = layer.threshold / 2**8, layer.name
        return keras.layers.Dropout(rate, name=name)(inputs, training=True) if as_in_training and rate else inputs
    if isinstance(layer, BatchNormalization) and as_in_training:
        gamma, beta, *_ = layer.get_weights()
        return _weighed(_instance_norm(layer.name, layer.epsilon, learns=True), inputs, [gamma, beta])
    if type(layer) in _COUNTERPARTS:
        kind, settings = _COUNTERPARTS[type(layer)]
        new = kind(**{name: getattr(layer, name) for name in settings}, name=layer.name)
    elif type(layer).__module__.startswith("keras."):
        new = type(layer).from_config(layer.get_config() | {"dtype": keras.config.dtype_policy().name})
    else:
        raise UserError(f"Keras has no layer for {layer.name} ({type(layer).__name__}): choose --format=saved_model.")
    return _weighed(new, inputs, layer.get_weights())


def _weighed(layer: keras.Layer, inputs: Any, weights: list[Any]) -> Any:
    """Apply a layer to symbolic inputs, which builds it, then set its weights."""
    outputs = layer(inputs)
    layer.set_weights(weights)
    return outputs


def _instance_norm(name: str, epsilon: float = INSTANCE_EPSILON, learns: bool = False) -> keras.Layer:
    """Return instance norm as a group norm with one channel in each group."""
    return keras.layers.GroupNormalization(groups=-1, epsilon=epsilon, center=learns, scale=learns, name=name)


def _reflected(x: Any, pixels: int) -> Any:
    return keras.ops.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


def _residual(layer: Residual, inputs: Any) -> Any:
    """Apply a residual block, built from separate layers."""
    weights, x = layer.get_weights(), inputs
    for number in (1, 2):
        name = f"{layer.name}_{number}"
        convolution = keras.layers.Conv2D(x.shape[-1], 3, name=name)
        x = _weighed(convolution, _reflected(x, 1), weights[2 * number - 2 : 2 * number])
        x = _instance_norm(f"{name}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}_activation")(x) if number == 1 else x
    return keras.layers.Add(name=layer.name)([inputs, x])


def _scaled(layer: keras.layers.EinsumDense, inputs: Any) -> Any:
    shape, axes, (kernel, *biases) = layer.partial_output_shape, layer.bias_axes, layer.get_weights()
    if layer.equation != "bc,hwc->bhwc":
        new = keras.layers.EinsumDense(layer.equation, shape, bias_axes=axes, name=layer.name)
        return _weighed(new, inputs, [kernel, *biases])
    # The converter to LiteRT fails if two axes are only in the weights.
    flat = kernel.reshape(-1, kernel.shape[2])
    new = keras.layers.EinsumDense("bc,pc->bpc", flat.shape, name=layer.name)
    return keras.layers.Reshape(shape, name=f"{layer.name}_shape")(_weighed(new, inputs, [flat]))


_SPECIAL: dict[type[keras.Layer], Callable[[Any, Any], Any]] = {
    InstanceNormalization: lambda layer, inputs: _instance_norm(layer.name)(inputs),
    ReflectionPadding: lambda layer, inputs: _reflected(inputs, layer.pixels),
    Residual: _residual,
    keras.layers.EinsumDense: _scaled,
    Doubled: lambda layer, inputs: doubled(inputs),
    Clipped: lambda layer, inputs: keras.layers.Activation("hard_tanh", name=layer.name)(inputs),
}
