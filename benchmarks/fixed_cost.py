"""What does a step cost whose networks have nothing to compute? Compared with a plain loop of the same networks.

    python benchmarks/fixed_cost.py                                  # ten minutes
    python benchmarks/fixed_cost.py --rounds=1 --steps=100 --steps_per_call=1,10

Trains the `mnist` networks with one filter, without normalization, on batches of 4, so that a step's time is what its
calls, its operations and the loop around it cost. The plain loop is that of TensorFlow's DCGAN tutorial: `tf.function`
with Keras's layers, two tapes and Keras's Adam, over a `tf.data` data set. Each case runs in a process of its own, in
turns; its figure is the time of --steps steps after as many others, with input and log. Cases are `plain` and, with
each --steps_per_call, distgan and distgan with --jit_compile.

For one process of distgan it also prints where the time goes: `loop` is the training loop, `step` the compiled step
alone, `operations` what TensorFlow's profiler sees of the step's operations, by kind; the rest is the cost of starting
them. Prints two tables and writes results/fixed_cost_*.json.
"""

import argparse
import collections
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import launching
import numpy as np
import record
from launching import Layout

BATCH, FILTERS = 4, 1


def main() -> None:
    given = _arguments()
    if given.answer_to:
        measure = {"plain": _plain, "parts": _parts}.get(given.case, _distgan)
        given.answer_to.write_text(json.dumps(measure(given)))
        return
    numbers = given.steps_per_call.split(",")
    cases = ["plain", *(f"{way} {number}" for way in ("distgan", "compiled") for number in numbers)]
    found = launching.in_turn(cases, given.rounds, lambda case: _ask(case, given))
    plain = found["plain"]
    rows = [
        {"case": case, "ms": ms, "over_plain": [own / other for own, other in zip(ms, plain, strict=True)]}
        for case, ms in found.items()
    ]
    launching.print_table(
        ["case, steps per call", "ms a step, median (range)", "steps/s", "of the plain loop's time"],
        ([row["case"], launching.spread(row["ms"], ".2f"), f"{1000 / statistics.median(row['ms']):,.0f}",
          launching.spread(row["over_plain"], ".2f")] for row in rows),
    )  # fmt: skip
    parts = _ask("parts", given)
    launching.print_table(["part", "ms a step", "times a step"],
                          ([part, f"{ms:.3f}", f"{times:.0f}"] for part, (ms, times) in parts.items()))  # fmt: skip
    print(record.write("fixed_cost", vars(given), {"cases": rows, "parts": parts}))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000, help="that are measured")
    parser.add_argument("--steps_per_call", default="1,10,100")
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _ask(case: str, given: argparse.Namespace) -> Any:
    layout = Layout("single", len(launching.cores()))
    return launching.ask(layout, __file__, f"--case={case}", f"--steps={given.steps}")


# ---- what a process measures


def _config(run_dir: str, steps: int, **settings: Any) -> Any:
    from distgan.config import Config

    return Config(
        preset="mnist", filters=FILTERS, batch_size=BATCH, normalization="none",
        precision="float32", run_dir=run_dir, steps=2 * steps, log_every_steps=steps,
        sample_every="1000000steps", **settings,
    )  # fmt: skip


def _distgan(given: argparse.Namespace) -> float:
    """Milliseconds of a step, from the first to the second line of the log."""
    from distgan.replicas.base import Replicas
    from distgan.training import loop

    way, number = given.case.split()
    with tempfile.TemporaryDirectory() as run_dir:
        settings = {"steps_per_call": int(number), "jit_compile": way == "compiled"}
        loop.train(_config(run_dir, given.steps, **settings), Replicas(), io.StringIO())
        first, last = (json.loads(line) for line in Path(run_dir, "metrics.jsonl").read_text().splitlines())
    return float(1000 * (last["seconds"] - first["seconds"]) / given.steps)


def _plain(given: argparse.Namespace) -> float:
    """Milliseconds of a step of the tutorial's loop."""
    sys.path.append(str(Path(__file__).parent / "peers"))
    import tensorflow as tf
    import tensorflow_tutorial as tutorial

    from distgan.data.arrays import open_mnist

    generator, discriminator = tutorial.make_generator(FILTERS, normalized=False), tutorial.make_discriminator(FILTERS)
    step = tutorial.make_step(generator, discriminator, BATCH)
    pixels = open_mnist().pixels.astype(np.float32) / 127.5 - 1
    dataset = tf.data.Dataset.from_tensor_slices(pixels).shuffle(len(pixels)).batch(BATCH, drop_remainder=True)
    batches = iter(dataset.repeat())
    for _ in range(given.steps):
        step(next(batches))
    started = time.perf_counter()
    for _ in range(given.steps):
        step(next(batches))  # on a CPU it returns when it is done
    return 1000 * (time.perf_counter() - started) / given.steps


def _parts(given: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Milliseconds and calls a step of the loop, the step, and each kind of operation in it."""
    import tensorflow as tf

    from distgan.replicas.base import Replicas
    from distgan.training.feed import open_data
    from distgan.training.trainer import Trainer

    given.case = "distgan 1"
    parts = {"loop": (_distgan(given), 1.0)}
    config = _config("runs/unused", given.steps, jit_compile=False, steps_per_call=1)
    trainer = Trainer(config, Replicas(), open_data(config, Replicas()))
    arguments = trainer.feed.resident, trainer.feed.next(), tf.zeros(7)
    made: Any = trainer.make_step()
    step = made.get_concrete_function(*arguments)

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            results = step(*arguments)
        results["flags"].numpy()
        return 1000 * (time.perf_counter() - started) / steps

    run(given.steps)
    parts["step"] = run(given.steps), 1.0
    profiled = min(given.steps, 50)
    with tempfile.TemporaryDirectory() as directory:
        with tf.profiler.experimental.Profile(directory):
            run(profiled)
        kinds = _kinds(next(Path(directory).rglob("*.xplane.pb")))
    known = {operation.type for operation in step.graph.get_operations()} | {"_UnaryOpsComposition", "_FusedConv2D"}
    operations = {kind: (ms / profiled, times / profiled) for kind, (ms, times) in kinds.items() if kind in known}
    parts["operations"] = sum(ms for ms, _ in operations.values()), sum(times for _, times in operations.values())
    return parts | dict(sorted(operations.items(), key=lambda one: -one[1][0])[:12])


def _kinds(path: Path) -> dict[str, tuple[float, int]]:
    """Milliseconds and number of the events of a profile, by the kind of operation."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    found: dict[str, tuple[float, int]] = collections.defaultdict(lambda: (0.0, 0))
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            kind = plane.event_metadata[event.metadata_id].name.rpartition(":")[2]
            ms, times = found[kind]
            found[kind] = ms + event.duration_ps / 1e9, times + 1
    return found


if __name__ == "__main__":
    main()
