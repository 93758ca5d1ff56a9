"""Penalties on how steep a discriminator is, per example, `[batch]`.

Each asks for the gradient of one image's logit by that image: a discriminator must judge each image by itself.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from distgan.data.order import Draws

Judge = Callable[[tf.Tensor], tf.Tensor]  # gives the logits of images
SCALE = 2.0**10  # of a logit while it is differentiated: gradients by pixels are too small for float16
FLATTEST = 1e-30  # squared slope from which on a slope has a gradient


def gradient_penalty(judge: Judge, reals: tf.Tensor, fakes: tf.Tensor, draws: Draws) -> tf.Tensor:
    """(||grad D(x)|| - 1)^2 at an image x between a real one and a fake (Gulrajani et al. 2017, eq. 3)."""
    part = tf.cast(draws.uniform((1, 1, 1)), reals.dtype)
    slopes = tf.sqrt(tf.maximum(_squared_slopes(judge, part * reals + (1 - part) * fakes), FLATTEST))
    return (slopes - 1) ** 2


def r1(judge: Judge, reals: tf.Tensor) -> tf.Tensor:
    """||grad D(x)||^2 / 2 at real images x (Mescheder et al. 2018, eq. 9)."""
    return _squared_slopes(judge, reals) / 2


def _squared_slopes(judge: Judge, images: tf.Tensor) -> tf.Tensor:
    images = tf.identity(images)  # of tf.cond's own graph: a gradient through it finds no other in a custom gradient
    with tf.GradientTape() as tape:
        tape.watch(images)
        scaled = SCALE * tf.reduce_sum(judge(images))
    gradients = tape.gradient(scaled, images) / SCALE
    return tf.reduce_sum(gradients**2, [1, 2, 3])


def once_in(steps: int, step: Any, compute: Callable[[], tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """The number that `compute` gives, in each step that `steps` divide; in others it is zero and costs nothing."""
    if steps == 1:
        return compute()
    return tf.cond(tf.equal(step % steps, 0), compute, lambda: tf.zeros([], dtype))
