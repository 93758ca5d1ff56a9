"""Pictures on disk: grids of samples, the film of a run.

Here `pixels` are uint8 [number, height, width, channels] in [0, 255], and a `picture` is one of
them, [height, width, channels]; channels are 1 (grey) or 3 (RGB). Each file is written whole or not
at all. Drawing libraries are imported where they are used, as most processes of a run never draw.
"""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distgan.store import atomic

if TYPE_CHECKING:
    from PIL.Image import Image

PLEASANT_WIDTH = 500
GAP = 2
BACKGROUND = 255
MOST_FRAMES = 120
FILM_MILLISECONDS = 8000


def grid(pixels: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Arrange pictures in a grid, near-square or of `columns`, filled row by row, with small gaps."""
    number, height, width, channels = pixels.shape
    columns = columns or max(1, int(np.ceil(np.sqrt(number))))
    rows = max(1, -(-number // columns))
    cells = np.full((rows * columns, height + GAP, width + GAP, channels), BACKGROUND, dtype=np.uint8)
    cells[:number, :height, :width] = pixels
    table = cells.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    return table.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]


def enlarge(picture: np.ndarray) -> np.ndarray:
    """Enlarge a small picture: repeat pixels so that the longer side is about 500; return others unchanged."""
    factor = max(1, round(PLEASANT_WIDTH / max(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def encode_png(picture: np.ndarray) -> bytes:
    """Return the bytes of a PNG file of this picture, in its own size."""
    buffer = io.BytesIO()
    to_pillow(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write one picture, enlarged if it is small."""
    atomic.write(path, encode_png(enlarge(picture)))


def save_gif(path: Path, frames: Iterable[np.ndarray], milliseconds: int) -> None:
    """Write an endless film of pictures of one size, enlarged if small; equal neighbours and the last show longer."""
    first, *others = [_to_256_colours(to_pillow(enlarge(frame))) for frame in frames]
    last = max(1500, 5 * milliseconds)
    durations = [milliseconds] * len(others) + [last] if others else last
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)
    atomic.write(path, buffer.getvalue())


def progress_gif(samples_dir: Path, path: Path) -> None:
    """Write the film of a run from its `image_at_epoch_*.png`, or from those of steps if there are none.

    A long run is thinned to 120 frames. Pictures of another size than the last are left out (the number
    of samples changed during the run). Without pictures nothing is written.
    """
    frames = [_read_picture(file) for file in _thin(_in_order(samples_dir), MOST_FRAMES)]
    alike = [frame for frame in frames if frame.shape == frames[-1].shape]
    if alike:
        save_gif(path, alike, milliseconds=int(np.clip(FILM_MILLISECONDS / len(alike), 80, 500)))


def write_samples(output: str | Path, pixels: np.ndarray, columns: int | None = None) -> None:
    """Write samples as a grid (`.png`), enlarged if small, as an array `pixels` (`.npz`), or as a directory of PNGs."""
    output = Path(output)
    if output.suffix == ".png":
        save_png(output, grid(pixels, columns))
    elif output.suffix == ".npz":
        with atomic.replaced(output) as unfinished:
            np.savez_compressed(unfinished, pixels=pixels)
    else:
        output.mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(pixels):
            atomic.write(output / f"{index:05d}.png", encode_png(picture))


def to_pillow(picture: np.ndarray) -> "Image":
    """Return a grey or RGB picture as a Pillow image."""
    from PIL import Image

    return Image.fromarray(picture[:, :, 0] if picture.shape[-1] == 1 else picture)


def _to_256_colours(image: "Image") -> "Image":
    """Return the image in 256 colours, for a GIF; dithered, which Pillow does only with a given palette."""
    return image if image.mode == "L" else image.quantize(palette=image.quantize(256))


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        picture = np.asarray(image)
    return picture[:, :, None] if picture.ndim == 2 else picture


def _in_order(samples_dir: Path) -> list[Path]:
    """Return the pictures of epochs, or of steps if there are none, in the order of their numbers."""
    kinds: dict[str, dict[int, Path]] = {"epoch": {}, "step": {}}
    for file in samples_dir.glob("image_at_*.png"):
        if match := re.fullmatch(r"image_at_(epoch|step)_(\d+)\.png", file.name):
            kinds[match[1]][int(match[2])] = file
    found = kinds["epoch"] or kinds["step"]
    return [found[number] for number in sorted(found)]


def _thin(files: Sequence[Path], most: int) -> list[Path]:
    chosen = np.linspace(0, len(files) - 1, num=min(len(files), most))
    return [files[round(index)] for index in chosen]
