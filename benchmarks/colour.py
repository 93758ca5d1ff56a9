"""Which recipe makes the best colour pictures in a given time?

    python benchmarks/colour.py --data=npz:cifar10.npz                              # hours
    python benchmarks/colour.py --data=emoji --minutes=2 --seeds=0 --num_images=500      # minutes

First measures the images per second of each recipe, in short runs in turn. Then trains each with each seed for the
images that it would see in the given minutes, so that other work on the machine does not change the result. The
learning rates of rgb_best and r3gan fall to zero in that time. Samples are measured by the imagenet features,
evenly spread over the run. When a run ends it is added to results/<name>_*.json, in place of an earlier one
like it: the hours may be spent in parts. Prints a table of the last and the best measurement of each run.
"""

import argparse
import shlex
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import launching
import quality
import record
from launching import Layout

from distgan.config import Config
from distgan.data.base import Wanted
from distgan.data.sources import open_source

RECIPES: dict[str, dict[str, Any]] = {
    "tutorial": {"preset": "mnist"},
    "faces": {"preset": "faces"},
    "dcgan": {"preset": "dcgan"},
    "rgb_best": {"preset": "rgb_best"},
    "r3gan": {"preset": "r3gan"},
}
FALLING = ("rgb_best", "r3gan")  # recipes whose learning rates fall
SPEED_STEPS = 40
ALL_CORES = Layout("single", crowded=True)


def main() -> None:
    given = _arguments()
    recipes = given.recipes.split(",")
    unknown = set(recipes) - RECIPES.keys()
    if unknown:
        sys.exit(f"--recipes={given.recipes}: {', '.join(unknown)} is none of {', '.join(RECIPES)}.")
    speeds = _speeds(recipes, given)
    cases = [(recipe, int(seed)) for seed in given.seeds.split(",") for recipe in recipes]
    launching.in_turn(cases, 1, lambda case: _measure(case[0], case[1], speeds[case[0]], given))
    _print_table([row for row in record.every(given.name) if row["case"].items() >= _alike(given).items()])


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--data", required=True, help="colour pictures, as for distgan.train")
    parser.add_argument("--recipes", default=",".join(RECIPES), help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=10, help="of training, for each run")
    parser.add_argument("--speeds", default="", help="images per second instead of measuring them, for each recipe")
    parser.add_argument("--rounds", type=int, default=3, help="in which speeds are measured")
    parser.add_argument("--measurements", type=int, default=4, help="of each run, evenly spread")
    parser.add_argument("--num_images", type=int, default=5000, help="samples of a measurement")
    parser.add_argument("--image_size", default="32x32")
    parser.add_argument("--flags", default="", help="flags of distgan.train for all recipes")
    parser.add_argument("--name", default="colour", help="of the results")
    return parser.parse_args()


def _alike(given: argparse.Namespace) -> dict[str, Any]:
    """What runs must share to be compared."""
    return {name: getattr(given, name) for name in ("data", "minutes", "image_size", "num_images", "flags")}


def _settings(recipe: str, given: argparse.Namespace) -> dict[str, Any]:
    return RECIPES[recipe] | {"data": given.data, "image_size": given.image_size, "channels": 3, "precision": "float32"}


def _flags(recipe: str, given: argparse.Namespace) -> list[str]:
    return [*launching.as_flags(_settings(recipe, given)), *shlex.split(given.flags)]


def _speeds(recipes: list[str], given: argparse.Namespace) -> dict[str, float]:
    """The images per second of each recipe: the median of some short runs in turn."""
    if given.speeds:
        return dict(zip(recipes, map(float, given.speeds.split(",")), strict=True))
    off = ["--evaluate_every=never", "--checkpoint_every=never"]
    found = launching.in_turn(
        recipes, given.rounds, lambda recipe: launching.train(ALL_CORES, [*_flags(recipe, given), *off], SPEED_STEPS)
    )
    return {recipe: statistics.median(speeds) for recipe, speeds in found.items()}


def _measure(recipe: str, seed: int, speed: float, given: argparse.Namespace) -> float:
    """Train, and write down what was measured; returns the last Frechet distance."""
    config = Config(**_settings(recipe, given))
    cadence = max(1, round(60 * given.minutes * speed / config.batch_size / given.measurements))
    steps = given.measurements * cadence
    height, width = map(int, given.image_size.split("x"))
    num_examples = sum(open_source(given.data, "train", Wanted((height, width), channels=3)).streams.values())
    schedule = {"decay_epochs": steps * config.batch_size / num_examples} if recipe in FALLING else {}
    with tempfile.TemporaryDirectory() as directory:
        launching.run(ALL_CORES, [
            sys.executable, "-m", "distgan.train", "--backend=single", f"--run_dir={directory}", f"--seed={seed}",
            *_flags(recipe, given), *launching.as_flags(schedule), f"--steps={steps}",
            f"--evaluate_every={cadence}steps", "--features=imagenet", f"--evaluate_num_images={given.num_images}",
            "--sample_every=never", "--checkpoint_every=never",
        ])  # fmt: skip
        measured = quality.measurements(Path(directory, "metrics.jsonl"))
    case = {"recipe": recipe, "seed": seed} | _alike(given)
    record.add(given.name, case, speed=speed, measured=measured)
    return measured[-1]["frechet_distance"]


def _print_table(rows: list[dict[str, Any]]) -> None:
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        runs.setdefault(row["case"]["recipe"], []).append(row)
    launching.print_table(
        ["recipe", "images/s", "images", "best Frechet distance", *quality.SCORES],
        (
            [recipe, launching.spread([row["speed"] for row in some]), some[0]["measured"][-1]["images"],
             launching.spread([min(one["frechet_distance"] for one in row["measured"]) for row in some], ".3g"),
             *(launching.spread([row["measured"][-1][name] for row in some], ".3g") for name in quality.SCORES)]
            for recipe, some in runs.items()
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
