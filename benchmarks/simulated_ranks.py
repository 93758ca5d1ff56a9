"""The ranks of a run, one after the other in one process: their code is distgan's, their communication is a model."""

import functools
import json
import types
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from distgan.errors import TrainingError, UserError
from distgan.replicas import base
from distgan.replicas.base import Replicas


class _Waits(BaseException):
    """A rank has come to a sum to which others have still to add."""


class _Sum:
    """A sum of arrays to which each rank adds once."""

    def __init__(self) -> None:
        self.ranks, self.arrays = 0, list[np.ndarray]()

    def add(self, arrays: list[np.ndarray]) -> None:
        """Add a rank's arrays. Raises `RuntimeError` if their shapes or types are not those of the other ranks."""
        if not self.ranks:
            self.arrays = [np.zeros_like(array) for array in arrays]
        kinds, others = ([(array.shape, array.dtype) for array in some] for some in (arrays, self.arrays))
        if kinds != others:
            raise RuntimeError(f"a rank sums {kinds}, and those before it {others}")
        for total, array in zip(self.arrays, arrays, strict=True):
            np.add(total, array, out=total)
        self.ranks += 1


class SimulatedReplicas(Replicas):
    """One of `size` ranks, whose collectives are those of `Replicas`; its sums are known, or the next one."""

    backend = "simulated"
    is_elastic = True

    def __init__(self, rank: int, size: int, known: list[list[np.ndarray]] | None = None) -> None:
        self.rank, self.size, self.num_replicas = rank, size, size
        self._known = iter(known or [])
        self.next_sum = _Sum()

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Return the sum if all ranks have added to it, else add to it and stop this rank."""
        if self.size == 1:
            return arrays
        for total in self._known:
            return total
        self.next_sum.add(arrays)
        raise _Waits

    def batches(self, make: Any, most: int = 1) -> Callable[[int], Any]:
        """Return a function that must not be called: the simulator makes the shares of all ranks itself."""
        return lambda steps: None

    def place(self, array: np.ndarray) -> Any:
        """Return the array: all ranks hold the same one."""
        return array


class Outcome(NamedTuple):
    """What a program returned or raised on each rank, and what each rank summed: arrays and bytes."""

    results: list[Any]
    arrays: int
    num_bytes: int


def run(size: int, program: Callable[[Replicas], Any]) -> Outcome:
    """Run a program on all ranks, to its end.

    Each rank runs it up to the first sum that is not known yet. When all have added to that, they start again, and get
    it. So a program must do the same at each start; a `UserError` or `TrainingError` is a result. Raises
    `RuntimeError` if ranks do not come to the same sums.
    """
    known: list[list[np.ndarray]] = []
    # Else 4,096 ranks decode the same 4,096 texts.
    once = types.SimpleNamespace(dumps=json.dumps, loads=functools.cache(json.loads))
    with mock.patch.object(base, "json", once):
        while True:
            results, next_sum = [], _Sum()
            for rank in range(size):
                replicas = SimulatedReplicas(rank, size, known)
                replicas.next_sum = next_sum
                try:
                    results.append(program(replicas))
                except _Waits:
                    continue
                except (UserError, TrainingError) as error:
                    results.append(error)
            if not next_sum.ranks:
                arrays = [array for one in known for array in one]
                return Outcome(results, len(arrays), sum(array.nbytes for array in arrays))
            if next_sum.ranks != size:
                raise RuntimeError(f"{next_sum.ranks} of {size} ranks sum, and the others do not")
            known.append(next_sum.arrays)


def alike(results: list[Any]) -> Any:
    """Return what all ranks have found. Raises `RuntimeError` if they have not found the same."""
    if len({repr(one) for one in results}) > 1:
        raise RuntimeError(f"ranks have found different things: {sorted({repr(one) for one in results})[:5]}")
    return results[0]
