"""Several hosts, with a network between them: the same run, and what happens when a cable is pulled.

The hosts are benchmarks/virtual_hosts.py's.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layouts
import limits
import numpy as np
import pytest
import small_runs
import virtual_hosts
from elastic_jobs import GLOO_SECONDS, Job, assert_undisturbed

pytestmark = [
    pytest.mark.skipif(bool(virtual_hosts.why_not()), reason=virtual_hosts.why_not() or "root"),
    pytest.mark.slow,
]
needs_horovod = pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
SETTINGS: dict[str, Any] = {"precision": "float64", "batch_size": 18, "steps": 6, "checkpoint_every": "3steps"}


@pytest.fixture(scope="module")
def hosts() -> Iterator[Any]:
    try:
        with virtual_hosts.virtual_hosts(2) as made:
            yield made
    except virtual_hosts.HostsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The variables at the end of the run that one process makes."""
    run_dir = tmp_path_factory.mktemp("alone")
    small_runs.train(run_dir, **SETTINGS)
    return small_runs.state(run_dir, SETTINGS["steps"])


def _train(run_dir: Path, **settings: Any) -> list[str]:
    return [sys.executable, "-m", "distgan.train", *small_runs.flags(run_dir, **SETTINGS | settings)]


def _horovodrun(hosts: Any, processes: int, *command: str) -> list[str]:
    places = ",".join(f"{name}:{processes // 2}" for name in hosts.names)
    return hosts.on("host1", str(layouts.HOROVODRUN), "-np", str(processes), "-H", places, *command)


def _start_workers(hosts: Any, *command: str, by_rank: bool = False) -> list[subprocess.Popen[str]]:
    workers = [f"{name}:2222" for name in hosts.names]
    job = {"WORLD_SIZE": "2", "MASTER_ADDR": "host1", "MASTER_PORT": "29500", "LOCAL_WORLD_SIZE": "1"}
    return [
        subprocess.Popen(
            hosts.on(name, *command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | (job | {"RANK": str(index), "LOCAL_RANK": "0"} if by_rank else
                              {"TF_CONFIG": layouts.tf_config(workers, index)}),
        )
        for index, name in enumerate(hosts.names)
    ]  # fmt: skip


def _assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-10, err_msg=name)


