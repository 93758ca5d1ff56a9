"""What has this machine to train with, and what is to be mended?

    python -m distgan.doctor
    horovodrun -np 4 -H host1:2,host2:2 python -m distgan.doctor        # those machines, and the network between them

By itself it looks at this machine, and lets two processes of Horovod meet on it. Started by horovodrun, mpirun or srun,
or with TF_CONFIG, all processes meet as they would to train. The exit status is 1 if anything is to be mended.
"""

import mmap
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from distgan import program
from distgan.config import Config
from distgan.errors import UserError, first_line
from distgan.replicas import launcher

SHARED_MEMORY_BYTES = 2**30  # below it NCCL between GPUs of one machine fails; containers have 64 MiB by default
MEETING_SECONDS = 120
SUMMED_BYTES = (4, 10 * 2**20)  # the latency of a message, and the size of the mnist preset's gradients
REPETITIONS = 11
FEATURES = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "AMX"}


class Finding(NamedTuple):
    """A check: its subject, the result, and how to fix a problem, if there is one."""

    what: str
    found: str
    mend: str = ""


def main() -> int:
    """Print the findings, and return the exit status."""
    program.import_tensorflow()
    import tensorflow as tf

    if launcher.launched_size() > 1 or launcher.worker_of_host():
        try:
            return _meet()
        except tf.errors.OpError as error:
            print(
                f"distgan: rank {launcher.launched_rank()} could not connect to the others "
                f"({first_line(error)[:200]}).",
                file=sys.stderr,
            )
            return 1
    findings = list(examine())
    if _horovod():
        findings.append(_two_processes())
    return _tell(findings)


def _tell(findings: list[Finding]) -> int:
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.what:{width}}  {finding.found}")
    advice = [f"- {finding.what}: {finding.mend}" for finding in findings if finding.mend]
    print("\n" + "\n".join(["Problems:", *advice] if advice else ["No problems found."]), flush=True)
    return 1 if advice else 0


def examine() -> Iterator[Finding]:
    """Yield findings about this machine; TensorFlow must be imported, with its devices unused."""
    yield Finding("distgan", f"{Path(__file__).parent}, on {socket.gethostname()}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    yield from (
        _tensorflow(),
        _horovod_s_parts(),
        _mpi(),
        _gpus(),
        _processor(),
        _memory(),
        _shared_memory(),
        _network(),
    )


def _tensorflow() -> Finding:
    import keras
    import tensorflow as tf

    cuda = tf.sysconfig.get_build_info().get("cuda_version")
    found = f"{tf.__version__}, {f'for CUDA {cuda}' if cuda else 'for CPUs'}; Keras {keras.__version__}"
    return Finding("TensorFlow", found)


def _horovod() -> Any:
    """Return Horovod's module, or None."""
    try:
        import horovod.tensorflow as hvd
    except ImportError:
        return None
    return hvd


def _horovod_s_parts() -> Finding:
    hvd = _horovod()
    if not hvd:
        return Finding(
            "Horovod",
            "none: --backend=single, mirrored and multiworker only",
            "run `make setup`, which builds it; for GPUs it needs nvcc of CUDA 12.",
        )
    controllers = [name for name, has in (("Gloo", hvd.gloo_built()), ("MPI", hvd.mpi_built())) if has]
    operations = [*(["NCCL"] if hvd.nccl_built() else []), *controllers]
    found = f"controllers {', '.join(controllers)}; operations {', '.join(operations)}"
    if not _has_our_patches():
        return Finding(
            "Horovod",
            f"{found}, without our patches",
            "run `make setup`: without the patches Horovod waits for a missing rank without a message.",
        )
    return Finding("Horovod", f"{found}; with distgan's patches")


