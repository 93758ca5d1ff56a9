"""What a machine has to train with: GPUs, processor, memory, network."""

import importlib.metadata
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

import psutil

SHARED_MEMORY_BYTES = 2**30  # below it NCCL between GPUs of one machine fails; containers have 64 MiB by default
FEATURES = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "AMX"}
LEAST_CAPABILITY, COMPILED_UP_TO = 6.0, 9.0  # of the GPUs that TensorFlow's wheel has kernels for


class Finding(NamedTuple):
    """A check: its subject, the result, and how to fix a problem, if there is one."""

    what: str
    found: str
    fix: str = ""


def gpus(nccl_built: bool) -> Finding:
    """Return what the driver says of each GPU, and what keeps TensorFlow from using it."""
    import tensorflow as tf

    asked = "--query-gpu=name,memory.total,compute_cap,mig.mode.current,clocks.max.sm,driver_version"
    rows = [line.split(", ") for line in output_of("nvidia-smi", asked, "--format=csv,noheader").splitlines()]
    rows = [row for row in rows if len(row) == 6]
    usable = tf.config.list_physical_devices("GPU")
    found = "; ".join(
        f"{name}, {memory}, compute capability {capability}, at most {clock}" + (", MIG on" if mig == "Enabled" else "")
        for name, memory, capability, mig, clock, _ in rows
    )
    if rows:
        found += f"; driver {rows[0][5]}, {_libraries()}"
    capabilities = [float(row[2]) for row in rows if row[2].replace(".", "", 1).isdecimal()]  # not of a lost GPU
    if any(capability > COMPILED_UP_TO for capability in capabilities):
        found += "; the first start compiles TensorFlow's kernels for it, which can take half an hour: raise "
        found += "--start_timeout_seconds and --stall_timeout_seconds then"
    if any(capability < LEAST_CAPABILITY for capability in capabilities):
        return Finding("GPUs", found, f"TensorFlow has kernels from compute capability {LEAST_CAPABILITY} on.")
    if rows and not usable and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        advice = "run `DISTGAN_GPU=1 make setup`, and see whether the driver is new enough for CUDA 12."
        return Finding("GPUs", f"{found}; TensorFlow can use none", advice)
    if len(usable) > 1 and not nccl_built:
        return Finding("GPUs", f"{found}; Horovod has no NCCL", "install nvcc of CUDA 12 and run `make setup` again.")
    return Finding("GPUs", found or "none")


def gpu_numbers() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; does not import TensorFlow."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return output_of("nvidia-smi", "--query-gpu=index", "--format=csv,noheader").split()
    return [one.strip() for one in given.split(",") if one.strip() not in ("", "-1")]


def _libraries() -> str:
    """Return the versions of the libraries for GPUs that pip has installed."""
    versions = []
    for name, package in (("cuDNN", "nvidia-cudnn-cu12"), ("NCCL", "nvidia-nccl-cu12")):
        try:
            versions.append(f"{name} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name} from pip")
    return ", ".join(versions)


def processor() -> Finding:
    """Return the cores and the instruction sets of the processor."""
    from distgan.replicas import devices

    model, flags = devices.processor()
    features = [name for flag, name in FEATURES.items() if flag in flags]
    lacks = "" if {"avx512_bf16", "amx_bf16"} & flags else "; bfloat16 is slow on it"
    cores = f"{devices.available_cores()} of {os.cpu_count()} cores"
    return Finding("Processor", f"{cores}, {model} ({', '.join(features) or 'no AVX2 or the like'}){lacks}")


def memory() -> Finding:
    """Return the memory, and how much of it this process is allowed."""
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.exists() else "max"
    found = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    return Finding("Memory", found + (f", {int(allowed) / 2**30:.1f} GiB of it allowed" if allowed.isdecimal() else ""))


def shared_memory() -> Finding:
    """Return the size of /dev/shm, by which GPUs of one machine exchange data."""
    import tensorflow as tf

    if not os.path.isdir("/dev/shm"):
        return Finding("Shared memory", "no /dev/shm")
    total = shutil.disk_usage("/dev/shm").total
    is_short = total < SHARED_MEMORY_BYTES and len(tf.config.list_physical_devices("GPU")) > 1
    return Finding(
        "Shared memory",
        f"{total / 2**20:,.0f} MiB",
        "give the container more shared memory, e.g. `docker run --shm-size=1g`." if is_short else "",
    )


def network() -> Finding:
    """Return the interfaces that are up, with their addresses."""
    states = psutil.net_if_stats()
    found = []
    for name, addresses in psutil.net_if_addrs().items():
        of_four = [one.address for one in addresses if one.family == socket.AF_INET]
        state = states.get(name)  # a label such as eth0:0 has no state
        if of_four and state and state.isup:
            speed = f", {state.speed} Mbit/s" if state.speed else ""
            found.append(f"{name} {' '.join(of_four)}{speed}")
    return Finding(
        "Network",
        "; ".join(found) or "no interface that is up",
        "" if found else "bring up the loopback: `ip link set lo up`.",
    )


def output_of(*command: str) -> str:
    """Return what a command prints; nothing if it is missing or times out."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
