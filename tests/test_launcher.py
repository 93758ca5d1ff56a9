"""Who started this process, what it may use, and what is refused before anything runs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import layouts
import pytest

from distgan.errors import UserError
from distgan.replicas import devices, launcher
from distgan.replicas.connect import choose_backend

TWO_WORKERS = layouts.tf_config(["a:1", "b:1"], 1)


@pytest.mark.parametrize(
    ("environment", "size", "rank"),
    [
        ({}, 0, 0),
        ({"HOROVOD_SIZE": "4", "HOROVOD_RANK": "2"}, 4, 2),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, 2, 1),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "7"}, 8, 7),
        ({"SLURM_PROCID": "0", "SLURM_JOB_ID": "1"}, 0, 0),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, 0, 0),
        ({"WORLD_SIZE": "4", "RANK": "3"}, 4, 3),
        ({"WORLD_SIZE": "4", "RANK": "3", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, 4, 3),
        ({"WORLD_SIZE": "4", "RANK": "0", "HOROVOD_SIZE": "2", "HOROVOD_RANK": "1"}, 2, 1),
        ({"WORLD_SIZE": "4"}, 0, 0),
        ({"RANK": "3"}, 0, 0),
        ({"WORLD_SIZE": "4", "JOB_COMPLETION_INDEX": "2"}, 4, 2),
        ({"WORLD_SIZE": "4", "RANK": "3", "JOB_COMPLETION_INDEX": "1"}, 4, 3),
        ({"JOB_COMPLETION_INDEX": "2"}, 0, 0),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "1"}, 2, 1),
    ],
)
def test_a_launcher_is_told_from_its_environment(environment: dict[str, str], size: int, rank: int) -> None:
    assert (launcher.launched_size(environment), launcher.launched_rank(environment)) == (size, rank)


@pytest.mark.parametrize(
    ("environment", "backend"),
    [({}, "single"), ({"HOROVOD_SIZE": "1", "HOROVOD_RANK": "0"}, "horovod"),
     ({"TF_CONFIG": TWO_WORKERS}, "multiworker"),
     ({"HOROVOD_SIZE": "2", "HOROVOD_RANK": "0", "TF_CONFIG": TWO_WORKERS}, "horovod"),
     ({"WORLD_SIZE": "2", "RANK": "0"}, "multiworker"), ({"WORLD_SIZE": "1", "RANK": "0"}, "single"),
     ({"WORLD_SIZE": "2", "JOB_COMPLETION_INDEX": "1"}, "multiworker"), ({"RANK": "0"}, "single"),
     ({"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, "single"),
     ({"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0", "TF_CONFIG": TWO_WORKERS}, "multiworker")],
)  # fmt: skip
def test_auto_is_what_the_process_was_started_by(environment: dict[str, str], backend: str) -> None:
    assert choose_backend("auto", environment) == backend
    assert choose_backend("mirrored", environment) == "mirrored"


@pytest.mark.parametrize("environment", [{"RANK": "1"}, {"WORLD_SIZE": "2"}])
def test_half_of_a_launcher_s_variables_is_refused(environment: dict[str, str]) -> None:
    ((name, value),) = environment.items()
    with pytest.raises(UserError, match=f"^{name}={value} is set, but .* is not: set both, or unset it.$"):
        choose_backend("auto", environment)
    assert choose_backend("single", environment) == "single"
    assert choose_backend("auto", environment | {"TF_CONFIG": TWO_WORKERS}) == "multiworker"


@pytest.mark.parametrize(
    ("size", "rank"),
    [("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK"),
     ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID")],
)  # fmt: skip
def test_under_mpi_and_slurm_auto_is_horovod_where_it_is_installed(
    size: str, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"horovod": True}
    monkeypatch.setattr(importlib.util, "find_spec", found.get)
    assert choose_backend("auto", {size: "2", rank: "1"}) == "horovod"
    found["horovod"] = False
    assert choose_backend("auto", {size: "2", rank: "1"}) == "multiworker"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"cluster": {"worker": ["a:1", "b:1"]}}', layouts.tf_config(["a:1", "b:1"], 3)]
)
def test_a_wrong_tf_config_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="TF_CONFIG must be JSON like"):
        launcher.worker_of_host({"TF_CONFIG": text})


def test_workers_of_one_machine_are_counted() -> None:
    places = [
        launcher.worker_of_host({"TF_CONFIG": layouts.tf_config(["a:1", "b:1", "a:2"], index)}) for index in range(3)
    ]
    assert places == [(0, 2), (0, 1), (1, 2)]
    with_chief = {"cluster": {"chief": ["a:1"], "worker": ["a:2"]}, "task": {"type": "worker", "index": 0}}
    assert launcher.worker_of_host({"TF_CONFIG": json.dumps(with_chief)}) == (1, 2)
    assert launcher.own_rank({"TF_CONFIG": json.dumps(with_chief)}) == 1
    assert launcher.own_rank({"TF_CONFIG": TWO_WORKERS, "HOROVOD_SIZE": "4", "HOROVOD_RANK": "3"}) == 3
    assert launcher.worker_of_host({}) is None


@pytest.mark.parametrize(
    ("files", "cores"),
    [({"cpu.max": "150000 100000"}, 1.5), ({"cpu.max": "max 100000"}, 1e9), ({}, 1e9),
     ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
     ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1e9)],
)  # fmt: skip
def test_the_cgroup_s_quota_is_heeded(files: dict[str, str], cores: float, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert devices._cgroup_cores(tmp_path) == cores


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=False
    )


TRAIN = "import sys; sys.argv = ['train', *sys.argv[1:], '--backend=horovod', '--steps=1']\n"
RUN = "import runpy; runpy.run_module('distgan.train', run_name='__main__')"


def test_without_horovod_its_backend_says_how_to_get_it() -> None:
    answer = _python(f"{TRAIN}sys.modules['horovod'] = None\n{RUN}")
    assert answer.returncode == 2
    assert "--backend=horovod needs Horovod, which is missing" in answer.stderr
    assert "make setup" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_everything_else_works_without_horovod(tmp_path: Path) -> None:
    flags = ["train", "--steps=1", "--filters=2", f"--run_dir={tmp_path}"]
    assert _python(f"import sys; sys.modules['horovod'] = None; sys.argv = {flags}\n{RUN}").returncode == 0
    assert (tmp_path / "checkpoints").exists()


@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
@pytest.mark.parametrize("prefix", ["OMPI_COMM_", ""], ids=["mpirun", "torchrun"])
def test_a_launch_that_horovod_does_not_see_is_refused(prefix: str) -> None:
    rank = f"{prefix}WORLD_RANK" if prefix else "RANK"
    answer = _python(TRAIN + RUN, **{f"{prefix}WORLD_SIZE": "3", rank: "0"})
    assert answer.returncode == 2
    assert "The launcher started 3 processes but Horovod sees 1: use --backend=multiworker, or" in answer.stderr


@pytest.mark.slow
@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_a_wrong_flag_is_refused_once_and_not_once_a_rank(tmp_path: Path) -> None:
    for flag in ("--dropout=2", "--batch_size=2"):
        command = ["-m", "distgan.train", flag, f"--run_dir={tmp_path}"]
        _, output = layouts.run(layouts.Layout("horovod", 3), *command)
        assert output.count("distgan: ") == 1
        assert flag in output


def test_virtual_devices_are_for_mirrored_only() -> None:
    answer = _python("import sys; sys.argv = ['train', '--backend=single', '--virtual_devices=2']\n" + RUN)
    assert answer.returncode == 2
    assert (
        answer.stderr.splitlines()[-1] == "distgan: --virtual_devices=2 is for --backend=mirrored; here it is single."
    )


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, (0, 1)),
        ({"HOROVOD_LOCAL_RANK": "2", "HOROVOD_LOCAL_SIZE": "4"}, (2, 4)),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, (1, 2)),
        ({"SLURM_LOCALID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "7"}, (3, 8)),
        ({"SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "7", "SLURM_STEP_TASKS_PER_NODE": "3(x2),1"}, (1, 3)),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "WORLD_SIZE": "4"}, (1, 2)),
        ({"JOB_COMPLETION_INDEX": "1", "WORLD_SIZE": "4"}, (0, 1)),
    ],
)
def test_a_process_knows_its_place_on_its_host(environment: dict[str, str], place: tuple[int, int]) -> None:
    assert launcher.place_on_host(environment) == place
