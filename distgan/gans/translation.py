"""The common parts of image-to-image GANs."""

from distgan.data.base import Shape
from distgan.errors import UserError

DIRECTIONS = ("AtoB", "BtoA")
SMALLEST_PIXELS = 32


def refuse_size(image_shape: Shape, multiple: int) -> None:
    """Raise `UserError` if height or width is no multiple of `multiple`, or too small for the networks."""
    height, width, _ = image_shape
    if height % multiple or width % multiple or min(height, width) < SMALLEST_PIXELS:
        raise UserError(
            f"--image_size={height}x{width} does not suit the networks: both must be multiples of {multiple}, and "
            f"{SMALLEST_PIXELS} at least."
        )
