"""Runs of simulated ranks that show examples and do nothing with them; the set of ranks may change."""

import io
import itertools
import math
import tempfile
import types
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from simulated_ranks import SimulatedReplicas, alike, run

from distgan.config import Config
from distgan.data import order, pipeline
from distgan.data.base import Source
from distgan.replicas.base import Replicas, Shard
from distgan.replicas.votes import Exchange, Votes
from distgan.store.run_directory import RunDirectory, Snapshot
from distgan.training import elastic, loop

EXAMPLES, PHASES, SEED = 1_009, 2, 7  # a prime number: no batch divides it
COMMIT_EVERY_STEPS, MOST_STEPS = 3, 8  # from one change of the ranks to the next


def source() -> Source:
    """Return a data set in memory, of empty images."""
    shape = (28, 28, 1)
    return Source("mnist", {"images": EXAMPLES}, shape, shape, "0" * 64, {"images": np.zeros((EXAMPLES, *shape), "u1")})


def batch_size(ranks: int) -> int:
    """Return a batch of which three ranks have one example more than the others, for 8, 64 or more ranks."""
    return max(64, ranks) + 3


def shares(shard: Shard, batch: int, step: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the share of each replica of a shard in turn, from a step on."""
    position = step * batch * PHASES
    return pipeline.make_shares(
        shard, source(), batch_size=batch, seed=SEED, first_position=position, image_phases=PHASES
    )


def shown(of_ranks: Iterator[dict[str, Any]], ranks: int, batch: int) -> np.ndarray:
    """Return the examples of the next step, in the order of their positions, from the shares of all ranks.

    Raises `RuntimeError` if their rows are not those of the batch.
    """
    of_step = list(itertools.islice(of_ranks, ranks))
    rows = np.concatenate([share["rows"] for share in of_step])
    if not np.array_equal(rows, np.arange(batch)):
        raise RuntimeError(f"the shares of {ranks} ranks do not make a batch of {batch}")
    return np.concatenate([share["examples"]["images"] for share in of_step]).T.ravel()


def check_shown(examples: np.ndarray) -> int:
    """Return the number of whole epochs in examples, from the first of a run on.

    Raises `RuntimeError` if an epoch does not show each example once, or the order is not that of a single rank.
    """
    positions = np.arange(len(examples))
    counts = np.bincount(positions // EXAMPLES * EXAMPLES + examples, minlength=len(examples))
    whole = len(examples) // EXAMPLES * EXAMPLES
    if (counts[:whole] != 1).any() or (counts[whole:] > 1).any():
        raise RuntimeError("an epoch does not show each example once")
    if not np.array_equal(order.examples_at(tf.constant(positions), EXAMPLES, SEED, "images").numpy(), examples):
        raise RuntimeError("the examples have another order than in a run of one rank")
    return whole // EXAMPLES


def check_rank(rank: int, ranks: int, batch: int, examples: np.ndarray) -> None:
    """Raise `RuntimeError` if a rank by itself makes another share of the first step than that of the examples."""
    share = next(shares(Shard(rank, 1, ranks), batch))
    if not np.array_equal(share["examples"]["images"], examples.reshape(PHASES, batch).T[share["rows"]]):
        raise RuntimeError(f"rank {rank} of {ranks} makes another share by itself")


def train(ranks: int, steps: int) -> int:
    """Show the examples of some steps on ranks that do not change; returns the epochs, see `check_shown`."""
    batch = batch_size(ranks)
    of_ranks = shares(Shard(0, ranks, ranks), batch)
    history = [shown(of_ranks, ranks, batch) for _ in range(steps)]
    for rank in {0, ranks // 2, ranks - 1}:
        check_rank(rank, ranks, batch, history[0])
    return check_shown(np.concatenate(history))


class _Number:
    """A variable of a state."""

    def __init__(self) -> None:
        self._value = np.zeros((), np.int64)

    def numpy(self) -> np.ndarray:
        return self._value

    def assign(self, value: np.ndarray) -> None:
        self._value = np.array(value, np.int64)


class _State:
    """The state of a rank, without networks."""

    def __init__(self) -> None:
        self.step, self.images_shown = _Number(), _Number()
        self.variables: Any = {"step": self.step, "images_shown": self.images_shown}

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: variable.numpy() for name, variable in self.variables.items()}

    def restore(self, arrays: Any) -> None:
        for name, variable in self.variables.items():
            variable.assign(arrays[name])

    start_from = restore


class _Worker:
    """A process of an elastic job."""

    def __init__(self) -> None:
        self.snapshot, self.state = Snapshot(), _State()


def train_elastically(ranks: int, changes: int, random: np.random.Generator) -> dict[str, int]:
    """Show examples on ranks that change at random steps, up to `ranks` of them, and check that the run is one.

    At a change some processes stay, in any order, and others join. It is voted for, or processes are lost; then steps
    since the last commit are made again. Returns counts of what happened. Raises `RuntimeError` as `check_shown` does.
    """
    batch, history = batch_size(ranks), list[np.ndarray]()
    found = {"changes": 0, "losses": 0, "steps made again": 0, "most ranks": 0}
    workers = [_Worker() for _ in range(ranks)]
    # Collecting garbage for each rank takes minutes in this process.
    no_collection = mock.patch.object(elastic, "gc", types.SimpleNamespace(collect=lambda: None))
    with tempfile.TemporaryDirectory() as run_dir, no_collection:
        config = Config(batch_size=batch, run_dir=run_dir, backend="horovod")
        (config.directory / "config.json").write_text(config.to_json())  # else a rank's second start finds it
        while True:
            step = _join(workers, config)
            found["steps made again"] += len(history) - step
            del history[step:]
            found["most ranks"] = max(found["most ranks"], len(workers))
            is_loss = bool(random.integers(2)) and found["changes"] < changes
            _make_steps(workers, batch, history, random, votes=not is_loss)
            if found["changes"] == changes:
                break
            found["changes"] += 1
            found["losses"] += is_loss
            workers = _changed(workers, ranks, config, random, is_loss=is_loss)
    return found | {"steps": len(history), "epochs": check_shown(np.concatenate(history))}


def _join(workers: list[_Worker], config: Config) -> int:
    """Have the ranks find the state to resume from; returns its step, which is the same on all."""

    def restore(replicas: Replicas) -> tuple[int, list[str]]:
        worker = workers[replicas.rank]
        worker.state = _State()
        notes = RunDirectory(config, replicas).restore(worker.state, "0" * 64, worker.snapshot)
        return int(worker.state.step.numpy()), notes

    return int(alike(run(len(workers), restore).results)[0])


def _make_steps(
    workers: list[_Worker], batch: int, history: list[np.ndarray], random: np.random.Generator, *, votes: bool
) -> None:
    """Make steps until the ranks regroup, for which one of them votes, or without that a random number of steps."""
    ranks, first = len(workers), len(history)
    of_ranks = shares(Shard(0, ranks, ranks), batch, first)
    exchanges = [Exchange(SimulatedReplicas(rank, ranks)) for rank in range(ranks)]
    until, voter = first + int(random.integers(1, MOST_STEPS)), int(random.integers(ranks))
    while True:
        history.append(shown(of_ranks, ranks, batch))
        wanted = [Votes(regroup=float(votes and rank == voter and len(history) == until)) for rank in range(ranks)]
        sent = [exchange.send(vote, 0.0) for exchange, vote in zip(exchanges, wanted, strict=True)]
        sums = tf.constant(np.sum([flags.numpy() for flags in sent], axis=0))
        regroup = alike([exchange.receive(sums) for exchange in exchanges]).regroup
        for worker in workers:
            worker.state.step.assign(np.array(len(history)))
            if regroup or len(history) % COMMIT_EVERY_STEPS == 0:
                worker.snapshot.keep(worker.state)
        if regroup or (not votes and len(history) == until):
            return


def _changed(
    workers: list[_Worker], ranks: int, config: Config, random: np.random.Generator, *, is_loss: bool
) -> list[_Worker]:
    """Return the workers after a change, by their new rank; those that stay go through `elastic.train`."""
    size = round(math.exp(random.uniform(0, math.log(ranks))))
    newest = max(workers, key=lambda worker: worker.snapshot.step)  # it stays: else a run resumes from its checkpoint
    others = [workers[rank] for rank in random.permutation(len(workers)) if workers[rank] is not newest]
    stay = [newest, *others[: random.integers(size)]]
    error = tf.errors.UnknownError(None, None, "lost") if is_loss else loop.Regrouping()
    own = list(stay)

    def train_once(config: Config, replicas: Any, console: Any, snapshot: Snapshot, caught: Any) -> Any:
        if not replicas.has_regrouped:
            snapshot.step, snapshot.arrays = own[-1].snapshot.step, own[-1].snapshot.arrays
            raise error
        own.pop().snapshot = snapshot
        return None

    with mock.patch.object(loop, "train", train_once):
        while own:
            elastic.train(config, _Regroups(0, size), io.StringIO())
    everyone = stay + [_Worker() for _ in range(size - len(stay))]
    return [everyone[number] for number in random.permutation(size)]


class _Regroups(SimulatedReplicas):
    """A rank that is let in again."""

    has_regrouped = False

    def regroup(self) -> None:
        self.has_regrouped = True
