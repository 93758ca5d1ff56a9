"""Pictures on disk: grids of samples, the film of a run, its curves.

Here `pixels` are uint8 [number, height, width, channels] in [0, 255], and a `picture` is one of
them, [height, width, channels]; channels are 1 (grey) or 3 (RGB). Each file appears whole or not
at all. What draws is imported only where it is used: most processes of a run never draw.
"""

import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distgan.store import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

PLEASANT_WIDTH = 500
GAP = 2
BACKGROUND = 255
MOST_FRAMES = 120
FILM_MILLISECONDS = 8000

LINE_COLOURS = {
    "loss/generator": "#2a6f97",
    "loss/discriminator": "#c8553d",
    "accuracy/real": "#4f8a5b",
    "accuracy/fake": "#8b6bb1",
    "accuracy/mean": "#333333",
}
OTHER_COLOURS = ("#d99a2b", "#4aa3a2", "#b0577f", "#7a6a58", "#6b7fd7", "#9aa53b")
QUIET = "#8a8a8a"

Series = dict[str, tuple[np.ndarray, np.ndarray]]  # of each name, x and y; y may be NaN


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


def plot_losses(metrics_path: Path, path: Path) -> None:
    """Draws `loss/*` and `accuracy/*` of a metrics.jsonl, a panel each, smoothed over faint raw.

    The x axis counts epochs once there are two, else steps. Without a line to draw nothing is
    written.
    """
    records = read_metrics(metrics_path)
    clock = "epoch" if records and records[-1].get("epoch", 0) >= 2 else "step"
    panels = {title: _series(records, clock, f"{title.lower()}/") for title in ("Loss", "Accuracy")}
    panels = {title: series for title, series in panels.items() if series}
    if panels:
        atomic.write(path, _draw(panels, clock))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, none if there is no file; what is no record is left out."""
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    return records


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


def _series(records: list[dict[str, Any]], clock: str, group: str) -> Series:
    names = dict.fromkeys(name for record in records for name in record if name.startswith(group))
    series = {}
    for name in names:
        points = [(record[clock], record[name]) for record in records if name in record]
        x, y = np.array(points, dtype=float).T
        if np.isfinite(y).any():
            series[name] = x, y
    return series


def _usual(values: np.ndarray, reach: float) -> tuple[float, float]:
    """Where all but stray values lie: the range of 98% of them, and `reach` ranges on each side."""
    known = np.sort(values[np.isfinite(values)])
    strays = math.ceil(len(known) / 100) if len(known) > 10 else 0
    low, high = known[strays], known[-1 - strays]
    return low - reach * (high - low), high + reach * (high - low)


def smooth(values: np.ndarray) -> np.ndarray:
    """The mean of the neighbours, weighted by a bell of a fortieth of the line.

    A stray value counts no more than a high usual one, an unknown one (NaN) not at all.
    """
    sigma = np.clip(len(values) / 40, 0.5, 500)  # a wider bell would take minutes on a long run
    reach = min(int(3 * sigma), (len(values) - 1) // 2)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    known = np.isfinite(values)
    usual = np.where(known, np.clip(np.nan_to_num(values), *_usual(values, 0.5)), 0.0)
    sums, weights = (np.convolve(line, bell, mode="same") for line in (usual, known))
    return np.where(known, sums / np.maximum(weights, bell.min()), np.nan)


def _draw(panels: dict[str, Series], clock: str) -> bytes:
    # Figure and its own canvas, not pyplot: that would keep global state and may want a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2 * len(panels)), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, series) in zip(all_axes, panels.items(), strict=True):
        _draw_lines(axes, series)
        _dress(axes, title, series)
    all_axes[-1].set_xlabel(clock, color=QUIET)
    all_axes[-1].xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def _draw_lines(axes: "Axes", series: Series) -> None:
    spare = iter(OTHER_COLOURS * len(series))
    for name, (x, y) in series.items():
        colour = LINE_COLOURS.get(name) or next(spare)
        label = name.partition("/")[2].replace("_", " ")
        marker = "o" if len(x) == 1 else ""
        axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.3 if len(x) < 300 else 0.15)
        axes.plot(x, smooth(y), marker, color=colour, linewidth=1.8, label=label)


def _dress(axes: "Axes", title: str, series: Series) -> None:
    if title == "Accuracy":
        axes.set_ylim(0, 1.02)
        axes.axhline(0.5, color=QUIET, linewidth=1, linestyle=(0, (4, 4)))
    else:
        axes.set_ylim(*limits(np.concatenate([y for _, y in series.values()])))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(series), frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=9)
    axes.grid(axis="y", color=QUIET, alpha=0.15)
    axes.margins(x=0.01)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Limits that hold all but stray values, so that one spike does not flatten the rest."""
    low, high = _usual(values, 2.0)
    near = values[(values >= low) & (values <= high)]
    margin = 0.05 * (near.max() - near.min()) or 0.5
    return near.min() - margin, near.max() + margin
