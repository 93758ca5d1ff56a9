"""The exponential moving average (EMA) of the generator's weights."""

from collections.abc import Mapping

import tensorflow as tf

PREFIX = "average/"  # of an EMA's name, before the name of the variable that it follows
_RAMP = 0.05  # the half-life is at most this fraction of the images shown: Karras et al. 2020, appendix B


def update(variables: Mapping[str, tf.Variable], images_shown: tf.Variable, images: int, half_life_images: int) -> None:
    """Update the EMAs among `variables` after a step that showed `images` real images; runs inside the step.

    The share of earlier weights halves every `half_life_images`, and sooner at the start.
    """
    if not half_life_images:
        return
    half_life = tf.minimum(_RAMP * tf.cast(images_shown, tf.float64), float(half_life_images))
    kept = 0.5 ** (images / half_life)
    for name, average in variables.items():
        if name.startswith(PREFIX):
            now = variables[name.removeprefix(PREFIX)]
            average.assign(now + tf.cast(kept, now.dtype) * (average - now))
