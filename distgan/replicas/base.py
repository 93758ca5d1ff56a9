"""The interface to communication. Its base class is the single replica, which communicates with no other process."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from distgan.errors import UserError, sentence_of
from distgan.tracing import traced


@dataclasses.dataclass(frozen=True)
class Shard:
    """The replicas that a process feeds: `count` of `total`, from number `first`."""

    first: int
    count: int
    total: int


class Move(NamedTuple):
    """Gradients for an optimizer to apply, summed over this replica's examples only, and their variables."""

    optimizer: keras.optimizers.Optimizer
    gradients: list[tf.Tensor]
    variables: list[keras.Variable]

    @property
    def loss_scale(self) -> Any:
        """The factor by which the gradients are multiplied until the optimizer applies them."""
        return getattr(self.optimizer, "dynamic_scale", 1.0)


class Replicas:
    """All copies of the model that train together, seen from one process. This class is the single replica.

    A backend overrides `sum_in_step` and `sum`, which communicate, and the methods that its library needs around a
    step. All other communication is built on these two.
    """

    backend = "single"
    rank = 0  # of this process
    size = 1  # number of processes
    num_replicas = 1  # over all processes
    is_elastic = False  # True if the set of workers may change

    @property
    def is_chief(self) -> bool:
        """True if this process is the one that writes."""
        return self.rank == 0

    def is_to_regroup(self) -> bool:
        """Return whether this process has been notified that workers wait to join or are about to leave."""
        return False

    def regroup(self) -> None:
        """Join the present set of workers in place of the previous one; their variables may differ afterwards.

        Raises `RuntimeError`, `ValueError` or `OSError` if that fails.
        """
        raise NotImplementedError

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the scope in which variables are created."""
        return contextlib.nullcontext()

    def batches(self, make: Callable[[Shard], Iterator[Any]], most: int = 1) -> Callable[[int], Any]:
        """Return a function that takes the next elements, one per replica and step, from the iterator of `make`.

        It takes the number of steps, and returns one element or, with a `most` above 1, those of all steps stacked
        along a first axis of `most`, as tensors.
        """
        elements = make(Shard(self.rank, 1, self.num_replicas))
        return lambda steps: stacked([next(elements) for _ in range(steps)], most)

    def place(self, array: np.ndarray) -> Any:
        """Return a copy of an array on each device of this process, as an argument of a compiled step."""
        return tf.constant(array)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a function of one replica into one that runs on all replicas of this process at once.

        Its results must be the same on all replicas; they are returned once.
        """
        return traced(step)

    def local_values(self, value: Any) -> list[Any]:
        """Return the copies of a value or a variable on the replicas of this process."""
        return [value]

    def start_timeline(self, path: Path) -> None:
        """Record the backend's operations into a file, if the backend supports it."""

    def stop_timeline(self) -> None:
        """Close the file that `start_timeline` opened."""

    def sum_in_step(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sum tensors over all replicas in one call; differentiable."""
        return tensors

    def sum_rounded(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sum tensors over all replicas, which exchange them as bfloat16."""
        return tensors

    def update(
        self,
        moves: list[Move],
        scalars: dict[str, tf.Tensor],
        wire_dtype: str = "float32",
        averaged: Sequence[keras.Variable] = (),
    ) -> dict[str, tf.Tensor]:
        """Sum all moves' gradients and the scalars over the replicas in one all-reduce, then apply each move.

        The same all-reduce averages the variables `averaged` over the replicas. With a `wire_dtype` of bfloat16 the
        gradients are rounded to it, and the rest has its own all-reduce.

        Returns the summed scalars and, as `gradient_norm/<optimizer>`, the norm of each move's summed gradients without
        their loss scale.
        """
        gradients = [gradient for move in moves for gradient in move.gradients]
        others = [*scalars.values(), *(variable.value for variable in averaged)]
        if wire_dtype == "bfloat16":
            summed = [*self.sum_rounded(gradients), *self.sum_in_step(others)]
        else:
            summed = self.sum_in_step([*gradients, *others])
        results = dict(zip(scalars, summed[len(gradients) :], strict=False))
        for variable, total in zip(averaged, summed[len(gradients) + len(scalars) :], strict=True):
            variable.assign(total / self.num_replicas)
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
        """Copy the values of rank `source`, by default the chief, to all processes, bit for bit."""
        if self.size == 1:
            return
        values = [variable.numpy() for variable in variables]
        # Summed as integers: as floats, 0.0 + -0.0 would lose the sign.
        words = [_as_words(value) * (self.rank == source) for value in values]
        for variable, value, summed in zip(variables, values, self.sum(words), strict=True):
            variable.assign(np.frombuffer(summed.tobytes()[: value.nbytes], value.dtype).reshape(value.shape))

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank, on all processes; JSON must be able to encode them."""
        return self._of_first(self.size, value)

    def agree(self, value: Any) -> Any:
        """Return the chief's value on all processes; JSON must be able to encode it."""
        return self._of_first(1, value)[0]

    def _of_first(self, count: int, value: Any) -> list[Any]:
        """Return the values of the first `count` processes on all; a row is summed for each of these only."""
        if self.size == 1:
            return [value]
        text, own = json.dumps(value).encode() if self.rank < count else b"", slice(self.rank, self.rank + 1)
        lengths = np.zeros(count, np.int32)
        lengths[own] = len(text)
        lengths, words = self.sum([lengths])[0], _as_words(np.frombuffer(text, np.uint8))
        rows = np.zeros((count, -(-lengths.max() // 4)), np.int32)
        rows[own, : len(words)] = words
        return [json.loads(row.tobytes()[:n]) for row, n in zip(self.sum([rows])[0], lengths, strict=True)]

    def together(self, function: Callable[[], Any]) -> Any:
        """Return the result of `function` on this process. Raises `UserError` on all processes if it fails on any."""
        result, failure = _attempt(function)
        if self.sum([np.array([failure is not None], np.int32)])[0].any():
            raise UserError(next(text for text in self.gather(failure) if text is not None))
        return result

    def on_chief(self, function: Callable[[], Any]) -> Any:
        """Return the chief's result of `function` on all processes. Raises `UserError` on all if it fails there."""
        result, failure = self.agree(_attempt(function) if self.is_chief else None)
        if failure is not None:
            raise UserError(failure)
        return result


def stacked(elements: list[Any], most: int) -> Any:
    """Return the only element or, with a `most` above 1, all of them along a first axis, the last repeated up to it."""
    if most == 1:
        return tf.nest.map_structure(tf.convert_to_tensor, elements[0])
    padded = elements + elements[-1:] * (most - len(elements))
    return tf.nest.map_structure(lambda *values: tf.constant(np.stack(values)), *padded)


def _attempt(function: Callable[[], Any]) -> tuple[Any, str | None]:
    """Return a function's result and None, or None and the sentence that states why it failed."""
    try:
        return function(), None
    except UserError as error:
        return None, str(error)
    except OSError as error:
        return None, sentence_of(error)


def _as_words(value: np.ndarray) -> np.ndarray:
    """Return the bits of an array as int32, padded with zeros."""
    return np.frombuffer(value.tobytes() + bytes(-value.nbytes % 4), np.int32)
