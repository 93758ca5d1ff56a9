"""What GANs that turn images into images have in common."""

from distgan.errors import UserError

DIRECTIONS = ("AtoB", "BtoA")


def refuse_size(image_shape: tuple[int, int, int], multiple: int, least: int) -> None:
    """Raise `UserError` where images have another height or width than networks can scale down and up again."""
    height, width, _ = image_shape
    if height % multiple or width % multiple or min(height, width) < least:
        raise UserError(
            f"--image_size={height}x{width} does not suit the networks: both must be multiples of {multiple}, and "
            f"{least} at least."
        )
