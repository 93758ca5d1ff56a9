"""Draw results into docs/: the newest of this machine as peers.png and scaling.png, and those of quality.py.

    python benchmarks/plots.py

A bar is the median of the rounds, its whisker their range; a line is the median of the seeds, its band their range. A
benchmark without results is left out.
"""

import itertools
import statistics
from typing import Any

import matplotlib as mpl
import record

mpl.use("Agg")

from matplotlib import pyplot

WHOLE = {"flags": "", "num_epochs": 12, "layout": "single:1"}  # runs of quality.py
FLOOR = 0.92  # the Frechet distance of 10,000 training digits
OURS, OTHERS, BOUND = "#2a6fbb", "#b8bec7", "#e0a458"


def main() -> None:
    for what, bars in (("peers", peers), ("scaling", scaling)):
        result = record.newest(what)
        if result:
            draw(what, *bars(result["measured"]), hardware=result["hardware"])
            print(record.picture(what))
    rows = [row for row in record.every("quality") if row["case"].items() >= WHOLE.items()]
    if rows:
        draw_quality(rows)
        print(record.picture("quality"))
    rows = record.every("losses")
    if rows:
        draw_losses(rows)
        print(record.picture("quality_losses"))


def peers(measured: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """A bar a program, ours first."""
    bars = []
    for row in measured["programs"]:
        processes = "1 process" if row["processes"] == 1 else f"{row['processes']} processes"
        name = row["name"].replace("_", " ")
        local = ", local batch norm" if row["name"] == "distgan" and row["batch_norm"] != "global batch" else ""
        bars.append({"label": f"{name}, {row['precision']}, {processes}{local}", "rates": row["images_per_second"],
                     "colour": OURS if row["name"] == "distgan" else OTHERS})  # fmt: skip
    return "the mnist recipe, batch 256, on two cores", bars


def scaling(measured: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """A bar a layout; processes that do not talk to each other are the bound."""
    bars = []
    for row in measured:
        kind = "" if row["scaling"] == "-" else f"{row['scaling']}, "
        flags = f", {row['flags']}" if row["flags"] else ""
        bars.append({"label": f"{row['backend']} {row['replicas']}, {kind}batch {row['batch']}{flags}",
                     "rates": row["images_per_second"],
                     "colour": BOUND if row["backend"] == "apart" else OURS})  # fmt: skip
    return "the mnist recipe, one core a process; 'apart': processes that do not talk", bars


def draw(what: str, title: str, bars: list[dict[str, Any]], hardware: str) -> None:
    """Horizontal bars of images a second, with the medians written at their ends."""
    figure, axes = pyplot.subplots(figsize=(9, 0.9 + 0.36 * len(bars)), layout="constrained")
    for place, bar in enumerate(bars):
        low, middle, high = min(bar["rates"]), sorted(bar["rates"])[len(bar["rates"]) // 2], max(bar["rates"])
        axes.barh(place, middle, color=bar["colour"], height=0.7)
        axes.errorbar(middle, place, xerr=[[middle - low], [high - middle]], color="#333333", capsize=2, linewidth=1)
        axes.annotate(f"{middle:.0f}", (high, place), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), [bar["label"] for bar in bars])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"images a second; {hardware}")
    axes.margins(y=0.01)
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=11)
    figure.savefig(record.picture(what), dpi=120)
    pyplot.close(figure)


def _seconds_of_fastest_epoch(run: list[dict[str, float]]) -> float:
    """What an epoch took when the machine was quietest: other work may have shared it at times."""
    ends = [0.0, *(epoch["seconds"] for epoch in run)]
    return min(end - start for start, end in itertools.pairwise(ends))


def draw_quality(rows: list[dict[str, Any]]) -> None:
    """Frechet distance by images and by seconds, a line a recipe."""
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    for number, recipe in enumerate(dict.fromkeys(row["case"]["recipe"] for row in rows)):
        runs = [row["epochs"] for row in rows if row["case"]["recipe"] == recipe]
        epochs = list(zip(*runs, strict=True))
        distances = [sorted(run["frechet_distance"] for run in epoch) for epoch in epochs]
        pace = statistics.median(_seconds_of_fastest_epoch(run) for run in runs)
        thousands = [epoch[0]["images"] / 1000 for epoch in epochs]
        seconds = [pace * number for number in range(1, len(epochs) + 1)]
        for axes, places in zip(panels, (thousands, seconds), strict=True):
            axes.plot(places, [statistics.median(one) for one in distances], "o-", color=f"C{number}", markersize=3,
                      label=f"{recipe}, {len(runs)} seed{'s' * (len(runs) > 1)}")  # fmt: skip
            axes.fill_between(places, [one[0] for one in distances], [one[-1] for one in distances],
                              color=f"C{number}", alpha=0.2, linewidth=0)  # fmt: skip
    clocks = "thousands of images seen", "seconds of training, one core, at the pace of the fastest epoch"
    for axes, clock in zip(panels, clocks, strict=True):
        axes.axhline(FLOOR, color="#333333", linewidth=1, linestyle=":", label="real digits")
        axes.set_xlabel(clock)
        axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("Frechet distance, lower is better")
    panels[0].legend(frameon=False)
    figure.savefig(record.picture("quality"), dpi=120)
    pyplot.close(figure)


def draw_losses(rows: list[dict[str, Any]]) -> None:
    """Frechet distance after one epoch, a point a seed and a line a recipe, `mnist_best` first."""
    best, on_four = "mnist_best", "mnist_best, 4 processes"
    words = {best: best, "no_penalty": "no R1", "spectral_norm": "hinge, spectral norm, no R1",
             "unconditional": "not told the digit"}  # fmt: skip
    found: dict[str, list[float]] = {best: [], on_four: []}
    for row in rows:
        recipe = words.get(row["case"]["recipe"], row["case"]["recipe"].replace("_", " "))
        name = recipe if row["case"]["layout"] == "single:1" else on_four
        found.setdefault(name, []).append(row["epochs"][-1]["frechet_distance"])
    names = [best, on_four, *sorted(found.keys() - {best, on_four}, key=lambda name: statistics.median(found[name]))]
    figure, axes = pyplot.subplots(figsize=(9, 0.9 + 0.32 * len(names)), layout="constrained")
    axes.axvspan(min(found[best]), max(found[best]), color=OURS, alpha=0.12, linewidth=0)
    for place, name in enumerate(names):
        colour = OURS if name.startswith(best) else "#59616d"
        axes.plot(found[name], [place] * len(found[name]), "o-", color=colour, markersize=5, linewidth=1)
        axes.annotate(f"{statistics.median(found[name]):.0f}", (max(found[name]), place), (8, 0),
                      textcoords="offset points", va="center")  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks([20, 50, 100, 200, 500, 1000], ["20", "50", "100", "200", "500", "1000"])
    axes.grid(alpha=0.3, which="both", axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("Frechet distance after one epoch, rates falling within it; a point a seed, with the median; "
                    "the band is mnist_best's range")  # fmt: skip
    figure.savefig(record.picture("quality_losses"), dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
