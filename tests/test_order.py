"""Positions, permutations and slices of random streams: the arithmetic that makes it one run."""

import numpy as np
import pytest
import tensorflow as tf

from distgan.data import order


@pytest.mark.parametrize(("total", "parts"), [(256, 3), (256, 4), (7, 7), (10, 1), (64, 3)])
def test_shares_are_fair_whole_and_in_order(total: int, parts: int) -> None:
    shares = [order.fair_range(total, parts, part) for part in range(parts)]
    assert [row for first, count in shares for row in range(first, first + count)] == list(range(total))
    counts = [count for _, count in shares]
    assert max(counts) - min(counts) <= 1
    assert counts == sorted(counts, reverse=True)


def test_shares_of_tensors_are_those_of_numbers() -> None:
    for part in range(3):
        assert [int(x) for x in order.fair_range(tf.constant(64), 3, tf.constant(part))] == list(
            order.fair_range(64, 3, part)
        )


def _examples(first: int, count: int, num_examples: int, seed: int, stream: str = "images") -> list[int]:
    return (
        order.examples_at(tf.range(first, first + count, dtype=tf.int64), num_examples, seed, stream).numpy().tolist()
    )


@pytest.mark.parametrize("num_examples", [1, 2, 3, 97, 60000])
def test_every_epoch_shows_every_example_once(num_examples: int) -> None:
    for epoch in range(3):
        shown = _examples(epoch * num_examples, num_examples, num_examples, seed=1)
        assert sorted(shown) == list(range(num_examples))


def test_epochs_seeds_and_streams_have_orders_of_their_own() -> None:
    orders = [
        _examples(epoch * 97, 97, 97, seed, stream) for epoch in range(2) for seed in (0, 1, 2**63) for stream in "AB"
    ]
    assert len({tuple(shown) for shown in orders}) == len(orders)


def test_a_batch_may_cross_an_epoch_and_start_anywhere() -> None:
    whole = _examples(0, 300, 97, seed=3)
    assert _examples(90, 20, 97, seed=3) == whole[90:110]


DRAWS = {
    "normal": lambda draws: draws.normal((7,)),
    "uniform": lambda draws: draws.uniform((3, 2)),
    "bytes": lambda draws: draws.bytes((5, 3)),
}


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize(("first", "count"), [(0, 20), (3, 5), (19, 1)])
def test_a_replica_s_rows_are_those_of_the_global_stream(kind: str, first: int, count: int) -> None:
    whole = DRAWS[kind](order.Draws("stream", 4, 0, 20)).numpy()
    part = DRAWS[kind](order.Draws("stream", 4, first, count)).numpy()
    assert np.array_equal(part, whole[first : first + count])


@pytest.mark.parametrize("kind", DRAWS)
def test_steps_and_names_have_streams_of_their_own(kind: str) -> None:
    draws = [order.Draws(name, step, 0, 4) for name in ("a", "b") for step in (0, 1)]
    draws += [draws[0].of("layer"), draws[0].of("other layer")]
    streams = [DRAWS[kind](one).numpy().tobytes() for one in draws]
    assert len(set(streams)) == len(streams)


def test_draws_have_the_distributions_they_are_named_for() -> None:
    draws = order.Draws("large", 0, 0, 10000)
    normal, uniform, octets = (draw.numpy().astype(float) for draw in (kind(draws) for kind in DRAWS.values()))
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert abs((np.abs(normal) > 1.96).mean() - 0.05) < 0.005
    assert uniform.min() >= 0 < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(octets.mean() / 2**8 - 0.5) < 0.01
    assert octets.max() == 255


def test_the_streams_are_the_same_in_every_version() -> None:
    """A change here makes every stored run another one."""
    draws = order.Draws("stream", 4, 0, 2)
    assert np.allclose(draws.normal((2,)), [[-0.60036409, -0.08320651], [0.62233382, 0.15327054]], atol=1e-6)
    assert np.allclose(draws.uniform((2,)), [[0.24085242, 0.60008329], [0.58944589, 0.82722354]], atol=1e-6)
    assert draws.bytes((2,)).numpy().tolist() == [[52, 129], [223, 237]]
    assert _examples(0, 5, 60000, seed=0) == [54148, 37895, 16743, 15015, 28393]
