"""How good are the samples of a recipe, by images seen and by seconds of training?

    python benchmarks/quality.py                                       # hours
    python benchmarks/quality.py --recipes=mnist_best --seeds=0 --epochs=1     # minutes
    python benchmarks/quality.py --recipes=mnist_best,hinge --epochs=1 --flags="--filters=32" --name=losses

Trains each recipe with each seed in a fresh process on all cores, seed after seed, and reads what it logged: the
Frechet distance of 10,000 samples to MNIST's 10,000 test digits by the features of the digit classifier, and the other
scores, after every epoch. Seconds are of training; those of measuring are left out. When a run ends it is added to
results/<name>_*.json, in place of an earlier one like it: the hours may be spent in parts. Prints a table of the last
epoch of all runs of these flags and that length.
"""

import argparse
import dataclasses
import json
import shlex
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import launching
import record
from launching import Layout

# What differs from the preset of the same name, or from mnist_best.
RECIPES: dict[str, dict[str, Any]] = {
    "mnist": {"preset": "mnist"},
    "mnist_best": {},
    "unconditional": {"conditional": "false"},
    "minimax": {"loss": "minimax"},
    "least_squares": {"loss": "least_squares"},
    "hinge": {"loss": "hinge"},
    "wasserstein": {
        "loss": "wasserstein", "r1_weight": 0, "gradient_penalty": 10, "discriminator_updates": 5,
        "generator_learning_rate": 1e-4, "discriminator_learning_rate": 1e-4,
    },
    "spectral_norm": {"loss": "hinge", "r1_weight": 0, "spectral_norm": "true"},
    "no_penalty": {"r1_weight": 0},
    "translation": {"augment": "translation"},
}  # fmt: skip
SCORES = ("frechet_distance", "classifier_score", "modes", "kl_to_uniform", "precision", "recall", "density",
          "coverage", "nearest_neighbour_ratio")  # fmt: skip


def main() -> None:
    given = _arguments()
    unknown = set(given.recipes.split(",")) - RECIPES.keys()
    if unknown:
        sys.exit(f"--recipes={given.recipes}: {', '.join(unknown)} is none of {', '.join(RECIPES)}.")
    cases = [(recipe, int(seed)) for seed in given.seeds.split(",") for recipe in given.recipes.split(",")]
    launching.in_turn(cases, 1, lambda case: _measure(case[0], case[1], given))
    alike: dict[str, Any] = {"flags": given.flags, "num_epochs": given.epochs}
    _print_table([row for row in record.every(given.name) if row["case"].items() >= alike.items()])


def _measure(recipe: str, seed: int, given: argparse.Namespace) -> float:
    """Train, and write down what was measured; returns the last Frechet distance."""
    epochs = _train(recipe, seed, given)
    case = {"recipe": recipe, "seed": seed, "layout": given.layout, "flags": given.flags, "num_epochs": given.epochs}
    record.add(given.name, case, epochs=epochs)
    return epochs[-1]["frechet_distance"]


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--recipes", default="mnist,mnist_best", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--flags", default="", help="flags of distgan.train for all recipes")
    parser.add_argument("--name", default="quality", help="of the results")
    parser.add_argument("--layout", default="single:1", help="such as horovod:4")
    parser.add_argument("--crowded", action="store_true", help="let processes share cores")
    return parser.parse_args()


def _train(recipe: str, seed: int, given: argparse.Namespace) -> list[dict[str, float]]:
    """What was measured after each epoch."""
    # A shorter run is a small whole one: its rates fall as far as those of the preset's twelve epochs.
    whole = {} if recipe == "mnist" else {"decay_epochs": given.epochs * 16 / 12}
    flags = {"preset": "mnist_best"} | whole | RECIPES[recipe] | {
        "seed": seed, "epochs": given.epochs, "evaluate_every": "1epochs", "precision": "float32",
        "sample_every": f"{given.epochs}epochs", "checkpoint_every": f"{given.epochs}epochs",
    }  # fmt: skip
    layout = dataclasses.replace(launching.layouts(given.layout)[0], crowded=given.crowded)
    if layout == Layout("single"):
        layout = dataclasses.replace(layout, crowded=True)
    with tempfile.TemporaryDirectory() as directory:
        command = [*launching.backend_flags(layout), f"--run_dir={directory}", *launching.as_flags(flags)]
        command += shlex.split(given.flags)
        launching.run(layout, [sys.executable, "-m", "distgan.train", *command])
        return measurements(Path(directory) / "metrics.jsonl")


def measurements(path: Path) -> list[dict[str, float]]:
    """What a run measured of its samples, by images shown and by seconds without those of measuring."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    measured, spent, began = [], 0.0, lines[0]["seconds"]
    for line in lines:
        if "quality/seconds" in line:
            spent += line["quality/seconds"]
            scores = {name: line[f"quality/{name}"] for name in SCORES}
            measured.append({"images": line["images_shown"], "seconds": line["seconds"] - began - spent, **scores})
    return measured


def _print_table(rows: list[dict[str, Any]]) -> None:
    last: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        last.setdefault(f"{row['case']['recipe']}, {row['case']['layout']}", []).append(row["epochs"][-1])
    launching.print_table(
        ["recipe, layout", *SCORES, "seconds"],
        (
            [recipe, *(launching.spread([one[name] for one in ends], ".3g") for name in SCORES),
             f"{statistics.median(one['seconds'] for one in ends):.0f}"]
            for recipe, ends in last.items()
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
