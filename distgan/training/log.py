"""The log of a run: means of its steps, the live line, warnings, pictures, scores of its samples."""

import signal
from pathlib import Path
from typing import TextIO

import numpy as np
import tensorflow as tf

from distgan.config.fields import every
from distgan.data import pipeline
from distgan.data.order import STEPS
from distgan.report import messages
from distgan.report.recorded import ENVIRONMENT
from distgan.report.reporter import Reporter
from distgan.training import ema, environment, health
from distgan.training.clock import Clock, Speed
from distgan.training.evaluation import Evaluator
from distgan.training.feed import held_out_images, images_wanted
from distgan.training.trainer import Trainer

FLAGS = "flags"  # the only result of a step that is not logged


class Log:
    """A collector of step results that reports them when due: on the chief, to its console and run directory.

    Attributes:
        evaluates: True if samples are measured.
        newest: the last values by name.
    """

    def __init__(self, trainer: Trainer, clock: Clock, run_dir: Path, console: TextIO | None) -> None:
        """Report on a trainer that has been resumed."""
        self._trainer, self._clock, self._run_dir = trainer, clock, run_dir
        self._reporter = Reporter(run_dir, enabled=trainer.replicas.is_chief, first_step=clock.step, console=console)
        self._health = health.Health()
        self._speed = Speed(clock.step, trainer.config.batch_size)
        self._results: list[tuple[dict[str, tf.Tensor], int]] = []  # of calls, with their numbers of steps
        self._held_out: dict[str, tf.Tensor] = {}
        self._evaluator: Evaluator | None = None
        self.evaluates = every(trainer.config.evaluate_every) is not None
        self.newest: dict[str, float] = {}
        self.say, self.page, self.close = self._reporter.say, self._reporter.page, self._reporter.close

    def opening(self, notes: list[str]) -> None:
        """Print the settings of the run, and whether it is finished already."""
        trainer, clock, config = self._trainer, self._clock, self._trainer.config
        self.say(messages.opening(config, trainer.source, clock, trainer.facts(), trainer.replicas.size))
        self.say(f"run directory {self._run_dir}" + "".join(f"; {note}" for note in notes))
        if clock.is_over:
            self.say(f"This run is finished; a larger --{'steps' if config.steps else 'epochs'} continues it.")
        else:
            self._reporter.begin(config.values())

    def prepare(self) -> None:
        """Read the environment, the held-out images and the real images to measure by; together with all processes.

        Raises `UserError` if the images are not available.
        """
        trainer, config = self._trainer, self._trainer.config
        replicas, source = trainer.replicas, trainer.source
        shows_data = trainer.gan.shows_data and replicas.is_chief
        self._held_out = replicas.together(lambda: held_out_images(config, source) if shows_data else {})
        if self.evaluates:
            self._evaluator = Evaluator(
                replicas,
                str(config.data),
                images_wanted(config),
                source.image_shape,
                num_images=config.evaluate_num_images,
                features=config.features,
                say=self.say,
            )
        start = environment.describe(replicas, trainer.number_format, self._clock.step)
        start |= {"features": self._evaluator.facts()["features"]} if self._evaluator else {}
        self._reporter.spared(self._run_dir / ENVIRONMENT, lambda: environment.add(self._run_dir, start))

    def add(self, results: dict[str, tf.Tensor], steps: int) -> None:
        """Add the results of a call of so many steps."""
        self._results.append((results, steps))
        self._speed.stepped(self._clock.step)

    def write(self, further: dict[str, float]) -> str:
        """Log the means of the steps since the last log, and further values; waits for the device.

        Returns a sentence about the loss of these steps that is NaN or infinite; empty if none is.
        """
        values = {
            name: np.concatenate([np.ravel(results[name].numpy())[:steps] for results, steps in self._results])
            for name in self._results[0][0]
            if name != FLAGS
        }
        self._results.clear()
        means = self._means(values) | self._settings() | further
        means["speed/images_per_second"] = self._speed.since_log(self._clock.step)
        self._scalars(means)
        self.warn(self._health.of_training(means))
        return health.not_finite(values, self._clock.step, self._trainer.number_format)

    def evaluate(self) -> tuple[float, str]:
        """Measure the samples and log the scores; returns the Frechet distance, and the features by which it is."""
        assert self._evaluator
        scores = self._evaluator.scores(self._trainer.gan, self._trainer.config.seed % STEPS)
        self._speed.pause(scores["quality/seconds"])
        self.say(messages.measured(self._clock.step, scores))
        self._scalars(scores)
        self.warn(self._health.of_samples(scores))
        return scores["quality/frechet_distance"], str(self._evaluator.facts()["features"])

    def warn(self, texts: list[str]) -> None:
        """Log warnings."""
        for text in texts:
            self._reporter.warning(self._clock.step, self._clock.images_shown, self._clock.epochs, text)

    def progress(self) -> None:
        """Update the live line."""
        clock, speed = self._clock, self._speed
        self._reporter.progress(
            step=clock.step,
            total_steps=clock.total_steps,
            epoch=clock.epochs,
            total_epochs=clock.total_epochs,
            images_per_second=self.newest.get("speed/images_per_second", speed.average(clock.step)),
            values=self.newest,
            seconds_left=speed.seconds_for(clock.total_steps - clock.step, clock.step),
        )

    def pictures(self) -> None:
        """Log a sample picture and histograms, on the chief only; no other process waits for it."""
        if not self._reporter.enabled:
            return
        config, state = self._trainer.config, self._trainer.state
        images = self._trainer.gan.preview(config.num_samples, config.seed, self._held_out)
        ends_epoch = config.sample_every.endswith(("epoch", "epochs")) and self._clock.due("1epochs")
        epoch = int(self._clock.epochs) if ends_epoch else None
        self._reporter.samples(self._clock.step, epoch, pipeline.to_pixels(images).numpy())
        names = [name for name in state.network_names if not name.startswith(ema.PREFIX)]
        self._reporter.histograms(self._clock.step, {name: state.variables[name].numpy() for name in names})
        self.page("running")

    def ending(self, stopped_by: signal.Signals | None, checkpoint: str) -> None:
        """Print how the run ended, and where its files are."""
        step = self._clock.step
        if stopped_by:
            self.say(f"{stopped_by.name}: stopped at step {step}, which is saved; rerun the command to resume.")
            self.page("stopped")
            self.close(128 + stopped_by)
        else:
            self._reporter.finish()
            self.say(f"finished at step {step}")
        distance, floor = (self.newest.get(f"quality/frechet_{what}") for what in ("distance", "floor"))
        self.say(messages.ending(self._run_dir, checkpoint, distance, floor, is_finished=not stopped_by))

    def _scalars(self, values: dict[str, float]) -> None:
        self._reporter.scalars(self._clock.step, self._clock.images_shown, self._clock.epochs, values)
        self.newest |= values

    def _means(self, values: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the mean of each result over the last steps, from the steps that computed it."""
        means = {}
        for name, of_steps in values.items():
            every = self._trainer.gan.lazy_terms.get(name, ("", 1))[1]
            taken = of_steps[-(self._clock.step - len(of_steps)) % every :: every].tolist()
            if taken:
                means[name] = sum(taken) / len(taken)
        return means

    def _settings(self) -> dict[str, float]:
        """Return the values that change between steps and are not averaged: learning rates and loss scales."""
        found = {}
        for player, optimizer in self._trainer.state.optimizers.items():
            found[f"learning_rate/{player}"] = float(optimizer.learning_rate.numpy())
            if hasattr(optimizer, "dynamic_scale"):
                found[f"loss_scale/{player}"] = float(optimizer.dynamic_scale.numpy())
        return found
