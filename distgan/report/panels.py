"""The curves of a page, their order and their titles."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from distgan.report.charts import Axis, Chart, Line, Style, chart
from distgan.report.numbers import short
from distgan.report.recorded import RANK, SHARE_OF, Recorded


class Measure(NamedTuple):
    """The meaning of a score; its {number} and {logarithm} stand for the number of classes and its logarithm.

    `best` returns the best of several values; None if no value is better than another. `of_real` is the score of real
    images: a number, or the name under which it is measured.
    """

    meaning: str
    best: Callable[[set[float]], float] | None = None
    of_real: str | float = math.nan


class Panel(NamedTuple):
    """A plot of several names; a name that ends in a slash stands for its whole group.

    `references` are measured values, too, to compare the others with.
    """

    title: str
    names: tuple[str, ...]
    references: tuple[str, ...] = ()
    axis: Axis = Axis()


def _of_quality(*names: str) -> tuple[str, ...]:
    """Return the names of a measure with the EMA weights, if they are kept, and with the raw weights."""
    return tuple(f"{group}/{name}" for name in names for group in ("quality", "quality_raw"))


MEASURES = {
    "frechet_distance": Measure("The FID if the features are Inception's. Lower is better; the floor is the "
                                "distance between real images.", min, "frechet_floor"),
    "kernel_distance": Measure("KID of unscaled features. Lower is better, about 0 for real images.", min, 0.0),
    "precision": Measure("Share of samples that look like real images: higher is better.", max),
    "recall": Measure("Share of real images that look like samples: higher is better.", max),
    "density": Measure("Like precision, but robust to outliers: about 1 for real images.", None, 1.0),
    "coverage": Measure("Like recall, but robust to outliers: higher is better.", max),
    "classifier_score": Measure("Inception score, by the classifier that gives the features. Higher is better, up to "
                                "that of real images.", max, "classifier_score_of_real"),
    "class_accuracy": Measure("Share of samples classified as the requested class: higher is better.", max),
    "entropy": Measure("How even the classes are: higher is more even, up to {logarithm}."),
    "kl_to_uniform": Measure("How uneven the classes are: lower is more even, 0 where all are equal.", min),
    "modes": Measure("Number of classes among the samples: higher is better, up to {number}.", max),
    "nearest_neighbour_ratio": Measure("Memorization: distance from samples to training images, divided by that from "
                                       "held-out images. About 1 for real images, the floor for copies.", None, 1.0),
}  # fmt: skip
FROM_0, SHARE, DISTANCE = Axis(least=0.0), Axis(least=0.0, most=1.0), Axis(logarithmic=True, least=0.0)
QUALITY = (
    Panel("Frechet distance", _of_quality("frechet_distance"), ("quality/frechet_floor",), DISTANCE),
    Panel("Kernel distance", _of_quality("kernel_distance"), axis=DISTANCE),
    Panel("Precision and recall", _of_quality("precision", "recall"), axis=SHARE),
    Panel("Density and coverage", _of_quality("density", "coverage"), axis=FROM_0),
    Panel("Classifier score", _of_quality("classifier_score"), ("quality/classifier_score_of_real",)),
    Panel("Class accuracy", _of_quality("class_accuracy"), axis=SHARE),
    Panel("Entropy of the classes", _of_quality("entropy"), axis=FROM_0),
    Panel("KL to uniform", _of_quality("kl_to_uniform"), axis=FROM_0),
    Panel("Modes", _of_quality("modes"), axis=Axis(least=0.0, whole=True)),
    Panel("Nearest neighbours", _of_quality("nearest_neighbour_ratio"), ("quality/nearest_neighbour_floor",)),
)
TRAINING = (
    Panel("Losses", ("loss/",)),
    Panel("Accuracies", ("accuracy/",), axis=FROM_0),
    Panel("Gradient norms", ("gradient_norm/",), axis=Axis(logarithmic=True)),
    Panel("Learning rates", ("learning_rate/",), axis=FROM_0),
    Panel("Loss scales", ("loss_scale/",), axis=Axis(logarithmic=True)),
)
SPEED = (Panel("Images a second", ("speed/images_per_second",), axis=FROM_0),)
ELSEWHERE = (  # names that are shown elsewhere, or whose values equal those of a shown name
    SHARE_OF, "quality/seconds", "quality_raw/share_of_", "quality_raw/frechet_floor",
    "quality_raw/classifier_score_of_real", "quality_raw/nearest_neighbour_floor",
)  # fmt: skip


def others(names: Collection[str]) -> tuple[Panel, ...]:
    """Return a panel for each group of names that no other panel shows."""
    shown = {name for panel in (*QUALITY, *TRAINING, *SPEED) for name in members(panel, names)}
    left = [name for name in names if not (name in shown or name.startswith(ELSEWHERE) or RANK.fullmatch(name))]
    groups = dict.fromkeys(name.partition("/")[0] for name in left)
    return tuple(
        Panel(group.replace("_", " ").capitalize(), tuple(name for name in left if name.startswith(f"{group}/")))
        for group in groups
    )


def members(panel: Panel, names: Collection[str]) -> list[str]:
    """Return the names that the panel shows, references last."""
    shown = [name for one in panel.names for name in names if name == one or (one[-1] == "/" and name.startswith(one))]
    return shown + [name for name in panel.references if name in names]


def words(name: str) -> str:
    """Return a name of the log as words."""
    group, _, own = name.partition("/")
    return own.replace("_", " ") + (", raw weights" if group.endswith("_raw") else "")


def meaning(name: str, num_classes: int) -> str:
    """Return the meaning of a score, with the number of classes if it is not 0; an empty text for other names."""
    measure = MEASURES.get(name.removeprefix("quality/"))
    logarithm = f"ln {num_classes} = {short(math.log(num_classes))}" if num_classes else "the log of their number"
    return measure.meaning.format(number=num_classes or "all", logarithm=logarithm) if measure else ""


def of_run(panels: Iterable[Panel], run: Recorded, fewest: int = 1) -> list[Chart]:
    """Return the charts of a run, without those whose lines all have fewer than `fewest` points."""
    clock = "epoch" if run.last["epoch"] >= 2 else "step"
    every_name, num_classes = run.names, run.num_classes  # each property reads the whole log
    figures = []
    for panel in panels:
        names = members(panel, every_name)
        said = filter(None, (meaning(name, num_classes) for name in names))
        lines = _of_names(panel, names, run, clock)
        if max((len(line.x) for line in lines), default=0) >= fewest:
            figures.append(chart(panel.title, clock, lines, panel.axis, " ".join(said)))
    return [figure for figure in figures if figure is not None]


def _of_names(panel: Panel, names: list[str], run: Recorded, clock: str) -> list[Line]:
    """Return the lines of a panel's names; a measure has one colour for both raw and EMA weights."""
    colours: dict[str, int] = {}
    lines = []
    for name in names:
        colour = colours.setdefault(name.replace("quality_raw/", "quality/"), len(colours))
        style: Style = "reference" if name in panel.references else "aside" if name.startswith("quality_raw/") else ""
        lines.append(Line(words(name), colour, *run.curve(name, clock), style))
    return lines


