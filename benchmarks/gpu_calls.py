"""How fast a step is by how much of it one call holds, on a GPU: operations, the step compiled, many steps compiled.

    python benchmarks/gpu_calls.py                                          # five minutes on an H200
    python benchmarks/gpu_calls.py --device=cpu --flags=--filters=1 --ways=operations --steps_per_call=2

The step is that of `distgan.train`, on one batch that stays the same. The ways are: `operations`, one after the other,
as TensorFlow starts them; `step`, the whole step compiled by XLA; `loop`, --steps_per_call steps compiled as one loop.
"""

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import launching
import record
import tensorflow as tf

from distgan.config import Config
from distgan.replicas.connect import connect
from distgan.tracing import traced
from distgan.training.feed import open_data
from distgan.training.trainer import Trainer

CASES = {
    "mnist, batch 256": {"preset": "mnist", "batch_size": 256},
    "mnist, batch 2048": {"preset": "mnist", "batch_size": 2048},
    "dcgan64, batch 128": {"preset": "dcgan64", "data": "mnist", "channels": 3},
    "pix2pix, batch 16": {"preset": "pix2pix", "data": "mnist-edges", "image_size": "64x64", "batch_size": 16},
}
WAYS = ("operations", "step", "loop")
BLOCKS, BLOCK_STEPS = 5, 100


def main() -> None:
    given = _arguments()
    for flag, wanted, known in (("cases", given.cases.split(";"), CASES), ("ways", given.ways.split(","), WAYS)):
        if unknown := [one for one in wanted if one not in known]:
            sys.exit(f"--{flag} has no {unknown[0]}: there are {'; '.join(known)}.")
    if given.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif not tf.config.list_physical_devices("GPU"):
        sys.exit("TensorFlow sees no GPU here: give --device=cpu to try the program.")
    found = [
        {"case": case, "way": way, **_measure(CASES[case] | _settings(given.flags), way, given)}
        for case in given.cases.split(";")
        for way in given.ways.split(",")
    ]
    launching.print_table(
        ["case", "way", "ms a step", "images/s"],
        ([one["case"], one["way"], f"{one['ms']:.2f}", f"{one['images_per_second']:,.0f}"] for one in found),
    )
    print(record.write("gpu_calls", vars(given), found))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--cases", default=";".join(CASES), help="of the program's table, separated by semicolons")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--steps_per_call", type=int, default=50, help="of the way `loop`")
    parser.add_argument("--flags", default="--precision=mixed_bfloat16", help="for all cases, as --name=value")
    return parser.parse_args()


def _settings(flags: str) -> dict[str, Any]:
    """Flags as fields of a config: numbers as numbers."""
    pairs = (word.removeprefix("--").partition("=") for word in shlex.split(flags))
    return {name: int(value) if value.isdecimal() else value for name, _, value in pairs}


def _measure(settings: dict[str, Any], way: str, given: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a step and images a second, the median of some blocks of steps, and how long the first call took."""
    config = Config(steps=1_000_000, **{"jit_compile": False, "steps_per_call": 1} | settings)
    replicas = connect(config)
    launching.wrap(replicas, "compile", lambda _: lambda step: step)  # as `_call` compiles it
    trainer = Trainer(config, replicas, open_data(config, replicas))
    batch = trainer.feed.resident, trainer.feed.next(), tf.zeros(1)
    steps = given.steps_per_call if way == "loop" else 1
    found = _time(_call(trainer.make_step(), way, steps, batch), batch, steps)
    return found | {"images_per_second": 1000 * config.batch_size / found["ms"]}


def _call(step: Callable[..., Any], way: str, steps: int, batch: tuple[Any, ...]) -> Callable[..., Any]:
    """A function that makes some steps in one call."""
    if way != "loop":
        return traced(step, jit_compile=way == "step")
    results = traced(step).get_concrete_function(*batch).structured_outputs
    zeros = tf.nest.map_structure(lambda result: tf.zeros(result.shape, result.dtype), results)

    def many(*batch: Any) -> Any:
        return tf.while_loop(
            lambda number, _: number < steps, lambda number, _: (number + 1, step(*batch)), (0, zeros),
            parallel_iterations=1,
        )[1]  # fmt: skip

    return traced(many, jit_compile=True)


def _time(call: Callable[..., Any], batch: tuple[Any, ...], steps: int) -> dict[str, Any]:
    def wait_for(results: Any) -> None:
        tf.nest.map_structure(lambda result: result.numpy(), results)

    started = time.perf_counter()
    wait_for(call(*batch))
    first_seconds = time.perf_counter() - started
    calls, milliseconds = max(1, BLOCK_STEPS // steps), []
    for _ in range(BLOCKS):
        started = time.perf_counter()
        for _ in range(calls):
            results = call(*batch)
        wait_for(results)
        milliseconds.append(1000 * (time.perf_counter() - started) / calls / steps)
    return {"ms": statistics.median(milliseconds), "all_ms": milliseconds, "first_seconds": first_seconds}


if __name__ == "__main__":
    main()
