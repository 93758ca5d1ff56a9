"""The TensorFlow DCGAN tutorial's networks and loop, as people copy them; with --precision, as they speed them up."""

import itertools
import time
from collections.abc import Callable

import keras
import numpy as np
import protocol
import tensorflow as tf
from keras import layers

NOISE_SIZE = 100

cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)


def make_generator(filters: int = 64, normalized: bool = True) -> keras.Model:
    """Noise `[batch, 100]` to images `[batch, 28, 28, 1]` in [-1, 1]."""

    def norm() -> list[keras.layers.Layer]:
        return [layers.BatchNormalization()] if normalized else []

    return keras.Sequential([
        keras.Input((NOISE_SIZE,)),
        layers.Dense(7 * 7 * 4 * filters, use_bias=False),
        *norm(),
        layers.LeakyReLU(),
        layers.Reshape((7, 7, 4 * filters)),
        layers.Conv2DTranspose(2 * filters, 5, strides=1, padding="same", use_bias=False),
        *norm(),
        layers.LeakyReLU(),
        layers.Conv2DTranspose(filters, 5, strides=2, padding="same", use_bias=False),
        *norm(),
        layers.LeakyReLU(),
        layers.Conv2DTranspose(1, 5, strides=2, padding="same", use_bias=False),
        layers.Activation("tanh", dtype="float32"),
    ])  # fmt: skip


def make_discriminator(filters: int = 64) -> keras.Model:
    """Images `[batch, 28, 28, 1]` to logits `[batch, 1]` of being real."""
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(filters, 5, strides=2, padding="same"),
        layers.LeakyReLU(),
        layers.Dropout(0.3),
        layers.Conv2D(2 * filters, 5, strides=2, padding="same"),
        layers.LeakyReLU(),
        layers.Dropout(0.3),
        layers.Flatten(),
        layers.Dense(1),
        layers.Activation("linear", dtype="float32"),
    ])  # fmt: skip


def generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """The fakes should be taken for real."""
    return cross_entropy(tf.ones_like(fake_logits), fake_logits)


def discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """Each should be taken for what it is."""
    real_loss = cross_entropy(tf.ones_like(real_logits), real_logits)
    return real_loss + cross_entropy(tf.zeros_like(fake_logits), fake_logits)


def load_images(path: str) -> np.ndarray:
    """Images, float32 `[num_examples, 28, 28, 1]` in [-1, 1]."""
    return (np.load(path).astype("float32") - 127.5) / 127.5


def count(network: keras.Model) -> int:
    """How many parameters are trained."""
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def make_step(generator: keras.Model, discriminator: keras.Model, batch_size: int) -> Callable[[tf.Tensor], None]:
    """A step of both networks, from real images `[batch_size, 28, 28, 1]`."""
    generator_optimizer, discriminator_optimizer = keras.optimizers.Adam(1e-4), keras.optimizers.Adam(1e-4)

    @tf.function
    def train_step(images: tf.Tensor) -> None:
        noise = tf.random.normal([batch_size, NOISE_SIZE])
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fakes = generator(noise, training=True)
            real_logits = discriminator(images, training=True)
            fake_logits = discriminator(fakes, training=True)
            of_generator = generator_loss(fake_logits)
            of_discriminator = discriminator_loss(real_logits, fake_logits)
        generator_weights, discriminator_weights = generator.trainable_variables, discriminator.trainable_variables
        generator_gradients = generator_tape.gradient(of_generator, generator_weights)
        discriminator_gradients = discriminator_tape.gradient(of_discriminator, discriminator_weights)
        generator_optimizer.apply_gradients(zip(generator_gradients, generator_weights, strict=True))
        discriminator_optimizer.apply_gradients(zip(discriminator_gradients, discriminator_weights, strict=True))

    return train_step


def main() -> None:
    given = protocol.asked(__doc__)
    keras.mixed_precision.set_global_policy(given.precision)
    images = load_images(given.pixels)
    dataset = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images))
    dataset = dataset.batch(given.batch_size, drop_remainder=True)  # steps that are counted are alike
    generator, discriminator = make_generator(), make_discriminator()
    train_step = make_step(generator, discriminator, given.batch_size)
    epochs = itertools.chain.from_iterable(itertools.repeat(dataset))
    finished = []
    for batch in itertools.islice(epochs, given.warm_up_steps + given.steps):
        train_step(batch)
        finished.append(time.perf_counter())
    protocol.answer(given, finished, {"generator": count(generator), "discriminator": count(discriminator)})


if __name__ == "__main__":
    main()
