"""Join the other processes of a run, by the backend that was chosen."""

import os
from collections.abc import Mapping

import tensorflow as tf

from distgan.errors import UserError
from distgan.replicas import devices, launcher, strategy
from distgan.replicas.base import Replicas
from distgan.replicas.hvd import HorovodReplicas


def connect(backend: str = "auto", *, virtual_devices: int = 0, deterministic: bool = False) -> Replicas:
    """Take this process's share of its machine and join the others.

    Must run before TensorFlow has used a device. Raises `UserError` where the backend can't be had.
    """
    backend = choose_backend(backend)
    if virtual_devices and backend != "mirrored":
        raise UserError(f"--virtual_devices={virtual_devices} is for --backend=mirrored; here it is {backend}.")
    if backend == "horovod":
        replicas = HorovodReplicas()
        devices.set_up(replicas.local_rank, replicas.local_size, 0, deterministic)
        return replicas
    cluster = launcher.cluster()
    if backend == "multiworker":
        if cluster is None:
            raise UserError("--backend=multiworker needs TF_CONFIG, which names the cluster; see launch/README.md.")
        devices.set_up(0, cluster["local_size"], 0, deterministic)
        return strategy.multiworker()
    devices.set_up(0, 1, virtual_devices, deterministic)
    return strategy.mirrored() if backend == "mirrored" else Replicas()


def choose_backend(backend: str, environment: Mapping[str, str] = os.environ) -> str:
    """What `--backend=auto` means in a process's environment."""
    if backend != "auto":
        return backend
    if launcher.launched_size(environment):
        return "horovod"
    if launcher.cluster(environment):
        return "multiworker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "single"
