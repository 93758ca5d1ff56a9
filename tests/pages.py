"""Made-up runs, and what a test wants to know of a page."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from distgan import pictures
from distgan.config import Config

QUALITY = {
    "frechet_distance": 40.0, "kernel_distance": 0.02, "precision": 0.8, "recall": 0.5, "density": 0.9, "coverage": 0.6,
    "classifier_score": 8.0, "entropy": 2.2, "modes": 10, "nearest_neighbour_ratio": 1.1, "kl_to_uniform": 0.1,
    "class_accuracy": 0.9,
}  # fmt: skip
WHOLE = {
    "frechet_floor": 2.0, "nearest_neighbour_floor": 0.83, "classifier_score_of_real": 9.8,
    **{f"share_of_{digit}": 0.1 for digit in range(10)},
}  # fmt: skip


def moment(step: int, began: float = 1000.0) -> dict[str, float]:
    return {"step": step, "images_shown": 64 * step, "epoch": step / 100, "seconds": began + 0.1 * step}


def make_run(directory: Path, *, logs: int = 300, ranks: int = 2, **config: Any) -> Path:
    """A run that logged every second step, was evaluated at every sixtieth, and warned once."""
    rng = np.random.default_rng(logs)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "metrics.jsonl").open("w") as file:
        for step in range(2, 2 * logs + 1, 2):
            values = {f"loss/{player}": rng.uniform(0.5, 1.5) for player in ("generator", "discriminator")}
            values |= {"accuracy/mean": rng.uniform(), "gradient_norm/generator": 10 ** rng.uniform(-1, 2)}
            values |= {"learning_rate/generator": 1e-4, "cycle/A": rng.uniform(), "speed/images_per_second": 500.0}
            for rank in range(ranks):
                values |= {f"speed/rank_{rank}_input_seconds": 0.05 * rank, f"speed/rank_{rank}_processor_seconds": 0.1}
            file.write(json.dumps(moment(step) | values) + "\n")
            if step % 60 == 0:
                better = 100 / (100 + step)
                quality: dict[str, float] = {}
                for group in ("quality", "quality_raw"):
                    quality |= {f"{group}/{name}": value for name, value in WHOLE.items()}
                    quality |= {f"{group}/{name}": value * better for name, value in QUALITY.items()}
                file.write(json.dumps(moment(step) | quality | {"quality/seconds": 3.0}) + "\n")
        file.write(json.dumps(moment(2 * logs) | {"warning": "Something <b>odd</b> & worth a look."}) + "\n")
    (directory / "config.json").write_text(Config(**{"steps": 2 * logs} | config).to_json())
    start = {"seconds": 999.0, "first_step": 0, "host": "node1", "backend": "horovod", "processes": ranks,
             "TensorFlow": "2.21.0", "ranks": [{"host": f"node{rank}"} for rank in range(ranks)]}  # fmt: skip
    (directory / "environment.json").write_text(json.dumps({"starts": [start]}))
    for step in range(100, 2 * logs + 1, 100):
        name = f"image_at_step_{step:06d}.png"
        pictures.save_png(directory / "samples" / name, rng.integers(0, 256, (30, 30, 1), np.uint8))
    return directory


def parsed(page: bytes) -> ElementTree.Element:
    """The page's tree, without its script. Raises where it is not well-formed."""
    return ElementTree.fromstring(re.sub("<script>.*?</script>", "", page.decode(), flags=re.DOTALL))


def text(element: ElementTree.Element) -> str:
    return "".join(element.itertext()).strip()


def figures(tree: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """The plots of a page by their titles."""
    return {text(bold): figure for figure in tree.iter("figure") if (bold := figure.find("figcaption/b")) is not None}


def points(figure: ElementTree.Element) -> list[int]:
    """How many points each line of a plot has."""
    script = figure.find("script")
    lines = json.loads(script.text or "")["lines"] if script is not None else []
    assert all(len(line["x"]) == len(line["y"]) for line in lines)
    return [sum(value is not None for value in line["y"]) for line in lines]
