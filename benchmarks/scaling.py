"""How many images a second, by number of processes and backend?

    python benchmarks/scaling.py                                                                      # an hour or two
    python benchmarks/scaling.py --rounds=1 --steps=5 --batch_size=32 --backends=horovod --flags=     # some minutes
    python benchmarks/scaling.py --flags="--normalization=local" --flags="--precision=mixed_bfloat16" --oversubscribed=4

Weak scaling: each process has `batch_size` images a step. Strong scaling: they share `batch_size`. Each replica has one
core to itself, so a count above the number of cores is refused. Rows of backend "apart" are so many processes that do
not talk to each other: the most that the machine itself allows. Horovod with one process shows what it costs where
there is nothing to distribute. --oversubscribed=4 adds Horovod with four processes that share all cores.

Each --flags is a further way to train, in rows of its own beside those of the flags as they are. The layouts run in
turn, round after round, as a machine's speed drifts; efficiencies are ratios within a round to one process of the same
flags, times the cores. Bytes on the wire are counted, not measured: of what a step sums over the replicas (gradients,
batch norms' sums, what is logged), 2 (n - 1) / n leave each of n processes, as a ring sends them. Prints a table and
writes results/scaling_*.json.
"""

import argparse
import json
import os
import shlex
import statistics
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import launching
import numpy as np
import record
from launching import Layout


class Cell(NamedTuple):
    """One layout of one kind of scaling."""

    layout: Layout
    kind: str  # weak, strong, or - where they are one
    batch: int  # images a step over all replicas
    flags: str = ""


