"""A small convolutional network that tells classes of images apart, such as the digits of MNIST."""

from typing import Any

import keras

from distgan.nets.layers import Initial

FILTERS = (32, 64)  # of the two stages, each of two convolutions and a pooling
KERNEL_SIZE = 3
FEATURES = 64
DROPOUT = 0.3
MOMENTUM = 0.9  # of the moving statistics: a training of minutes is short for the usual 0.99


def classifier(image_shape: tuple[int, int, int], num_classes: int, seed: int) -> keras.Model:
    """Images `[batch, height, width, channels]` in [-1, 1], 16x16 or more, to logits `[batch, num_classes]`.

    The layer "features" makes `[batch, 64]`, of which the logits are linear. All is float32, whatever the policy.
    """
    layer = _Layers(seed)
    images = x = keras.Input(image_shape, dtype="float32", name="images")
    for stage, filters in enumerate(FILTERS, 1):
        for half in ("a", "b"):
            x = layer.convolution(x, filters, f"stage_{stage}{half}")
        x = keras.layers.MaxPooling2D(dtype="float32", name=f"stage_{stage}_pool")(x)
    x = keras.layers.Flatten(dtype="float32", name="flatten")(x)
    x = keras.layers.Dropout(DROPOUT, seed=seed, dtype="float32", name="dropout")(x)
    x = layer.dense(FEATURES, "features", activation="relu")(x)
    return keras.Model(images, layer.dense(num_classes, "logits")(x), name="classifier")


class _Layers:
    """Makes the layers, each with an initial value of its own."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _initial(self, name: str) -> Initial:
        return Initial(keras.initializers.HeNormal, self._seed, f"classifier/{name}")

    def convolution(self, x: Any, filters: int, name: str) -> Any:
        """Convolve without padding, normalise by the batch, and rectify."""
        x = keras.layers.Conv2D(
            filters, KERNEL_SIZE, use_bias=False, kernel_initializer=self._initial(name), dtype="float32", name=name
        )(x)
        x = keras.layers.BatchNormalization(momentum=MOMENTUM, dtype="float32", name=f"{name}_norm")(x)
        return keras.layers.ReLU(dtype="float32", name=f"{name}_activation")(x)

    def dense(self, units: int, name: str, activation: str | None = None) -> keras.layers.Layer:
        return keras.layers.Dense(units, activation, kernel_initializer=self._initial(name), dtype="float32", name=name)
