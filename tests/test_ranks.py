"""What each rank spends on a step, as the chief's log tells it."""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import layouts
import numpy as np
import pytest
import simulated_ranks
import simulated_training
import small_runs
import tensorflow as tf

from distgan.data import order
from distgan.errors import UserError
from distgan.replicas.base import Replicas
from distgan.replicas.votes import MOST_LOGGED, STARTING_CALLS, Exchange, Votes

LATE_SECONDS = 0.2
LATE = f"""
import runpy, time
from distgan.replicas import connect
joined = connect.connect
def connect_late(config):
    replicas = joined(config)
    on_time = replicas.batches
    def late(*given, **named):
        take = on_time(*given, **named)
        def take_late(steps):
            time.sleep({LATE_SECONDS} * replicas.rank)
            return take(steps)
        return take_late
    replicas.batches = late
    return replicas
connect.connect = connect_late
runpy.run_module('distgan.train', run_name='__main__', alter_sys=True)
"""


class _Layout(Replicas):
    """Replicas of so many processes, which need not be there."""

    def __init__(self, rank: int, size: int, num_replicas: int) -> None:
        self.rank, self.size, self.num_replicas = rank, size, num_replicas


def _after_start(rank: int, size: int, num_replicas: int) -> Exchange:
    exchange = Exchange(_Layout(rank, size, num_replicas))
    for _ in range(STARTING_CALLS + 1):  # what is received is of the step before
        exchange.receive(exchange.send(Votes(), 0.0))
    exchange.seconds_since_log()
    return exchange


def _times(sums: Sequence[float]) -> tf.Tensor:
    return tf.constant([0.0] * len(Votes._fields) + list(sums))


def test_a_rank_tells_of_itself_in_slots_of_its_own() -> None:
    sent = _after_start(1, 3, 3).send(Votes(save=1.0), 0.5).numpy()
    assert Votes(*sent[: len(Votes._fields)]) == Votes(save=1.0)
    told = np.reshape(sent[len(Votes._fields) :], (3, 2))
    assert told[1, 0] == 0.5
    assert not told[[0, 2]].any()


def test_votes_are_heard_a_step_later() -> None:
    exchange = Exchange(Replicas())
    assert exchange.receive(exchange.send(Votes(stop=1.0), 0.0)) == Votes()
    assert exchange.receive(exchange.send(Votes(), 0.0)) == Votes(stop=1.0)


@pytest.mark.parametrize(("size", "num_replicas"), [(2, 2), (2, 8), (1, 4)])
def test_means_do_not_depend_on_how_many_replicas_tell_the_same(size: int, num_replicas: int) -> None:
    exchange = _after_start(0, size, num_replicas)
    exchange.receive(_times([0.0] * 2 * size))
    exchange.seconds_since_log()
    for step in (1, 3):
        exchange.receive(_times([slot * step * num_replicas / size for slot in range(2 * size)]))
    exchange.receive(_times([0.0] * 2 * size))
    expected = {f"speed/rank_{rank}_input_seconds": 4.0 * rank for rank in range(size)}
    expected |= {f"speed/rank_{rank}_processor_seconds": 4.0 * rank + 2 for rank in range(size)}
    # Three steps were received: the two, and a zero before them.
    assert {name: 1.5 * value for name, value in exchange.seconds_since_log().items()} == expected
    assert exchange.seconds_since_log() == {}


def test_of_many_ranks_the_fastest_the_slowest_and_some_between_are_logged() -> None:
    size, slowest = 1000, 700
    exchange = _after_start(0, size, size)
    seconds = [2.0 if rank == slowest else 0.001 * (rank % 500) for rank in range(size)]
    for _ in range(2):  # what is received is of the step before
        exchange.receive(_times(np.repeat(seconds, 2).tolist()))
    told = exchange.seconds_since_log()
    input_seconds = {int(name.split("_")[1]): 2 * value for name, value in told.items() if "input" in name}
    assert len(told) == 2 * len(input_seconds) == 2 * MOST_LOGGED
    assert list(input_seconds) == sorted(input_seconds)
    assert (min(input_seconds.values()), max(input_seconds.values())) == (0, 2)
    assert input_seconds[slowest] == 2
    assert abs(statistics.median(input_seconds.values()) - statistics.median(seconds)) < 0.01


