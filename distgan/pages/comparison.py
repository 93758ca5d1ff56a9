"""The page of several runs, side by side."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from distgan.pages import panels
from distgan.pages.curves import COLOURS
from distgan.pages.html import Html, document, element, section, table
from distgan.pages.numbers import duration, setting, short, whole
from distgan.pages.recorded import Recorded


def make(runs: list[Recorded]) -> bytes:
    """The page as a file; runs of equal names go by their paths."""
    times = Counter(run.name for run in runs)
    names = [run.name if times[run.name] == 1 else str(run.directory) for run in runs]
    every_name = list(dict.fromkeys(name for run in runs for name in run.names))
    ordered = [*panels.QUALITY, *panels.SPEED, *panels.TRAINING, *panels.others(every_name)]
    measured = list(dict.fromkeys(name for panel in ordered for name in panels.members(panel, every_name)))
    title = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    training = (*panels.TRAINING, *panels.others(every_name), *panels.SPEED)
    heads = ("", *(_key(number, name) for number, name in enumerate(names)))
    return document(
        f"{title}: {', '.join(names)}",
        element("header", element("div", element("p", "distgan", class_="brand"), element("h1", title))),
        section("Newest samples", element("div", *map(_newest, range(len(runs)), names, runs), class_="film")),
        section("Numbers", table(heads, _numbers(runs, measured), "compared")),
        section("Settings that differ", _settings(heads, runs)),
        section("Quality", _plots(panels.of_runs(panels.QUALITY, runs, names))),
        section("Training", _plots(panels.of_runs(training, runs, names))),
    )


def _key(number: int, name: str) -> Html:
    aside = " aside" * (number >= COLOURS)
    return element("span", element("i", class_=f"c{number % COLOURS}{aside}"), name, class_="key")


def _plots(figures: list[Html]) -> Html | None:
    return element("div", *figures, class_="plots") if figures else None


def _newest(number: int, name: str, run: Recorded) -> Html:
    image = run.samples[-1].image() if run.samples else None
    moment = run.samples[-1].moment if image else "no sample picture yet"
    return element("figure", image, element("figcaption", _key(number, name), element("br"), moment))


def _numbers(runs: list[Recorded], names: Iterable[str]) -> list[list[object]]:
    """How far the runs are, and the last value of each of their measures."""
    rows: list[list[object]] = [
        ["step", *(whole(run.last["step"]) for run in runs)],
        ["images shown", *(whole(run.last["images_shown"]) for run in runs)],
        ["epoch", *(f"{run.last['epoch']:.2f}" for run in runs)],
        ["time of training", *(duration(run.last["training_seconds"]) for run in runs)],
    ]
    for name in names:
        group = name.partition("/")[0].removesuffix("_raw").replace("_", " ")
        values = [run.newest(name) for run in runs]
        called = f"{group}: {panels.words(name)}"
        rows.append([called, *(short(value) if math.isfinite(value) else "" for value in values)])
    return rows


def _settings(heads: Iterable[Any], runs: list[Recorded]) -> Html | None:
    fields = dict.fromkeys(name for run in runs for name in run.config)
    rows = []
    for name in fields:
        values = [setting(run.config.get(name)) for run in runs]
        if len(set(values)) > 1:
            rows.append((element("code", f"--{name}"), *values))
    return table(heads, rows, "compared") if rows else None
