"""Started by MPI: the run is the same one. Needs a Horovod with MPI, such as the distribution's Open MPI gives."""

import os
import sys
from pathlib import Path
from typing import Any

import layouts
import limits
import pytest
import small_runs

pytestmark = [pytest.mark.skipif(not layouts.has_mpi(), reason="needs a Horovod with MPI"), pytest.mark.slow]
SETTINGS: dict[str, Any] = {"precision": "float64", "batch_size": 18, "steps": 6, "checkpoint_every": "6steps"}
AS_ROOT_ON_FEW_CORES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
}  # fmt: skip


@pytest.mark.parametrize(
    "launcher", [["mpirun", "-np", "4"], [str(layouts.HOROVODRUN), "--mpi", "-np", "2"]], ids=["mpirun", "horovodrun"]
)
def test_ranks_that_mpi_started_make_the_run_of_one(launcher: list[str], tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    command = [*launcher, sys.executable, "-m", "distgan.train", *small_runs.flags(together, **SETTINGS)]
    job = limits.run(command, env=os.environ | AS_ROOT_ON_FEW_CORES)
    assert job.returncode == 0, job.stdout + job.stderr
    assert f"backend horovod: {launcher[-1]} replicas" in job.stdout
    small_runs.train(alone, **SETTINGS)
    small_runs.assert_same(together, alone, SETTINGS["steps"])
