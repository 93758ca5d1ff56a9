"""The page of a run: its settings, progress, samples and history."""

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from distgan.config.config import defaults_of, options
from distgan.config.presets import PRESETS
from distgan.report import document, panels, recorded
from distgan.report.charts import spark_line
from distgan.report.numbers import date, duration, milliseconds, setting, short, whole
from distgan.report.recorded import RANK, SHARE_OF, Recorded
from distgan.store import atomic

MOST_SAMPLES = 6
MOST_RANKS = 16
NOTEWORTHY_WAIT = 0.05  # as a fraction of a step
KINDS = ("input", "processor")
DIGEST = re.compile("[0-9a-f]{64}")


def write(run_dir: Path, state: str) -> None:
    """Write report.html, the page of the run in a directory; `state` is "running", "finished" or "stopped".

    Raises `OSError` if a file cannot be read or written.
    """
    atomic.write(run_dir / recorded.PAGE, make(recorded.read(run_dir), state))


def make(run: Recorded, state: str) -> bytes:
    """Return the page's content."""
    recipe = f"{run.config.get('preset', '?')} on {run.config.get('data', '?')}"
    film = _film(run)
    took = run.newest("quality/seconds")
    return document.render(
        "run.html.j2",
        title=f"{run.name}: {recipe}",
        run=run,
        state=state,
        recipe=recipe,
        began=min([run.last["seconds"], *(one["seconds"] for one in (*run.records[:1], *run.starts))]),
        figures=list(_figures(run)),
        newest=film.pop() if film else None,
        film=film,
        warnings=[(whole(one["step"]), date(one["seconds"]), one["warning"]) for one in run.warnings],
        quality=panels.of_run(panels.QUALITY, run, fewest=2),
        shares={name.removeprefix(SHARE_OF): run.newest(name) for name in run.names if name.startswith(SHARE_OF)},
        **measures(run),
        took=duration(took) if math.isfinite(took) else "",
        training=panels.of_run((*panels.TRAINING, *panels.others(run.names)), run),
        speed=panels.of_run(panels.SPEED, run),
        **_ranks(run),
        **_settings(run),
        **_environment(run),
        checkpoint=[_fact(name, value) for name, value in run.checkpoint.items() if name != "files"],
    )


def _figures(run: Recorded) -> Iterator[tuple[str, str, str]]:
    """Yield the main numbers of a run: name, value and note."""
    steps, epochs = run.config.get("steps"), run.config.get("epochs")
    yield "step", whole(run.last["step"]) + (f" of {steps:,}" if steps else ""), ""
    yield "epoch", short(run.epoch) + (f" of {epochs:,}" if epochs else ""), ""
    yield "images shown", whole(run.last["images_shown"]), ""
    yield "training time", duration(run.last["training_seconds"]), ""
    rate = run.median("speed/images_per_second")
    if math.isfinite(rate):
        yield "images a second, median", short(rate), ""
    distance, floor = (run.newest(f"quality/frechet_{what}") for what in ("distance", "floor"))
    if math.isfinite(distance):
        yield "Frechet distance", short(distance), f"floor {short(floor)}" if math.isfinite(floor) else ""


def _film(run: Recorded) -> list[tuple[str, str]]:
    """Return the addresses and moments of the first sample picture, some between, and the newest."""
    chosen = np.unique(np.linspace(0, len(run.samples) - 1, min(MOST_SAMPLES, len(run.samples))).round().astype(int))
    shown = [(run.samples[number].address, run.samples[number].moment) for number in chosen]
    return [(address, moment) for address, moment in shown if address]


def measures(run: Recorded) -> dict[str, Any]:
    """Return the table of the last evaluation, without the column of raw weights if they were not measured."""
    rows, num_classes = [], run.num_classes
    for name, (_, _, of_real) in panels.MEASURES.items():
        newest = [run.newest(f"{group}/{name}") for group in ("quality", "quality_raw")]
        if np.isfinite(newest).any():
            real = run.newest(f"quality/{of_real}") if isinstance(of_real, str) else of_real
            known = [short(value) if math.isfinite(value) else "" for value in (*newest, real)]
            rows.append((panels.words(f"quality/{name}"), *known, panels.meaning(name, num_classes)))
    heads = ("measure", "of the samples", "by raw weights", "of real images", "")
    kept = [0, 1, 2, 3, 4] if any(row[2] for row in rows) else [0, 1, 3, 4]
    return {"measure_heads": [heads[n] for n in kept], "measures": [[row[n] for n in kept] for row in rows]}