def of_runs(panels: Iterable[Panel], runs: list[Recorded], called: list[str]) -> list[Chart]:
    """Return, for each name of the panels, two plots of all runs: over images shown, and over the training time.

    `called` are the names of the runs in the legends. Measures with raw weights are left out.
    """
    every_name = dict.fromkeys(name for run in runs for name in run.names if not name.startswith("quality_raw/"))
    classes = {run.num_classes for run in runs} - {0}
    num_classes = classes.pop() if len(classes) == 1 else 0
    by_name = dict(zip(called, runs, strict=True))
    figures = []
    for panel in panels:
        names = [name for name in members(panel, every_name) if name not in panel.references]
        for name in names:
            own = words(name)[0].upper() + words(name)[1:] if name in panel.names else f"{panel.title}: {words(name)}"
            title = panel.title if len(names) == 1 else own
            for clock, size, words_of_clock in _clocks(runs):
                lines = [line._replace(x=line.x / size) for line in _lines(panel, name, by_name, clock)]
                figures.append(chart(title, words_of_clock, lines, panel.axis, meaning(name, num_classes)))
    return [figure for figure in figures if figure is not None]


def _clocks(runs: list[Recorded]) -> list[tuple[str, int, str]]:
    """Return the clocks to compare runs by: each one's name, the size of the unit that is shown, and words for it."""
    longest = max(run.last["training_seconds"] for run in runs)
    units = {"hours": 3600, "minutes": 60, "seconds": 1}
    unit = next((unit for unit, seconds in units.items() if longest >= 2 * seconds), "seconds")
    return [("images_shown", 1, "images shown"), ("training_seconds", units[unit], f"{unit} of training")]


def _lines(panel: Panel, name: str, runs: dict[str, Recorded], clock: str) -> Iterator[Line]:
    """Yield a name's line for each run, and the reference lines; an equal reference value is repeated only once."""
    held: set[tuple[str, float]] = set()
    for number, (called, run) in enumerate(runs.items()):
        yield Line(called, number, *run.curve(name, clock))
        for reference in panel.references:
            what = (reference, run.newest(reference))
            if what not in held:
                yield Line(f"{words(reference)} of {called}", number, *run.curve(reference, clock), "reference")
            held.add(what)
