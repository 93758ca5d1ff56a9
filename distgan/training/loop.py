"""The training loop: from a config and the replicas to a trained GAN."""

import contextlib
import signal
import sys
from typing import Any, NamedTuple, TextIO

import numpy as np
import tensorflow as tf

from distgan import heartbeat
from distgan.config import Config
from distgan.data import pipeline
from distgan.data.base import Shape, Source, Wanted
from distgan.data.order import STEPS
from distgan.data.sources import kind_of, open_source
from distgan.errors import TrainingError, UserError
from distgan.gans import GANS, make_gan
from distgan.gans.base import GAN
from distgan.nets import convolutions
from distgan.replicas.base import Replicas
from distgan.report.recorded import ENVIRONMENT, PAGE
from distgan.report.reporter import Reporter
from distgan.store.run_directory import RunDirectory
from distgan.training import environment, health, precision, profiler
from distgan.training.clock import Clock, Speed
from distgan.training.commit import Commit
from distgan.training.evaluation import Evaluator
from distgan.training.faults import Faults
from distgan.training.requests import Asked, Requests, signals
from distgan.training.state import AVERAGE, NOT_FINITE, TrainState
from distgan.training.step import make_step


class Outcome(NamedTuple):
    """How a run ended: the GAN and what it makes, the last step made, and the signal that ended it early."""

    gan: GAN
    image_shape: Shape
    step: int
    stopped_by: signal.Signals | None


class Regrouping(Exception):  # noqa: N818 (it is no error)
    """Processes are to come or go; what this one has in memory is of the step that all have made."""


def train(
    config: Config, replicas: Replicas, console: TextIO = sys.stdout, commit: Commit | None = None,
    caught: list[int] | None = None,
) -> Outcome:  # fmt: skip
    """Train as `config` says, going on from the run directory's newest checkpoint if it has one.

    Where processes may come and go, from a newer `commit` of one of them, which is kept up to date, and so are the
    signals that were `caught`. Raises `UserError`, on all processes, `TrainingError` where they differ or their numbers
    are not finite, and `Regrouping`.
    """
    commit, caught = commit or Commit(), [] if caught is None else caught
    expected, streams = GANS[config.architecture].streams, kind_of(str(config.data)).streams
    if expected != streams:
        raise UserError(
            f"--architecture={config.architecture} learns from {_words(expected)}, and --data={config.data} has "
            f"{_words(streams)}."
        )
    source = replicas.together(lambda: open_source(str(config.data), "train", images_wanted(config)))
    if len(set(replicas.gather(source.fingerprint))) > 1:
        raise UserError(f"--data={config.data} is not the same data for all processes: copy it to all machines.")
    if config.conditional and not source.num_classes:
        raise UserError(f"--conditional needs classes, and --data={config.data} has none: have a folder for each "
                        "class, or give --conditional=false.")  # fmt: skip
    config.check_compiles(replicas.num_replicas)
    config.check_batch(replicas.num_replicas)
    batch_size = config.batch_size
    with RunDirectory(config, replicas) as directory:
        number_format = replicas.agree(precision.resolve(config.precision))
        with replicas.scope(), precision.policy(number_format), convolutions.way(config.convolutions):
            gan = make_gan(config, source.image_shape, replicas.sum_in_step, source.num_classes)
            num_examples, images_per_step = max(source.streams.values()), batch_size * sum(gan.image_phases)
            config.check_schedule(f"--steps={config.steps}", ((config.steps or 1) - 1) * images_per_step / num_examples)
            heartbeat.waits()
            state = TrainState(gan, config, number_format, num_examples)
            notes = directory.restore(state, source.fingerprint, commit)
        heartbeat.waits()
        clock = Clock(
            int(state.step.numpy()), int(state.images_shown.numpy()), steps=config.steps, epochs=config.epochs,
            images_per_step=images_per_step, num_examples=num_examples,
        )  # fmt: skip
        reporter = Reporter(config.directory, enabled=replicas.is_chief, first_step=clock.step, console=console)
        facts = {
            "data": source.fingerprint,
            "image_shape": source.image_shape,
            "num_classes": source.num_classes if config.conditional else 0,
            "precision": number_format,
            "backend": replicas.backend,
            "num_replicas": replicas.num_replicas,
        }
        reporter.say(_description(config, replicas, source, facts, clock))
        reporter.say(f"run directory {directory.path}" + "".join(f"; {note}" for note in notes))
        if clock.is_over:
            reporter.say(f"This run is finished; --{'steps' if config.steps else 'epochs'} above that goes on with it.")
            return Outcome(gan, source.image_shape, clock.step, None)
        start = environment.describe(replicas, number_format, clock.step)
        reporter.spared(config.directory / ENVIRONMENT, lambda: environment.add(config.directory, start))
        with contextlib.closing(reporter), signals(caught):
            held_out = replicas.together(lambda: _held_out(config, source, gan) if replicas.is_chief else {})
            evaluator = (
                Evaluator(
                    replicas, str(config.data), images_wanted(config), source.image_shape,
                    num_images=config.evaluate_num_images, features=config.features,
                ) if config.evaluate_every_epochs else None
            )  # fmt: skip
            run = _Run(
                config, replicas, gan, state, clock, directory, reporter, facts, held_out, evaluator, health.Health(),
                commit,
            )  # fmt: skip
            return run.loop(source, batch_size, caught)


