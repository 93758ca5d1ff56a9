"""What a run says of itself while it trains: means of its steps, the live line, warnings, pictures."""

import tensorflow as tf

from distgan.data import pipeline
from distgan.report.reporter import Reporter
from distgan.training import health
from distgan.training.clock import Clock, Speed
from distgan.training.state import AVERAGE
from distgan.training.trainer import Trainer

FLAGS = "flags"  # the one result of a step that is not for the log


class Log:
    """Collects what steps return, and reports it where it is due; `newest` are the last values by name."""

    def __init__(self, trainer: Trainer, clock: Clock, reporter: Reporter, held_out: dict[str, tf.Tensor]) -> None:
        """Report to `reporter`; pictures are made of the images `held_out`, by stream, where the GAN shows data."""
        self._trainer, self._clock, self._reporter, self._held_out = trainer, clock, reporter, held_out
        self._health = health.Health()
        self._speed = Speed(clock.step, trainer.config.batch_size)
        self._results: list[dict[str, tf.Tensor]] = []
        self.newest: dict[str, float] = {}

    def add(self, results: dict[str, tf.Tensor]) -> None:
        """Take what a step returned."""
        self._results.append(results)
        self._speed.stepped(self._clock.step)

    def write(self, further: dict[str, float]) -> str:
        """Log the means of the steps since the last log, and further values; waits for the device.

        Returns in words which loss of these steps is NaN or infinite; empty where none is.
        """
        means = self._means() | self._settings() | further
        means["speed/images_per_second"] = self._speed.since_log(self._clock.step)
        self._scalars(means)
        self.warn(self._health.of_training(means))
        problem = health.not_finite(self._results, self._clock.step, self._trainer.number_format)
        self._results.clear()
        return problem

    def scores(self, scores: dict[str, float]) -> None:
        """Log what samples are worth; the time that measuring took is not the training's."""
        self._speed.pause(scores["quality/seconds"])
        self._scalars(scores)
        self.warn(self._health.of_samples(scores))

    def warn(self, texts: list[str]) -> None:
        """Log warnings."""
        for text in texts:
            self._reporter.warning(self._clock.step, self._clock.images_shown, self._clock.epochs, text)

    def progress(self) -> None:
        """Renew the live line."""
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
        """Log a sample picture and histograms: the chief alone, for whom no other process waits."""
        if not self._reporter.enabled:
            return
        config, state = self._trainer.config, self._trainer.state
        images = self._trainer.gan.preview(config.num_samples, config.seed, self._held_out)
        ends_epoch = config.sample_every.endswith(("epoch", "epochs")) and self._clock.due("1epochs")
        epoch = int(self._clock.epochs) if ends_epoch else None
        self._reporter.samples(self._clock.step, epoch, pipeline.to_pixels(images).numpy())
        names = [name for name in state.network_names if not name.startswith(AVERAGE)]
        self._reporter.histograms(self._clock.step, {name: state.variables[name].numpy() for name in names})
        self._reporter.page("running")

    def _scalars(self, values: dict[str, float]) -> None:
        self._reporter.scalars(self._clock.step, self._clock.images_shown, self._clock.epochs, values)
        self.newest |= values

    def _means(self) -> dict[str, float]:
        """Means over the last steps of what they returned, each over those that computed it."""
        means = {}
        for name in [name for name in self._results[0] if name != FLAGS]:
            every = self._trainer.gan.lazy_terms.get(name, ("", 1))[1]
            taken = self._results[-(self._clock.step - len(self._results)) % every :: every]
            if taken:
                means[name] = sum(float(result[name].numpy()) for result in taken) / len(taken)
        return means

    def _settings(self) -> dict[str, float]:
        """What may differ from step to step without being a mean: learning rates and loss scales."""
        found = {}
        for player, optimizer in self._trainer.state.optimizers.items():
            found[f"learning_rate/{player}"] = float(optimizer.learning_rate.numpy())
            if hasattr(optimizer, "dynamic_scale"):
                found[f"loss_scale/{player}"] = float(optimizer.dynamic_scale.numpy())
        return found
