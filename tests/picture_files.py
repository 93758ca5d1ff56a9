"""Folders of small pictures, for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

BROKEN = b"This is no picture."


def write_folder(directory: Path, number: int, side_pixels: int = 16, broken: tuple[int, ...] = ()) -> Path:
    """Noise of `number` colours, as 00000.png, 00001.png ...; those of the numbers `broken` are no pictures."""
    directory.mkdir(parents=True)
    for index in range(number):
        path = directory / f"{index:05d}.png"
        if index in broken:
            path.write_bytes(BROKEN)
            continue
        levels = np.random.default_rng(index).integers(0, 256, (side_pixels, side_pixels, 3), np.uint8)
        Image.fromarray(levels).save(path, compress_level=0)
    return directory
