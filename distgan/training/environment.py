"""The hardware and software of a run, written into its directory at each start."""

import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from distgan.replicas.base import Replicas
from distgan.replicas.devices import available_cores, processor
from distgan.report.recorded import ENVIRONMENT, starts_of
from distgan.store import atomic

PACKAGES = {"distgan": "distgan", "tensorflow": "TensorFlow", "keras": "Keras", "horovod": "Horovod"}


def describe(replicas: Replicas, precision: str, first_step: int) -> dict[str, Any]:
    """Describe a start of a run, from the chief; all processes send their host and GPUs, and wait for each other."""
    gpus = tf.config.get_visible_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    ranks = replicas.gather({"host": socket.gethostname(), "gpus": names})
    return {
        "seconds": time.time(),
        "first_step": first_step,
        "host": socket.gethostname(),
        "hosts": len({rank["host"] for rank in ranks}),
        "cores": f"{available_cores()} of {os.cpu_count()}",
        "processor": processor().model,
        "GPUs": ", ".join(ranks[0]["gpus"]) or "none",
        "backend": replicas.backend,
        "processes": replicas.size,
        "replicas": replicas.num_replicas,
        "precision": precision,
        "Python": platform.python_version(),
        **{name: _version(package) for package, name in PACKAGES.items()},
        "commit": _commit(Path(__file__).parents[2]) if replicas.is_chief else "",
        "system": platform.platform(),
        "ranks": ranks,
    }


def add(run_dir: Path, start: dict[str, Any]) -> None:
    """Add a start to environment.json. Raises `OSError` if it can't be written."""
    stored = {"starts": [*starts_of(run_dir), start]}
    atomic.write(run_dir / ENVIRONMENT, json.dumps(stored, indent=2).encode() + b"\n")


def _commit(clone: Path) -> str:
    """Return the git commit of a clone, marked where files differ from it; "none" if it is not known."""
    git = shutil.which("git")
    if not git or not (clone / ".git").exists():
        return "none"
    command = [git, "-C", str(clone), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip() or "none"
    return "none"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
