"""What GANs that turn images into images have in common."""

from distgan.data.base import Shape
from distgan.errors import UserError

DIRECTIONS = ("AtoB", "BtoA")
SMALLEST_PIXELS = 32


def refuse_size(image_shape: Shape, multiple: int) -> None:
    """Raise `UserError` where images have another height or width than networks can scale down and up again."""
    height, width, _ = image_shape
    if height % multiple or width % multiple or min(height, width) < SMALLEST_PIXELS:
        raise UserError(
            f"--image_size={height}x{width} does not suit the networks: both must be multiples of {multiple}, and "
            f"{SMALLEST_PIXELS} at least."
        )
