"""What players want, as losses per example of the discriminator's logits `[batch, 1]`."""

import tensorflow as tf


def discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """-log D(x) - log(1 - D(G(z))), `[batch]` (Goodfellow et al. 2014, eq. 1); the two terms are not halved."""
    return tf.squeeze(tf.math.softplus(-real_logits) + tf.math.softplus(fake_logits), 1)


def non_saturating_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """-log D(G(z)), `[batch]`, steep where the discriminator wins (Goodfellow et al. 2014, sec. 3)."""
    return tf.squeeze(tf.math.softplus(-fake_logits), 1)


def accuracies(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Sums over the examples of: real ones taken for real, fakes taken for fake, and the mean of both."""
    real = tf.reduce_sum(tf.cast(real_logits > 0, real_logits.dtype))
    fake = tf.reduce_sum(tf.cast(fake_logits < 0, fake_logits.dtype))
    return {"accuracy/real": real, "accuracy/fake": fake, "accuracy/mean": (real + fake) / 2}
