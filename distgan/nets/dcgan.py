"""The convolutional networks of the `mnist` recipe: the TensorFlow DCGAN tutorial's, for images of any size."""

from typing import Any

import keras

from distgan.nets.layers import BatchNormalization, Dropout, Initial, SumInStep, centre_crop, halvings, network

LEAK = 0.3  # negative slope of the leaky ReLUs


def generator(
    image_shape: tuple[int, int, int],
    *,
    noise_size: int,
    filters: int,
    kernel_size: int,
    depth: int,
    normalization: str,
    sum_in_step: SumInStep,
    seed: int,
) -> keras.Model:
    """Noise `[batch, noise_size]` to images `[batch, height, width, channels]` in [-1, 1].

    A dense layer makes `filters * 2^depth` channels at 1/2^depth of the size; transposed convolutions halve the
    channels and, after the first, double the size: 7x7x256, 7x7x128, 14x14x64, 28x28x1 for MNIST.
    """
    height, width, channels = image_shape
    layer = _Layers("generator", seed, kernel_size)

    def block(x: Any, name: str) -> Any:
        if normalization != "none":
            local = normalization == "local"
            x = BatchNormalization(sum_in_step, local, name=f"{name}_norm")(x)
        return keras.layers.LeakyReLU(LEAK, name=f"{name}_activation")(x)

    base = (halvings(height, depth), halvings(width, depth), filters * 2**depth)
    noise = keras.Input((noise_size,), name="noise")
    x = layer.dense(base[0] * base[1] * base[2], "project", use_bias=False)(noise)
    x = keras.layers.Reshape(base, name="reshape")(block(x, "project"))
    for stage in range(depth):
        name = f"grow_{stage + 1}"
        x = layer.transposed(filters * 2 ** (depth - 1 - stage), 1 if stage == 0 else 2, name)(x)
        x = block(x, name)
    x = centre_crop(layer.transposed(channels, 2, "to_image")(x), height, width)
    return network("generator", noise, x, activation="tanh")


def discriminator(
    image_shape: tuple[int, int, int], *, filters: int, kernel_size: int, depth: int, dropout: float, seed: int
) -> keras.Model:
    """Images `[batch, height, width, channels]` to logits `[batch, 1]` of being real."""
    layer = _Layers("discriminator", seed, kernel_size)
    images = x = keras.Input(image_shape, name="images")
    for stage in range(depth):
        name = f"shrink_{stage + 1}"
        x = layer.convolution(filters * 2**stage, name)(x)
        x = keras.layers.LeakyReLU(LEAK, name=f"{name}_activation")(x)
        x = Dropout(dropout, name=f"{name}_dropout")(x)
    x = layer.dense(1, "logit", use_bias=True)(keras.layers.Flatten(name="flatten")(x))
    return network("discriminator", images, x)


class _Layers:
    """Makes the layers of one network, each with an initial value of its own."""

    def __init__(self, network_name: str, seed: int, kernel_size: int) -> None:
        self._name, self._seed, self._kernel_size = network_name, seed, kernel_size

    def _initial(self, name: str) -> Initial:
        return Initial(keras.initializers.GlorotUniform, self._seed, f"{self._name}/{name}")

    def dense(self, units: int, name: str, use_bias: bool) -> keras.layers.Layer:
        return keras.layers.Dense(units, use_bias=use_bias, kernel_initializer=self._initial(name), name=name)

    def convolution(self, filters: int, name: str) -> keras.layers.Layer:
        return keras.layers.Conv2D(
            filters, self._kernel_size, 2, padding="same", kernel_initializer=self._initial(name), name=name
        )

    def transposed(self, filters: int, strides: int, name: str) -> keras.layers.Layer:
        return keras.layers.Conv2DTranspose(
            filters, self._kernel_size, strides, padding="same", use_bias=False,
            kernel_initializer=self._initial(name), name=name,
        )  # fmt: skip
