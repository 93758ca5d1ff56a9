"""Join the other processes of a run through the chosen backend."""

import importlib.util
import os
from collections.abc import Mapping

import tensorflow as tf

from distgan.config import Config
from distgan.errors import UserError
from distgan.replicas import cluster, devices, launcher, strategy
from distgan.replicas.base import Replicas
from distgan.replicas.hvd import HorovodReplicas


def connect(config: Config) -> Replicas:
    """Take this process's share of its machine and join the other processes.

    Must run before TensorFlow has used a device. Raises `UserError` if the backend is not available, `AloneError`
    if the processes do not meet.
    """
    if not tf.executing_eagerly() or tf.distribute.has_strategy():
        raise UserError("Call train outside of tf.function, tf.Graph and the scope of a strategy.")
    backend, virtual_devices = choose_backend(config.backend), config.virtual_devices
    if virtual_devices and backend != "mirrored":
        raise UserError(f"--virtual_devices={virtual_devices} is for --backend=mirrored; here it is {backend}.")
    if backend == "horovod":
        timeline = bool(config.profile_range())
        replicas = HorovodReplicas(timeline, config.stall_timeout_seconds, config.start_timeout_seconds)
        devices.set_up(replicas.local_rank, replicas.local_size, 0, config.deterministic)
        return replicas
    if backend == "multiworker":
        with cluster.formed(config.start_timeout_seconds) as place:
            devices.set_up(*place, 0, config.deterministic)
            return strategy.multiworker()
    devices.set_up(0, 1, virtual_devices, config.deterministic)
    return strategy.mirrored() if backend == "mirrored" else Replicas()


def choose_backend(backend: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return `backend`, or for `auto` the backend that a process's environment selects."""
    if backend != "auto":
        return backend
    launcher.refuse_half(environment)
    started_by, size = launcher.launched_by(environment), launcher.launched_size(environment)
    by_mpi = size > 1 and started_by.startswith(("OMPI", "PMI", "SLURM"))
    if started_by == "HOROVOD_SIZE" or (by_mpi and importlib.util.find_spec("horovod")):
        return "horovod"
    if size > 1 or launcher.worker_of_host(environment):
        return "multiworker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "single"
