"""What a run has written of itself, read without TensorFlow; what is missing or unfit is left out."""

import base64
import bisect
import io
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distgan.config import older
from distgan.config.config import defaults_of
from distgan.config.presets import PRESETS

METRICS, CONFIG, ENVIRONMENT, PAGE = "metrics.jsonl", "config.json", "environment.json", "report.html"
CLOCKS = ("step", "images_shown", "epoch", "seconds")
MOST_PICTURE_BYTES = 400_000
LARGEST = 1e100
SHARE_OF = "quality/share_of_"  # begins the names of the shares of classes
RANK = re.compile(r"speed/rank_(\d+)_(input|processor)_seconds")


class Sample(NamedTuple):
    """A sample picture, and the moment that it is of, in words."""

    path: Path
    moment: str

    @property
    def address(self) -> str:
        """The picture as an address that holds it; empty where it can't be read."""
        png = _png(self.path)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""


class Recorded(NamedTuple):
    """A run as its directory shows it.

    Attributes:
        records: the lines of metrics.jsonl, each with `training_seconds`, which leave out the time between a stop and
            the next start; warnings: those that warn; starts: environment.json's, one a start of the run.
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
        """The last line of metrics.jsonl; of a run that has none, the clocks at zero."""
        return self.records[-1] if self.records else dict.fromkeys((*CLOCKS, "training_seconds"), 0)

    @property
    def progress(self) -> float:
        """The part of the run that is made, 0 to 1; NaN where its length is not known."""
        for clock, length in (("step", self.config.get("steps")), ("epoch", self.config.get("epochs"))):
            if length:
                return min(1.0, self.last[clock] / length)
        return math.nan

    @property
    def epoch(self) -> float:
        """How many epochs are made, without what the last batch shows beyond the end."""
        end = self.config.get("epochs")
        return min(self.last["epoch"], end) if _is_number(end) else self.last["epoch"]

    @property
    def num_classes(self) -> int:
        """How many classes the samples are told apart by; 0 where that is not known."""
        return len({name for record in self.records for name in record if name.startswith(SHARE_OF)})

    @property
    def batch_size(self) -> float:
        """Images a step, over all replicas; NaN where that is not known."""
        return self.config.get("batch_size") or math.nan

    @property
    def names(self) -> list[str]:
        """The names of all that was measured, in the order in which they came up."""
        found = dict.fromkeys(name for record in self.records for name in record if "/" in name)
        return [name for name in found if len(self.curve(name, "step")[0])]

    def curve(self, name: str, clock: str) -> tuple[np.ndarray, np.ndarray]:
        """What was measured under a name, by a clock; values that are no numbers are NaN."""
        points = [(record[clock], _number(record[name])) for record in self.records if name in record]
        x, y = np.array(points, float).reshape(-1, 2).T
        return (x, y) if np.isfinite(y).any() else (x[:0], y[:0])

    def newest(self, name: str) -> float:
        """The last number under a name; NaN where there is none."""
        known = self.curve(name, "step")[1]
        known = known[np.isfinite(known)]
        return float(known[-1]) if len(known) else math.nan

    def median(self, name: str) -> float:
        """The median of the numbers under a name; NaN where there is none."""
        known = self.curve(name, "step")[1]
        known = known[np.isfinite(known)]
        return float(np.median(known)) if len(known) else math.nan

    def defaults(self) -> dict[str, Any]:
        """What the config would be with no flag but the preset's."""
        preset = str(self.config.get("preset"))
        return defaults_of(preset if preset in PRESETS else "mnist")


def read(directory: Path) -> Recorded:
    """Read a run's directory. Raises `OSError` where a file is there and can't be read."""
    lines = [line for line in read_metrics(directory / METRICS) if _has_clocks(line)]
    starts = starts_of(directory)
    records = [line for line in lines if "warning" not in line]
    _add_training_seconds(records, [start["seconds"] for start in starts])
    manifests = sorted(directory.glob("checkpoints/step_*/manifest.json"))
    return Recorded(
        directory,
        records,
        [line for line in lines if "warning" in line],
        older.converted(_json(directory / CONFIG)),
        starts,
        _samples(directory / "samples", records),
        _json(manifests[-1]) if manifests else {},
    )


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


def starts_of(directory: Path) -> list[dict[str, Any]]:
    """The starts that a run's environment.json tells of. Raises `OSError`."""
    stored = _json(directory / ENVIRONMENT).get("starts", [])
    return [start for start in stored if isinstance(start, dict) and _is_number(start.get("seconds"))]


def _json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is missing or damaged."""
    try:
        stored = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST


def _number(value: object) -> float:
    """A value as a number that a plot has room for; one that is none, or too large, is as good as unknown."""
    if not isinstance(value, int | float) or not _is_number(value):
        return math.nan
    return float(value) if abs(value) > 1 / LARGEST else 0.0


def _has_clocks(line: dict[str, Any]) -> bool:
    return all(_is_number(line.get(clock)) for clock in CLOCKS)


def _add_training_seconds(records: list[dict[str, Any]], begun: list[float]) -> None:
    begun, total, before = sorted(begun), 0.0, -math.inf
    for record in records:
        now = record["seconds"]
        number = bisect.bisect_right(begun, now)
        since = max(before, begun[number - 1] if number else -math.inf)
        total += max(0.0, now - since) if math.isfinite(since) else 0.0
        record["training_seconds"], before = total, now


def _samples(directory: Path, records: list[dict[str, Any]]) -> list[Sample]:
    """The sample pictures in the order of the run, whether named for epochs or for steps."""
    last = records[-1] if records else {"step": 1, "epoch": 1}
    epochs_a_step = last["epoch"] / max(1, last["step"])
    found = []
    for path in directory.glob("image_at_*.png"):
        if match := re.fullmatch(r"image_at_(epoch|step)_(\d+)\.png", path.name):
            number = int(match[2])
            found.append((number * (1 if match[1] == "epoch" else epochs_a_step), f"{match[1]} {number:,}", path))
    return [Sample(path, moment) for _, moment, path in sorted(found)]


def _png(path: Path) -> bytes | None:
    """A picture's file, the picture shrunk until that is small enough for a page."""
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            image = opened.convert("RGB" if opened.mode not in ("L", "RGB") else opened.mode)
    except (OSError, SyntaxError, ValueError):
        return None
    while len(content) > MOST_PICTURE_BYTES:
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        content = buffer.getvalue()
    return content
