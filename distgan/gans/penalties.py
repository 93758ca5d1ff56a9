"""Gradient penalties of a discriminator, per example, `[batch]`.

Each needs the gradient of an image's logit with respect to that image, so a logit must depend on its image only.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from distgan.data.order import Draws

Judge = Callable[[tf.Tensor], tf.Tensor]  # from images to logits
SCALE = 2.0**10  # of logits during differentiation; the gradients of pixels are too small for float16
FLATTEST = 1e-30  # squared slope below which the gradient of the slope is zero


def gradient_penalty(judge: Judge, reals: tf.Tensor, fakes: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Return (||grad D(x)|| - 1)^2 at x between a real and a generated image (Gulrajani et al. 2017, eq. 3)."""
    part = tf.cast(draws.uniform((1, 1, 1)), reals.dtype)
    slopes = tf.sqrt(tf.maximum(_squared_slopes(judge, part * reals + (1 - part) * fakes), FLATTEST))
    return (slopes - 1) ** 2


def r1(judge: Judge, reals: tf.Tensor) -> tf.Tensor:
    """Return ||grad D(x)||^2 / 2 at real images x (Mescheder et al. 2018, eq. 9)."""
    return _squared_slopes(judge, reals) / 2


def _squared_slopes(judge: Judge, images: tf.Tensor) -> tf.Tensor:
    images = tf.identity(images)  # in tf.cond's own graph, as custom gradients do not find tensors of an outer one
    with tf.GradientTape() as tape:
        tape.watch(images)
        scaled = SCALE * tf.reduce_sum(judge(images))
    gradients = tape.gradient(scaled, images) / SCALE
    return tf.reduce_sum(gradients**2, [1, 2, 3])


def once_in(steps: int, step: Any, compute: Callable[[], tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """Return the result of `compute` if `step` is a multiple of `steps`, else zero without computing it."""
    if steps == 1:
        return compute()
    return tf.cond(tf.equal(step % steps, 0), compute, lambda: tf.zeros([], dtype))
