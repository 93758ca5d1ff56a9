"""The training loop: from a config and the replicas to a trained GAN."""

import contextlib
import signal
import sys
from typing import TextIO

from distgan import heartbeat
from distgan.config import Config
from distgan.config.fields import every
from distgan.data.order import STEPS
from distgan.errors import TrainingError, UserError
from distgan.replicas.base import Replicas
from distgan.replicas.votes import Exchange, Votes
from distgan.report import messages
from distgan.report.recorded import ENVIRONMENT
from distgan.report.reporter import Reporter
from distgan.store.run_directory import RunDirectory, Snapshot
from distgan.training import environment, profiler, signals
from distgan.training.clock import Clock
from distgan.training.evaluation import Evaluator
from distgan.training.feed import held_out_images, images_wanted, open_data
from distgan.training.log import FLAGS, Log
from distgan.training.state import NOT_FINITE
from distgan.training.trainer import Trainer


class Regrouping(Exception):  # noqa: N818 (it is no error)
    """Processes are to come or go; what this one has in memory is of the step that all have made."""


def train(
    config: Config,
    replicas: Replicas,
    console: TextIO = sys.stdout,
    snapshot: Snapshot | None = None,
    caught: list[int] | None = None,
) -> tuple[Trainer, signal.Signals | None]:
    """Train as `config` says, from the run directory's newest checkpoint on if it has one.

    Where the set of workers may change, from a newer `snapshot` of one of them, which is kept up to date, as are the
    signals that were `caught`. Returns what was trained, and the signal that ended it early. Raises `UserError`, on all
    processes, `TrainingError` if they differ or their numbers are not finite, and `Regrouping`.
    """
    snapshot, caught = snapshot or Snapshot(), [] if caught is None else caught
    source = open_data(config, replicas)
    config.check_replicas(replicas.num_replicas)
    with RunDirectory(config, replicas) as directory:
        trainer = Trainer(config, replicas, source)
        images_before_last_step = ((config.steps or 1) - 1) * trainer.images_per_step
        config.check_schedule(f"--steps={config.steps}", images_before_last_step / trainer.num_examples)
        heartbeat.waits()
        notes = directory.restore(trainer.state, source.fingerprint, snapshot)
        trainer.resume()
        heartbeat.waits()
        clock = Clock(trainer, steps=config.steps, epochs=config.epochs)
        reporter = Reporter(config.directory, enabled=replicas.is_chief, first_step=clock.step, console=console)
        with contextlib.closing(reporter), signals.collected(caught):
            run = _Run(trainer, clock, directory=directory, reporter=reporter, snapshot=snapshot, caught=caught)
            return run.run(notes)


