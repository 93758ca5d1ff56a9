"""The training loop: from a config and the replicas to a trained GAN."""

import contextlib
import signal
import sys
from typing import NamedTuple, TextIO

import numpy as np
import tensorflow as tf

from distgan import heartbeat
from distgan.config import Config
from distgan.data import pipeline
from distgan.data.base import Shape, Source, Wanted
from distgan.data.order import STEPS
from distgan.data.sources import kind_of, open_source
from distgan.errors import TrainingError, UserError
from distgan.gans import GANS
from distgan.gans.base import GAN
from distgan.replicas.base import Replicas
from distgan.replicas.votes import Exchange, Votes
from distgan.report import opening
from distgan.report.recorded import ENVIRONMENT, PAGE
from distgan.report.reporter import Reporter
from distgan.store.run_directory import RunDirectory
from distgan.training import environment, profiler, signals
from distgan.training.clock import Clock
from distgan.training.commit import Commit
from distgan.training.evaluation import Evaluator
from distgan.training.log import FLAGS, Log
from distgan.training.state import NOT_FINITE
from distgan.training.trainer import Trainer


class Outcome(NamedTuple):
    """How a run ended: the GAN and what it makes, the last step made, and the signal that ended it early."""

    gan: GAN
    image_shape: Shape
    step: int
    stopped_by: signal.Signals | None


class Regrouping(Exception):  # noqa: N818 (it is no error)
    """Processes are to come or go; what this one has in memory is of the step that all have made."""


def train(
    config: Config,
    replicas: Replicas,
    console: TextIO = sys.stdout,
    commit: Commit | None = None,
    caught: list[int] | None = None,
) -> Outcome:
    """Train as `config` says, going on from the run directory's newest checkpoint if it has one.

    Where processes may come and go, from a newer `commit` of one of them, which is kept up to date, and so are the
    signals that were `caught`. Raises `UserError`, on all processes, `TrainingError` where they differ or their numbers
    are not finite, and `Regrouping`.
    """
    commit, caught = commit or Commit(), [] if caught is None else caught
    source = _open(config, replicas)
    config.check_compiles(replicas.num_replicas)
    config.check_batch(replicas.num_replicas)
    with RunDirectory(config, replicas) as directory:
        trainer = Trainer(config, replicas, source)
        images_before_last_step = ((config.steps or 1) - 1) * trainer.images_per_step
        config.check_schedule(f"--steps={config.steps}", images_before_last_step / trainer.num_examples)
        heartbeat.waits()
        notes = directory.restore(trainer.state, source.fingerprint, commit)
        trainer.resume()
        heartbeat.waits()
        clock = Clock(trainer, steps=config.steps, epochs=config.epochs)
        reporter = Reporter(config.directory, enabled=replicas.is_chief, first_step=clock.step, console=console)
        with contextlib.closing(reporter), signals.collected(caught):
            return _Run(trainer, clock, directory, reporter, commit, caught).run(notes)
