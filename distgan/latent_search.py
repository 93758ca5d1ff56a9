"""The search for latents with which a run's generator makes an image like a given one (projection).

Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", appendix D, here for the generator's input.
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from distgan.data.order import STEPS, Draws
from distgan.data.pipeline import to_images
from distgan.errors import UserError
from distgan.metrics.features import network_for
from distgan.tracing import traced

# About how many random latents; the best, searched for a quarter of the steps; and the best of these, to the end.
CANDIDATES, STARTS, FINALISTS = 256, 8, 2
LEARNING_RATE, RAMP_UP, RAMP_DOWN = 0.1, 0.05, 0.25  # ramps are parts of a search
NOISE, NOISE_PART = 0.05, 0.75  # noise at the start, in random latents, and the part in which it falls to 0
NORM_MARGIN = 2  # three standard deviations of a normal vector's norm, whatever its length


def project(
    run: Any, picture: np.ndarray, label: Any = None, *, steps: int = 200, seed: int = 0, features: str | None = None
) -> dict[str, Any]:
    """Find `latents`, float32 `[latent_dim]`, with which `generate_from` makes an image like a picture.

    The picture is uint8 `[height, width, channels]`. A conditional run adds `label`: the given or the best one.
    `start` and `end` are distances, of the best random latents and of those found: the mean of the squared
    distances of pixels and `features`, each divided by its mean over random latents. Raises `UserError`.
    """
    if (given := [picture.dtype, *picture.shape]) != [np.uint8, *run.image_shape]:
        raise UserError(f"The run makes uint8 pictures {list(run.image_shape)}, not {given[0]} {given[1:]}.")
    gan, image = run.gan, to_images(picture[None])
    tried = range(max(1, gan.num_classes)) if label is None else run.numbers_of([label], 1)
    each = STARTS * max(1, CANDIDATES // STARTS // len(tried))
    latents, classes = gan.latents(Draws("projection", seed % STEPS, 0, each * len(tried))), np.tile(tried, each)
    features_of = network_for(features or run.config.features, str(run.config.data), run.image_shape).of
    wanted = features_of(image)

    def slope(latents: tf.Tensor, classes: Any, units: Any) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(latents)
            images = tf.cast(gan.images_of(latents, classes), tf.float32)
            of_features = tf.reduce_mean(tf.square(features_of(images) - wanted), 1)
            errors = tf.stack([tf.reduce_mean(tf.square(images - image), [1, 2, 3]), of_features], 1) / units
        return errors, tape.gradient(errors, latents)

    compiled, parts = traced(slope), (slice(at, at + STARTS) for at in range(0, len(classes), STARTS))
    errors = np.concatenate([compiled(latents[part], classes[part], np.ones(2, np.float32))[0] for part in parts])
    units = errors.mean(0) + np.finfo(np.float32).tiny
    distances = (errors / units).mean(1)
    ranks = distances.reshape(each, -1).argsort(0).argsort(0).ravel()
    best = np.lexsort((distances, ranks))[:STARTS]  # the best of each class first
    for num_steps, left in ((steps // 4, FINALISTS), (steps - steps // 4, 1)):
        further = classes[best], units
        latents = _search(compiled, run, tf.gather(latents, best), further=further, steps=num_steps, seed=seed)
        distances, classes = compiled(latents, *further)[0].numpy().mean(1), further[0]
        best = distances.argsort(kind="stable")[:left]
    found = {"latents": latents[best[0]].numpy(), "start": (errors / units).mean(1).min(), "end": distances[best[0]]}
    return found | ({"label": gan.class_names[classes[best[0]]]} if gan.num_classes else {})


def _search(slope: Any, run: Any, latents: tf.Tensor, *, further: Any, steps: int, seed: int) -> tf.Tensor:
    variable, optimizer = keras.Variable(latents, dtype="float32"), keras.optimizers.Adam(LEARNING_RATE)
    count, middle = len(latents), math.sqrt(latents.shape[1])
    for step in range(steps):
        part = (step + 0.5) / steps
        falling = (1 - math.cos(math.pi * min(1, (1 - part) / RAMP_DOWN))) / 2
        optimizer.learning_rate = LEARNING_RATE * min(1, part / RAMP_UP) * falling
        noise = run.gan.latents(Draws(f"projection/{step}", seed % STEPS, 0, count))
        optimizer.apply([slope(variable + NOISE * max(0, 1 - part / NOISE_PART) ** 2 * noise, *further)[1]], [variable])
        norms = tf.norm(latents := tf.convert_to_tensor(variable), axis=1, keepdims=True)
        of_norm = latents * (tf.clip_by_value(norms, middle - NORM_MARGIN, middle + NORM_MARGIN) / norms)
        variable.assign(
            of_norm if getattr(run.config.gan, "noise", "normal") == "normal" else tf.clip_by_value(latents, -1, 1)
        )
    return tf.convert_to_tensor(variable)
