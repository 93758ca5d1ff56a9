"""The tutorial's networks in Keras's `fit` with a `train_step` of its own, under MirroredStrategy over two CPU devices.

Batch norm is over a replica's half of the batch. `fit` deals the batch out. Keras's losses divide by the number of
replicas, and its optimizers add up the gradients of them all, so the two together are the global batch's mean.
"""

import time
from typing import Any

import keras
import protocol
import tensorflow as tf
from tensorflow_tutorial import (
    NOISE_SIZE,
    count,
    discriminator_loss,
    generator_loss,
    load_images,
    make_discriminator,
    make_generator,
)

REPLICAS = 2


class GAN(keras.Model):
    """Two networks that move at once, over one forward pass."""

    def __init__(self, generator: keras.Model, discriminator: keras.Model) -> None:
        """Let them play."""
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.generator_loss = keras.metrics.Mean(name="generator_loss")
        self.discriminator_loss = keras.metrics.Mean(name="discriminator_loss")
        self.built = True

    def compile(self, generator_optimizer: Any, discriminator_optimizer: Any) -> None:
        """Take an optimizer for each."""
        super().compile()
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer
        # Under a strategy, optimizers cannot make their variables in the first step (keras-team/keras#23085).
        generator_optimizer.build(self.generator.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    def train_step(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step on a replica's share of the batch."""
        noise = tf.random.normal([tf.shape(images)[0], NOISE_SIZE])
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fakes = self.generator(noise, training=True)
            real_logits = self.discriminator(images, training=True)
            fake_logits = self.discriminator(fakes, training=True)
            of_generator = generator_loss(fake_logits)
            of_discriminator = discriminator_loss(real_logits, fake_logits)
        for network, optimizer, tape, loss in (
            (self.generator, self.generator_optimizer, generator_tape, of_generator),
            (self.discriminator, self.discriminator_optimizer, discriminator_tape, of_discriminator),
        ):
            optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        self.generator_loss.update_state(of_generator * REPLICAS)
        self.discriminator_loss.update_state(of_discriminator * REPLICAS)
        return {"generator_loss": self.generator_loss.result(), "discriminator_loss": self.discriminator_loss.result()}


class Clock(keras.callbacks.Callback):
    """Writes down when each step was finished."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.finished: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write it down."""
        self.finished.append(time.perf_counter())


def main() -> None:
    given = protocol.asked(__doc__)
    keras.mixed_precision.set_global_policy(given.precision)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS)
    images = load_images(given.pixels)
    dataset = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).repeat()
    dataset = dataset.batch(given.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    with tf.distribute.MirroredStrategy([f"CPU:{replica}" for replica in range(REPLICAS)]).scope():
        gan = GAN(make_generator(), make_discriminator())
        gan.compile(keras.optimizers.Adam(1e-4), keras.optimizers.Adam(1e-4))
    clock = Clock()
    gan.fit(dataset, steps_per_epoch=given.warm_up_steps + given.steps, callbacks=[clock], verbose=0)
    parameters = {"generator": count(gan.generator), "discriminator": count(gan.discriminator)}
    protocol.answer(given, clock.finished, parameters)


if __name__ == "__main__":
    main()
