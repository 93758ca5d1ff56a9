"""How many images a second, by number of processes and backend?

    python benchmarks/scaling.py [--rounds=3] [--steps=30] [--batch_size=128] [--counts=1,2]

Weak scaling: each process has `batch_size` images a step. Strong scaling: they share `batch_size`. Each replica has one
core to itself, so a count above the number of cores is refused. The layouts run in turn, round after round, as a
machine's speed drifts; efficiencies are ratios within a round. Prints a table and writes results/scaling_*.json.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import record

WARM_UP_STEPS = 5


class Cell(NamedTuple):
    """One layout of one kind of scaling."""

    backend: str
    count: int
    kind: str

    def batch_size(self, base: int) -> int:
        return base * self.count if self.kind == "weak" else base


def main() -> None:
    given = _arguments()
    counts = [int(count) for count in given.counts.split(",")]
    if max(counts) > os.cpu_count():
        sys.exit(f"--counts={given.counts} needs {max(counts)} cores, one a replica; here are {os.cpu_count()}.")
    one = Cell("single", 1, "weak")  # and strong
    cells = [one] + [
        Cell(backend, count, kind)
        for kind in ("weak", "strong")
        for backend in given.backends.split(",")
        for count in counts
        if count > 1
    ]
    rates: dict[Cell, list[float]] = {cell: [] for cell in cells}
    for round_number in range(given.rounds):
        for cell in cells:
            rates[cell].append(_images_per_second(cell, given))
            print(f"round {round_number + 1}: {cell.kind} {cell.backend} {cell.count}: {rates[cell][-1]:.0f} images/s",
                  file=sys.stderr, flush=True)  # fmt: skip
    rows = [_row(cell, rates[cell], rates[one], given.batch_size) for cell in cells]
    _print_table(rows)
    print(record.write("scaling", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help=f"measured steps, after {WARM_UP_STEPS} to warm up")
    parser.add_argument("--batch_size", type=int, default=128, help="images a step, of one process or of all")
    parser.add_argument("--counts", default="1,2", help="numbers of replicas")
    parser.add_argument("--backends", default="horovod,mirrored,multiworker")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--normalization", default="sync")
    return parser.parse_args()


def _images_per_second(cell: Cell, given: argparse.Namespace) -> float:
    """Train in a fresh process or several, each replica on its own core; the rate after the warm-up."""
    with tempfile.TemporaryDirectory() as run_dir:
        flags = [
            f"--backend={cell.backend}", f"--batch_size={cell.batch_size(given.batch_size)}", f"--run_dir={run_dir}",
            f"--precision={given.precision}", f"--normalization={given.normalization}",
            f"--steps={WARM_UP_STEPS + given.steps}", "--log_every_steps=1", "--sample_every_epochs=1000",
        ]  # fmt: skip
        if cell.backend == "mirrored":
            flags.append(f"--virtual_devices={cell.count}")
        _launch(cell, [sys.executable, "-m", "distgan.train", *flags])
        lines = [json.loads(line) for line in (Path(run_dir) / "metrics.jsonl").read_text().splitlines()]
    seconds = lines[-1]["seconds"] - lines[WARM_UP_STEPS - 1]["seconds"]
    return given.steps * cell.batch_size(given.batch_size) / seconds


def _launch(cell: Cell, command: list[str]) -> None:
    if cell.backend in ("single", "mirrored"):
        processes = [_start(["taskset", "-c", f"0-{cell.count - 1}", *command])]
    elif cell.backend == "horovod":
        on_own_core = 'exec taskset -c "$HOROVOD_LOCAL_RANK" "$@"'
        horovodrun = str(Path(sys.executable).with_name("horovodrun"))
        processes = [_start([horovodrun, "-np", str(cell.count), "sh", "-c", on_own_core, "rank", *command])]
    else:
        workers = [f"localhost:{_free_port()}" for _ in range(cell.count)]
        processes = [
            _start(["taskset", "-c", str(index), *command], TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}))
            for index in range(cell.count)
        ]  # fmt: skip
    for process in processes:
        output, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{cell} failed:\n{output}")


def _start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
    )


def _free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


def _row(cell: Cell, rates: list[float], alone: list[float], batch_size: int) -> dict[str, object]:
    efficiencies = [rate / (cell.count * one) for rate, one in zip(rates, alone, strict=True)]
    return {
        "scaling": "-" if cell.backend == "single" else cell.kind,
        "backend": cell.backend,
        "replicas": cell.count,
        "batch": cell.batch_size(batch_size),
        "images_per_second": rates,
        "median_images_per_second": statistics.median(rates),
        "efficiencies": efficiencies,
        "median_efficiency": statistics.median(efficiencies),
    }


def _print_table(rows: list[dict[str, object]]) -> None:
    print("| scaling | backend | replicas | batch | images/s, median (range) | efficiency, median (range) |")
    print("|---|---|---:|---:|---:|---:|")
    for row in rows:
        rates, shares = row["images_per_second"], row["efficiencies"]
        print(
            f"| {row['scaling']} | {row['backend']} | {row['replicas']} | {row['batch']} "
            f"| {row['median_images_per_second']:.0f} ({min(rates):.0f}-{max(rates):.0f}) "
            f"| {row['median_efficiency']:.0%} ({min(shares):.0%}-{max(shares):.0%}) |"
        )


if __name__ == "__main__":
    main()
