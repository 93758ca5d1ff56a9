"""The training loop: from a config and the replicas to a trained GAN."""

import contextlib
import signal
from typing import TextIO

from distgan.config import Config
from distgan.errors import TrainingError, UserError
from distgan.replicas import watchdog
from distgan.replicas.base import Replicas
from distgan.replicas.votes import Exchange, Votes
from distgan.report import trackers
from distgan.store.run_directory import RunDirectory, Snapshot
from distgan.training import signals
from distgan.training.clock import Clock
from distgan.training.feed import open_data
from distgan.training.log import FLAGS, Log
from distgan.training.pace import Pace
from distgan.training.profiler import Profiler
from distgan.training.state import NOT_FINITE
from distgan.training.trainer import Trainer


class Regrouping(Exception):  # noqa: N818 (it is no error)
    """A change of the set of workers; the snapshot in memory is of the step that all workers have made."""


def train(
    config: Config,
    replicas: Replicas,
    console: TextIO | None = None,
    snapshot: Snapshot | None = None,
    caught: list[int] | None = None,
) -> tuple[Trainer, signal.Signals | None]:
    """Train according to `config`; resume from the run directory's newest checkpoint if it has one.

    If the set of workers may change, resume from a newer `snapshot` of one of them. `snapshot` and the list of `caught`
    signals are kept up to date. Returns the trainer, and the signal that ended it early. Raises, on all processes,
    `UserError`, `TrainingError` if replicas differ or values are NaN or infinite, `Regrouping` if the workers change.
    """
    # ---- open
    snapshot, caught = snapshot or Snapshot(), [] if caught is None else caught
    replicas.on_chief(lambda: trackers.names_of(config.track))
    source = open_data(config, replicas)
    config.check_replicas(replicas.num_replicas)
    with RunDirectory(config, replicas) as directory:
        trainer = Trainer(config, replicas, source)
        trainer.check_length()
        # ---- resume
        watchdog.waits()
        notes = directory.restore(trainer.state, source.fingerprint, snapshot)
        trainer.resume()
        watchdog.waits()
        clock = Clock(trainer, steps=config.steps, epochs=config.epochs)
        with contextlib.closing(Log(trainer, clock, directory.path, console)) as log, signals.collected(caught):
            log.opening(notes)
            log.warn(list(source.notes))
            if clock.is_over:
                return trainer, None
            log.prepare()
            _loop(trainer, clock, log, directory, snapshot=snapshot, caught=caught)
            # ---- end
            stopped_by = None if clock.is_over else signals.stopped_by(caught)
            log.ending(stopped_by, directory.newest_checkpoint())
            replicas.agree(None)  # rank 0 may still write; tf.distribute takes ranks that leave before it for lost ones
            return trainer, stopped_by


def _loop(
    trainer: Trainer, clock: Clock, log: Log, directory: RunDirectory, *, snapshot: Snapshot, caught: list[int]
) -> None:
    """Make steps, and the actions that are due between them, until the run is over or a signal was caught."""
    config, replicas = trainer.config, trainer.replicas
    profiler = Profiler(config.profile_range(), directory.path, replicas)
    trainer.feed.report_bad_files(log.warn)
    exchange, votes = Exchange(replicas), Votes()

    pace = Pace(config, replicas, trainer.most_steps)
    cadences = [config.checkpoint_every, config.sample_every, f"{config.log_every_steps}steps"]
    cadences += [config.evaluate_every] * log.evaluates + [f"{config.commit_every_steps}steps"] * replicas.is_elastic

    while not (clock.is_over or votes.stop):
        profiler.before(clock.step + 1)
        steps = min(pace.steps, clock.steps_until_due(cadences, profiler.stops))
        share = trainer.feed.next(steps)
        wanted = Votes(
            stop=signals.stopping(caught),
            save=signals.take_saving(caught) or directory.wants_to_save(),
            settle=directory.has_failed(),
            report_files=trainer.feed.has_new_bad_files(),
            regroup=replicas.is_to_regroup(),
        )
        results = trainer.step_on(share, exchange.send(wanted, trainer.feed.seconds, steps), steps)
        profiler.after(clock.step)
        log.add(results, steps)
        votes = exchange.receive(results[FLAGS])
        pace.called()

        # ---- log
        if clock.step % config.log_every_steps == 0 or clock.is_over or votes.stop:
            problem = log.write(exchange.seconds_since_log() | directory.stall_since_log())
            _check_finite(trainer, directory, problem)
        log.progress()
        if votes.report_files:
            _report_bad_files(trainer, directory, log)
        if votes.settle:
            directory.settle()
        log.warn(directory.problems())
        # ---- sample
        if clock.is_over or clock.due(config.sample_every):
            log.pictures()
        # ---- save
        if votes.save or votes.stop or clock.is_over or clock.due(config.checkpoint_every):
            _save(trainer, directory)
        if replicas.is_elastic and not votes.stop:
            if votes.regroup or clock.step % config.commit_every_steps == 0:
                snapshot.keep(trainer.state)
            if votes.regroup and not clock.is_over:
                raise Regrouping
        # ---- evaluate
        if log.evaluates and (clock.is_over or clock.due(config.evaluate_every)):
            measured = log.evaluate()
            _save(trainer, directory)
            directory.keep_if_best(*measured)
            log.page("running")

    profiler.close()
    directory.settle(is_last=True)


def _save(trainer: Trainer, directory: RunDirectory) -> None:
    """Checkpoint the state. Raises `TrainingError` if it holds NaN or infinite values."""
    _check_finite(trainer, directory, "")
    directory.save(trainer.state, trainer.facts())


def _check_finite(trainer: Trainer, directory: RunDirectory, problem: str) -> None:
    """Raise `TrainingError`, on all processes, if a loss has a `problem` or the state holds NaN or infinite values."""
    what = problem or trainer.state.not_finite()
    if what:
        with contextlib.suppress(UserError):  # if the last checkpoint can't be written, the one before it counts
            directory.settle()
        newest = directory.newest_checkpoint()
        raise TrainingError(
            f"{what}. "
            + (f"The last checkpoint, {newest}, is finite. " if newest else "No checkpoint had been made. ")
            + "Rerun the command with --precision=float32 if it was lower, or start another run with smaller learning "
            f"rates{f', --init_from={directory.path}' if newest else ''}.",
            NOT_FINITE,
        )


def _report_bad_files(trainer: Trainer, directory: RunDirectory, log: Log) -> None:
    try:
        trainer.feed.report_bad_files(log.warn)
    except UserError:
        _save(trainer, directory)
        raise
