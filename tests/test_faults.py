"""Runs that are broken at random finish to the same bits; benchmarks/faults.py breaks as many as you like."""

import faults
import layouts
import limits
import pytest

ROUNDS = 2
KILLS_A_RANK = 87  # a seed
faults.LIMIT_SECONDS = round(limits.LIMIT_SECONDS / 2)


@pytest.mark.slow
@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_runs_that_are_broken_at_random_finish_to_the_same_bits() -> None:
    rounds = list(faults.rounds_of(ROUNDS, seed=0, layouts=faults.LAYOUTS[:3]))
    assert [row["problem"] for row in rounds] == [""] * ROUNDS, rounds


@pytest.mark.slow
def test_our_launcher_starts_a_job_again_that_lost_a_rank_and_it_finishes_to_the_same_bits() -> None:
    (row,) = faults.rounds_of(1, KILLS_A_RANK, faults._layouts("multiworker"))
    assert row["fault"] == "multiworker:2 crowded: kill a rank at step 36"
    assert (row["problem"], row["attempts"]) == ("", 1)
    assert row["restarts"] >= 1
