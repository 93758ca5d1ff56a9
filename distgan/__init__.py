"""Train a GAN on one device or on many, and get the same training run."""

import os
import sys
from typing import TYPE_CHECKING, Any

from distgan.config import Config
from distgan.dcgan import DCGAN
from distgan.errors import UserError

if TYPE_CHECKING:
    from distgan.run import Run

__all__ = ["DCGAN", "Config", "Run", "UserError", "load", "train"]
__version__ = "0.1.0"

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow leaves it off on processors without AVX-512


def _choose_tensorflow() -> None:
    """Let Keras run on TensorFlow. Raises `UserError` if it has been imported with another backend."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    elif (backend := sys.modules["keras"].backend.backend()) != "tensorflow":
        raise UserError(f"Keras runs on {backend} here: set KERAS_BACKEND=tensorflow before it is imported.")


def train(config: Config) -> "Run":
    """Train by `config`, in this process and those it was started with; see `distgan.run.train`."""
    _choose_tensorflow()
    from distgan import run  # TensorFlow is imported when it is needed, not for --help

    return run.train(config)


def load(run_dir: str | os.PathLike[str]) -> "Run":
    """Load the run in a directory, at its newest intact checkpoint; see `distgan.run.load`."""
    _choose_tensorflow()
    from distgan import run

    return run.load(run_dir)


def __getattr__(name: str) -> Any:
    if name == "Run":
        from distgan.run import Run

        return Run
    raise AttributeError(f"module 'distgan' has no attribute {name!r}")
