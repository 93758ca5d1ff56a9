"""Curves as SVG, to be looked at, printed, and read off: page.js shows the values under the pointer."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from distgan import pictures
from distgan.pages import scales
from distgan.pages.html import Html, element, join
from distgan.pages.numbers import short
from distgan.pages.scales import Axis, Scale

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 520.0, 250.0, 58.0, 10.0, 30.0
INNER_WIDTH, INNER_HEIGHT = WIDTH - LEFT - 12, HEIGHT - TOP - BOTTOM
MOST_POINTS = 600  # of a line; a longer one is drawn by the means of its neighbours
FEW_POINTS = 40  # up to here each is marked, and none smoothed away
COLOURS = 8
Style = Literal["", "reference", "aside"]


class Line(NamedTuple):
    """A line of a plot, its colour by number.

    Of styles, a "reference" is what others are to be held against, "aside" a lesser one of another line's colour.
    """

    label: str
    colour: int
    x: np.ndarray
    y: np.ndarray
    style: Style = ""


class Frame(NamedTuple):
    """What a plot says besides its lines."""

    title: str
    clock: str
    axis: Axis = Axis()
    note: str = ""


def plot(frame: Frame, lines: Sequence[Line]) -> Html | None:
    """A figure of lines, with a legend that holds their last values; None where there is nothing to draw."""
    lines = [_thinned(line) for line in lines if np.isfinite(line.y).any()]
    if not lines:
        return None
    across = scales.of_clock(np.concatenate([line.x for line in lines]), INNER_WIDTH - 3)  # room for a dot
    values = np.concatenate([line.y for line in lines])
    up = scales.of_values(values, INNER_HEIGHT, frame.axis)
    hair = element("line", class_="hair", y1=0, y2=f"{INNER_HEIGHT:g}", visibility="hidden")
    drawing = element(
        "svg",
        _grid(across, up),
        # An inner svg cuts off what is out of range.
        element(
            "svg",
            *(_drawn(line, across, up) for line in lines),
            hair,
            x=LEFT, y=TOP, width=INNER_WIDTH, height=INNER_HEIGHT, class_="lines",
        ),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=f"{frame.title} by {frame.clock}",
    )  # fmt: skip
    scale = element("small", "log scale") if up.is_logarithmic else None
    note = element("p", frame.note, class_="note") if frame.note else None
    heading = element("figcaption", element("b", frame.title), scale, _legend(lines))
    return element("figure", heading, drawing, element("p", frame.clock, class_="clock"), note, class_="plot")


def _legend(lines: Sequence[Line]) -> Html:
    rows = [
        element(
            "span",
            element("i", class_=_classes(line)),
            line.label,
            element("output", short(line.y[np.isfinite(line.y)][-1])),
            class_="key",
        )
        for line in lines
    ]
    return element("span", *rows, element("output", class_="where"), class_="legend")


def _classes(line: Line) -> str:
    style = line.style or "aside" * (line.colour >= COLOURS)
    return f"c{line.colour % COLOURS} {style}".strip()


def _grid(across: Scale, up: Scale) -> Html:
    parts = [*_heights(up, short)]
    for tick in across.ticks():
        x = f"{LEFT + float(across.places(np.array(tick))):.1f}"
        parts.append(element("text", short(tick), class_="across", x=x, y=HEIGHT - 8))
    floor = TOP + INNER_HEIGHT
    parts.append(element("line", class_="axis", x1=LEFT, x2=LEFT + INNER_WIDTH, y1=floor, y2=floor))
    return join(*parts)


def _heights(up: Scale, written: Callable[[float], str]) -> Iterator[Html]:
    for tick in up.ticks():
        y = f"{TOP + INNER_HEIGHT - float(up.places(np.array(tick))):.1f}"
        yield element("line", class_="grid", x1=LEFT, x2=LEFT + INNER_WIDTH, y1=y, y2=y)
        yield element("text", written(tick), class_="up", x=LEFT - 8, y=y)


def _drawn(line: Line, across: Scale, up: Scale) -> Html:
    """A line: as measured, faint under a smooth one where there are many points; a single reference goes all across."""
    x, y = across.places(line.x), INNER_HEIGHT - up.places(line.y)
    is_smooth = len(x) > FEW_POINTS and line.style != "reference"
    known = np.isfinite(y)
    path = _path(x, y)
    if line.style == "reference" and known.sum() == 1:
        path = f"{_path(np.zeros(1), y[known])}H{INNER_WIDTH:g}"
    parts = [element("path", class_="raw faint" if is_smooth else "raw", d=path)]
    if is_smooth:
        smooth = pictures.smooth(y)
        parts.append(element("path", class_="smooth", d=_path(x, smooth)))
    elif line.style != "reference":
        dots = [element("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=2.6)
                for a, b in zip(x[known], y[known], strict=True)]  # fmt: skip
        parts.extend(dots)
    at = " ".join(f"{value:g}" for value in line.x[known])
    values = " ".join(map(short, line.y[known]))
    return element("g", *parts, class_=_classes(line), data_at=at, data_values=values)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """The path through all known points, with a gap where one is unknown; far beyond the range is as good as beyond."""
    y = np.clip(y, -10 * INNER_HEIGHT, 11 * INNER_HEIGHT)
    letters = np.where(np.isfinite(np.concatenate([[np.nan], y[:-1]])), "L", "M")
    return "".join(
        f"{letter}{a:.1f} {b:.1f}" for letter, a, b in zip(letters, x, y, strict=True) if np.isfinite(b)
    )  # fmt: skip


def _thinned(line: Line) -> Line:
    if len(line.x) <= MOST_POINTS:
        return line
    parts = np.array_split(np.arange(len(line.x)), MOST_POINTS)
    x, y = (np.array([values[part].mean() for part in parts]) for values in (line.x, line.y))
    return line._replace(x=x, y=y)


def sparkline(y: np.ndarray, high: float) -> Html:
    """A line without axes, from zero to `high`."""
    across, up = scales.of_clock(np.arange(max(2, len(y))), 120.0), Scale(0.0, high, 22.0)
    line = _thinned(Line("", 0, np.arange(len(y), dtype=float), y))
    path = element("path", class_="raw", d=_path(across.places(line.x), 24 - up.places(line.y)))
    return element("svg", element("g", path, class_="c0"), viewBox="0 0 120 26", class_="spark")


def bars(title: str, values: dict[str, float], reference: float, note: str) -> Html:
    """A bar for each of a few shares, with a line at what each would be if all were equal."""
    top = 1.15 * max(reference, *values.values())
    width = INNER_WIDTH / len(values)
    parts = [*_heights(Scale(0.0, top, INNER_HEIGHT), lambda tick: f"{100 * tick:g}%")]
    for number, (label, value) in enumerate(values.items()):
        height, left = value / top * INNER_HEIGHT, LEFT + (number + 0.15) * width
        floor = TOP + INNER_HEIGHT
        bar = element("rect", element("title", f"{label}: {value:.1%}"), x=f"{left:.1f}", width=f"{0.7 * width:.1f}",
                      y=f"{floor - height:.1f}", height=f"{height:.1f}")  # fmt: skip
        parts.append(element("g", bar, class_="c0"))
        parts.append(element("text", label, class_="across", x=f"{left + 0.35 * width:.1f}", y=HEIGHT - 8))
    level = f"{TOP + INNER_HEIGHT * (1 - reference / top):.1f}"
    parts.append(element("line", class_="axis dashed", x1=LEFT, x2=LEFT + INNER_WIDTH, y1=level, y2=level))
    drawing = element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=title)
    return element("figure", element("figcaption", element("b", title)), drawing,
                   element("p", note, class_="clock"), class_="plot")  # fmt: skip
