"""Latents for samples: between given ones, and without the rare ones."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from distgan.errors import UserError

if TYPE_CHECKING:
    from distgan.run import Run


def of_seeds(run: "Run", seeds: Sequence[int], num_images: int) -> np.ndarray:
    """Return the latents of the first image of each seed and, evenly spread, of those between them, in this order.

    There are `num_images` in all, float32 `[num_images, latent_dim]`: on great circles between normal latents, on lines
    between uniform ones. Raises `UserError` if the run translates images.
    """
    stops = np.concatenate([of_seed(run, seed, 1) for seed in seeds])
    position = np.linspace(0, len(stops) - 1, num_images)
    stage = np.minimum(position.astype(int), len(stops) - 2)
    part = (position - stage)[:, None]
    if run.config.gan.noise == "normal":
        weights = np.cos(part * math.pi / 2), np.sin(part * math.pi / 2)
    else:
        weights = 1 - part, part
    return (weights[0] * stops[stage] + weights[1] * stops[stage + 1]).astype(np.float32)


def of_seed(run: "Run", seed: int, num_images: int, most: float | None = None) -> np.ndarray:
    """Return the latents of the images that a seed generates, float32 `[num_images, latent_dim]`.

    With `most` they are of a normal distribution without the values above it (the truncation trick of Brock et al.
    2018, section 3.1): each value of the seed is mapped to the one of the same rank. Raises `UserError` if the run
    translates images, or its latents are not normal.
    """
    from distgan.data.order import Draws

    if not hasattr(run.gan, "latents"):
        raise UserError("The run translates images and has no latents: give --input, the images to translate.")
    latents = np.asarray(run.gan.latents(Draws("samples", seed, 0, num_images)))
    return latents if most is None else _truncated(run, latents, most)


def _truncated(run: "Run", latents: np.ndarray, most: float) -> np.ndarray:
    import tensorflow as tf

    if run.config.gan.noise != "normal":
        raise UserError(f"--truncation={most:g} needs normal latents, and the run's are uniform: remove it.")
    wide = latents.astype(np.float64)
    below = 0.5 * math.erfc(most / math.sqrt(2))  # the share of values below -most
    share = below + (1 - 2 * below) * 0.5 * (1 + tf.math.erf(wide / math.sqrt(2)))
    return np.asarray(tf.math.ndtri(share), np.float32)