def _ranks(run: Recorded) -> dict[str, Any]:
    """Return the time that each rank spends on a step, and a sentence on the slowest."""
    ranks = sorted({int(found[1]) for name in run.names if (found := RANK.fullmatch(name))})
    if not ranks:
        return {"ranks": [], "verdict": ""}
    spent = {}
    for rank, kind in itertools.product(ranks, KINDS):
        seconds = run.curve(f"speed/rank_{rank}_{kind}_seconds", "step")[1]
        spent[rank, kind] = seconds if len(seconds) else np.zeros(1)
    means = {key: float(np.nanmean(seconds)) for key, seconds in spent.items()}
    highs = {kind: max(float(np.nanmax(spent[rank, kind])) for rank in ranks) or 1.0 for kind in KINDS}
    slowest = sorted(ranks, key=lambda rank: -means[rank, "input"])
    hosts = [place.get("host", "") for place in run.starts[-1].get("ranks", [])] if run.starts else []
    chosen = f" Of {len(ranks)} ranks, the {MOST_RANKS} that wait longest are shown." * (len(ranks) > MOST_RANKS)
    rows = []
    for rank in sorted(slowest[:MOST_RANKS]):
        times = [(milliseconds(means[rank, kind]), spark_line(spent[rank, kind], highs[kind])) for kind in KINDS]
        rows.append((rank, hosts[rank] if rank < len(hosts) else "", times))
    return {"ranks": rows, "verdict": _verdict(run, slowest, means[slowest[0], "input"]) + chosen}


def _verdict(run: Recorded, slowest: list[int], longest: float) -> str:
    """Return sentences on the usual time of a step, and on the slowest rank, which waits `longest` seconds a step."""
    # Work between steps hardly changes the median.
    step_seconds = (run.config.get("batch_size") or math.nan) / run.median("speed/images_per_second")
    took = "" if math.isnan(step_seconds) else f"The median step takes {milliseconds(step_seconds)}. "
    if longest < NOTEWORTHY_WAIT * step_seconds:
        return f"{took}No rank waits long for its data."
    if len(slowest) == 1:
        return f"{took}Of a step, {milliseconds(longest)} are spent waiting for data."
    return f"{took}Rank {slowest[0]} is the slowest to get its data: it waits {milliseconds(longest)} a step."


def _settings(run: Recorded) -> dict[str, Any]:
    """Return the used settings, in two lists: those that differ from the run's preset, and the others."""
    preset, known = str(run.config.get("preset")), options()
    defaults = defaults_of(preset if preset in PRESETS else "mnist")
    own, others = [], []
    for name, value in run.config.items():
        flag = Markup("<code>--{}</code>").format(name)
        explanation = known[name].help if name in known else ""
        if value is not None and value != defaults.get(name):
            own.append((flag, setting(value), setting(defaults.get(name)), explanation))
        elif value is not None:
            others.append((flag, setting(value), explanation))
    return {"own_settings": own, "other_settings": others}


def _environment(run: Recorded) -> dict[str, Any]:
    """Return the facts of the last start, and a row for each start."""
    newest = run.starts[-1] if run.starts else {}
    facts = [_fact(name, value) for name, value in newest.items() if name not in ("seconds", "first_step", "ranks")]
    rows = []
    for start in run.starts:
        place = [start.get(name, "") for name in ("backend", "processes", "host")]
        rows.append((date(start["seconds"]), whole(start.get("first_step", 0)), *place))
    return {"environment": facts, "starts": rows}


def _fact(name: str, value: object) -> tuple[str, str, str]:
    """Return a fact's name and value and, if the value is the beginning of a digest, the whole digest."""
    text = str(value)
    if DIGEST.fullmatch(text):
        return f"{name.removesuffix('_digest')}'s digest", f"{text[:12]}…", text
    return name.replace("num_", "number of ").replace("_", " "), text, ""
