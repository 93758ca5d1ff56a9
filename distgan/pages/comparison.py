"""The page of several runs, side by side."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from distgan.pages import panels
from distgan.pages.curves import COLOURS
from distgan.pages.html import Html, document, element, section, table
from distgan.pages.numbers import duration, setting, short, whole
from distgan.pages.recorded import Recorded

MEASURED_BY = ("data", "features", "evaluate_num_images")  # settings that a distance depends on


def make(runs: list[Recorded]) -> bytes:
    """The page as a file; runs of equal names go by their paths."""
    times = Counter(run.name for run in runs)
    names = [run.name if times[run.name] == 1 else str(run.directory) for run in runs]
    every_name = list(dict.fromkeys(name for run in runs for name in run.names if not name.startswith("quality_raw/")))
    title = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    training = (*panels.TRAINING, *panels.others(every_name))
    caution = _caution(runs)
    groups = [("Quality", [name for panel in panels.QUALITY for name in panels.members(panel, every_name)])]
    groups += [(panel.title, panels.members(panel, every_name)) for panel in training]
    heads = ("", *(_key(number, name) for number, name in enumerate(names)))
    return document(
        f"{title}: {', '.join(names)}",
        element("header", element("div", element("p", "distgan", class_="brand"), element("h1", title))),
        section("Newest samples", element("div", *map(_newest, range(len(runs)), names, runs), class_="film")),
        section("Numbers", caution, table(heads, _numbers(runs, groups, caution is None), "compared")),
        section("Settings that differ", _settings(heads, runs)),
        section("Quality", caution, _plots(panels.of_runs(panels.QUALITY, runs, names))),
        section("Training", _plots(panels.of_runs((*training, *panels.SPEED), runs, names))),
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


def _caution(runs: list[Recorded]) -> Html | None:
    """That scores can't be compared, where samples were not measured alike."""
    measured = [run.config for run in runs if any(name.startswith("quality/") for name in run.names)]
    differ = [f"--{name}" for name in MEASURED_BY if len({setting(config.get(name)) for config in measured}) > 1]
    said = f"Samples were measured by different {' and '.join(differ)}: distances of such runs can't be compared."
    return element("p", said, class_="caution") if differ else None


def _numbers(runs: list[Recorded], groups: list[tuple[str, list[str]]], has_best: bool) -> list[list[object]]:
    """How far the runs are, and the last value of each of their measures, by groups; the best of quality in bold."""
    rates = [run.median("speed/images_per_second") for run in runs]
    rows: list[list[object]] = [
        ["step", *(whole(run.last["step"]) for run in runs)],
        ["images shown", *(whole(run.last["images_shown"]) for run in runs)],
        ["epoch", *(short(run.epoch) for run in runs)],
        ["time of training", *(duration(run.last["training_seconds"]) for run in runs)],
        ["images a second, median", *(short(rate) if math.isfinite(rate) else "" for rate in rates)],
    ]
    for title, names in groups:
        rows += [[element("b", title), *("" for _ in runs)]] if names else []
        rows += [[panels.words(name), *_values(name, runs, has_best)] for name in names]
    return rows


def _values(name: str, runs: list[Recorded], has_best: bool) -> Iterator[object]:
    values = [run.newest(name) for run in runs]
    known = {value for value in values if math.isfinite(value)}
    measure = panels.MEASURES.get(name.removeprefix("quality/"))
    best = measure.best(known) if has_best and measure and measure.best and len(known) > 1 else None
    for value in values:
        shown = short(value) if math.isfinite(value) else ""
        yield element("b", shown, title="the best") if value == best else shown


def _settings(heads: Iterable[Any], runs: list[Recorded]) -> Html | None:
    fields = dict.fromkeys(name for run in runs for name in run.config)
    rows = []
    for name in fields:
        values = [setting(run.config.get(name)) for run in runs]
        if len(set(values)) > 1:
            rows.append((element("code", f"--{name}"), *values))
    return table(heads, rows, "compared") if rows else None
