"""The devices and threads that belong to this process."""

import contextlib
import os
import platform
import re
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from distgan.errors import UserError

CPUINFO = Path("/proc/cpuinfo")


def set_up(local_rank: int, local_size: int, virtual_devices: int, deterministic: bool) -> None:
    """Take this process's fair share of the machine.

    One GPU by local rank if several processes share a machine, memory as it is needed, threads by the number of
    processes, or parts of the CPU if requested. Raises `UserError` if TensorFlow has already used its devices.
    """
    try:
        if virtual_devices:
            tf.config.set_visible_devices([], "GPU")
            (cpu,) = tf.config.list_physical_devices("CPU")
            parts = [tf.config.LogicalDeviceConfiguration()] * virtual_devices
            tf.config.set_logical_device_configuration(cpu, parts)
        else:
            _take_gpus(local_rank, local_size)
    except RuntimeError:
        raise UserError("TensorFlow has been used already: call train before other TensorFlow operations.") from None
    _share_threads(local_size)
    # This graph-optimizer pass of TensorFlow 2.21 fails on leaky ReLUs: it logs an error and changes nothing.
    tf.config.optimizer.set_experimental_options({"remapping": False})
    if deterministic:
        tf.config.experimental.enable_op_determinism()
        tf.config.experimental.enable_tensor_float_32_execution(False)


def _take_gpus(local_rank: int, local_size: int) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and local_size > 1:
        # srun may make only its own GPU visible to each process: so modulo the number of visible GPUs.
        gpus = [gpus[local_rank % len(gpus)]]
        tf.config.set_visible_devices(gpus, "GPU")
    # A process alone on its machine may have used its GPUs already; it keeps the GPU memory that it allocated.
    with contextlib.suppress(RuntimeError) if local_size == 1 else contextlib.nullcontext():
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)


def _share_threads(local_size: int) -> None:
    threads = max(1, available_cores() // local_size)
    # TensorFlow may already run in a user's own program; its number of threads then stays as it is.
    with contextlib.suppress(RuntimeError):
        if "TF_NUM_INTRAOP_THREADS" not in os.environ:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        if "TF_NUM_INTEROP_THREADS" not in os.environ:
            tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))  # 1 is slow if cores are shared


class Processor(NamedTuple):
    """A processor's name, and the Linux names of its instruction sets; no names if they are not known."""

    model: str
    flags: frozenset[str]


def processor() -> Processor:
    """Return the processor of this machine, as Linux describes it."""
    cpuinfo = CPUINFO.read_text() if CPUINFO.exists() else ""
    facts = dict(re.findall(r"^(model name|flags)\s*: (.*)$", cpuinfo, re.MULTILINE))
    return Processor(facts.get("model name", platform.machine()), frozenset(facts.get("flags", "").split()))


def available_cores() -> int:
    """Return the number of cores this process may use: by its affinity mask, or fewer by its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(_cgroup_cores(Path("/sys/fs/cgroup")))))


def _cgroup_cores(root: Path) -> float:
    version_2, version_1 = root / "cpu.max", root / "cpu"
    if version_2.exists():
        quota, period = version_2.read_text().split()[:2]
    elif (version_1 / "cpu.cfs_quota_us").exists():
        quota, period = ((version_1 / f"cpu.cfs_{what}_us").read_text().strip() for what in ("quota", "period"))
    else:
        return 1e9  # no limit
    return int(quota) / int(period) if quota.isdecimal() and int(quota) > 0 else 1e9