def images_wanted(config: Config) -> Wanted:
    """How a run wants the images that it learns from."""
    return Wanted(
        config.height_and_width, config.jitter_pixels, config.fit, config.channels,
        config.max_classes, config.max_images_per_class,
    )  # fmt: skip


def _held_out(config: Config, source: Source, gan: GAN) -> dict[str, tf.Tensor]:
    """The images that previews are made of, by stream, like those of the source that is learnt from."""
    if not gan.shows_data:
        return {}
    held_out = open_source(str(config.data), "test", images_wanted(config).of_shape(source.image_shape))
    return {
        stream: pipeline.to_images(held_out.read(stream, np.arange(min(config.num_samples, number))))
        for stream, number in held_out.streams.items()
    }


def _words(streams: tuple[str, ...]) -> str:
    return "two domains, A and B" if len(streams) > 1 else streams[0]


class _Run(NamedTuple):
    """The parts that the loop works with."""

    config: Config
    replicas: Replicas
    gan: GAN
    state: TrainState
    clock: Clock
    directory: RunDirectory
    reporter: Reporter
    facts: dict[str, Any]
    held_out: dict[str, tf.Tensor]
    evaluator: Evaluator | None
    health: health.Health
    commit: Commit

    def loop(self, source: Source, batch_size: int, caught: list[int]) -> Outcome:
        """Make step after step, and between them whatever is due, until the run is over or a signal was caught."""
        config, clock = self.config, self.clock
        train_step = make_step(
            self.gan, self.state, self.replicas,
            augment=pipeline.Augmentation(*source.image_shape[:2], config.mirror),
            example_shape=source.example_shape, batch_size=batch_size, config=config,
        )  # fmt: skip
        resident = pipeline.hold(source, self.replicas.place, with_labels=config.conditional)
        batches = self.replicas.batches(
            lambda shard: pipeline.make_shares(
                shard, source, batch_size=batch_size, seed=config.seed,
                first_position=clock.images_shown, image_phases=sum(self.gan.image_phases),
            )
        )  # fmt: skip
        faults = Faults(source, self.replicas, self.reporter)
        profile = profiler.Profiler(config.profile_range(), self.directory.path, self.replicas)
        speed = Speed(clock.step, batch_size)
        requests = Requests(caught, self.directory, faults, self.replicas)
        results: list[dict[str, tf.Tensor]] = []
        values: dict[str, float] = {}
        asked = Asked()

        while not (clock.is_over or asked.to_stop):
            profile.before(clock.step + 1)
            share = requests.timed(lambda: faults.watched(batches))
            results.append(train_step(resident, share, requests.told()))
            profile.after(clock.step + 1)
            clock.tick()
            speed.stepped(clock.step)
            asked = requests.heard(results[-1]["requests"])
            if clock.due(steps=config.log_every_steps) or clock.is_over or asked.to_stop:
                means = self._means(results) | self._settings() | requests.speeds_since_log()
                means["speed/images_per_second"] = speed.since_log(clock.step)
                self.reporter.scalars(clock.step, clock.images_shown, clock.epochs, means)
                self._warn(self.health.of_training(means))
                self._check_finite(results)
                values |= means
                results.clear()
            self._progress(values, speed)
            if asked.to_tell:
                self._tell(faults)
            if asked.to_settle:
                self.directory.settle()
            self._warn(self.directory.problems())
            if clock.is_over or clock.due(steps=config.sample_every_steps, epochs=config.sample_every_epochs):
                self._show()
            if asked.to_save or asked.to_stop or clock.is_over or clock.due(
                steps=config.checkpoint_every_steps, epochs=config.checkpoint_every_epochs
            ):  # fmt: skip
                self._save()
            if self.replicas.is_elastic and not asked.to_stop:
                self._commit(asked.to_regroup)
            if self.evaluator and (clock.is_over or clock.due(epochs=config.evaluate_every_epochs)):
                values |= self._evaluate(self.evaluator, speed)

        profile.close()
        self.directory.settle(is_last=True)
        stopped_by = None if clock.is_over else requests.stopped_by()
        self._say_goodbye(stopped_by, values)
        return Outcome(self.gan, source.image_shape, clock.step, stopped_by)

    def _save(self) -> None:
        """Checkpoint the state, if it is one to go on from."""
        self._check_finite([])
        self.directory.save(self.state, self.facts)

    def _check_finite(self, results: list[dict[str, tf.Tensor]]) -> None:
        """Raise `TrainingError`, on all processes, where a loss of these last steps, or the state, is not finite."""
        what = health.not_finite(results, self.clock.step, self.facts["precision"]) or self.state.not_finite()
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

    def _commit(self, regroups: float) -> None:
        """Keep the state in memory where that is due. Raises `Regrouping` where processes are to come or go."""
        if regroups or self.clock.due(steps=self.config.commit_every_steps):
            self.commit.keep(self.state)
        if regroups and not self.clock.is_over:
            raise Regrouping

    def _evaluate(self, evaluator: Evaluator, speed: Speed) -> dict[str, float]:
        """Measure the samples, and keep the checkpoint if they are the best so far."""
        scores, clock = evaluator.scores(self.gan, self.config.seed % STEPS), self.clock
        speed.pause(scores["quality/seconds"])
        self.reporter.scalars(clock.step, clock.images_shown, clock.epochs, scores)
        self._warn(self.health.of_samples(scores))
        self._save()
        self.directory.keep_if_best(scores["quality/frechet_distance"])
        self.reporter.page("running")
        return scores

    def _warn(self, texts: list[str]) -> None:
        for text in texts:
            self.reporter.warning(self.clock.step, self.clock.images_shown, self.clock.epochs, text)

    def _tell(self, faults: Faults) -> None:
        try:
            faults.tell()
        except UserError:
            self._save()
            raise

    def _say_goodbye(self, stopped_by: signal.Signals | None, values: dict[str, float]) -> None:
        path, say = self.directory.path, self.reporter.say
        if stopped_by:
            say(f"{stopped_by.name}: stopped at step {self.clock.step}, which is saved; the same command goes on.")
            self.reporter.page("stopped")
        else:
            self.reporter.finish()
        if not stopped_by:
            say(f"finished at step {self.clock.step}")
        if self.evaluator and "quality/frechet_distance" in values:
            distance, floor = (values[f"quality/frechet_{what}"] for what in ("distance", "floor"))
            say(f"quality      Frechet distance {distance:.3f}, of real images {floor:.3f}")
        say(f"page         {path}/{PAGE}")
        say(f"samples      {path}/samples" + ("" if stopped_by else f", {path}/progress.gif, {path}/losses.png"))
        say(f"tensorboard  tensorboard --logdir {path}/tensorboard")
        say(f"checkpoint   {path}/checkpoints/{self.directory.newest_checkpoint()}")

    def _means(self, results: list[dict[str, tf.Tensor]]) -> dict[str, float]:
        """Means over the last steps of what they returned, each over those that computed it; waits for the device."""
        means = {}
        for name in [name for name in results[0] if name != "requests"]:
            every = self.gan.every_steps.get(name, 1)
            taken = results[-(self.clock.step - len(results)) % every :: every]
            if taken:
                means[name] = sum(float(result[name].numpy()) for result in taken) / len(taken)
        return means

    def _settings(self) -> dict[str, float]:
        """What may differ from step to step without being a mean: learning rates and loss scales."""
        found = {}
        for player, optimizer in self.state.optimizers.items():
            found[f"learning_rate/{player}"] = float(optimizer.learning_rate.numpy())
            if hasattr(optimizer, "dynamic_scale"):
                found[f"loss_scale/{player}"] = float(optimizer.dynamic_scale.numpy())
        return found

    def _progress(self, values: dict[str, float], speed: Speed) -> None:
        clock = self.clock
        self.reporter.progress(
            step=clock.step, total_steps=clock.total_steps, epoch=clock.epochs, total_epochs=clock.total_epochs,
            images_per_second=values.get("speed/images_per_second", speed.average(clock.step)), values=values,
            seconds_left=speed.seconds_for(clock.total_steps - clock.step, clock.step),
        )  # fmt: skip

    def _show(self) -> None:
        """Pictures and histograms, by the chief alone; it waits for no other process, and they only for it."""
        if not self.reporter.enabled:
            return
        images = self.gan.preview(self.config.num_samples, self.config.seed, self.held_out)
        ends_epoch = self.config.sample_every_epochs and self.clock.due(epochs=1)
        epoch = int(self.clock.epochs) if ends_epoch else None
        self.reporter.samples(self.clock.step, epoch, pipeline.to_pixels(images).numpy())
        names = [name for name in self.state.network_names if not name.startswith(AVERAGE)]
        self.reporter.histograms(self.clock.step, {name: self.state.variables[name].numpy() for name in names})
        self.reporter.page("running")


def _count(number: int, what: str) -> str:
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{'' if number == 1 else plural}"


def _description(config: Config, replicas: Replicas, source: Source, facts: dict[str, Any], clock: Clock) -> str:
    """What is about to run, for the start of the log: the whole config, and what it means here."""
    batch_size = config.batch_size
    height, width, channels = source.image_shape
    counts = " and ".join(f"{number:,} {'of ' * (len(name) == 1)}{name}" for name, number in source.streams.items())
    lines = [
        f"preset {config.preset} on {source.name}: {counts}, {height}x{width}x{channels}",
        f"backend {replicas.backend}: {_count(replicas.num_replicas, 'replica')} in {_count(replicas.size, 'process')}",
        f"precision {facts['precision']}",
        f"batch {batch_size} over all replicas, {batch_size / replicas.num_replicas:g} on each; learning rates do not "
        "depend on their number",
        f"step {clock.step} of {clock.total_steps}, epoch {clock.epochs:.2f} of {clock.total_epochs:.2f}",
        "config " + " ".join(f"{name}={value}" for name, value in vars(config).items() if value is not None),
    ]
    return "\n".join(lines)
