"""Runs that are broken at random finish to the same bits; benchmarks/faults.py breaks as many as you like."""

import faults
import layouts
import limits
import pytest

ROUNDS = 2
faults.LIMIT_SECONDS = round(limits.LIMIT_SECONDS / 2)


@pytest.mark.slow
@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_runs_that_are_broken_at_random_finish_to_the_same_bits() -> None:
    rounds = list(faults.rounds_of(ROUNDS, seed=0))
    assert [row["problem"] for row in rounds] == [""] * ROUNDS, rounds
