"""Replicas over tf.distribute: several devices of one process (mirrored), or of several processes (multiworker)."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from distgan.errors import STALLED, AloneError, UserError, reason
from distgan.replicas import launcher, watchdog
from distgan.replicas.base import Replicas, Shard, stacked
from distgan.tracing import traced


class StrategyReplicas(Replicas):
    """The replicas of a `tf.distribute.MirroredStrategy` or `MultiWorkerMirroredStrategy`."""

    def __init__(self, backend: str, strategy: tf.distribute.Strategy) -> None:
        """Take a strategy that was created before any other TensorFlow op ran."""
        self.backend = backend
        self.strategy = strategy
        resolver = strategy.cluster_resolver
        spec = resolver.cluster_spec().as_dict() if resolver else {}
        self.size = max(1, sum(len(tasks) for tasks in spec.values()))
        is_first_kind = not resolver or resolver.task_type in (None, "chief") or "chief" not in spec
        self.rank = ((resolver.task_id or 0) + (not is_first_kind)) if resolver else 0
        self.num_replicas = strategy.num_replicas_in_sync
        self._sum_on_devices = traced(self._sum_of_processes)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the strategy's scope."""
        return self.strategy.scope()

    def batches(self, make: Callable[[Shard], Iterator[Any]], most: int = 1) -> Callable[[int], Any]:
        """Distribute this process's elements to its replicas in turn.

        The iterator is on the host. To close one of tf.distribute, which has threads for each device, took up to 2.5
        seconds (this one: 1 ms), and each element took twice as long. A run once hung where its iterator was closed.
        """
        local = self.num_replicas // self.size
        elements = make(Shard(self.rank * local, local, self.num_replicas))

        def take(steps: int) -> Any:
            drawn = [next(elements) for _ in range(steps * local)]
            shares = iter([stacked(drawn[replica::local], most) for replica in range(local)])
            return self.strategy.experimental_distribute_values_from_function(lambda _: next(shares))

        return take

    def place(self, array: np.ndarray) -> Any:
        """Return a copy of an array on the device of each local replica."""
        devices = self.strategy.extended.worker_devices

        def copy(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            with tf.device(devices[context.replica_id_in_sync_group % len(devices)]):
                return tf.constant(array)

        return self.strategy.experimental_distribute_values_from_function(copy)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a step that runs on each local replica, and returns the results of the first one."""

        def run(*arguments: Any) -> Any:
            results = self.strategy.run(step, arguments)
            return tf.nest.map_structure(lambda value: self.local_values(value)[0], results)

        return traced(run)

    def local_values(self, value: Any) -> list[Any]:
        """Return the copies of a value or a variable on the local replicas."""
        return list(self.strategy.experimental_local_results(value))

    def sum_in_step(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sum tensors over all replicas by one all-reduce per data type; differentiable."""
        context = tf.distribute.get_replica_context()
        if context is None or self.num_replicas == 1:  # None while Keras builds a layer
            return tensors
        summed = list(tensors)
        for dtype in {tensor.dtype: None for tensor in tensors}:
            numbers = [number for number, tensor in enumerate(tensors) if tensor.dtype == dtype]
            placed = [tf.identity(tensors[number]) for number in numbers]  # all_reduce refuses tensors without a device
            for number, total in zip(numbers, context.all_reduce(tf.distribute.ReduceOp.SUM, placed), strict=True):
                summed[number] = total
        return summed

    def sum_rounded(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sum tensors over all replicas as bfloat16; the sums are rounded to bfloat16 too."""
        if self.num_replicas == 1:
            return tensors
        summed = self.sum_in_step([tf.cast(tensor, tf.bfloat16) for tensor in tensors])
        return [tf.cast(total, tensor.dtype) for total, tensor in zip(summed, tensors, strict=True)]

    def apply(self, optimizer: Any, gradients: list[tf.Tensor], variables: list[keras.Variable]) -> None:
        """Apply summed gradients, and prevent the optimizer from summing them again."""
        getattr(optimizer, "inner_optimizer", optimizer)._all_reduce_sum_gradients = list
        optimizer.apply(gradients, variables)

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Sum arrays over all processes."""
        if self.size == 1:
            return arrays
        with watchdog.waiting():
            return [total.numpy() for total in self._sum_on_devices([tf.constant(array) for array in arrays])]

    def _sum_of_processes(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        local = self.num_replicas // self.size

        def of_replica(*values: tf.Tensor) -> list[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            is_first = context.replica_id_in_sync_group % local == 0
            return self.sum_in_step([value * tf.cast(is_first, value.dtype) for value in values])

        totals = self.strategy.run(of_replica, tuple(tensors))
        return [self.local_values(total)[0] for total in totals]


def mirrored() -> StrategyReplicas:
    """Return the replicas on all devices of this process: its GPUs, or its logical CPUs if it has no GPU."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return StrategyReplicas("mirrored", tf.distribute.MirroredStrategy(devices))


def multiworker() -> StrategyReplicas:
    """Return the replicas on the devices of all processes that `TF_CONFIG` names."""
    try:
        return StrategyReplicas("multiworker", tf.distribute.MultiWorkerMirroredStrategy())
    except tf.errors.UnknownError as error:
        why = f"this worker can't listen at its address ({reason(error)}): is the port in use?"
        raise UserError(f"TF_CONFIG: {why}") from None
    except tf.errors.OpError as error:
        why = f"could not connect to the others ({reason(error)}); rerun the command to resume"
        raise AloneError(f"rank {launcher.own_rank()} {why}.", STALLED) from None