class _Run:
    """A run that goes on: what its steps are made of, and what is done between them."""

    def __init__(
        self, trainer: Trainer, clock: Clock, *, directory: RunDirectory, reporter: Reporter, snapshot: Snapshot,
        caught: list[int],
    ) -> None:  # fmt: skip
        self.trainer, self.clock, self.directory, self.reporter = trainer, clock, directory, reporter
        self.config, self.replicas, self.source = trainer.config, trainer.replicas, trainer.source
        self.snapshot, self.caught = snapshot, caught
        self.facts = {
            "data": self.source.fingerprint,
            "image_shape": self.source.image_shape,
            "num_classes": self.source.num_classes if self.config.gan.uses_classes else 0,
            "precision": trainer.number_format,
            "backend": self.replicas.backend,
            "num_replicas": self.replicas.num_replicas,
        }

    def run(self, notes: list[str]) -> tuple[Trainer, signal.Signals | None]:
        """Say what is about to run, and train; a run that is over already is left as it is."""
        clock, config, say = self.clock, self.config, self.reporter.say
        say(messages.opening(config, self.source, clock, self.facts, self.replicas.size))
        say(f"run directory {self.directory.path}" + "".join(f"; {note}" for note in notes))
        if clock.is_over:
            say(f"This run is finished; --{'steps' if config.steps else 'epochs'} above that goes on with it.")
            return self.trainer, None
        start = environment.describe(self.replicas, self.trainer.number_format, clock.step)
        self.reporter.spared(config.directory / ENVIRONMENT, lambda: environment.add(config.directory, start))
        shows_data = self.trainer.gan.shows_data and self.replicas.is_chief
        held_out = self.replicas.together(lambda: held_out_images(config, self.source) if shows_data else {})
        return self.loop(Log(self.trainer, clock, self.reporter, held_out), self._evaluator())

    def loop(self, log: Log, evaluator: Evaluator | None) -> tuple[Trainer, signal.Signals | None]:
        """Make step after step, and between them whatever is due, until the run is over or a signal was caught."""
        config, clock, trainer, directory = self.config, self.clock, self.trainer, self.directory
        profile = profiler.Profiler(config.profile_range(), directory.path, self.replicas)
        trainer.feed.report_bad_files(self.reporter.say)
        exchange, votes = Exchange(self.replicas), Votes()

        while not (clock.is_over or votes.stop):
            profile.before(clock.step + 1)
            share = trainer.feed.next()
            results = trainer.step_on(share, exchange.send(self._votes(), trainer.feed.seconds))
            profile.after(clock.step)
            log.add(results)
            votes = exchange.receive(results[FLAGS])
            if clock.step % config.log_every_steps == 0 or clock.is_over or votes.stop:
                self._check_finite(log.write(exchange.seconds_since_log() | directory.stall_since_log()))
            log.progress()
            if votes.report_files:
                self._report_bad_files()
            if votes.settle:
                directory.settle()
            log.warn(directory.problems())
            if clock.is_over or clock.due(config.sample_every):
                log.pictures()
            if votes.save or votes.stop or clock.is_over or clock.due(config.checkpoint_every):
                self._save()
            if self.replicas.is_elastic and not votes.stop:
                self._commit(votes.regroup)
            if evaluator and (clock.is_over or clock.due(config.evaluate_every)):
                self._evaluate(evaluator, log)

        profile.close()
        directory.settle(is_last=True)
        stopped_by = None if clock.is_over else signals.stopped_by(self.caught)
        self._say_goodbye(stopped_by, log)
        return trainer, stopped_by

    def _votes(self) -> Votes:
        """What this process wants all of them to do."""
        return Votes(
            stop=signals.stopping(self.caught),
            save=signals.take_saving(self.caught) or self.directory.wants_to_save(),
            settle=self.directory.has_failed(),
            report_files=self.trainer.feed.has_new_bad_files(),
            regroup=self.replicas.is_to_regroup(),
        )

    def _save(self) -> None:
        """Checkpoint the state, if it is one to go on from."""
        self._check_finite("")
        self.directory.save(self.trainer.state, self.facts)

    def _check_finite(self, problem: str) -> None:
        """Raise `TrainingError`, on all processes, where a loss has a problem, or the state is not finite."""
        what = problem or self.trainer.state.not_finite()
        if what:
            with contextlib.suppress(UserError):  # a checkpoint that can't be written is not the last one
                self.directory.settle()
            newest = self.directory.newest_checkpoint()
            raise TrainingError(
                f"{what}. "
                + (f"The last checkpoint, {newest}, is well. " if newest else "No checkpoint had been made. ")
                + "The same command would come to the same: go on with --precision=float32 if it was less, or start "
                f"another run with smaller learning rates{f', --init_from={self.directory.path}' if newest else ''}.",
                NOT_FINITE,
            )

    def _commit(self, regroup: float) -> None:
        """Keep the state in memory where that is due. Raises `Regrouping` where processes are to come or go."""
        if regroup or self.clock.step % self.config.commit_every_steps == 0:
            self.snapshot.keep(self.trainer.state)
        if regroup and not self.clock.is_over:
            raise Regrouping

    def _report_bad_files(self) -> None:
        try:
            self.trainer.feed.report_bad_files(self.reporter.say)
        except UserError:
            self._save()
            raise

    def _evaluator(self) -> Evaluator | None:
        config = self.config
        if every(config.evaluate_every) is None:
            return None
        return Evaluator(
            self.replicas, str(config.data), images_wanted(config), self.source.image_shape,
            num_images=config.evaluate_num_images, features=config.features,
        )  # fmt: skip

    def _evaluate(self, evaluator: Evaluator, log: Log) -> None:
        """Measure the samples, and keep the checkpoint if they are the best so far."""
        scores = evaluator.scores(self.trainer.gan, self.config.seed % STEPS)
        log.scores(scores)
        self._save()
        self.directory.keep_if_best(scores["quality/frechet_distance"])
        self.reporter.page("running")

    def _say_goodbye(self, stopped_by: signal.Signals | None, log: Log) -> None:
        path, step, say = self.directory.path, self.clock.step, self.reporter.say
        if stopped_by:
            say(f"{stopped_by.name}: stopped at step {step}, which is saved; the same command goes on.")
            self.reporter.page("stopped")
        else:
            self.reporter.finish()
            say(f"finished at step {step}")
        distance, floor = (log.newest.get(f"quality/frechet_{what}") for what in ("distance", "floor"))
        say(messages.ending(path, self.directory.newest_checkpoint(), distance, floor, is_finished=not stopped_by))
