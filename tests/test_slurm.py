"""launch/slurm.sbatch on a real Slurm, of two virtual hosts: submitted, preempted, put back, finished, the same run.

Needs root, the distribution's slurmctld, slurmd and munge, and a Horovod with MPI.
"""

import functools
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layouts
import limits
import pytest
import small_runs
import virtual_hosts

ROOT = Path(__file__).parent.parent
DAEMONS = {"slurmctld": "slurmctld", "slurmd": "slurmd", "munged": "munge"}
MISSING = [package for daemon, package in DAEMONS.items() if not shutil.which(daemon, path="/usr/sbin:/usr/bin")]
REASON = virtual_hosts.why_not() or (f"needs {', '.join(MISSING)}" if MISSING else "") or (
    "" if layouts.has_mpi() and (ROOT / ".venv").exists() else "needs `make setup` with MPI"
)  # fmt: skip
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON or "no reason"), pytest.mark.slow]
STEPS = 400


class Slurm:
    """A controller on host1 and a node on each host."""

    def __init__(self, hosts: Any, directory: Path) -> None:
        self._hosts, self._directory = hosts, directory
        self._configuration = directory / "slurm.conf"
        self._configuration.write_text(_configuration(hosts.names, directory))
        key = directory / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        for name in hosts.names:
            (directory / f"tmp.{name}").mkdir()  # PMIx's; the hosts share all files
            self._on(name, "mkdir", "-p", "/run/munge")
            self._on(name, "munged", "--force", f"--key-file={key}", f"--log-file={directory}/munged-{name}.log",
                     f"--seed-file={directory}/munged-{name}.seed", "--pid-file=/run/munge/munged.pid",
                     "--socket=/run/munge/munge.socket.2")  # fmt: skip
        self._on("host1", "slurmctld")
        for name in hosts.names:
            self._on(name, "slurmd", "-N", name)

    def run(self, *command: str) -> str:
        """What a command says on host1."""
        return self._on("host1", *command)

    def _on(self, host: str, *command: str) -> str:
        done = limits.run(self._hosts.on(host, "env", f"SLURM_CONF={self._configuration}", *command), cwd=ROOT)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def facts(self, job: str) -> dict[str, str]:
        """What `scontrol` knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", job)))

    def has_ended(self, job: str) -> bool:
        return self.facts(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING")


def _configuration(names: list[str], directory: Path) -> str:
    return f"""
ClusterName=virtual
SlurmctldHost={names[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=/run/munge/munge.socket.2
StateSaveLocation={directory}/controller
SlurmdSpoolDir={directory}/node.%n
TmpFS={directory}/tmp.%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=host[1-{len(names)}] CPUs=8 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=60 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with virtual_hosts.virtual_hosts(2) as hosts:
        yield Slurm(hosts, tmp_path_factory.mktemp("slurm"))


def test_ranks_that_srun_started_make_the_run_of_one(slurm: Slurm, tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    settings: dict[str, Any] = {"precision": "float64", "steps": 4}
    said = slurm.run("srun", "--mpi=pmix", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1",
                     sys.executable, "-m", "distgan.train", *small_runs.flags(together, **settings))  # fmt: skip
    assert "backend horovod: 2 replicas in 2 processes" in said
    small_runs.train(alone, **settings)
    small_runs.assert_same(together, alone, settings["steps"])


def test_ranks_that_srun_started_make_the_run_of_one_without_horovod(slurm: Slurm, tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    settings: dict[str, Any] = {"precision": "float64", "steps": 4}
    said = slurm.run("srun", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", sys.executable, "-m",
                     "distgan.train", "--backend=multiworker", *small_runs.flags(together, **settings))  # fmt: skip
    assert "backend multiworker: 2 replicas in 2 processes" in said
    small_runs.train(alone, **settings)
    small_runs.assert_same(together, alone, settings["steps"])


def test_a_job_whose_time_is_up_saves_and_goes_back(slurm: Slurm, tmp_path: Path) -> None:
    run_dir, log = tmp_path / "run", tmp_path / "out"
    flags = small_runs.flags(run_dir, steps=100_000, checkpoint_every="1s")
    job = slurm.run("sbatch", "--parsable", "--ntasks-per-node=1", "--cpus-per-task=1", f"--output={log}",
                    "launch/slurm.sbatch", *flags).strip()  # fmt: skip
    limits.wait_until(lambda: small_runs.checkpoints(run_dir), "checkpoint",
                      said=lambda: log.read_text() if log.exists() else "")  # fmt: skip
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    limits.wait_until(lambda: slurm.facts(job)["Restarts"] == "1", "restart", said=log.read_text)
    assert "SIGTERM: stopped at step" in log.read_text()
    slurm.run("scancel", job)


def test_a_preempted_job_goes_back_and_ends_with_the_bits_of_an_undisturbed_one(slurm: Slurm, tmp_path: Path) -> None:
    digests = {}
    for name in ("undisturbed", "preempted"):
        run_dir, log = tmp_path / name, tmp_path / f"{name}.out"
        flags = small_runs.flags(run_dir, steps=STEPS, checkpoint_every="2s")
        job = slurm.run("sbatch", "--parsable", "--ntasks-per-node=1", "--cpus-per-task=1", f"--output={log}",
                        "launch/slurm.sbatch", *flags).strip()  # fmt: skip

        def log_text(log: Path = log) -> str:
            return log.read_text() if log.exists() else "nothing was written"

        if name == "preempted":
            limits.wait_until(functools.partial(small_runs.checkpoints, run_dir), "checkpoint", said=log_text)
            slurm.run("srun", "--partition=high", "--nodes=2", "--exclusive", "--time=1", "sleep", "1")
            assert max(small_runs.checkpoints(run_dir)) < STEPS
        limits.wait_until(functools.partial(slurm.has_ended, job), "end of the job", said=log_text)
        assert slurm.facts(job)["JobState"] == "COMPLETED", log_text()
        assert slurm.facts(job)["Restarts"] == ("1" if name == "preempted" else "0")
        assert f"finished at step {STEPS}" in log_text()
        assert "2 replicas in 2 processes" in log_text()
        digests[name] = small_runs.digest(run_dir, STEPS)
    assert "SIGTERM: stopped at step" in log_text()
    assert digests["preempted"] == digests["undisturbed"]
