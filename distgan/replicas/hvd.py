"""Replicas over Horovod: one process per replica."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from distgan.errors import STALLED, AloneError, UserError, first_line
from distgan.replicas import launcher, rendezvous, watchdog
from distgan.replicas.base import Replicas

IDLE_MILLISECONDS = 50  # Horovod's idle thread sleeps until there is something to sum, or this long
BUCKET_BYTES = 32 * 2**20  # one all-reduce up to this size; above it, buckets that overlap with the backward pass


class HorovodReplicas(Replicas):
    """One replica in each process that `horovodrun`, `mpirun` or `srun` started."""

    backend = "horovod"

    def __init__(self, timeline: bool, stall_timeout_seconds: float, start_timeout_seconds: float) -> None:
        """Join the other processes; `timeline` is true if `start_timeline` will be called.

        If a rank is missing from a collective, it is named and all ranks end before the stall timeout. Raises
        `UserError` if Horovod is missing or finds another number of processes, `AloneError` if they do not meet.
        """
        # With three or more ranks, fusion that depends on timing changes the order of sums, and so their last bits.
        os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")
        if timeline:  # start_timeline needs it; but its thread then uses a whole core during the whole run
            os.environ.setdefault("HOROVOD_TIMELINE", "DYNAMIC")
        os.environ.setdefault("HOROVOD_IDLE_TIME", str(IDLE_MILLISECONDS))  # read by the Horovod of horovod_build/
        for limit, part in (("CHECK_TIME", 1 / 4), ("SHUTDOWN_TIME", 3 / 4)):
            os.environ.setdefault(f"HOROVOD_STALL_{limit}_SECONDS", str(max(1, int(part * stall_timeout_seconds))))
        if tf.config.list_physical_devices("GPU"):
            os.environ.setdefault("HOROVOD_CYCLE_TIME", "0.1")  # ms; a step of small networks is as short as a cycle
        try:
            import horovod.tensorflow as hvd
        except ImportError as error:
            why = f"--backend=horovod needs Horovod, which is missing ({error})"
            raise UserError(f"{why}: run `make setup` or `distgan build-horovod`.") from None
        self._hvd = hvd
        self.is_elastic = bool(launcher.elastic_job())
        server = launcher.rendezvous_server()
        if server and not self.is_elastic:  # the set of elastic workers changes
            rendezvous.meet(server, launcher.launched_rank(), launcher.launched_size(), start_timeout_seconds)
        try:
            self._join()
        except ValueError as error:  # Horovod's log, on standard error, states the reason
            raise AloneError(
                f"rank {launcher.launched_rank()} could not connect to the others ({first_line(error)}).", STALLED
            ) from None
        if self.is_elastic:
            from horovod.common.elastic import notification_manager

            notification_manager.init()
            notification_manager.register_listener(self)
        started = launcher.launched_size()
        if started > 1 and self.size == 1:
            raise UserError(
                f"The launcher started {started} processes but Horovod sees 1: use --backend=multiworker, or "
                "horovodrun, or mpirun or srun and a Horovod built with MPI (`make setup` where MPI is installed)."
            )

    def _join(self) -> None:
        self._is_to_regroup = False
        self._names = itertools.count()  # workers that join now start with the same names
        self._hvd.init()
        self.rank, self.size = self._hvd.rank(), self._hvd.size()
        self.num_replicas = self.size
        self.local_rank, self.local_size = self._hvd.local_rank(), self._hvd.local_size()

    def on_hosts_updated(self, timestamp: int, result: int) -> None:
        """Record that hosts have joined or left; Horovod calls this on the chief when its driver detects it."""
        self._is_to_regroup = True

    def is_to_regroup(self) -> bool:
        """Return whether the driver has notified this process that hosts have joined or left."""
        return self._is_to_regroup

    def regroup(self) -> None:
        """Leave the previous set of workers, and join the set that the driver names now.

        Raises `ValueError` if that set does not include this process; Horovod reports it on standard error.
        """
        with watchdog.waiting():
            self._hvd.shutdown()
            self._join()

    def sum_in_step(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sum tensors over all ranks by one grouped all-reduce per data type and bucket; differentiable."""
        summed: list[Any] = list(tensors)
        if self.size == 1:
            return summed
        for bucket in _buckets(tensors):
            results = self._summed(f"sum.{next(self._names)}", [tensors[number] for number in bucket])
            for number, result in zip(bucket, results, strict=True):
                summed[number] = result
        return summed

    def sum_rounded(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sum tensors over all ranks, sent as bfloat16: each rank sums one part in float32 and sends it to all ranks.

        Horovod does not accept bfloat16, so its bits are sent as integers; these collectives do no arithmetic. They
        wait for the last tensor: above 32 MB nothing overlaps with the backward pass.
        """
        if self.size == 1:
            return tensors
        name, sizes = f"rounded.{next(self._names)}", [tensor.shape.num_elements() for tensor in tensors]
        values = tf.concat([tf.reshape(tf.cast(tensor, tf.bfloat16), [-1]) for tensor in tensors], 0)
        words = tf.bitcast(tf.pad(values, [(0, -sum(sizes) % self.size)]), tf.int16)
        parts = tf.reshape(self._hvd.alltoall(words, name=f"{name}.parts"), [self.size, -1])
        total = tf.reduce_sum(tf.cast(tf.bitcast(parts, tf.bfloat16), tf.float32), 0)
        words = self._hvd.allgather(tf.bitcast(tf.cast(total, tf.bfloat16), tf.int16), name=f"{name}.totals")
        totals = tf.split(tf.bitcast(words, tf.bfloat16)[: sum(sizes)], sizes)
        return [tf.cast(tf.reshape(one, like.shape), like.dtype) for one, like in zip(totals, tensors, strict=True)]

    def _summed(self, name: str, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        def reduce(name: str, tensors: Any) -> list[tf.Tensor]:
            return self._hvd.grouped_allreduce(list(tensors), op=self._hvd.Sum, name=name)

        @tf.custom_gradient
        def with_gradient(*inputs: tf.Tensor) -> Any:
            return reduce(name, inputs), lambda *upstream: reduce(f"gradient.{next(self._names)}", upstream)

        return with_gradient(*tensors)

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Sum arrays over all ranks, each by its own all-reduce."""
        with watchdog.waiting():
            return [
                self._hvd.allreduce(tf.constant(array), op=self._hvd.Sum, name=f"host.{number}").numpy()
                for number, array in enumerate(arrays)
            ]

    def start_timeline(self, path: Path) -> None:
        """Record every collective into a file for chrome://tracing."""
        self._hvd.start_timeline(str(path), mark_cycles=True)

    def stop_timeline(self) -> None:
        """Close the timeline's file."""
        self._hvd.stop_timeline()


def _buckets(tensors: list[tf.Tensor]) -> list[list[int]]:
    """Return the indices of tensors to reduce together: of one data type; above the limit, from the last tensor on."""
    total = sum(_bytes(tensor) for tensor in tensors)
    order = range(len(tensors)) if total <= BUCKET_BYTES else reversed(range(len(tensors)))
    buckets: list[list[int]] = []
    open_bucket: dict[tf.DType, tuple[list[int], int]] = {}
    for number in order:
        dtype, size = tensors[number].dtype, _bytes(tensors[number])
        bucket, held = open_bucket.get(dtype, (None, 0))
        if bucket is None or held + size > BUCKET_BYTES:
            bucket, held = [], 0
            buckets.append(bucket)
        bucket.append(number)
        open_bucket[dtype] = (bucket, held + size)
    return buckets


def _bytes(tensor: tf.Tensor) -> int:
    return (tensor.shape.num_elements() or 0) * tensor.dtype.size
