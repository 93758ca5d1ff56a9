"""The files of a run directory, read without TensorFlow; missing or invalid parts are left out."""

import base64
import bisect
import io
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distgan import pictures
from distgan.config import older

METRICS, CONFIG, ENVIRONMENT, PAGE = "metrics.jsonl", "config.json", "environment.json", "report.html"
CLOCKS = ("step", "images_shown", "epoch", "seconds")
MOST_PICTURE_BYTES = 400_000
MOST_CHECKPOINT_BYTES = 2**30  # of one that is a result to hand on
LARGEST = 1e100
MEASURED_BY = ("data", "features", "evaluate_num_images")  # settings that change the scores
SHARE_OF = "quality/share_of_"  # prefix of the names of the shares of classes
RANK = re.compile(r"speed/rank_(\d+)_(input|processor)_seconds")


class Sample(NamedTuple):
    """A sample picture, and its epoch or step as text."""

    path: Path
    moment: str

    @property
    def address(self) -> str:
        """The picture as a data URL; empty if it cannot be read."""
        png = _png(self.path)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""


class Recorded(NamedTuple):
    """The content of a run directory.

    Attributes:
        records: the lines of metrics.jsonl except warnings, each with `training_seconds`, which exclude the time from a
            stop to the next start; warnings: the other lines; starts: of environment.json, one per start of the run.
    """

    directory: Path
    records: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    config: dict[str, Any]
    starts: list[dict[str, Any]]
    samples: list[Sample]
    checkpoint: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.directory.resolve().name

    @property
    def last(self) -> dict[str, Any]:
        """The last line of metrics.jsonl; if there is none, all clocks at zero."""
        return self.records[-1] if self.records else dict.fromkeys((*CLOCKS, "training_seconds"), 0)

    @property
    def progress(self) -> float:
        """The finished fraction of the run, 0 to 1; NaN if its length is not known."""
        for clock, length in (("step", self.config.get("steps")), ("epoch", self.config.get("epochs"))):
            if length:
                return min(1.0, self.last[clock] / length)
        return math.nan

    @property
    def epoch(self) -> float:
        """The number of epochs trained, without the images of the last batch that are beyond the end."""
        end = self.config.get("epochs")
        return min(self.last["epoch"], end) if _is_number(end) else self.last["epoch"]

    @property
    def num_classes(self) -> int:
        """The number of classes of the classifier of samples; 0 if it is not known."""
        return len({name for record in self.records for name in record if name.startswith(SHARE_OF)})

    @property
    def measured_by(self) -> dict[str, Any]:
        """The settings that change the scores; the default of the features depends on the machine of the start."""
        by = {name: self.config.get(name) for name in MEASURED_BY}
        recorded = [start["features"] for start in self.starts if start.get("features")]  # not by older versions
        return by | {"features": by["features"] or (recorded[-1] if recorded else None)}

    @property
    def names(self) -> list[str]:
        """The names of all measured values, in the order of first use."""
        found = dict.fromkeys(name for record in self.records for name in record if "/" in name)
        return [name for name in found if len(self.curve(name, "step")[0])]

    def curve(self, name: str, clock: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the clock's values and those of a name, which are NaN if not numbers; none at all if none is one."""
        points = [(record[clock], _number(record[name])) for record in self.records if name in record]
        x, y = np.array(points, float).reshape(-1, 2).T
        return (x, y) if np.isfinite(y).any() else (x[:0], y[:0])

    def newest(self, name: str) -> float:
        """Return the last number under a name; NaN if there is none."""
        values = self.curve(name, "step")[1]
        return float(values[np.isfinite(values)][-1]) if len(values) else math.nan

    def median(self, name: str) -> float:
        """Return the median of the numbers under a name; NaN if there is none."""
        values = self.curve(name, "step")[1]
        return float(np.nanmedian(values)) if len(values) else math.nan


def read(directory: Path) -> Recorded:
    """Read a run's directory. Raises `OSError` if a file exists but cannot be read."""
    lines = read_metrics(directory / METRICS)
    lines = [line for line in lines if all(_is_number(line.get(clock)) for clock in CLOCKS)]
    starts = starts_of(directory)
    records = [line for line in lines if "warning" not in line]
    _add_training_seconds(records, [start["seconds"] for start in starts])
    manifests = sorted(directory.glob("checkpoints/step_*/manifest.json"))
    return Recorded(
        directory,
        records,
        [line for line in lines if "warning" in line],
        older.converted(read_json(directory / CONFIG)),
        starts,
        _samples(directory / "samples", records),
        read_json(manifests[-1]) if manifests else {},
    )


def results_of(directory: Path) -> dict[str, Path]:
    """Return the page, the config, and the best checkpoint, or the newest if no samples were measured, by name.

    Under these names the files are a run directory. A checkpoint above MOST_CHECKPOINT_BYTES is left out.
    """
    checkpoints = sorted(directory.glob("best/step_*")) or sorted(directory.glob("checkpoints/step_*"))
    files = [path for one in checkpoints[-1:] for path in sorted(one.iterdir())]
    files = files if sum(path.stat().st_size for path in files) <= MOST_CHECKPOINT_BYTES else []
    named = {f"checkpoints/{path.parent.name}/{path.name}": path for path in files}
    return named | {name: directory / name for name in (CONFIG, PAGE) if (directory / name).exists()}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a metrics.jsonl, none if there is no file; invalid lines are left out."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [record for record in map(_parsed, lines) if "step" in record]


def starts_of(directory: Path) -> list[dict[str, Any]]:
    """Return the starts in a run's environment.json. Raises `OSError` if it exists but cannot be read."""
    stored = read_json(directory / ENVIRONMENT).get("starts", [])
    return [start for start in stored if isinstance(start, dict) and _is_number(start.get("seconds"))]


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; {} if it is missing or damaged."""
    return _parsed(path.read_bytes()) if path.exists() else {}


def _parsed(text: bytes) -> dict[str, Any]:
    """Return an object in JSON; {} if the text is something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST


def _number(value: object) -> float:
    """Return a value as a number for a plot; NaN if it is not a number or is too large, 0 if it is tiny."""
    if not isinstance(value, int | float) or not _is_number(value):
        return math.nan
    return float(value) if abs(value) > 1 / LARGEST else 0.0


def _add_training_seconds(records: list[dict[str, Any]], begun: list[float]) -> None:
    begun, total, before = [-math.inf, *sorted(begun)], 0.0, -math.inf
    for record in records:
        now = record["seconds"]
        since = max(before, begun[bisect.bisect_right(begun, now) - 1])
        total += max(0.0, now - since) if math.isfinite(since) else 0.0
        record["training_seconds"], before = total, now


def _samples(directory: Path, records: list[dict[str, Any]]) -> list[Sample]:
    """Return the sample pictures in the order of the run; their names may have epochs or steps."""
    last = records[-1] if records else {"step": 1, "epoch": 1}
    epochs_a_step = last["epoch"] / max(1, last["step"])
    found = []
    for path in directory.glob("image_at_*.png"):
        if match := re.fullmatch(r"image_at_(epoch|step)_(\d+)\.png", path.name):
            number = int(match[2])
            found.append((number * (1 if match[1] == "epoch" else epochs_a_step), f"{match[1]} {number:,}", path))
    return [Sample(path, moment) for _, moment, path in sorted(found)]


def _png(path: Path) -> bytes | None:
    """Return a picture's file, shrunk until it is small enough for a page; None if it cannot be read."""
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            image = opened.convert("RGB" if opened.mode not in ("L", "RGB") else opened.mode)
    except (OSError, SyntaxError, ValueError):
        return None
    while len(content) > MOST_PICTURE_BYTES:
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)
        content = pictures.encode_png(np.atleast_3d(np.asarray(image)))
    return content
