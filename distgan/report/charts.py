"""Charts as data; page.js draws them with uPlot and shows the values under the pointer."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from distgan.report.numbers import short

COLOURS = 8
MOST_POINTS = 600  # of a line; in a longer line, means of neighbours are drawn
FEW_POINTS = 40  # a line of at most so many points has a mark at each point and is not smoothed
ROOM = 0.03  # fraction of an axis above the highest value, for its dot
LEAST_DECADES = 1.0  # a logarithmic scale is used only for a wider range than this
SPARK_WIDTH, SPARK_HEIGHT = 120, 26
Style = Literal["", "reference", "aside"]


class Line(NamedTuple):
    """A line of a chart, with the number of its colour.

    Of the styles, "reference" is a line to compare others with, "aside" a secondary line in another line's colour.
    """

    label: str
    colour: int
    x: np.ndarray
    y: np.ndarray
    style: Style = ""


class Axis(NamedTuple):
    """The requested properties of an axis: logarithmic, if the values allow it; from `least` to `most`, or further if
    some values are outside; `whole` if its labels are only whole numbers.
    """

    logarithmic: bool = False
    least: float | None = None
    most: float | None = None
    whole: bool = False


class Chart(NamedTuple):
    """A chart: its texts, its legend (each line's CSS class, label and last value), and the data that page.js draws."""

    title: str
    clock: str
    note: str
    keys: list[tuple[str, str, str]]
    data: dict[str, Any]


def chart(title: str, clock: str, lines: Sequence[Line], axis: Axis = Axis(), note: str = "") -> Chart | None:  # noqa: B008
    """Return a chart of lines over a clock that begins at zero; None if there is nothing to draw."""
    lines = [line._replace(x=_thinned(line.x), y=_thinned(line.y)) for line in lines if np.isfinite(line.y).any()]
    if not lines:
        return None
    end = max(1e-9, *(float(line.x.max()) for line in lines))
    is_logarithmic, limits = _limits(np.concatenate([line.y for line in lines]), axis)
    keys = [(style_of(one.colour, one.style), one.label, short(one.y[np.isfinite(one.y)][-1])) for one in lines]
    data = {
        "logarithmic": is_logarithmic,
        "limits": limits,
        "end": end * (1 + ROOM / 4),
        "whole": axis.whole,
        "lines": [_drawn(line, end) for line in lines],
    }
    return Chart(title, clock, note, keys, data)


def style_of(colour: int, style: Style = "") -> str:
    """Return the CSS class of a line's style; a line with a repeated colour is dashed."""
    return f"c{colour % COLOURS} {style or 'aside' * (colour >= COLOURS)}".strip()


def _drawn(line: Line, end: float) -> dict[str, Any]:
    """Return a line's data for page.js: a reference of one value spans the chart, a long line also has a smooth one."""
    x, y = line.x, line.y
    if line.style == "reference" and np.isfinite(y).sum() == 1:
        x, y = np.array([0.0, end]), np.repeat(y[np.isfinite(y)], 2)
    drawn = {"style": style_of(line.colour, line.style), "x": _rounded(x, 7), "y": _rounded(y, 4)}
    is_smooth = len(x) > FEW_POINTS and line.style != "reference"
    return drawn | ({"smooth": _rounded(smooth(y), 4)} if is_smooth else {})


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


def _thinned(values: np.ndarray) -> np.ndarray:
    """Return the values or, if there are more than MOST_POINTS, means of neighbours that are numbers."""
    parts = np.array_split(values, min(len(values), MOST_POINTS))
    return np.array([part[known].mean() if (known := np.isfinite(part)).any() else np.nan for part in parts])


def _limits(values: np.ndarray, axis: Axis) -> tuple[bool, tuple[float, float]]:
    """Return whether an axis is logarithmic, and its ends, which include all values but outliers.

    It is logarithmic if requested, all values are positive, and the range exceeds LEAST_DECADES (a factor of 10).
    """
    known = values[np.isfinite(values)]
    least, most = float(known.min()), float(known.max())
    is_logarithmic = axis.logarithmic and least > 0 and math.log10(most / least) > LEAST_DECADES
    low, high = _limits_of(np.log10(known) if is_logarithmic else known)
    if not is_logarithmic:
        if least == most:
            half = abs(least) / 2 or 0.5
            low, high = least - half, least + half
        low = low if axis.least is None else min(axis.least, least)
        high = high if axis.most is None else max(axis.most, most)
        high += ROOM * (high - low)
    if high <= low:
        low, high = low - 0.5, low + 0.5
    return is_logarithmic, (10**low, 10**high) if is_logarithmic else (low, high)


def smooth(values: np.ndarray) -> np.ndarray:
    """Return a Gaussian-weighted mean of the neighbours, with a sigma of 1/40 of the line.

    Outliers are clipped to the range of usual values; NaN and infinite values are ignored.
    """
    sigma = np.clip(len(values) / 40, 0.5, 500)  # a larger sigma would take minutes on a long run
    reach = min(int(3 * sigma), (len(values) - 1) // 2)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    known = np.isfinite(values)
    usual = np.where(known, np.clip(np.nan_to_num(values), *_usual(values, 0.5)), 0.0)
    sums, weights = (np.convolve(line, bell, mode="same") for line in (usual, known))
    return np.where(known, sums / np.maximum(weights, bell.min()), np.nan)


def _limits_of(values: np.ndarray) -> tuple[float, float]:
    """Return limits that include all values but outliers, so that one spike does not flatten the rest."""
    low, high = _usual(values, 2.0)
    near = values[(values >= low) & (values <= high)]
    low, high = float(near.min()), float(near.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _usual(values: np.ndarray, reach: float) -> tuple[float, float]:
    """Return the range of usual values: the range of the middle 98%, plus `reach` times that range on each side."""
    known = np.sort(values[np.isfinite(values)])
    strays = math.ceil(len(known) / 100) if len(known) > 10 else 0
    low, high = known[strays], known[-1 - strays]
    return low - reach * (high - low), high + reach * (high - low)


def spark_line(y: np.ndarray, high: float) -> str:
    """Return the points of a small line without axes, from zero to `high`, in SVG's format."""
    y = _thinned(y)
    across = np.linspace(0, SPARK_WIDTH, max(2, len(y)))
    up = SPARK_HEIGHT - 2 - np.nan_to_num(y) / high * (SPARK_HEIGHT - 4)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=False))
