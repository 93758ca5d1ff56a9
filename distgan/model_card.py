"""The model card of an export: a README.md as the hub of Hugging Face reads it, with what is known of the run."""

import re
import shlex
from pathlib import Path
from typing import Any

import jinja2

from distgan.config.config import defaults_of, options
from distgan.config.fields import options_of
from distgan.config.sections import Output, System
from distgan.errors import in_short
from distgan.report import panels, run_page
from distgan.report.document import TEMPLATES
from distgan.report.numbers import setting, whole
from distgan.report.recorded import Recorded
from distgan.run import Run

NAME = "README.md"
MARK = "<!-- distgan.export wrote this file and replaces it. Without this line, it leaves the file as it is. -->"
EMBEDDED = {  # what the parts of the package are that runs learn from, and their licences
    "mnist": "MNIST (LeCun et al. 1998), under CC BY-SA 3.0",
    "emoji": "emoji of three sets: Fluent Emoji (Copyright (c) Microsoft Corporation, MIT), Noto Emoji (Copyright 2013 "
    "Google, Inc., Apache-2.0) and Twemoji (Copyright (c) Twitter and other contributors, CC BY 4.0)",
}
OF_NO_RECIPE = {*options_of(Output), *options_of(System), "preset", "run_dir", "init_from"}
OF_START = (  # what the card tells of the last start of the run
    "distgan", "commit", "TensorFlow", "Keras", "Horovod", "Python", "precision", "backend", "processes", "replicas",
    "GPUs",
)  # fmt: skip
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=jinja2.select_autoescape(), keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def is_foreign(path: Path) -> bool:
    """Return whether something exists at a path that is no model card, or is one that its reader keeps."""
    return path.exists() and not (path.is_file() and MARK.encode() in path.read_bytes())


def text(run: Run, record: Recorded, files: dict[str, str]) -> bytes:
    """Return the card of a run's export; `files` are the names of the files beside it, by format.

    Paths, hosts and users are left out: only the last part of a path to data is told.
    """
    gan, config = run.gan, run.config
    height, width, channels = run.image_shape
    measured = [one for one in record.records if one["step"] <= run.step and "quality/frechet_distance" in one]
    scored = record._replace(records=measured[-1:])
    scores = {name: scored.newest(f"quality/{name}") for name in panels.MEASURES if f"quality/{name}" in scored.names}
    by, newest = record.measured_by, (record.starts or [{}])[-1]
    told = [name for name in OF_START if name in newest and (name != "Horovod" or newest.get("backend") == "horovod")]
    return _ENVIRONMENT.get_template("model_card.md.j2").render(
        mark=MARK, files=files, name=_plain(record.name), architecture=config.architecture,
        recipe=_recipe(run), data=without_directory(str(config.data)),
        embedded=EMBEDDED.get(re.split("[-:]", str(config.data))[0]),
        directions=gan.directions, num_classes=gan.num_classes, classes=_plain(in_short(gan.class_names)),
        noise=getattr(config.gan, "noise", ""),
        latent_dim=getattr(config.gan, "latent_dim", 0), draws=gan.draws_in_translation,
        kind=f"{height}x{width} pixels in {'grey' if channels == 1 else 'RGB'}", image_shape=run.image_shape,
        has_ema=bool(gan.averages), seed=config.seed, step=whole(run.step),
        images_shown=whole(run.step * config.batch_size * sum(gan.image_phases)),
        scores=scores, measured_step=whole(scored.last["step"]), num_measured=whole(by["evaluate_num_images"] or 0),
        features=without_directory(str(by["features"] or "the default network")), **run_page.measures(scored),
        started={name: newest[name] for name in told},
    ).encode(errors="replace")  # fmt: skip


def _recipe(run: Run) -> str:
    """Return the command that trains such a run, with the flags of its recipe that differ from its preset."""
    config = run.config
    defaults, known = defaults_of(config.preset), options()
    values: dict[str, Any] = {
        name: value for name, value in config.values().items()
        if name in known and name not in OF_NO_RECIPE and value is not None and value != defaults.get(name)
    }  # fmt: skip
    values |= {name: without_directory(values[name]) for name in ("data", "features") if name in values}
    given = [shlex.quote(f"--{name}={setting(value)}") for name, value in values.items()]
    return " ".join(["python -m distgan.train", f"--preset={config.preset}", *given])


def without_directory(name: str) -> str:
    """Return the name of data or of features without the directories of a path in it."""
    kind, place = re.fullmatch("([a-z]+:)?(.*)", name, re.DOTALL).groups("")  # type: ignore[union-attr]  # it fits any
    is_path = kind not in ("hf:", "tfds:") or place.startswith(("/", ".", "~"))
    return _plain(kind + (Path(place).name if is_path else place))


def _plain(name: str) -> str:
    """Return a name in one line, as UTF-8 has it."""
    return " ".join(name.encode(errors="replace").decode().split())
