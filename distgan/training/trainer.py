"""The trainer: the networks and the state of a run, and the step that trains them."""

import math
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Source
from distgan.data.pipeline import Augmentation
from distgan.errors import reason
from distgan.gans.base import make_gan
from distgan.nets import convolutions
from distgan.replicas.base import Replicas
from distgan.training import precision
from distgan.training.feed import Feed
from distgan.training.pace import most_steps, shares_per_call
from distgan.training.state import TrainState
from distgan.training.step import compiler_for, in_one_call, make_step


class Trainer:
    """The networks, the state, the data and the compiled step of a run, on some replicas.

        config = Config(batch_size=64)
        trainer = Trainer(config, connect(config), open_source("mnist", "train", Wanted()))
        losses = trainer.step()

    Attributes:
        gan: the networks and their losses; state: all that is checkpointed; number_format: of the networks.
        images_per_step: real images that a step shows; num_examples: images in an epoch.
        step_number: steps made; images_shown: real images shown in them; most_steps: of one call of the compiled step.
    """

    step_number: int
    images_shown: int

    def __init__(self, config: Config, replicas: Replicas, source: Source) -> None:
        """Create the networks and the state, together with all processes. Raises `UserError` if that is impossible."""
        self.config, self.replicas, self.source = config, replicas, source
        self.number_format = replicas.agree(precision.resolve(config.precision))
        self.num_examples = max(source.streams.values())
        with replicas.scope(), precision.policy(self.number_format), convolutions.way(config.convolutions):
            self.gan = make_gan(config, source.image_shape, replicas.sum_in_step, source.class_names)
            self.state = TrainState(self.gan, config, self.number_format, self.num_examples)
        self._compiler = replicas.agree(compiler_for(config, replicas))
        self.images_per_step = config.batch_size * sum(self.gan.image_phases)
        self.resume()

    def check_length(self) -> None:
        """Raise `UserError` if learning rates are zero before `--steps` are made."""
        config = self.config
        epochs = ((config.steps or 1) - 1) * self.images_per_step / self.num_examples
        config.check_schedule(f"--steps={config.steps}", epochs)

    def facts(self) -> dict[str, Any]:
        """Return the facts that a checkpoint records about the run, in addition to its state."""
        return {
            "data": self.source.fingerprint,
            "image_shape": self.source.image_shape,
            "class_names": list(self.gan.class_names),
            "precision": self.number_format,
            "backend": self.replicas.backend,
            "num_replicas": self.replicas.num_replicas,
        }

    def resume(self) -> None:
        """Resume from the present step of the state, after it was created or changed; waits for the device."""
        self.step_number, self.images_shown = int(self.state.step.numpy()), int(self.state.images_shown.numpy())
        self._feed: Feed | None = None
        self._step: Any = None
        image_bytes = 0 if self.source.arrays else self.images_per_step * math.prod(self.source.example_shape)
        self.most_steps = self.replicas.agree(most_steps(self.config, image_bytes))
        self._shares_per_call = shares_per_call(self.most_steps, self._compiler)

    @property
    def feed(self) -> Feed:
        """The data of the next steps; created at the first access."""
        if self._feed is None:
            phases = sum(self.gan.image_phases)
            self._feed = Feed(
                self.config,
                self.replicas,
                self.source,
                position=self.images_shown,
                image_phases=phases,
                most=self._shares_per_call,
            )
        return self._feed

    def step(self, flags: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Train for one step; the first call compiles it. Does not wait for the device.

        Returns the values to log, and `flags`, the sum over all replicas of the vectors that they received. Raises
        `UserError` if the data can't be read.
        """
        results = self.step_on(self.feed.next(), flags)
        return results if self._shares_per_call == 1 else {n: v if n == "flags" else v[0] for n, v in results.items()}

    def step_on(
        self, share: dict[str, tf.Tensor], flags: tf.Tensor | None = None, steps: int = 1
    ) -> dict[str, tf.Tensor]:
        """Train for some steps, up to `most_steps`, in one call, on their share from the feed.

        If it can be several, or XLA compiles the whole step, the values to log have a first axis, of which the first
        `steps` count.
        """
        flags = tf.zeros(1) if flags is None else flags
        arguments = self.feed.resident, share, flags, *(() if self._shares_per_call == 1 else (tf.constant(steps),))
        results = self._step(*arguments) if self._step else self._first_call(arguments)
        self.step_number += steps
        self.images_shown += steps * self.images_per_step
        return results

    def _first_call(self, arguments: tuple[Any, ...]) -> dict[str, tf.Tensor]:
        """Compile the step and call it; without XLA if that fails and was not asked for."""
        step: Any = self.make_step()
        step = step if self._shares_per_call == 1 else in_one_call(step, self._shares_per_call, self._compiler)
        try:
            # A tf.function takes 0.7 ms to find its graph in each call.
            self._step = step if tf.config.functions_run_eagerly() else step.get_concrete_function(*arguments)
            return self._step(*arguments)
        except tf.errors.OpError as error:
            if self._compiler != "whole" or self.config.jit_compile or self.replicas.size > 1:
                raise
            print(f"distgan: XLA can't compile the step ({reason(error)}): it runs without XLA.", file=sys.stderr)
        self._compiler = ""
        return self._first_call(arguments)

    def make_step(self) -> Callable[..., dict[str, tf.Tensor]]:
        """Return the compiled step, a function of the resident data, a share and the flags."""
        return make_step(
            self.gan,
            self.state,
            self.replicas,
            augment=Augmentation(*self.source.image_shape[:2], self.config.mirror),
            example_shape=self.source.example_shape,
            config=self.config,
            compiler=self._compiler,
        )
