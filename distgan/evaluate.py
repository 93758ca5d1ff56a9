"""Measure the samples of a trained run, or any images, against real ones; by several processes if several were started.

python -m distgan.evaluate --run_dir=runs/mnist
python -m distgan.evaluate --run_dir=runs/mnist --checkpoint=best --num_images=50000
python -m distgan.evaluate --images=samples.npz --data=mnist
horovodrun -np 4 python -m distgan.evaluate --run_dir=runs/mnist
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from distgan import paths, program
from distgan.config import Config
from distgan.errors import UserError, sentence_of
from distgan.store import atomic

if TYPE_CHECKING:
    from distgan.data.base import Source, Wanted
    from distgan.replicas.base import Replicas

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "newest", ["newest", "best"], "best: by Frechet distance.")
_IMAGES = flags.DEFINE_string("images", None, "Instead of a run, a directory of images, or an .npz file of images.")
_DATA = flags.DEFINE_string("data", None, "Real images to compare --images with, as for distgan.train.")
_IMAGE_SIZE = flags.DEFINE_string("image_size", None, "HxW, the size for --images and --data, if it is not the data's.")
_FIT = flags.DEFINE_enum("fit", "resize", ["resize", "crop"], "How images are fitted to it, as for distgan.train.")
_NUM_IMAGES = flags.DEFINE_integer(
    "num_images",
    None,
    "Number of samples, and of real images to compare them with. Default: the run's setting, or 10,000 for --images.",
    lower_bound=100,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed; distgan.sample with the same seed makes the same samples.", lower_bound=0, upper_bound=2**63 - 1
)
_FEATURES = flags.DEFINE_string(
    "features", None, "imagenet, inception or FILE.keras, as for distgan.train. Default: the run's."
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write. Default: RUN_DIR/evaluation.json, or IMAGES.json.")
_JSON = flags.DEFINE_boolean("json", False, "Print the content of the file, and what else is said to standard error.")
_BACKEND = flags.DEFINE_enum(
    "backend", "auto", ["auto", "single", "horovod", "multiworker"], "Backend, if several processes were started."
)


def main() -> int:
    """Measure, write and print what the flags ask for, and return the exit status."""
    if (_RUN_DIR.value is None) == (_IMAGES.value is None):
        raise UserError("Give one of --run_dir and --images: what is to be measured.")
    if _IMAGES.value and not _DATA.value:
        raise UserError("--images needs --data, the real images to compare with, e.g. --data=mnist.")
    if _DATA.value and not _IMAGES.value:
        raise UserError(f"--data={_DATA.value} is used only with --images, as a run has its own data: remove it.")
    if (_IMAGE_SIZE.value or _FIT.value != "resize") and not _IMAGES.value:
        raise UserError("--image_size and --fit are used only with --images, as a run has its own: remove them.")
    output = _output()
    program.import_tensorflow()
    from distgan.replicas.connect import connect

    replicas = connect(Config(backend=_BACKEND.value))
    try:
        facts, scores = _of_run(replicas) if _RUN_DIR.value else _of_images(replicas)
        text = json.dumps({**facts, **scores}, indent=2) + "\n"
        if replicas.is_chief:
            atomic.write(output, text.encode())
    except OSError as error:
        raise UserError(sentence_of(error)) from None
    if replicas.is_chief and _JSON.value:
        print(text, end="")
    elif replicas.is_chief:
        _print(facts, scores, output)
    return 0


def _say_on_chief(replicas: "Replicas") -> Callable[[str], None]:
    """Return a function that prints a line on the chief."""
    stream = sys.stderr if _JSON.value else sys.stdout
    return functools.partial(print, flush=True, file=stream) if replicas.is_chief else lambda text: None


def _output() -> Path:
    if _OUTPUT.value:
        return paths.local("output", _OUTPUT.value)
    if _RUN_DIR.value:
        return paths.local("run_dir", _RUN_DIR.value) / "evaluation.json"
    return paths.local("images", f"{str(_IMAGES.value).rstrip('/')}.json")


Measured = tuple[dict[str, str | int], dict[str, float]]  # the facts of the measurement, and the scores


def _of_run(replicas: "Replicas") -> Measured:
    from distgan.run import load
    from distgan.training.evaluation import Evaluator
    from distgan.training.feed import images_wanted

    run = replicas.together(lambda: load(_RUN_DIR.value or "", _CHECKPOINT.value))
    evaluator = Evaluator(
        replicas,
        str(run.config.data),
        images_wanted(run.config),
        run.image_shape,
        num_images=_NUM_IMAGES.value or run.config.evaluate_num_images,
        features=_FEATURES.value or run.config.features,
        say=_say_on_chief(replicas),
    )
    of_run = {"run_dir": str(_RUN_DIR.value), "checkpoint": _CHECKPOINT.value, "step": run.step, "seed": _SEED.value}
    return of_run | evaluator.facts(), run.scores(evaluator, _SEED.value)


def _of_images(replicas: "Replicas") -> Measured:
    from distgan.data.sources import open_source
    from distgan.metrics.reference import FEWEST_IMAGES
    from distgan.training.evaluation import Evaluator
    from distgan.training.feed import images_wanted

    wanted = images_wanted(Config(data=_DATA.value, image_size=_IMAGE_SIZE.value, fit=_FIT.value))
    shape = replicas.together(lambda: open_source(str(_DATA.value), "train", wanted)).image_shape
    given = replicas.together(lambda: _given(wanted.of_shape(shape)))
    available = given.streams["images"]
    if available < FEWEST_IMAGES:
        raise UserError(f"--images={_IMAGES.value} has {available} images: give {FEWEST_IMAGES} or more.")
    count = min(_NUM_IMAGES.value or Config().evaluate_num_images, available)
    settings = {"num_images": count, "features": _FEATURES.value, "say": _say_on_chief(replicas)}
    evaluator = Evaluator(replicas, str(_DATA.value), wanted, shape, **settings)
    scores = evaluator.scores_of(lambda first, number: given.read("images", np.arange(first, first + number)), count)
    return {"images": str(_IMAGES.value)} | evaluator.facts(), scores


def _given(wanted: "Wanted") -> "Source":
    """Return the images of --images."""
    path = str(paths.local("images", str(_IMAGES.value)))
    if path.endswith(".npz"):
        from distgan.data.npz import open_npz

        images = open_npz(path, with_labels=False)
        shapes = images.pixels.shape[1:], (*(wanted.image_size or ()), wanted.channels)
        found, needed = ("x".join(map(str, shape)) for shape in shapes)
        if found != needed:
            raise UserError(
                f"--images={path} has images of {found}, but --data={_DATA.value} of {needed}: resize them "
                "first; the way of resizing changes the scores."
            )
        return images.source(wanted)
    from distgan.data.sources import open_source
    from distgan.data.trees import image_files

    if not os.path.isdir(path):
        raise UserError(f"--images={path} must be a directory of images, or an .npz file of images.")
    image_files("--images", path, "")  # raises an error that names the flag
    return open_source(f"folder:{path}", "train", wanted)


def _print(facts: Mapping[str, str | int], scores: Mapping[str, float], output: Path) -> None:
    """Print what was measured and one line per score; for a run with an EMA, also the score of its raw weights."""
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    names = dict.fromkeys(name.rpartition("/")[2] for name in scores)
    width = max(map(len, names))
    if any(name.startswith("quality_raw/") for name in scores):
        print(f"{'':{width}}  {'EMA':>10}  {'raw':>10}")
    for name in names:
        values = [scores[key] for key in (name, f"quality/{name}", f"quality_raw/{name}") if key in scores]
        print(f"{name:{width}}  " + "  ".join(f"{value + 0.0:10.5g}" for value in values))  # 0.0 turns -0 into 0
    print(f"written to {output}")


if __name__ == "__main__":
    program.run(main)