def main() -> None:
    given = _arguments()
    if given.answer_to:
        given.answer_to.write_text(json.dumps(count_summed_bytes(_train_flags(given.flags[0], given))))
        return
    cells = list(dict.fromkeys(_cells(given)))
    rates = launching.in_turn(cells, given.rounds, lambda cell: _images_per_second(cell, given))
    settings = [f"--precision={given.precision}", f"--normalization={given.normalization}"]
    summed = {
        flags: launching.ask(Layout("single"), __file__, *settings, f"--flags={flags}")
        for flags in _alternatives(given)
    }
    rows = [_row(cell, rates, summed[cell.flags], given) for cell in cells]
    _print_table(rows)
    print(record.write("scaling", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help=f"measured, after {launching.WARM_UP_STEPS} to warm up")
    parser.add_argument("--batch_size", type=int, default=128, help="images a step, of one process or of all")
    parser.add_argument("--counts", default="1,2", help="numbers of replicas")
    parser.add_argument("--backends", default="horovod,mirrored,multiworker")
    parser.add_argument("--oversubscribed", type=int, help="so many processes of Horovod on all cores, too")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--normalization", default="sync")
    parser.add_argument("--flags", action="append", help="of distgan.train, to compare; --normalization=local, if none")
    return parser.parse_args()


def _alternatives(given: argparse.Namespace) -> list[str]:
    """The flags as they are, then those to compare them with."""
    return ["", *filter(None, ["--normalization=local"] if given.flags is None else given.flags)]


def _cells(given: argparse.Namespace) -> list[Cell]:
    base, counts = given.batch_size, [int(count) for count in given.counts.split(",")]
    several = [count for count in counts if count > 1]
    cells = []
    for flags in _alternatives(given):
        cells.append(Cell(Layout("single"), "-", base, flags))
        if not flags:
            cells.append(Cell(Layout("single"), "-", base // 2))
            cells += [Cell(Layout("apart", count), "weak", count * base) for count in several]
        if "horovod" in given.backends and 1 in counts:
            cells.append(Cell(Layout("horovod"), "-", base, flags))
        wanted = [Layout(backend, count) for backend in given.backends.split(",") for count in several]
        if given.oversubscribed:
            wanted.append(Layout("horovod", given.oversubscribed, crowded=True))
        for layout in wanted:
            cells += [Cell(layout, "weak", layout.count * base, flags), Cell(layout, "strong", base, flags)]
    return cells


def _train_flags(flags: str, given: argparse.Namespace) -> list[str]:
    return [f"--precision={given.precision}", f"--normalization={given.normalization}", *shlex.split(flags)]


def _images_per_second(cell: Cell, given: argparse.Namespace) -> float:
    share = cell.batch // cell.layout.count if cell.layout.backend == "apart" else cell.batch
    return launching.train(cell.layout, [f"--batch_size={share}", *_train_flags(cell.flags, given)], given.steps)


def count_summed_bytes(flags: list[str]) -> int:
    """Bytes of the tensors that a step sums over the replicas, forwards and backwards."""
    import tensorflow as tf

    from distgan.replicas.base import Replicas
    from distgan.training import loop

    sizes: list[int] = []

    class Counting(Replicas):
        """One replica, that counts what more of them would sum."""

        def sum_in_step(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
            def counted(values: np.ndarray) -> np.ndarray:
                sizes.append(values.nbytes)
                return values

            def count(*inputs: tf.Tensor) -> list[tf.Tensor]:
                # As they run: what is traced but never used, such as a gradient of nothing, is left out there.
                passed = [tf.numpy_function(counted, [tensor], tensor.dtype, stateful=False) for tensor in inputs]
                return [tf.ensure_shape(new, tensor.shape) for new, tensor in zip(passed, inputs, strict=True)]

            return tf.custom_gradient(lambda *inputs: (count(*inputs), count))(*tensors)

        def sum_rounded(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
            sent = self.sum_in_step([tf.cast(tensor, tf.bfloat16) for tensor in tensors])
            return [tf.cast(new, tensor.dtype) for new, tensor in zip(sent, tensors, strict=True)]

    def forget_what_was_before(_: int, step: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        sizes.clear()
        return step(*arguments)

    with tempfile.TemporaryDirectory() as run_dir, open(os.devnull, "w") as console:
        launching.watch_steps(forget_what_was_before)
        loop.train(
            launching.config_of([*flags, "--batch_size=2", "--steps=1", f"--run_dir={run_dir}"]), Counting(), console
        )
    return sum(sizes)


def _row(cell: Cell, rates: dict[Cell, list[float]], summed: int, given: argparse.Namespace) -> dict[str, Any]:
    layout, cores = cell.layout, min(cell.layout.count, len(launching.cores()))
    alone = rates[Cell(Layout("single"), "-", given.batch_size, cell.flags)]
    efficiencies = [rate / (cores * one) for rate, one in zip(rates[cell], alone, strict=True)]
    talks = layout.backend in ("horovod", "multiworker")
    row = {
        "scaling": cell.kind,
        "backend": layout.backend,
        "replicas": layout.count,
        "batch": cell.batch,
        "flags": cell.flags,
        "images_per_second": rates[cell],
        "median_images_per_second": statistics.median(rates[cell]),
        "efficiencies": efficiencies,
        "median_efficiency": statistics.median(efficiencies),
        "efficiency_interval": launching.interval(efficiencies),
        "wire_bytes_per_process": round(summed * 2 * (layout.count - 1) / layout.count) if talks else 0,
        "wire_bytes_total": summed * 2 * (layout.count - 1) if talks else 0,
    }
    full = Cell(Layout(layout.backend, cores), cell.kind, given.batch_size * (cores if cell.kind == "weak" else 1),
                cell.flags)  # fmt: skip
    if layout.crowded and full in rates:
        row["of_one_process_a_core"] = [a / b for a, b in zip(rates[cell], rates[full], strict=True)]
    return row


def _print_table(rows: list[dict[str, Any]]) -> None:
    heads = ["scaling", "backend", "replicas", "batch", "flags", "images/s, median (range)",
             "efficiency, median (range)", "its 95 % interval", "MB sent a step, each process"]  # fmt: skip
    launching.print_table(heads, (
        [
            row["scaling"], row["backend"], row["replicas"], row["batch"], row["flags"] or "-",
            launching.spread(row["images_per_second"]), launching.spread(row["efficiencies"], ".0%"),
            launching.between(row["efficiency_interval"]), f"{row['wire_bytes_per_process'] / 1e6:.2f}",
        ]
        for row in rows
    ))  # fmt: skip
    for row in rows:
        if "of_one_process_a_core" in row:
            print(f"{row['scaling']}, {row['replicas']} processes on fewer cores, {row['flags'] or 'no more flags'}: "
                  f"{launching.spread(row['of_one_process_a_core'], '.0%')} of one a core.")  # fmt: skip


if __name__ == "__main__":
    main()
