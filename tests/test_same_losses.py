"""One run whatever it runs on: with penalties, augmentation, spectral norm and classes."""

from pathlib import Path
from typing import Any

import layouts
import loss_program
import numpy as np
import pytest
import small_runs

from distgan.replicas.base import Replicas

LAYERS = ("embedding", "logit", "shrink_1", "shrink_2")  # of the discriminator
pytestmark = pytest.mark.slow
EXACT = 1e-10  # in float64
HOROVOD = pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("single")
    loss_program.train(Replicas(), directory)
    return directory


@pytest.mark.parametrize(
    "layout", [pytest.param(layouts.Layout("horovod", 2), marks=HOROVOD), layouts.Layout("mirrored", 2)], ids=str
)
def test_every_variable_is_the_single_process_s_in_float64(
    layout: layouts.Layout, single: Path, tmp_path: Path
) -> None:
    status, output = layouts.run(layout, loss_program.__file__, f"--output={tmp_path}")
    assert status == 0, output[-5000:]
    for name in loss_program.RUNS:
        ours, theirs = (small_runs.state(directory / name, loss_program.STEPS) for directory in (tmp_path, single))
        assert ours.keys() == theirs.keys()
        differences = {variable: np.abs(ours[variable] - theirs[variable]).max() for variable in ours}
        print(f"{name}, {layout}: largest difference in float64 {max(differences.values()):.2g}")
        assert max(differences.values()) <= EXACT, (name, differences)


def test_the_directions_of_spectral_norm_are_part_of_the_state_and_move(single: Path) -> None:
    state: dict[str, Any] = small_runs.state(single / "hinge", loss_program.STEPS)
    names = [name for name in state if name.endswith("/direction")]
    assert sorted(names) == [f"discriminator/{layer}/direction" for layer in LAYERS]
    assert all(np.linalg.norm(state[name]) == pytest.approx(1) for name in names)
