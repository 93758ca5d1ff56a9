"""What has this machine to train with, and what is to be fixed?

    python -m distgan.doctor
    horovodrun -np 4 -H host1:2,host2:2 python -m distgan.doctor        # those machines, and the network between them

By itself it looks at this machine, and lets two processes meet on it. Started by a launcher, or with
TF_CONFIG, all processes meet as they would to train. The exit status is 1 if anything is to be fixed.
"""

import json
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
from typing import Any

from absl import flags

from distgan import hardware, program
from distgan.config import Config
from distgan.errors import UserError, first_line
from distgan.hardware import Finding
from distgan.replicas import launcher

_JSON = flags.DEFINE_boolean("json", False, "Print the findings as JSON: what, found, and how to fix a problem.")
MEETING_SECONDS = 120
SUMMED_BYTES = (4, 10 * 2**20)  # the latency of a message, and the size of the mnist preset's gradients
REPETITIONS = 11
BUILD_IT = "run `make setup` or `distgan build-horovod`"


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
    return _tell([*examine(), _two_processes()])


def _tell(findings: list[Finding]) -> int:
    if _JSON.value:
        print(json.dumps([finding._asdict() for finding in findings], indent=2), flush=True)
        return int(any(finding.fix for finding in findings))
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.what:{width}}  {finding.found}")
    advice = [f"- {finding.what}: {finding.fix}" for finding in findings if finding.fix]
    print("\n" + "\n".join(["Problems:", *advice] if advice else ["No problems found."]), flush=True)
    return 1 if advice else 0


def examine() -> Iterator[Finding]:
    """Yield findings about this machine; TensorFlow must be imported, with its devices unused."""
    hvd = _horovod()
    yield Finding("distgan", f"{Path(__file__).parent}, on {socket.gethostname()}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    yield from (
        _tensorflow(),
        _backend(),
        _horovod_s_parts(),
        _mpi(),
        hardware.gpus(nccl_built=not hvd or hvd.nccl_built()),
        hardware.processor(),
        hardware.memory(),
        hardware.shared_memory(),
        hardware.network(),
    )


def _tensorflow() -> Finding:
    import keras
    import tensorflow as tf

    cuda = tf.sysconfig.get_build_info().get("cuda_version")
    found = f"{tf.__version__}, {f'for CUDA {cuda}' if cuda else 'for CPUs'}; Keras {keras.__version__}"
    return Finding("TensorFlow", found)


def _backend() -> Finding:
    from distgan.replicas.connect import choose_backend

    started_by = launcher.launched_by()
    config = "TF_CONFIG" if launcher.worker_of_host() else "no launcher"
    why = f"{started_by}={launcher.launched_size()}" if started_by else config
    return Finding("Backend", f"--backend=auto is {choose_backend('auto')} here ({why})")


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
        return Finding("Horovod", "none: --backend=multiworker takes its place, except in elastic jobs")
    controllers = [name for name, has in (("Gloo", hvd.gloo_built()), ("MPI", hvd.mpi_built())) if has]
    operations = [*(["NCCL"] if hvd.nccl_built() else []), *controllers]
    found = f"controllers {', '.join(controllers)}; operations {', '.join(operations)}"
    if not _has_our_patches():
        advice = f"{BUILD_IT}: without the patches Horovod waits for a missing rank without a message."
        return Finding("Horovod", f"{found}, without our patches", advice)
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
    found = hardware.output_of(mpirun, "--version").partition("\n")[0]
    hvd = _horovod()
    if hvd and not hvd.mpi_built():
        advice = f"{BUILD_IT} again, so that mpirun and srun can start processes."
        return Finding("MPI", f"{found}; Horovod was built without it", advice)
    return Finding("MPI", found)


def _two_processes() -> Finding:
    """Run this program in two processes on this machine, by Horovod if it is installed."""
    horovodrun = shutil.which("horovodrun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH')}")
    command = [sys.executable, "-m", "distgan.launch", "-n", "2", "--", "distgan.doctor"]
    if _horovod():
        if not horovodrun:
            return Finding("Two processes", "no horovodrun", "put the directory of this Python on PATH.")
        command = [horovodrun, "--gloo", "-np", "2", sys.executable, "-m", "distgan.doctor"]
    try:
        job = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=MEETING_SECONDS, check=False
        )
        said = job.stdout
    except subprocess.TimeoutExpired:
        said = f"no answer in {MEETING_SECONDS} s, or the machine is busy"
    sums = re.search(r"Sums\s+(.*)", said)
    if sums:
        return Finding("Two processes", sums[1])
    last = (said.strip().splitlines() or ["no word"])[-1]
    return Finding("Two processes", f"could not connect: {last[:200]}", f"see what `{' '.join(command)}` says.")


def _meet() -> int:
    """Connect to the other processes and, on the chief, print their places and the time of a sum."""
    from distgan.replicas.connect import connect

    findings = [finding for finding in examine() if finding.fix]
    replicas = connect(Config())
    places = replicas.gather({"host": socket.gethostname(), "pid": os.getpid(), "gpu": _own_gpu(), "fix": findings})
    took = {size: _seconds_to_sum(replicas, size) for size in SUMMED_BYTES}
    if not replicas.is_chief:
        return 0
    found = [_backend()] + [
        Finding(f"Rank {rank}", f"{one['host']}, process {one['pid']}, {one['gpu']}") for rank, one in enumerate(places)
    ]
    hosts = {one["host"] for one in places}
    where = f"{len(hosts)} host{'s' * (len(hosts) > 1)}"
    sums = ", ".join(f"{size:,} bytes in {1e3 * seconds:.1f} ms" for size, seconds in took.items())
    found.append(Finding("Sums", f"by {replicas.backend}, {replicas.size} processes on {where}: {sums}"))
    advice = {(one["host"], *finding) for one in places for finding in one["fix"]}
    return _tell(found + [Finding(f"{what} of {host}", was, fix) for host, what, was, fix in sorted(advice)])


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
