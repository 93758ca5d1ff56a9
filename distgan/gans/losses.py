"""What players want, as losses per example, `[batch]`, of a discriminator's logits, `[batch, ...]`.

Of a discriminator that judges patches, an example's loss is the mean over its patches.
"""

import tensorflow as tf


def per_example(values: tf.Tensor) -> tf.Tensor:
    """Means over all but the first axis."""
    return tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), 1)


def discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor, real_label: float = 1.0) -> tf.Tensor:
    """-log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1); the two terms are not halved.

    With a `real_label` below 1, the cross-entropy to that probability (Salimans et al. 2016, sec. 3.4).
    """
    real = tf.math.softplus(-real_logits) + (1 - real_label) * real_logits
    return per_example(real + tf.math.softplus(fake_logits))


def non_saturating_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """-log D(G(z)), steep where the discriminator wins (Goodfellow et al. 2014, sec. 3)."""
    return per_example(tf.math.softplus(-fake_logits))


def least_squares_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """(D(x) - 1)^2 + D(G(z))^2 (Mao et al. 2017, eq. 9), not halved."""
    return per_example((real_logits - 1) ** 2 + fake_logits**2)


def least_squares_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """(D(G(z)) - 1)^2 (Mao et al. 2017, eq. 9)."""
    return per_example((fake_logits - 1) ** 2)


def l1(images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of images `[batch, height, width, channels]`."""
    return per_example(tf.abs(images - tf.cast(others, images.dtype)))


def accuracies(real_logits: tf.Tensor, fake_logits: tf.Tensor, threshold: float = 0.0) -> dict[str, tf.Tensor]:
    """Sums over the examples of: real ones taken for real, fakes taken for fake, and the mean of both."""
    real = tf.reduce_sum(per_example(tf.cast(real_logits > threshold, real_logits.dtype)))
    fake = tf.reduce_sum(per_example(tf.cast(fake_logits < threshold, fake_logits.dtype)))
    return {"accuracy/real": real, "accuracy/fake": fake, "accuracy/mean": (real + fake) / 2}