def _has_our_patches() -> bool:
    for path in Path(_horovod().__file__).parent.glob("mpi_lib.*.so"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
            if library.find(b"HOROVOD_IDLE_TIME") >= 0:
                return True
    return False


def _mpi() -> Finding:
    mpirun = shutil.which("mpirun")
    if not mpirun:
        return Finding("MPI", "no mpirun")
    found = _output(mpirun, "--version").partition("\n")[0]
    hvd = _horovod()
    if hvd and not hvd.mpi_built():
        return Finding(
            "MPI",
            f"{found}; Horovod was built without it",
            "run `make setup` again, so that mpirun and srun can start processes.",
        )
    return Finding("MPI", found)


def _gpus() -> Finding:
    import tensorflow as tf

    present = [line for line in _output("nvidia-smi", "-L").splitlines() if line.startswith("GPU ")]
    usable = tf.config.list_physical_devices("GPU")
    if present and not usable and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        advice = "run `DISTGAN_GPU=1 make setup`, and see whether the driver is new enough for CUDA 12."
        return Finding("GPUs", f"{len(present)}, of which TensorFlow can use none", advice)
    hvd = _horovod()
    found = "; ".join(line.partition(" (UUID")[0] for line in present) or "none"
    if len(usable) > 1 and hvd and not hvd.nccl_built():
        return Finding("GPUs", f"{found}; Horovod has no NCCL", "install nvcc of CUDA 12 and run `make setup` again.")
    return Finding("GPUs", found)


def _processor() -> Finding:
    from distgan.replicas.devices import available_cores, processor

    model, flags = processor()
    features = [name for flag, name in FEATURES.items() if flag in flags]
    lacks = "" if {"avx512_bf16", "amx_bf16"} & flags else "; bfloat16 is slow on it"
    cores = f"{available_cores()} of {os.cpu_count()} cores"
    return Finding("Processor", f"{cores}, {model} ({', '.join(features) or 'no AVX2 or the like'}){lacks}")


def _memory() -> Finding:
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.exists() else "max"
    found = f"{pages * page / 2**30:.0f} GiB"
    return Finding("Memory", found + (f", {int(allowed) / 2**30:.1f} GiB of it allowed" if allowed.isdecimal() else ""))


def _shared_memory() -> Finding:
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


def _network() -> Finding:
    import psutil

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


def _output(*command: str) -> str:
    """Return what a command prints; nothing if it is missing or times out."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _two_processes() -> Finding:
    """Run this program in two processes of Horovod on this machine."""
    horovodrun = shutil.which("horovodrun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH')}")
    if not horovodrun:
        return Finding("Two processes", "no horovodrun", "put the directory of this Python on PATH.")
    command = [horovodrun, "--gloo", "-np", "2", sys.executable, "-m", "distgan.doctor"]
    try:
        job = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=MEETING_SECONDS, check=False
        )
        said = job.stdout
    except subprocess.TimeoutExpired:
        said = f"no answer in {MEETING_SECONDS} s"
    sums = re.search(r"Sums\s+(.*)", said)
    if sums:
        return Finding("Two processes", sums[1])
    last = (said.strip().splitlines() or ["no word"])[-1]
    return Finding("Two processes", f"could not connect: {last[:200]}", f"see what `{' '.join(command)}` says.")


def _meet() -> int:
    """Connect to the other processes and, on the chief, print their places and the time of a sum."""
    from distgan.replicas.connect import connect

    findings = [finding for finding in examine() if finding.mend]
    replicas = connect(Config())
    place = {"host": socket.gethostname(), "pid": os.getpid(), "gpu": _own_gpu(), "mend": findings}
    places = replicas.gather(place)
    took = {size: _seconds_to_sum(replicas, size) for size in SUMMED_BYTES}
    if not replicas.is_chief:
        return 0
    found = [
        Finding(f"Rank {rank}", f"{one['host']}, process {one['pid']}, {one['gpu']}") for rank, one in enumerate(places)
    ]
    hosts = len({one["host"] for one in places})
    sums = ", ".join(f"{size:,} bytes in {1e3 * seconds:.1f} ms" for size, seconds in took.items())
    found.append(Finding("Sums", f"by {replicas.backend}, {replicas.size} processes on {hosts} hosts: {sums}"))
    advice = {(one["host"], *finding) for one in places for finding in one["mend"]}
    return _tell(found + [Finding(f"{what} of {host}", was, mend) for host, what, was, mend in sorted(advice)])


def _own_gpu() -> str:
    import tensorflow as tf

    return ", ".join(gpu.name for gpu in tf.config.get_visible_devices("GPU")) or "no GPU"


def _seconds_to_sum(replicas: Any, size: int) -> float:
    """Return the median time to sum `size` bytes over all replicas. Raises `UserError` if the sum is wrong."""
    import tensorflow as tf

    def add(values: Any) -> Any:
        return replicas.sum_in_step([values])[0]

    values, compiled = replicas.place(tf.ones(size // 4).numpy()), replicas.compile(add)
    total = float(compiled(values)[0].numpy())
    if total != replicas.num_replicas:
        raise UserError(
            f"An all-reduce of ones over {replicas.num_replicas} replicas gave {total}: check the network, and "
            "the build of Horovod."
        )
    return statistics.median(_seconds(compiled, values) for _ in range(REPETITIONS))


def _seconds(function: Callable[..., Any], values: Any) -> float:
    began = time.perf_counter()
    function(values)[0].numpy()
    return time.perf_counter() - began


if __name__ == "__main__":
    program.run(main)