@needs_horovod
def test_four_processes_on_two_hosts_make_the_run_of_one(
    hosts: Any, alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    job = limits.run(_horovodrun(hosts, 4, *_train(tmp_path)))
    assert job.returncode == 0, job.stderr
    assert "4 replicas in 4 processes" in job.stdout
    _assert_same(small_runs.state(tmp_path, SETTINGS["steps"]), alone)


@pytest.mark.parametrize("by_rank", [True, False], ids=["ranks", "TF_CONFIG"])
def test_workers_on_two_hosts_make_the_run_of_one(
    by_rank: bool, hosts: Any, alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    workers = _start_workers(hosts, *_train(tmp_path), by_rank=by_rank)
    outputs = [limits.output_of(worker) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert "backend multiworker: 2 replicas in 2 processes" in outputs[0]
    _assert_same(small_runs.state(tmp_path, SETTINGS["steps"]), alone)


@needs_horovod
def test_the_doctor_sees_every_rank_and_its_host(hosts: Any) -> None:
    job = limits.run(_horovodrun(hosts, 4, sys.executable, "-m", "distgan.doctor"))
    assert re.findall(r"Rank (\d) +(host\d),", job.stdout) == [
        ("0", "host1"),
        ("1", "host1"),
        ("2", "host2"),
        ("3", "host2"),
    ]
    assert "by horovod, 4 processes on 2 hosts: 4 bytes in " in job.stdout


def test_the_launcher_starts_processes_over_ssh_which_end_with_it(hosts: Any) -> None:
    shows_place = 'echo "$RANK of $WORLD_SIZE, $LOCAL_RANK on $(hostname), meets at $MASTER_ADDR"; exec sleep 1000'
    command = [sys.executable, "-m", "distgan.launch", "-H", "host1:1,host2:2", "--", "sh", "-c", shows_place]
    job = subprocess.Popen(hosts.on("host1", "sh", "-c", '"$@" & echo $!; wait', "sh", *command),
                           stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert job.stdout
    launcher = job.stdout.readline().strip()
    assert sorted(job.stdout.readline() for _ in range(3)) == [
        "[0] 0 of 3, 0 on host1, meets at host1\n",
        "[1] 1 of 3, 0 on host2, meets at host1\n",
        "[2] 2 of 3, 1 on host2, meets at host1\n",
    ]
    subprocess.run(hosts.on("host1", "kill", "-9", launcher), check=True)
    limits.output_of(job)
    for name in hosts.names:
        limits.wait_until(functools.partial(_is_without, hosts, name, "launch_agent|sleep 1000"), f"end of {name}'s")


@needs_horovod
def test_a_host_that_does_not_know_its_own_name_can_train(hosts: Any, tmp_path: Path) -> None:
    command = [str(layouts.HOROVODRUN), "-np", "2", *_train(tmp_path)]
    renamed = hosts.on("host1", "unshare", "--uts", "sh", "-c", 'hostname nobody-knows && exec "$@"', "sh", *command)
    job = limits.run(renamed)
    assert job.returncode == 0, job.stderr
    assert small_runs.checkpoints(tmp_path)[-1] == SETTINGS["steps"]


@needs_horovod
def test_horovod_s_ranks_end_when_a_cable_is_pulled(hosts: Any, tmp_path: Path) -> None:
    run_dir, logs = tmp_path / "run", tmp_path / "logs"
    logs.mkdir()
    own_log = f'exec "$@" >{logs}/rank-$HOROVOD_RANK 2>&1'  # what the far ones say no longer reaches horovodrun
    train = _train(run_dir, steps=100_000, checkpoint_every="5steps")
    job = subprocess.Popen(
        _horovodrun(hosts, 2, "sh", "-c", own_log, "rank", *train),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    small_runs.wait_for_step(run_dir, 6, [job])
    hosts.cut("host2")
    try:
        limits.output_of(job)
        assert job.returncode
        _wait_until_nobody_trains(hosts)
    finally:
        hosts.mend("host2")
    for rank in range(2):
        assert f"distgan: rank {rank} lost the connection to the others" in (logs / f"rank-{rank}").read_text()
    assert small_runs.checkpoints(run_dir)


def test_what_runs_on_virtual_hosts_is_told_to_end_as_they_are() -> None:
    saves = 'trap "echo saved; exit 0" TERM; echo ready; while true; do sleep 0.1; done'
    made = subprocess.Popen(
        [sys.executable, virtual_hosts.__file__, "--hosts=1", "sh", "-c", saves], stdout=subprocess.PIPE, text=True
    )
    assert made.stdout and made.stdout.readline() == "ready\n"
    made.terminate()
    assert limits.output_of(made) == "saved\n"
    assert made.returncode == 0


def test_workers_end_when_a_cable_is_pulled(hosts: Any, tmp_path: Path) -> None:
    workers = _start_workers(hosts, *_train(tmp_path, steps=100_000, checkpoint_every="5steps"))
    small_runs.wait_for_step(tmp_path, 6, workers)
    hosts.cut("host2")
    try:
        outputs = [limits.output_of(worker) for worker in workers]
    finally:
        hosts.mend("host2")
    for rank, (worker, output) in enumerate(zip(workers, outputs, strict=True)):
        assert worker.returncode == 1
        assert f"distgan: rank {rank} lost the connection to the others" in output


def _wait_until_nobody_trains(hosts: Any) -> None:
    for name in hosts.names:
        limits.wait_until(functools.partial(_is_without, hosts, name, "distgan.train"), f"end of those on {name}")


def _is_without(hosts: Any, name: str, pattern: str) -> bool:
    command = hosts.on(name, "pgrep", "-f", pattern)
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


@needs_horovod
@pytest.mark.parametrize(("cut_off", "hash_seed"), [("the chief", 0), ("the other", 1)])
def test_an_elastic_run_goes_on_without_a_machine_that_is_cut_off_and_takes_it_back(
    cut_off: str, hash_seed: int, hosts: Any, tmp_path: Path
) -> None:
    def on(*command: str) -> list[str]:
        return hosts.on("host1", *command)

    stall = GLOO_SECONDS + 10  # Gloo gives up before the rank that waits is ended
    job = Job(tmp_path, "host1:1", "host2:1", interface="eth0", on=on, hash_seed=hash_seed, stall_timeout_seconds=stall)
    job.wait_for_start(processes=2)
    (victim,) = (rank for rank in job.wait_for_ranks(2) if rank.host == "host2")
    assert victim.rank == (0 if cut_off == "the chief" else 1)
    hosts.cut("host2")
    try:
        job.wait_for_start(processes=1)
    finally:
        hosts.mend("host2")
    job.wait_for_start(processes=2)
    job.stop()
    assert_undisturbed(job)
