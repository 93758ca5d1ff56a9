"""Which curves a page has, in which order, and what they are called."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from distgan.pages.curves import Frame, Line, Style, plot
from distgan.pages.html import Html
from distgan.pages.recorded import RANK, Recorded


class Panel(NamedTuple):
    """A plot of several names; one that ends in a slash stands for its whole group.

    `references` are measured too, and are what the others are to be held against; `logarithmic` is where it is of use,
    `least` the value that the axis begins at.
    """

    title: str
    names: tuple[str, ...]
    references: tuple[str, ...] = ()
    logarithmic: bool = False
    least: float | None = None
    note: str = ""


def _of_quality(*names: str) -> tuple[str, ...]:
    """The names of a measure, by the averaged weights where they are kept, and by the raw ones."""
    return tuple(f"{group}/{name}" for name in names for group in ("quality", "quality_raw"))


QUALITY = (
    Panel(
        "Fréchet distance", _of_quality("frechet_distance"), ("quality/frechet_floor",), logarithmic=True,
        note="Lower is better; the floor is what real images have from real images.",
    ),
    Panel("Kernel distance", _of_quality("kernel_distance"), logarithmic=True, note="Lower is better."),
    Panel("Precision and recall", _of_quality("precision", "recall"), least=0.0,
          note="How many of the made images are like real ones, and how many of the real are like made ones."),
    Panel("Density and coverage", _of_quality("density", "coverage"), least=0.0,
          note="As precision and recall, less moved by stray images."),
    Panel("Classifier score", _of_quality("classifier_score"), ("quality/classifier_score_of_real",),
          note="Higher is better, up to what real images have."),
    Panel("Entropy of the classes", _of_quality("entropy")),
    Panel("Modes", _of_quality("modes"), least=0.0),
    Panel("Nearest neighbours", _of_quality("nearest_neighbour_ratio"),
          note="How near what is made is to images learnt from, beside unseen ones; far below 1 is copying."),
)  # fmt: skip
TRAINING = (
    Panel("Losses", ("loss/",)),
    Panel("Accuracies", ("accuracy/",), least=0.0),
    Panel("Gradient norms", ("gradient_norm/",), logarithmic=True),
    Panel("Learning rates", ("learning_rate/",), least=0.0),
    Panel("Loss scales", ("loss_scale/",), logarithmic=True),
)
SPEED = (Panel("Images a second", ("speed/images_per_second",), least=0.0),)
ELSEWHERE = ("quality/share_of_", "quality/seconds", "quality_raw/share_of_", "quality_raw/seconds")


def others(names: Iterable[str]) -> tuple[Panel, ...]:
    """A panel for each group of names that no other panel shows."""
    names = list(names)
    shown = {name for panel in (*QUALITY, *TRAINING, *SPEED) for name in members(panel, names)}
    left = [name for name in names if not (name in shown or name.startswith(ELSEWHERE) or RANK.fullmatch(name))]
    groups = dict.fromkeys(name.partition("/")[0] for name in left)
    return tuple(
        Panel(group.replace("_", " ").capitalize(), tuple(name for name in left if name.startswith(f"{group}/")))
        for group in groups
    )


def members(panel: Panel, names: Iterable[str]) -> list[str]:
    """Those of the names that the panel shows, references last."""
    names = list(names)
    shown = [name for one in panel.names for name in names if name == one or (one[-1] == "/" and name.startswith(one))]
    return shown + [name for name in panel.references if name in names]


def words(name: str) -> str:
    """A name of the log as words."""
    group, _, own = name.partition("/")
    return own.replace("_", " ").replace("frechet", "Fréchet") + (", raw weights" if group.endswith("_raw") else "")


def of_run(panels: Iterable[Panel], run: Recorded) -> list[Html]:
    """The panels of a run that has something to show in them."""
    clock = "epoch" if run.last["epoch"] >= 2 else "step"
    figures = []
    for panel in panels:
        lines = _of_names(panel, run, clock)
        figures.append(plot(Frame(panel.title, clock, panel.logarithmic, panel.least, panel.note), lines))
    return [figure for figure in figures if figure is not None]


def _of_names(panel: Panel, run: Recorded, clock: str) -> list[Line]:
    """The lines of a panel: a measure by raw weights has the colour of that by averaged ones."""
    colours: dict[str, int] = {}
    lines = []
    for name in members(panel, run.names):
        colour = colours.setdefault(name.replace("quality_raw/", "quality/"), len(colours))
        style: Style = "reference" if name in panel.references else "aside" if name.startswith("quality_raw/") else ""
        lines.append(Line(words(name), colour, *run.curve(name, clock), style))
    return lines


def of_runs(panels: Iterable[Panel], runs: list[Recorded], called: list[str]) -> list[Html]:
    """For each name of the panels two plots of all runs: by images shown, and by the time of training.

    The runs are `called` what they are called in the legends. What is measured of raw weights, too, is left out.
    """
    every_name = dict.fromkeys(name for run in runs for name in run.names if not name.startswith("quality_raw/"))
    figures = []
    for panel in panels:
        names = [name for name in members(panel, every_name) if name not in panel.references]
        for name in names:
            own = words(name)[0].upper() + words(name)[1:] if name in panel.names else f"{panel.title}: {words(name)}"
            title = panel.title if len(names) == 1 else own
            figures.extend(_by_both_clocks(panel._replace(title=title), name, dict(zip(called, runs, strict=True))))
    return figures


def _by_both_clocks(panel: Panel, name: str, runs: dict[str, Recorded]) -> list[Html]:
    longest = max(run.last["training_seconds"] for run in runs.values())
    units = {"hours": 3600, "minutes": 60, "seconds": 1}
    unit = next((unit for unit, seconds in units.items() if longest >= 2 * seconds), "seconds")
    figures = []
    for clock, size, words_of_clock in (
        ("images_shown", 1, "images shown"),
        ("training_seconds", units[unit], f"{unit} of training"),
    ):
        frame = Frame(panel.title, words_of_clock, panel.logarithmic, panel.least, panel.note)
        lines = [line._replace(x=line.x / size) for line in _lines(panel, name, runs, clock)]
        figures.append(plot(frame, lines))
    return [figure for figure in figures if figure is not None]


def _lines(panel: Panel, name: str, runs: dict[str, Recorded], clock: str) -> Iterator[Line]:
    """A name's line of each run, and what they are to be held against; once where that is the same for several."""
    held: set[tuple[str, float]] = set()
    for number, (called, run) in enumerate(runs.items()):
        yield Line(called, number, *run.curve(name, clock))
        for reference in panel.references:
            what = (reference, run.newest(reference))
            if what not in held:
                yield Line(f"{words(reference)} of {called}", number, *run.curve(reference, clock), "reference")
            held.add(what)
