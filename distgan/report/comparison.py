"""The page of several runs, side by side."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from distgan.report import document, panels
from distgan.report.charts import style_of
from distgan.report.numbers import duration, setting, short, whole
from distgan.report.recorded import MEASURED_BY, Recorded

ORDERS = tuple(name for name, measure in panels.MEASURES.items() if measure.best)  # scores of which one end is best


def make(runs: list[Recorded]) -> bytes:
    """Return the page's content; runs with equal names are labelled with their paths."""
    times = Counter(run.name for run in runs)
    names = [run.name if times[run.name] == 1 else str(run.directory) for run in runs]
    every_name = list(dict.fromkeys(name for run in runs for name in run.names if not name.startswith("quality_raw/")))
    heading = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    training = (*panels.TRAINING, *panels.others(every_name))
    caution = _caution(runs)
    groups = [("Quality", [name for panel in panels.QUALITY for name in panels.members(panel, every_name)])]
    groups += [(panel.title, panels.members(panel, every_name)) for panel in training]
    return document.render(
        "comparison.html.j2",
        title=f"{heading}: {', '.join(names)}",
        heading=heading,
        names=names,
        styles=[style_of(number) for number in range(len(runs))],
        newest=[_newest(run) for run in runs],
        caution=caution,
        numbers=list(_numbers(runs, groups, has_best=not caution)),
        settings=_settings(runs),
        plots=[
            ("Quality", panels.of_runs(panels.QUALITY, runs, names)),
            ("Training", panels.of_runs((*training, *panels.SPEED), runs, names)),
        ],
    )


def _newest(run: Recorded) -> tuple[str, str]:
    """Return the address and the moment of the newest sample picture."""
    address = run.samples[-1].address if run.samples else ""
    return address, run.samples[-1].moment if address else "no sample picture yet"


def _caution(runs: list[Recorded]) -> str:
    """Return a warning that scores cannot be compared if the settings of the measures differ; else an empty text."""
    measured = [run.measured_by for run in runs if any(name.startswith("quality/") for name in run.names)]
    differ = [f"--{name}" for name in MEASURED_BY if len({setting(by[name]) for by in measured if by[name]}) > 1]
    said = f"Samples were measured by different {' and '.join(differ)}: distances of such runs can't be compared."
    return said if differ else ""


def summary(runs: list[Recorded]) -> Iterator[str]:
    """Yield lines: the last scores of each run, and the warning if they can't be compared."""
    yield f"{'':18}" + "".join(f"{run.name[-11:]:>12}" for run in runs)
    for name in ("frechet_distance", "kernel_distance", "precision", "recall"):
        values = [value for value, _ in _values(f"quality/{name}", runs, has_best=False)]
        if any(values):
            yield f"{name:18}" + "".join(f"{value or '-':>12}" for value in values)
    if unmeasured := [run.name for run in runs if not any(name.startswith("quality/") for name in run.names)]:
        yield f"not measured while training, so without scores: {', '.join(unmeasured)} (--evaluate_every)"
    if caution := _caution(runs):
        yield f"warning: {caution}"


def ordered(runs: list[Recorded], by: str) -> list[Recorded]:
    """Return runs in the order of their best value of a score; those without one last."""
    sign = 1 if panels.MEASURES[by].best is min else -1
    values = {run.directory: sign * _best(run, by) for run in runs}
    return sorted(runs, key=lambda run: (math.isnan(values[run.directory]), values[run.directory]))


def ranking(runs: list[Recorded], by: str) -> Iterator[str]:
    """Yield lines: the best value of a score of each run, and the warning if they can't be compared."""
    yield f"{panels.words(f'quality/{by}').capitalize()}, the best of each run:"
    for run in runs:
        value = _best(run, by)
        yield f"{short(value) if math.isfinite(value) else 'not measured':>12}  {run.name}"
    if caution := _caution(runs):
        yield f"warning: {caution}"


def _best(run: Recorded, by: str) -> float:
    """Return the best value of a score that a run has logged; NaN if there is none."""
    best, values = panels.MEASURES[by].best, run.curve(f"quality/{by}", "step")[1]
    known = values[np.isfinite(values)].tolist()
    return float(best(known)) if best and known else math.nan


Row = tuple[str, list[tuple[str, bool]] | None]  # the name and, for each run, its value and if it is the best


def _numbers(runs: list[Recorded], groups: list[tuple[str, list[str]]], has_best: bool) -> Iterator[Row]:
    """Yield rows: the progress of the runs, and the last values of their measures by group; mark the best quality."""
    rates = [run.median("speed/images_per_second") for run in runs]
    clocks = {
        "step": [whole(run.last["step"]) for run in runs],
        "images shown": [whole(run.last["images_shown"]) for run in runs],
        "epoch": [short(run.epoch) for run in runs],
        "training time": [duration(run.last["training_seconds"]) for run in runs],
        "images a second, median": [short(rate) if math.isfinite(rate) else "" for rate in rates],
    }
    for name, values in clocks.items():
        yield name, [(value, False) for value in values]
    for title, names in groups:
        if names:
            yield title, None
        for name in names:
            yield panels.words(name), _values(name, runs, has_best)


def _values(name: str, runs: list[Recorded], has_best: bool) -> list[tuple[str, bool]]:
    values = [run.newest(name) for run in runs]
    known = {value for value in values if math.isfinite(value)}
    measure = panels.MEASURES.get(name.removeprefix("quality/"))
    best = measure.best(known) if has_best and measure and measure.best and len(known) > 1 else None
    return [(short(value) if math.isfinite(value) else "", value == best) for value in values]


def _settings(runs: list[Recorded]) -> list[tuple[str, list[str]]]:
    """Return the settings that differ between runs, but for their directories."""
    fields = dict.fromkeys(name for run in runs for name in run.config if name != "run_dir")
    rows = [(name, [setting(run.config.get(name)) for run in runs]) for name in fields]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
