"""The interface to communication, which is also its simplest case: the one replica, that talks to nobody."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from distgan.errors import UserError, sentence_of
from distgan.tracing import traced


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which replicas a process feeds: `count` of `total`, from number `first`."""

    first: int
    count: int
    total: int


class Move(NamedTuple):
    """What an optimizer is to apply: gradients, summed over this replica's examples only, and their variables."""

    optimizer: keras.optimizers.Optimizer
    gradients: list[tf.Tensor]
    variables: list[keras.Variable]

    @property
    def loss_scale(self) -> Any:
        """What the gradients are multiplied by, until the optimizer applies them."""
        return getattr(self.optimizer, "dynamic_scale", 1.0)


class Replicas:
    """All copies of the model that train together, seen from one process. This class is the single replica.

    A backend overrides `sum_in_step` and `sum`, which communicate, and what its library wants done around a step;
    everything else is made of these two.
    """

    backend = "single"
    rank = 0  # of this process
    size = 1  # how many processes
    num_replicas = 1  # over all processes
    is_elastic = False  # whether processes may come and go

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def is_to_regroup(self) -> bool:
        """Whether this process has been told that others wait to join, or are to leave."""
        return False

    def regroup(self) -> None:
        """Join those that are there now, in place of those that were; variables are as different as they may be.

        Raises `RuntimeError`, `ValueError` or `OSError` where that fails.
        """
        raise NotImplementedError

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """The scope in which variables are made."""
        return contextlib.nullcontext()

    def batches(self, make: Callable[[Shard], tf.data.Dataset]) -> Iterator[Any]:
        """Iterate over what `make` gives for the replicas of this process, one element a replica and step."""
        return iter(make(Shard(self.rank, 1, self.num_replicas)))

    def place(self, array: np.ndarray) -> Any:
        """A copy of an array on each device of this process, to be handed to a compiled step."""
        return tf.constant(array)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a function of one replica into one that runs it on all replicas of this process at once.

        Its results must be the same on all replicas; they come back once.
        """
        return traced(step)

    def local_values(self, value: Any) -> list[Any]:
        """What the replicas of this process hold of a value or a variable."""
        return [value]

    def start_timeline(self, path: Path) -> None:
        """Record what the backend does into a file, where it can."""

    def stop_timeline(self) -> None:
        """Close what `start_timeline` opened."""

    def sum_in_step(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sum tensors over all replicas, in one go; differentiable."""
        return tensors

    def sum_rounded(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sum tensors over all replicas, which send them to each other as bfloat16."""
        return tensors

    def update(
        self, moves: list[Move], scalars: dict[str, tf.Tensor], wire_dtype: str = "float32"
    ) -> dict[str, tf.Tensor]:
        """Sum all moves' gradients and the scalars over the replicas in one all-reduce, then apply each move.

        With a `wire_dtype` of bfloat16 the gradients are rounded to that, and the scalars have an all-reduce of their
        own.

        Returns the summed scalars and, as `gradient_norm/<optimizer>`, the norm of each move's summed gradients without
        their loss scale.
        """
        gradients = [gradient for move in moves for gradient in move.gradients]
        if wire_dtype == "bfloat16":
            summed = [*self.sum_rounded(gradients), *self.sum_in_step(list(scalars.values()))]
        else:
            summed = self.sum_in_step([*gradients, *scalars.values()])
        results = dict(zip(scalars, summed[len(gradients) :], strict=True))
        remaining = iter(summed)
        for move in moves:
            own = [next(remaining) for _ in move.gradients]
            norm = tf.linalg.global_norm(own)
            results[f"gradient_norm/{move.optimizer.name}"] = norm / tf.cast(move.loss_scale, norm.dtype)
            self.apply(move.optimizer, own, move.variables)
        return results

    def apply(self, optimizer: Any, gradients: list[tf.Tensor], variables: list[keras.Variable]) -> None:
        """Apply gradients that are already summed."""
        optimizer.apply(gradients, variables)

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Sum arrays over all processes; waits for all of them."""
        return arrays

    def broadcast(self, variables: list[tf.Variable], source: int = 0) -> None:
        """Give all processes the values of one, the chief if no other rank is given, bit for bit."""
        if self.size == 1:
            return
        values = [variable.numpy() for variable in variables]
        # Summed as integers: 0.0 + -0.0 would lose a sign.
        words = [_as_words(value) * (self.rank == source) for value in values]
        for variable, value, summed in zip(variables, values, self.sum(words), strict=True):
            sources = np.frombuffer(summed.tobytes()[: value.nbytes], value.dtype).reshape(value.shape)
            variable.assign(sources)

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, which JSON must be able to hold, by rank, on all processes."""
        if self.size == 1:
            return [value]
        text = json.dumps(value).encode()
        lengths = np.zeros(self.size, np.int32)
        lengths[self.rank] = len(text)
        lengths = self.sum([lengths])[0]
        texts = np.zeros((self.size, lengths.max()), np.int32)
        texts[self.rank, : len(text)] = np.frombuffer(text, np.uint8)
        texts = self.sum([texts])[0].astype(np.uint8)
        return [json.loads(row[:length].tobytes()) for row, length in zip(texts, lengths, strict=True)]

    def agree(self, value: Any) -> Any:
        """The chief's value, which JSON must be able to hold, on all processes."""
        return self.gather(value if self.is_chief else None)[0]

    def together(self, function: Callable[[], Any]) -> Any:
        """What `function` gives on this process. Raises `UserError` on all processes if it fails on any."""
        result, failure = _attempt(function)
        failures = [failure for failure in self.gather(failure) if failure is not None]
        if failures:
            raise UserError(failures[0])
        return result

    def on_chief(self, function: Callable[[], Any]) -> Any:
        """What `function` gives on the chief, on all processes. Raises `UserError` everywhere if it fails there."""
        result, failure = self.agree(_attempt(function) if self.is_chief else None)
        if failure is not None:
            raise UserError(failure)
        return result


def _attempt(function: Callable[[], Any]) -> tuple[Any, str | None]:
    """What a function gives, or the sentence about why it can't."""
    try:
        return function(), None
    except UserError as error:
        return None, str(error)
    except OSError as error:
        return None, sentence_of(error)


def _as_words(value: np.ndarray) -> np.ndarray:
    """The bits of an array as int32, filled up with zeros."""
    return np.frombuffer(value.tobytes() + bytes(-value.nbytes % 4), np.int32)
