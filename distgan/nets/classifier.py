"""A small convolutional classifier of images, such as the digits of MNIST."""

from typing import Any

import keras

from distgan.data.base import Shape
from distgan.nets.layers import Initial

FILTERS = (32, 64)  # of the two stages; each has two convolutions and a pooling layer
KERNEL_SIZE = 3
FEATURES = 64
DROPOUT = 0.3
MOMENTUM = 0.9  # of the moving statistics; a training run of minutes is too short for the usual 0.99


def classifier(image_shape: Shape, num_classes: int, seed: int) -> keras.Model:
    """Return a classifier from images `[batch, height, width, channels]` in [-1, 1] to logits `[batch, num_classes]`.

    Images are 16x16 or larger. Logits are linear in the layer "features", `[batch, 64]`. All is float32 in any policy.
    """

    def weighted(name: str) -> dict[str, Any]:
        initial = Initial(keras.initializers.HeNormal, seed, f"classifier/{name}")
        return {"kernel_initializer": initial, "dtype": "float32", "name": name}

    images = x = keras.Input(image_shape, dtype="float32", name="images")
    for stage, filters in enumerate(FILTERS, 1):
        for name in (f"stage_{stage}a", f"stage_{stage}b"):
            x = keras.layers.Conv2D(filters, KERNEL_SIZE, use_bias=False, **weighted(name))(x)
            x = keras.layers.BatchNormalization(momentum=MOMENTUM, dtype="float32", name=f"{name}_norm")(x)
            x = keras.layers.ReLU(dtype="float32", name=f"{name}_activation")(x)
        x = keras.layers.MaxPooling2D(dtype="float32", name=f"stage_{stage}_pool")(x)
    x = keras.layers.Flatten(dtype="float32", name="flatten")(x)
    x = keras.layers.Dropout(DROPOUT, seed=seed, dtype="float32", name="dropout")(x)
    x = keras.layers.Dense(FEATURES, "relu", **weighted("features"))(x)
    return keras.Model(images, keras.layers.Dense(num_classes, **weighted("logits"))(x), name="classifier")
