"""Under launchers that are not Horovod's, without TF_CONFIG: two workers make the run of one process."""

import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import layouts
import limits
import psutil
import pytest
import small_runs

from distgan.config import Config
from distgan.replicas.base import Replicas
from distgan.training import loop

SETTINGS: dict[str, Any] = {
    "preset": "mlp", "precision": "float64", "batch_size": 18, "steps": 3, "checkpoint_every": "3steps",
    "sample_every": "3steps",
}  # fmt: skip
AS_ROOT_ON_FEW_CORES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
}  # fmt: skip
UNREACHABLE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # gRPC asks both


def _train(run_dir: Path, *flags: str) -> list[str]:
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    return ["-m", "distgan.train", *settings, f"--run_dir={run_dir}", *flags]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the run of one process."""
    run_dir = tmp_path_factory.mktemp("alone")
    loop.train(Config(**SETTINGS | {"run_dir": str(run_dir)}), Replicas(), io.StringIO())
    return run_dir


def _assert_same(status: int, said: str, run_dir: Path, alone: Path) -> None:
    assert status == 0, said
    assert "backend multiworker: 2 replicas in 2 processes" in said
    small_runs.assert_same(run_dir, alone, SETTINGS["steps"])


def _run_both(environments: list[dict[str, str]], *arguments: str) -> tuple[int, str]:
    """Run `python <arguments>` in two processes to their end; returns the worst exit status and all output."""
    processes = [
        subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         env=os.environ | environment)
        for environment in environments
    ]  # fmt: skip
    said = [limits.output_of(process) for process in processes]
    return max(abs(process.returncode) for process in processes), "\n".join(said)


def test_workers_with_torchrun_s_variables_make_the_run_of_one_though_there_is_a_proxy(
    tmp_path: Path, alone: Path
) -> None:
    job = UNREACHABLE | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost",
                         "MASTER_PORT": str(*layouts.free_ports(1)), "DISTGAN_JOB": tmp_path.name}  # fmt: skip
    environments = [job | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    _assert_same(*_run_both(environments, *_train(tmp_path)), tmp_path, alone)


@pytest.mark.slow
def test_pods_of_an_indexed_job_make_the_run_of_one(tmp_path: Path, alone: Path) -> None:
    job = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(*layouts.free_ports(1))}
    environments = [job | {"JOB_COMPLETION_INDEX": str(index)} for index in range(2)]
    _assert_same(*_run_both(environments, *_train(tmp_path)), tmp_path, alone)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mpirun"), reason="needs mpirun")
def test_ranks_of_mpirun_make_the_run_of_one(tmp_path: Path, alone: Path) -> None:
    job = limits.run(["mpirun", "-np", "2", sys.executable, *_train(tmp_path, "--backend=multiworker")],
                     env=os.environ | AS_ROOT_ON_FEW_CORES)  # fmt: skip
    _assert_same(job.returncode, job.stdout + job.stderr, tmp_path, alone)


@pytest.mark.slow
def test_ranks_of_our_launcher_make_the_run_of_one(tmp_path: Path, alone: Path) -> None:
    job = limits.run([sys.executable, "-m", "distgan.launch", "-n", "2", "--", *_train(tmp_path)[1:]])
    _assert_same(job.returncode, job.stdout + job.stderr, tmp_path, alone)


@pytest.mark.slow
def test_ranks_of_torchrun_itself_make_the_run_of_one(tmp_path: Path, alone: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch, the extra `bench`, is not installed here")
    job = limits.run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *_train(tmp_path)])
    _assert_same(job.returncode, job.stdout + job.stderr, tmp_path, alone)


@pytest.mark.slow
def test_the_doctor_tells_what_auto_chooses_and_why() -> None:
    job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": str(*layouts.free_ports(1))}
    environments = [job | {"RANK": str(rank)} for rank in range(2)]
    _, said = _run_both(environments, "-m", "distgan.doctor")
    assert "--backend=auto is multiworker here (WORLD_SIZE=2)" in said
    assert "by multiworker, 2 processes on 1 host:" in said


@pytest.mark.slow
def test_a_rank_whose_rank_0_does_not_come_ends_with_one_sentence(tmp_path: Path) -> None:
    (port,) = layouts.free_ports(1)
    job = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    status, said = _run_both([job], *_train(tmp_path, "--start_timeout_seconds=1"))
    assert status == 4
    assert said == (
        f"distgan: rank 1 could not connect to the others within 1 seconds (missing: rank 0 at localhost, ports "
        f"{port + 1} to {port + 8}): check that all run, or raise --start_timeout_seconds.\n"
    )


@pytest.mark.slow
def test_a_rank_whose_rank_0_is_lost_while_they_connect_ends_with_one_sentence(tmp_path: Path) -> None:
    ports = layouts.free_ports(3)
    workers = [f"localhost:{port}" for port in ports]
    command = [sys.executable, *_train(tmp_path, "--backend=multiworker")]
    first, second = (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True,
                         env=os.environ | {"TF_CONFIG": layouts.tf_config(workers, index)})
        for index in range(2)
    )  # fmt: skip
    limits.wait_until(lambda: _is_connected(second.pid, ports[0]), "connection", goes_on=lambda: second.poll() is None)
    time.sleep(limits.LOAD_SECONDS)  # until both wait for the third, which is not there
    first.kill()
    first.communicate()
    said = second.communicate(timeout=limits.LIMIT_SECONDS)[1]
    assert second.returncode == 4
    assert "distgan: rank 1 could not connect to the others (" in said
    assert "Traceback" not in said


def _is_connected(pid: int, port: int) -> bool:
    """Whether the child that a parent process watches has a connection to a port."""
    connections = [one for child in psutil.Process(pid).children() for one in child.net_connections()]
    return any(one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in connections)
