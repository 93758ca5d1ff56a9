"""What GANs that turn images into images have in common."""

import tensorflow as tf

from distgan.data.order import Draws
from distgan.errors import UserError
from distgan.gans.base import GAN

DIRECTIONS = ("AtoB", "BtoA")


class Translator(GAN):
    """A GAN that turns images into images.

    Attributes:
        directions: those of "AtoB" and "BtoA" that it has learnt.
    """

    directions: tuple[str, ...]
    shows_data = True

    def translate(self, images: tf.Tensor, direction: str, draws: Draws) -> tf.Tensor:
        """Images of one domain, float32 `[n, height, width, channels]` in [-1, 1], as images of the other one."""
        raise NotImplementedError


def refuse_size(image_shape: tuple[int, int, int], multiple: int, least: int) -> None:
    """Raise `UserError` where images have another height or width than networks can scale down and up again."""
    height, width, _ = image_shape
    if height % multiple or width % multiple or min(height, width) < least:
        raise UserError(
            f"--image_size={height}x{width} does not suit the networks: both must be multiples of {multiple}, and "
            f"{least} at least."
        )
