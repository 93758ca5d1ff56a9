"""The launcher of this process, read from its environment; needs no TensorFlow."""

import json
import os
import re
from collections.abc import Mapping

from distgan.errors import UserError

# For each launcher: the variables of the number of processes and of this one's rank, and of both on this host. The
# second row is of torchrun and its imitators, which may run under one of those below. sbatch alone sets SLURM_PROCID
# too, but only an srun step with several tasks is a launch.
_LAUNCHERS = (
    ("HOROVOD_SIZE", "HOROVOD_RANK", "HOROVOD_LOCAL_SIZE", "HOROVOD_LOCAL_RANK"),
    ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_SIZE", "PMI_RANK", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_LOCALID"),
    ("WORLD_SIZE", "JOB_COMPLETION_INDEX", "", ""),  # of an indexed job
    ("PET_NNODES", "PET_NODE_RANK", "", ""),  # of Kubeflow Trainer
)


def launched_by(environment: Mapping[str, str] = os.environ) -> str:
    """Return the variable in which the launcher gives the number of processes; empty if there is no launcher."""
    return next((size for size, *_ in _started_by(environment)), "")


def launched_size(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processes that a launcher started, including this one; 0 if there is no launcher."""
    return next((number(environment, size) for size, *_ in _started_by(environment)), 0)


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return the rank of this process among the launched ones; 0 if there is no launcher."""
    return next((number(environment, rank) for _, rank, *_ in _started_by(environment)), 0)


def is_on_one_host(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the launcher says that all its processes are on this host."""
    size, _, on_host, _ = next(iter(_started_by(environment)), ("", "", "", ""))
    return on_host in environment and number(environment, on_host) == number(environment, size)


def refuse_half(environment: Mapping[str, str] = os.environ) -> None:
    """Raise `UserError` if one of RANK and WORLD_SIZE is missing: a process of a job would train alone."""
    is_complete = _started_by(environment) or environment.get("TF_CONFIG")
    for given, missing, alone in (("RANK", "WORLD_SIZE", "0"), ("WORLD_SIZE", "RANK", "1")):
        if environment.get(given, alone) != alone and missing not in environment and not is_complete:
            raise UserError(f"{given}={environment[given]} is set, but {missing} is not: set both, or unset it.")


def place_on_host(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return this process's index among those launched on this host, and their number, as far as they are known."""
    for _, _, size, rank in _LAUNCHERS:
        if rank in environment:
            known = launched_size(environment) or 1
            return number(environment, rank), number(environment, size) if size in environment else known
    return 0, 1


def elastic_job(environment: Mapping[str, str] = os.environ) -> str:
    """Return the unique address of the elastic launcher that started this process; empty for any other launcher."""
    if environment.get("HOROVOD_ELASTIC") != "1":
        return ""
    return f"{environment.get('HOROVOD_GLOO_RENDEZVOUS_ADDR')}:{environment.get('HOROVOD_GLOO_RENDEZVOUS_PORT')}"


def rendezvous_server(environment: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Return the host and port of the key-value store of this process's `horovodrun`; None if there is none."""
    address = environment.get("HOROVOD_GLOO_RENDEZVOUS_ADDR")
    return (address, number(environment, "HOROVOD_GLOO_RENDEZVOUS_PORT")) if address else None


def _started_by(environment: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    found = [row for row in _LAUNCHERS if row[0] in environment and row[1] in environment]
    return [row for row in found if not row[0].startswith("SLURM") or number(environment, row[0]) > 1]


def number(environment: Mapping[str, str], name: str) -> int:
    """Return a number that a launcher has set. Raises `UserError` if it is not a number."""
    text = re.split("[(,]", environment.get(name, ""))[0]  # Slurm's 2(x3),1 means two on the first of three hosts, ...
    if not text.isascii() or not text.isdecimal():
        raise UserError(f"{name}={text} is refused: it must be a number. Unset it, or start with a launcher.")
    return int(text)


def worker_of_host(environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Return this worker's index among those of `TF_CONFIG` on this host, and their number; None if it is not set.

    Raises `UserError` if it does not have the form that TensorFlow reads.
    """
    found = _worker(environment)
    if found is None:
        return None
    position, hosts = found
    return hosts[:position].count(hosts[position]), hosts.count(hosts[position])


def own_size(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processes of this process's run, for any launcher."""
    return launched_size(environment) or len((_worker(environment) or (0, [""]))[1])


def own_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return the rank of this process in its run, for any launcher."""
    return launched_rank(environment) if launched_size(environment) else (_worker(environment) or (0, []))[0]


def _worker(environment: Mapping[str, str]) -> tuple[int, list[str]] | None:
    """Return this worker's index in `TF_CONFIG`, and the hosts of all workers; None if it names less than two."""
    text = environment.get("TF_CONFIG", "")
    if not text:
        return None
    try:
        config = json.loads(text)
        cluster, task = dict(config.get("cluster") or {}), dict(config.get("task") or {})
        kinds = [kind for kind in cluster if cluster[kind]] + [task.get("type", "worker")]
        others = [kind for kind in kinds if kind not in ("chief", "worker")]
        addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
        if not others and len(addresses) < 2:  # managed services set it on one machine too
            return None
        hosts = [_host(address) for address in addresses]
        index = int(task["index"])
        position = addresses.index(cluster[task["type"]][index])
        if index < 0:
            raise ValueError(index)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise UserError(
            'TF_CONFIG must be JSON like {"cluster": {"worker": ["host1:port", "host2:port"]}, '
            '"task": {"type": "worker", "index": 0}}, with an index that the cluster has.'
        ) from None
    if others:
        raise UserError(f"TF_CONFIG has tasks of type {others[0]}, which distgan has no use for: name workers only.")
    return position, hosts


def _host(address: str) -> str:
    """Return the host of a host:port. Raises `ValueError` if it is something else."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ValueError(address)
    return host
