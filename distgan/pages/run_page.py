"""The page of a run: what it is, where it stands, what it makes, and how it came there."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from distgan.config import OPTIONS
from distgan.pages import curves, panels, recorded
from distgan.pages.html import Html, document, element, join, section, table
from distgan.pages.numbers import date, duration, milliseconds, setting, short, whole
from distgan.pages.recorded import RANK, SHARE_OF, Recorded
from distgan.store import atomic

MOST_SAMPLES = 6
MOST_RANKS = 16
NOTEWORTHY_WAIT = 0.05  # of a step
KINDS = ("input", "processor")
DIGEST = re.compile("[0-9a-f]{64}")


def write(run_dir: Path, state: str) -> None:
    """Write report.html, the page of the run in a directory that is `state`: running, finished, stopped.

    Raises `OSError`.
    """
    atomic.write(run_dir / recorded.PAGE, make(recorded.read(run_dir), state))


def make(run: Recorded, state: str) -> bytes:
    """The page as a file."""
    preset, data = run.config.get("preset", "?"), run.config.get("data", "?")
    training = panels.of_run((*panels.TRAINING, *panels.others(run.names)), run)
    return document(
        f"{run.name}: {preset} on {data}",
        _masthead(run, state, f"{preset} on {data}"),
        section("Warnings", _warnings(run), id_="warnings"),
        section("Then and now", _film(run)),
        section("Quality", _plots(panels.of_run(panels.QUALITY, run, fewest=2), _classes(run)), _measures(run)),
        section("Training", _plots(training)),
        section("Speed", _plots(panels.of_run(panels.SPEED, run)), _ranks(run)),
        section("Configuration", _configuration(run)),
        section("Environment", _environment(run)),
        section("Checkpoint", _checkpoint(run)),
    )


def _plots(*figures: Any) -> Html | None:
    found = [figure for part in figures for figure in (part if isinstance(part, list) else [part]) if figure]
    return element("div", *found, class_="plots") if found else None


def _masthead(run: Recorded, state: str, recipe: str) -> Html:
    chips = [element("span", state, class_=f"chip {state}")]
    if run.warnings:
        number, last = len(run.warnings), whole(run.warnings[-1]["step"])
        warned = f"{number} warning{'s, the last' if number > 1 else ','} at step {last}"
        chips.append(element("a", warned, href="#warnings", class_="chip warned"))
    words = join(
        element("p", "distgan", class_="brand"),
        element("h1", run.name),
        element("p", recipe, class_="recipe"),
        element("p", *chips, element("span", _when(run), class_="when")),
        _bar(run),
        element("dl", *(element("div", element("dt", what), element("dd", number)) for what, number in _figures(run)),
                class_="figures"),
    )  # fmt: skip
    newest = run.samples[-1] if run.samples else None
    picture = newest.image() if newest else None
    shown = (
        element("figure", picture, element("figcaption", f"newest: {newest.moment}"), class_="newest")
        if newest and picture
        else None
    )
    return element("header", element("div", words), shown)


def _when(run: Recorded) -> Html:
    if not run.records:
        return join("nothing is logged yet")
    first = min([run.records[0]["seconds"], *(start["seconds"] for start in run.starts)])
    begun, logged = f"begun {date(first)},", f"last logged {date(run.last['seconds'])}"
    return join(element("span", begun), " ", element("span", logged))


def _bar(run: Recorded) -> Html | None:
    if math.isnan(run.progress):
        return None
    done = element("span", style=f"width:{run.progress:.1%}")
    return element("div", done, class_="bar", role="img", aria_label=f"{run.progress:.0%} of the run")


def _figures(run: Recorded) -> Iterator[tuple[str, object]]:
    """The numbers that sum a run up."""
    steps, epochs = run.config.get("steps"), run.config.get("epochs")
    yield "step", whole(run.last["step"]) + (f" of {steps:,}" if steps else "")
    yield "epoch", short(run.epoch) + (f" of {epochs:,}" if epochs else "")
    yield "images shown", whole(run.last["images_shown"])
    yield "time of training", duration(run.last["training_seconds"])
    rate = run.median("speed/images_per_second")
    if math.isfinite(rate):
        yield "images a second, median", short(rate)
    distance, floor = (run.newest(f"quality/frechet_{what}") for what in ("distance", "floor"))
    if math.isfinite(distance):
        beside = element("span", f"(floor {short(floor)})") if math.isfinite(floor) else None
        yield "Frechet distance", join(short(distance), " ", beside)


def _warnings(run: Recorded) -> Html | None:
    rows = [(whole(one["step"]), date(one["seconds"]), one["warning"]) for one in run.warnings]
    return table(("step", "at", "warning"), rows, "told") if rows else None


def _film(run: Recorded) -> Html | None:
    """The first sample picture, some between, and the newest."""
    chosen = np.unique(np.linspace(0, len(run.samples) - 1, min(MOST_SAMPLES, len(run.samples))).round().astype(int))
    shown = [(sample.image(), sample.moment) for sample in (run.samples[number] for number in chosen[:-1])]
    figures = [element("figure", image, element("figcaption", moment)) for image, moment in shown if image]
    if not figures:
        return None
    last = element("p", f"The newest, of {run.samples[-1].moment}, is at the top of the page.", class_="note")
    return join(element("div", *figures, class_="film"), last)


def _classes(run: Recorded) -> Html | None:
    """How often each class is made, by the newest evaluation."""
    shares = {name.removeprefix(SHARE_OF): run.newest(name) for name in run.names if name.startswith(SHARE_OF)}
    note = "class, as the classifier reads what is made; the dashed line is an equal share"
    return curves.bars("Shares of the classes", shares, 1 / len(shares), note) if shares else None


def _measures(run: Recorded) -> Html | None:
    rows, num_classes = [], run.num_classes
    for name, (_, _, of_real) in panels.MEASURES.items():
        newest = [run.newest(f"{group}/{name}") for group in ("quality", "quality_raw")]
        if np.isfinite(newest).any():
            real = run.newest(f"quality/{of_real}") if isinstance(of_real, str) else of_real
            said = panels.meaning(name, num_classes)
            rows.append((panels.words(f"quality/{name}"), *map(_known, (*newest, real)), said))
    if not rows:
        return None
    has_raw = any(row[2] != "" for row in rows)
    heads = ("measure", "of the samples", "by raw weights", "of real images", "")
    kept = [0, 1, 2, 3, 4] if has_raw else [0, 1, 3, 4]
    took = run.newest("quality/seconds")
    note = element("p", f"The last evaluation took {duration(took)}.", class_="note") if math.isfinite(took) else None
    return join(table([heads[n] for n in kept], [[row[n] for n in kept] for row in rows], "measures"), note)


def _known(value: float) -> str:
    return short(value) if math.isfinite(value) else ""


def _ranks(run: Recorded) -> Html | None:
    """What each rank spends on a step, the slowest named."""
    ranks = sorted({int(found[1]) for name in run.names if (found := RANK.fullmatch(name))})
    if not ranks:
        return None
    spent = {(rank, kind): _spent(run, rank, kind) for rank in ranks for kind in KINDS}
    waits = {rank: float(np.nanmean(spent[rank, "input"])) for rank in ranks}
    highs = {kind: max(float(np.nanmax(spent[rank, kind])) for rank in ranks) for kind in KINDS}
    slowest = sorted(ranks, key=lambda rank: -waits[rank])
    hosts = [place.get("host", "") for place in run.starts[-1].get("ranks", [])] if run.starts else []
    rows = [
        (rank, hosts[rank] if rank < len(hosts) else "", *(_spending(spent[rank, kind], highs[kind]) for kind in KINDS))
        for rank in sorted(slowest[:MOST_RANKS])
    ]
    chosen = f" Of {len(ranks)} ranks, the {MOST_RANKS} that wait longest are shown." * (len(ranks) > MOST_RANKS)
    return join(
        element("p", _verdict(run, slowest, waits) + chosen),
        table(("rank", "host", "waits for data, a step", "processor time, a step"), rows),
    )


def _spent(run: Recorded, rank: int, kind: str) -> np.ndarray:
    """Seconds a step, as they were logged; a zero where none were."""
    seconds = run.curve(f"speed/rank_{rank}_{kind}_seconds", "step")[1]
    return seconds if len(seconds) else np.zeros(1)


def _spending(seconds: np.ndarray, high: float) -> Html:
    return join(element("span", milliseconds(float(np.nanmean(seconds)))), curves.sparkline(seconds, high or 1.0))


def _verdict(run: Recorded, slowest: list[int], waits: dict[int, float]) -> str:
    """How long a step takes, and who is waited for; the median, so that what is done between steps counts little."""
    step_seconds = run.batch_size / run.median("speed/images_per_second")
    longest = waits[slowest[0]]
    took = "" if math.isnan(step_seconds) else f"A step takes {milliseconds(step_seconds)} in the median. "
    if longest < NOTEWORTHY_WAIT * step_seconds:
        return f"{took}No rank waits long for its data."
    if len(slowest) == 1:
        return f"{took}Of a step, {milliseconds(longest)} are spent waiting for data."
    return f"{took}Rank {slowest[0]} is the slowest to get its data: it waits {milliseconds(longest)} a step."


def _configuration(run: Recorded) -> Html | None:
    """The settings, first those in which the run differs from its preset; those that say nothing to it left out."""
    defaults = run.defaults()
    given = {name: value for name, value in run.config.items() if value is not None}
    differ = [name for name, value in given.items() if value != defaults.get(name)]
    rows = {
        name: (element("code", f"--{name}"), setting(value), setting(defaults.get(name)), _explanation(name))
        for name, value in given.items()
    }
    own = table(("flag", "value", "the preset's", ""), [rows[name] for name in differ], "flags") if differ else None
    rest = [(flag, value, said) for name, (flag, value, _, said) in rows.items() if name not in differ]
    details = element("details", element("summary", f"{len(rest)} more, as the preset has them"),
                      table(("flag", "value", ""), rest, "flags"))  # fmt: skip
    return join(own, details) if given else None


def _explanation(name: str) -> str:
    return OPTIONS[name].explanation if name in OPTIONS else ""


def _environment(run: Recorded) -> Html | None:
    if not run.starts:
        return None
    facts = {name: value for name, value in run.starts[-1].items() if name not in ("seconds", "first_step", "ranks")}
    heads = ("started", "from step", "backend", "processes", "host")
    starts = [
        (date(start["seconds"]), whole(start.get("first_step", 0)), *(start.get(name, "") for name in heads[2:]))
        for start in run.starts
    ]
    return join(_facts(facts), table(heads, starts) if len(starts) > 1 else None)


def _checkpoint(run: Recorded) -> Html | None:
    return _facts({name: value for name, value in run.checkpoint.items() if name != "files"})


def _facts(facts: dict[str, object]) -> Html | None:
    return element("dl", *(_fact(name, str(value)) for name, value in facts.items()), class_="facts") if facts else None


def _fact(name: str, value: str) -> Html:
    """A fact under its name; of a digest, the beginning."""
    shown: object = value
    if DIGEST.fullmatch(value):
        name, shown = f"{name.removesuffix('_digest')}'s digest", element("span", f"{value[:12]}…", title=value)
    called = name.replace("num_", "number of ").replace("_", " ")
    return element("div", element("dt", called), element("dd", shown))