def test_nothing_is_told_of_the_step_that_compiles() -> None:
    exchange = Exchange(Replicas())
    for _ in range(STARTING_CALLS):
        assert exchange.seconds_since_log() == {}
        exchange.receive(exchange.send(Votes(), 0.0))
    assert exchange.seconds_since_log() == {}


def test_4096_ranks_show_every_example_once_an_epoch_in_the_order_of_one() -> None:
    batch = simulated_training.batch_size(4096)
    assert batch % 4096  # the shares are not even
    fair = [order.fair_range(batch, 4096, rank) for rank in range(4096)]
    rows = np.concatenate([np.arange(first, first + count) for first, count in fair])
    positions = np.arange(8 * simulated_training.PHASES)[:, None] * batch + rows
    examples = order.examples_at(
        tf.constant(positions.ravel()), simulated_training.EXAMPLES, simulated_training.SEED, "images"
    ).numpy()
    assert simulated_training.check_shown(examples) == len(examples) // simulated_training.EXAMPLES
    for rank in (0, 2, 3, 4095):  # by what a process of a run calls
        simulated_training.check_rank(rank, 4096, batch, examples[: simulated_training.PHASES * batch])


def test_examples_that_are_shown_twice_or_in_another_order_are_found() -> None:
    examples = order.examples_at(
        tf.range(2 * simulated_training.EXAMPLES, dtype=tf.int64),
        simulated_training.EXAMPLES,
        simulated_training.SEED,
        "images",
    ).numpy()
    assert simulated_training.check_shown(examples) == 2
    with pytest.raises(RuntimeError, match="another order"):
        simulated_training.check_shown(np.concatenate([examples[1::-1], examples[2:]]))
    with pytest.raises(RuntimeError, match="each example once"):
        simulated_training.check_shown(np.concatenate([examples[:1], examples[:-1]]))


def test_an_elastic_job_shows_every_example_once_an_epoch() -> None:
    found = simulated_training.train_elastically(5, 3, np.random.default_rng(2))
    assert found["changes"] == 3
    assert found["steps"] > 3  # of which `train_elastically` has looked at all examples


def test_an_agreement_does_not_grow_with_the_ranks() -> None:
    def agree(replicas: Replicas) -> list[str]:
        return list(replicas.agree([f"é of {replicas.rank}"]))

    few, many = simulated_ranks.run(2, agree), simulated_ranks.run(100, agree)
    assert many.results == [["é of 0"]] * 100
    assert few[1:] == many[1:]


def test_texts_of_any_length_are_gathered_by_rank() -> None:
    found = simulated_ranks.run(9, lambda replicas: replicas.gather("x" * replicas.rank)).results
    assert found == [["x" * rank for rank in range(9)]] * 9


def test_a_failure_of_one_rank_is_raised_on_all() -> None:
    def fail_on_some(replicas: Replicas) -> int:
        def own() -> int:
            if replicas.rank in (3, 5):
                raise UserError(f"rank {replicas.rank} has failed")
            return replicas.rank

        return int(replicas.together(own))

    assert [str(error) for error in simulated_ranks.run(7, fail_on_some).results] == ["rank 3 has failed"] * 7
    assert simulated_ranks.run(3, fail_on_some).results == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_the_chief_logs_which_rank_waits_for_its_data(tmp_path: Path) -> None:
    flags = small_runs.flags(tmp_path, steps=12, log_every_steps=12)
    status, output = layouts.run(layouts.Layout("horovod", 2), "-c", LATE, *flags)
    assert status == 0, output
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["speed/rank_1_input_seconds"] >= LATE_SECONDS > last["speed/rank_0_input_seconds"]
    assert last["speed/rank_1_processor_seconds"] > 0
    assert "Rank 1 is the slowest to get its data" in (tmp_path / "report.html").read_text()
    (start,) = json.loads((tmp_path / "environment.json").read_text())["starts"]
    assert (start["processes"], len(start["ranks"]), start["Python"]) == (2, 2, sys.version.split()[0])
