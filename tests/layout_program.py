"""Runs on every process of a layout; makes there all the observations that test_same_run.py judges.

Each process writes what it saw to `<output>/seen-<rank>.json`, and the chief the arrays of its runs.
"""

import argparse
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from distgan.config import Config
from distgan.data import order, pipeline
from distgan.data.arrays import LabelledImages
from distgan.data.base import Wanted
from distgan.errors import TrainingError, UserError
from distgan.gans.base import make_gan
from distgan.gans.noise_to_image import DCGAN
from distgan.gans.registry import GANS
from distgan.replicas.base import Replicas
from distgan.replicas.connect import connect
from distgan.store.run_directory import RunDirectory, Snapshot
from distgan.training import loop, precision
from distgan.training.state import TrainState

RECIPE: dict[str, Any] = {
    "batch_size": 64,
    "steps": 20,
    "checkpoint_every": "20steps",
    "sample_every": "1000epochs",
    "log_every_steps": 1,
}
PROFILED: dict[str, Any] = {"profile_steps": "2:3"}
SMALL = RECIPE | {"filters": 4, "latent_dim": 10, "batch_size": 16, "precision": "float32"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", required=True)
    parser.add_argument("--virtual_devices", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--looks", default=",".join(LOOKS), help="the observations to make")
    parser.add_argument("--filters", type=int, default=64)
    given = parser.parse_args()
    RECIPE["filters"] = given.filters
    replicas = connect(Config(backend=given.backend, virtual_devices=given.virtual_devices, **PROFILED))
    seen: dict[str, Any] = {"rank": replicas.rank, "size": replicas.size, "num_replicas": replicas.num_replicas}
    for look in (LOOKS[name] for name in given.looks.split(",")):
        started = time.monotonic()
        seen |= look(replicas, given.output)
        seen[f"{look.__name__}_seconds"] = round(time.monotonic() - started, 1)
    (given.output / f"seen-{replicas.rank}.json").write_text(json.dumps(seen, indent=1))


def exact_run(replicas: Replicas, output: Path) -> dict[str, Any]:
    """The recipe in float64; the average beside it changes nothing in it."""
    config = Config(**RECIPE, precision="float64", ema_half_life_images=640, run_dir=str(output / "float64"))
    loop.train(config, replicas, io.StringIO())
    return {}


def float32_run(replicas: Replicas, output: Path) -> dict[str, Any]:
    """The recipe in float32."""
    loop.train(Config(**RECIPE, precision="float32", run_dir=str(output / "float32")), replicas, io.StringIO())
    return {}


def rounded_run(replicas: Replicas, output: Path) -> dict[str, Any]:
    """A small net in float64, whose gradients travel as bfloat16; replicas must stay equal to be saved."""
    rounded: dict[str, Any] = {"precision": "float64", "wire_dtype": "bfloat16", "run_dir": str(output / "rounded")}
    config = Config(**SMALL | rounded)
    loop.train(config, replicas, io.StringIO())
    return {}


def local_run(replicas: Replicas, output: Path) -> dict[str, Any]:
    """A small net whose batch norms don't communicate; their moving statistics must stay equal to be saved."""
    settings = SMALL | {
        "precision": "float64",
        "steps": 2,
        "checkpoint_every": "1steps",
        "normalization": "local",
        "batch_size": 12,
    }
    loop.train(Config(**settings, run_dir=str(output / "local")), replicas, io.StringIO())
    return {}


def communication(replicas: Replicas, output: Path) -> dict[str, Any]:
    """What each process gets of sums, agreements and broadcasts; a broadcast must keep even the sign of a zero."""
    with replicas.scope():
        variable = tf.Variable([-0.0, 1.0 + replicas.rank])
    replicas.broadcast([variable])
    value = replicas.local_values(variable)[0].numpy()
    return {
        "sum": [array.tolist() for array in replicas.sum([np.array([1, replicas.rank]), np.array([0.5])])],
        "agreed": replicas.agree({"text": "é" * (replicas.rank + 1)}),
        "broadcast": [float(np.copysign(1, value[0])), float(value[1])],
    }


def failure_on_chief(replicas: Replicas, output: Path) -> dict[str, Any]:
    """What each process learns when the chief alone fails."""

    def fail() -> None:
        raise UserError("the chief's sentence")

    try:
        replicas.on_chief(fail)
    except UserError as error:
        return {"failure": str(error)}
    return {"failure": None}


def noise_rows(replicas: Replicas, output: Path) -> dict[str, Any]:
    """The noise and the examples of this process's replicas in step 3 of a batch of 10."""

    pixels = np.zeros((97, 4, 4, 1), np.uint8)
    source = LabelledImages("made", pixels, None).source(Wanted())

    def make(shard: Any) -> Iterator[Any]:
        shares = pipeline.make_shares(shard, source, batch_size=10, seed=5, first_position=90, image_phases=1)
        for share in shares:
            yield share | {"noise": order.Draws("noise", 3, share["rows"][0], len(share["rows"])).normal((7,))}

    share = replicas.batches(make)(1)
    share["examples"] = share["examples"]["images"]
    values = {name: tf.nest.flatten(replicas.local_values(share[name])) for name in ("rows", "examples", "noise")}
    return {
        "rows": np.concatenate([value.numpy() for value in values["rows"]]).tolist(),
        "examples": np.concatenate([value.numpy()[:, 0] for value in values["examples"]]).tolist(),
        "noise": np.concatenate([value.numpy() for value in values["noise"]]).tolist(),
    }


def divergence(replicas: Replicas, output: Path) -> dict[str, Any]:
    """What a save says when the last process's copy of one variable has gone astray."""
    config = Config(**SMALL, run_dir=str(output / "diverged"))
    with RunDirectory(config, replicas) as directory:
        with replicas.scope(), precision.policy("float32"):
            gan = make_gan(config, (28, 28, 1), replicas.sum_in_step, ())
            state = TrainState(gan, config, "float32", 60000)
            directory.restore(state, "", Snapshot())
        state.step.assign(1)
        astray = state.variables["discriminator/logit/bias"]
        if replicas.rank == replicas.size - 1:
            copies = getattr(astray, "values", [astray])
            copies[-1].assign(copies[-1] + 1)
        try:
            directory.save(state, {})
        except TrainingError as error:
            return {"divergence": str(error)}
    return {"divergence": None}


class OverflowsOnce(DCGAN):
    """Overflows in the first row of the last replica's share, in the third step."""

    def losses(self, batch: pipeline.Batch, phase: tuple[str, ...]) -> Any:
        sums, logged = super().losses(batch, phase)
        last_rows = batch.draws.first + tf.cast(batch.draws.count, tf.int64) >= SMALL["batch_size"]
        overflow = tf.where(last_rows & (batch.draws.step == 2), float("inf"), 1.0)
        return {player: value * overflow for player, value in sums.items()}, logged


def overflow(replicas: Replicas, output: Path) -> dict[str, Any]:
    """Five steps in float16, the third of which overflows on one replica; replicas must stay equal to be saved."""
    usual = GANS["mnist"]
    GANS["mnist"] = usual._replace(gan=f"{__name__}:OverflowsOnce")
    config = Config(**SMALL | {"precision": "mixed_float16", "steps": 5, "checkpoint_every": "1steps",
                    "keep_checkpoints": 9} | PROFILED, run_dir=str(output / "float16"))  # fmt: skip
    loop.train(config, replicas, io.StringIO())
    GANS["mnist"] = usual
    return {}


def jitter(replicas: Replicas, output: Path) -> dict[str, Any]:
    """Twice the same small run, each process being late by its own random times."""
    on_time = replicas.batches

    def late(*given: Any, **named: Any) -> Any:
        take = on_time(*given, **named)

        def take_late(steps: int) -> Any:
            time.sleep(random.SystemRandom().uniform(0, 0.03))
            return take(steps)

        return take_late

    replicas.batches = late  # type: ignore[method-assign]
    for name in ("jitter-1", "jitter-2"):
        loop.train(Config(**SMALL | {"steps": 20}, run_dir=str(output / name)), replicas, io.StringIO())
    replicas.batches = on_time  # type: ignore[method-assign]
    return {}


LOOKS: dict[str, Callable[[Replicas, Path], dict[str, Any]]] = {
    look.__name__: look
    for look in (
        exact_run, float32_run, rounded_run, local_run, communication, failure_on_chief, noise_rows, divergence,
        overflow, jitter,
    )
}  # fmt: skip

if __name__ == "__main__":
    main()
