"""Adversarial losses and gradient penalties per example, `[batch]`, of a discriminator's logits, `[batch, ...]`.

With a patch discriminator, the loss of an example is the mean over its patches. A penalty needs the gradient of an
image's logit with respect to that image, so a logit must depend on its image only.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from distgan.data.order import Draws
from distgan.errors import UserError

Judge = Callable[[tf.Tensor], tf.Tensor]  # from images to logits
SCALE = 2.0**10  # of logits during differentiation; the gradients of pixels are too small for float16
FLATTEST = 1e-30  # squared slope below which the gradient of the slope is zero


def per_example(values: tf.Tensor) -> tf.Tensor:
    """Return the means over all axes but the first."""
    return tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), 1)


def summed(losses: tf.Tensor) -> tf.Tensor:
    """Return the sum of losses `[batch]`. Raises `UserError` if they are a mean or a sum already."""
    if losses.shape.rank != 1:
        raise UserError(
            f"--loss returns losses of shape {losses.shape}: return one for each example, [batch], no mean."
        )
    return tf.reduce_sum(losses)


def discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor, real_label: float = 1.0) -> tf.Tensor:
    """Return -log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1); the two terms are not halved.

    With a `real_label` below 1, the first term is the cross-entropy to it (Salimans et al. 2016, sec. 3.4).
    """
    real = tf.math.softplus(-real_logits) + (1 - real_label) * real_logits
    return per_example(real + tf.math.softplus(fake_logits))


def non_saturating_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """Return -log D(G(z)), steep if the discriminator is right (Goodfellow et al. 2014, sec. 3)."""
    return per_example(tf.math.softplus(-fake_logits))


def minimax_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """Return log(1 - D(G(z))), flat if the discriminator is right (Goodfellow et al. 2014, eq. 1)."""
    return -per_example(tf.math.softplus(fake_logits))


def least_squares_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """Return (D(x) - 1)^2 + D(G(z))^2 (Mao et al. 2017, eq. 9), not halved."""
    return per_example((real_logits - 1) ** 2 + fake_logits**2)


def least_squares_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """Return (D(G(z)) - 1)^2 (Mao et al. 2017, eq. 9)."""
    return per_example((fake_logits - 1) ** 2)


def hinge_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """Return max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017; Miyato et al. 2018, eq. 16)."""
    return per_example(tf.nn.relu(1 - real_logits) + tf.nn.relu(1 + fake_logits))


def wasserstein_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """Return D(G(z)) - D(x); the best D of slope 1 gives -(Wasserstein distance) (Arjovsky et al. 2017, eq. 2)."""
    return per_example(fake_logits - real_logits)


def wasserstein_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """Return -D(G(z)) (Arjovsky et al. 2017, algorithm 1), also for the hinge loss (Miyato et al. 2018, eq. 17)."""
    return -per_example(fake_logits)


def relativistic_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """Return -log sigmoid(D(x) - D(G(z))) for pairs of a real and a fake (Jolicoeur-Martineau 2019; Huang et al. 2024).

    Pairs are the rows of the batch.
    """
    return per_example(tf.math.softplus(fake_logits - real_logits))


def relativistic_generator_loss(fake_logits: tf.Tensor, real_logits: tf.Tensor) -> tf.Tensor:
    """Return -log sigmoid(D(G(z)) - D(x)), for the same pairs."""
    return relativistic_discriminator_loss(fake_logits, real_logits)


class Loss(NamedTuple):
    """An adversarial loss.

    Attributes:
        discriminator: a function of the logits of real and of fake images; generator: one of those of fakes or, if it
            is `relativistic`, of fakes and reals.
        threshold: the logit above which an image counts as real; None if there is no such logit.
    """

    discriminator: Callable[..., tf.Tensor]
    generator: Callable[..., tf.Tensor]
    threshold: float | None
    relativistic: bool = False


LOSSES = {
    "non_saturating": Loss(discriminator_loss, non_saturating_loss, 0.0),
    "minimax": Loss(discriminator_loss, minimax_loss, 0.0),
    "least_squares": Loss(least_squares_discriminator_loss, least_squares_generator_loss, 0.5),
    "hinge": Loss(hinge_discriminator_loss, wasserstein_generator_loss, 0.0),
    "wasserstein": Loss(wasserstein_discriminator_loss, wasserstein_generator_loss, None),
    "relativistic": Loss(relativistic_discriminator_loss, relativistic_generator_loss, None, relativistic=True),
}


def loss_called(name: str, real_label: float = 1.0) -> Loss:
    """Return a row of `LOSSES`; a `real_label` below 1 is for cross-entropies only."""
    loss = LOSSES[name]
    if real_label == 1:
        return loss
    return loss._replace(discriminator=functools.partial(loss.discriminator, real_label=real_label))


def l1(images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Return the mean absolute difference per example of images `[batch, height, width, channels]`."""
    return per_example(tf.abs(images - tf.cast(others, images.dtype)))


def accuracies(real_logits: tf.Tensor, fake_logits: tf.Tensor, threshold: float | None = 0.0) -> dict[str, tf.Tensor]:
    """Return sums over the examples: real images judged real, fakes judged fake, their mean; {} without a threshold."""
    if threshold is None:
        return {}
    real = tf.reduce_sum(per_example(tf.cast(real_logits > threshold, real_logits.dtype)))
    fake = tf.reduce_sum(per_example(tf.cast(fake_logits < threshold, fake_logits.dtype)))
    return {"accuracy/real": real, "accuracy/fake": fake, "accuracy/mean": (real + fake) / 2}


def gradient_penalty(judge: Judge, reals: tf.Tensor, fakes: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Return (||grad D(x)|| - 1)^2 at x between a real and a generated image (Gulrajani et al. 2017, eq. 3)."""
    part = tf.cast(draws.uniform((1, 1, 1)), reals.dtype)
    slopes = tf.sqrt(tf.maximum(_squared_slopes(judge, part * reals + (1 - part) * fakes), FLATTEST))
    return (slopes - 1) ** 2


def r1(judge: Judge, images: tf.Tensor) -> tf.Tensor:
    """Return ||grad D(x)||^2 / 2 at real images x, or at fakes for R2 (Mescheder et al. 2018, eq. 9 and 10)."""
    return _squared_slopes(judge, images) / 2


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
