"""What a run would be, without training: its networks, memory, communication and schedule; and a check of its data."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Source, refuse_faults
from distgan.data.sources import open_source
from distgan.errors import in_short
from distgan.replicas import launcher
from distgan.replicas.base import Replicas
from distgan.replicas.connect import choose_backend
from distgan.report import messages
from distgan.training.clock import Clock
from distgan.training.feed import images_wanted, open_data
from distgan.training.trainer import Trainer

AT_ONCE = 256  # images that a thread reads
MEBIBYTE = 2**20


class _Noting(Replicas):
    """A single replica that notes the bytes of each sum over replicas that a step has."""

    def __init__(self) -> None:
        self.sums: list[int] = []

    def sum_in_step(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        self.sums.append(sum(math.prod(tensor.shape) * tensor.dtype.size for tensor in tensors))
        return tensors

    def sum_rounded(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        self.sums.append(sum(math.prod(tensor.shape) * tf.bfloat16.size for tensor in tensors))
        return tensors


def tell(config: Config, *, of_data: bool, of_run: bool) -> None:
    """Print what is asked for, and leave GPUs alone, which may be in use."""
    tf.config.set_visible_devices([], "GPU")
    for is_asked, lines in ((of_data, check_data), (of_run, describe)):
        for line in lines(config) if is_asked else ():
            print(line, flush=True)


def describe(config: Config) -> Iterator[str]:
    """Yield lines about a run with this config. Raises `UserError` if it could not start."""
    replicas = _Noting()
    source = open_data(config, replicas)
    backend, processes, planned = _layout(config)
    config.check_replicas(planned)
    trainer = Trainer(Config(**config.values() | {"jit_compile": False, "steps_per_call": 1}), replicas, source)
    trainer.check_length()
    clock, gan = Clock(trainer, steps=config.steps, epochs=config.epochs), trainer.gan
    facts = trainer.facts() | {"backend": backend, "num_replicas": planned}
    yield messages.opening(config, source, clock, facts, processes)
    for name, network in gan.networks.items():
        trained = sum(math.prod(variable.shape) for variable in network.trainable_variables)
        shape = "x".join(str(size) for size in network.output_shape[1:])
        yield f"{name}: {network.count_params():,} parameters, of which {trained:,} are trained; output {shape}"
    held = sum(array.nbytes for array in source.arrays.values())
    state = sum(variable.shape.num_elements() * variable.dtype.size for variable in trainer.state.variables.values())
    yield f"memory: {_in_mib(state)} of weights and optimizers, {_in_mib(held)} of images, and what the layers compute"
    share = trainer.feed.next()
    replicas.sums.clear()
    trainer.make_step().get_concrete_function(trainer.feed.resident, share, tf.zeros(1))  # type: ignore[attr-defined]
    sums = sorted(replicas.sums)
    all_reduces = f"{len(sums)} all-reduces" if len(sums) > 1 else "1 all-reduce"
    yield f"a step on several replicas: {all_reduces} of {_in_mib(sum(sums))}, the largest of {_in_mib(sums[-1])}"
    yield f"an epoch: {trainer.num_examples / trainer.images_per_step:,.1f} steps"
    for player, optimizer in trainer.state.optimizers.items():
        yield f"learning rate of the {player}: {float(optimizer.learning_rate.numpy()):g}{_schedule(config)}"


def _layout(config: Config) -> tuple[str, int, int]:
    """Return the backend that this command would have, its processes, and their replicas; nothing joins them."""
    backend = choose_backend(config.backend)
    processes = launcher.own_size() if backend in ("horovod", "multiworker") else 1
    devices = config.virtual_devices or len(tf.config.list_physical_devices("GPU")) or 1
    return backend, processes, devices if backend == "mirrored" else processes


def _schedule(config: Config) -> str:
    if config.learning_rate_schedule == "constant":
        return ""
    first = f"{config.constant_epochs:g} epochs, then " if config.constant_epochs else ""
    return f", {first}{config.learning_rate_schedule} to zero over {config.decay_epochs:g} epochs"


def _in_mib(size: int) -> str:
    return f"{size / MEBIBYTE:,.1f} MiB"


def check_data(config: Config) -> Iterator[str]:
    """Read all images once, and yield lines about them. Raises `UserError` if more than 1% of the files are damaged."""
    held_out = open_source(str(config.data), "test", images_wanted(config))
    for split, source in (("train", open_data(config, Replicas())), ("test", held_out)):
        for stream, number in source.streams.items():
            _read_all(source, stream)
            yield f"{split}: {number:,} {stream} read, {'x'.join(map(str, source.example_shape))}"
        if source.labels is not None:
            counts = np.bincount(source.labels, minlength=len(source.class_names)).tolist()
            named = [f"{name} {count:,}" for name, count in zip(source.class_names, counts, strict=True)]
            yield f"{split}: {len(named)} classes: {in_short(named)}"
        yield from source.notes
        yield from (f"{path} is left out: {reason}" for path, reason in source.faults.items())
        refuse_faults(source.name, source.faults, source.num_files)


def _read_all(source: Source, stream: str) -> None:
    number = source.streams[stream]
    parts = (np.arange(first, min(first + AT_ONCE, number)) for first in range(0, number, AT_ONCE))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda part: len(source.read(stream, part)), parts):
            pass
