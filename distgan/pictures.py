"""Pictures on disk: grids of samples, the film of a run.

Here `pixels` are uint8 [number, height, width, channels] in [0, 255], and a `picture` is one of
them, [height, width, channels]; channels are 1 (grey) or 3 (RGB). Each file appears whole or not
at all. What draws is imported only where it is used: most processes of a run never draw.
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
    """One picture of all: near-square or of so many columns, filled row after row, with a small gap between them."""
    number, height, width, channels = pixels.shape
    columns = columns or max(1, int(np.ceil(np.sqrt(number))))
    rows = max(1, -(-number // columns))
    cells = np.full((rows * columns, height + GAP, width + GAP, channels), BACKGROUND, dtype=np.uint8)
    cells[:number, :height, :width] = pixels
    table = cells.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    return table.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]


def enlarge(picture: np.ndarray) -> np.ndarray:
    """A small picture, each pixel repeated so that the longer side comes near 500; others as is."""
    factor = max(1, round(PLEASANT_WIDTH / max(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def encode_png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file of this picture, in its own size."""
    buffer = io.BytesIO()
    to_pillow(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(path: Path, picture: np.ndarray) -> None:
    """One picture, enlarged if it is small."""
    atomic.write(path, encode_png(enlarge(picture)))


def save_gif(path: Path, frames: Iterable[np.ndarray], milliseconds: int) -> None:
    """An endless film of one or more pictures of one size, the last one shown longer.

    Small pictures are enlarged. Equal neighbours become one frame that is shown longer.
    """
    first, *others = [_to_256_colours(to_pillow(enlarge(frame))) for frame in frames]
    durations = [milliseconds] * len(others) + [max(1500, 5 * milliseconds)]
    buffer = io.BytesIO()
    first.save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=durations if others else durations[0],
        loop=0,
    )
    atomic.write(path, buffer.getvalue())


def progress_gif(samples_dir: Path, path: Path) -> None:
    """The film of a run from its `image_at_epoch_*.png`, or from those of steps where it has no others.

    A long run is thinned to 120 frames. Pictures of another size than the last (the number of
    samples was changed on the way) are left out. Without pictures nothing is written.
    """
    frames = [_read_picture(file) for file in _thin(_in_order(samples_dir), MOST_FRAMES)]
    alike = [frame for frame in frames if frame.shape == frames[-1].shape]
    if alike:
        save_gif(path, alike, milliseconds=int(np.clip(FILM_MILLISECONDS / len(alike), 80, 500)))


def write_samples(output: str | Path, pixels: np.ndarray, columns: int | None = None) -> None:
    """Samples as one grid (`.png`), as an array `pixels` (`.npz`), or as a directory of PNGs.

    The grid is enlarged if it is small; the directory's 00000.png, 00001.png ... never are.
    """
    output = Path(output)
    if output.suffix == ".png":
        save_png(output, grid(pixels, columns))
    elif output.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, pixels=pixels)
        atomic.write(output, buffer.getvalue())
    else:
        output.mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(pixels):
            atomic.write(output / f"{index:05d}.png", encode_png(picture))


def to_pillow(picture: np.ndarray) -> "Image":
    """A picture, grey or RGB, as Pillow has it."""
    from PIL import Image

    return Image.fromarray(picture[:, :, 0] if picture.shape[-1] == 1 else picture)


def _to_256_colours(image: "Image") -> "Image":
    """The image as a GIF can hold it; dithered, which Pillow does only to a palette it is given."""
    return image if image.mode == "L" else image.quantize(palette=image.quantize(256))


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        picture = np.asarray(image)
    return picture[:, :, None] if picture.ndim == 2 else picture


def _in_order(samples_dir: Path) -> list[Path]:
    """The pictures of epochs, or of steps where there are none, by their numbers."""
    kinds: dict[str, dict[int, Path]] = {"epoch": {}, "step": {}}
    for file in samples_dir.glob("image_at_*.png"):
        if match := re.fullmatch(r"image_at_(epoch|step)_(\d+)\.png", file.name):
            kinds[match[1]][int(match[2])] = file
    found = kinds["epoch"] or kinds["step"]
    return [found[number] for number in sorted(found)]


def _thin(files: Sequence[Path], most: int) -> list[Path]:
    chosen = np.linspace(0, len(files) - 1, num=min(len(files), most))
    return [files[round(index)] for index in chosen]
