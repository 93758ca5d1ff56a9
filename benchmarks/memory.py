"""How much memory does a process take, and does it grow?

    python benchmarks/memory.py                                            # most of an hour
    python benchmarks/memory.py --cases=mnist,mlp --growth_steps=100       # a minute or two

peak    each preset as its own defaults have it, on the CPU, on small data of the preset's size where it needs some; and
        CycleGAN with --recompute and at 128x128. The largest resident set of a fresh process, as the system counts it:
        what the program holds before the first step, and the checkpoint at the end, are part of it.
growth  the resident set every so many steps of a long run, with samples and checkpoints now and then, and the slope of
        a line through it. The first fifth is left out; of the rest, means of ten parts make the line, so that its
        confidence interval is not taken for narrower than it is by samples that resemble their neighbours.

Prints two tables and writes results/memory_*.json.
"""

import argparse
import json
import os
import resource
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import launching
import numpy as np
import record
from launching import Layout

PRESETS = ("mnist", "mnist_large", "mlp", "dcgan", "dcgan64", "faces", "pix2pix", "cyclegan")
CASES: dict[str, dict[str, Any]] = {preset: {"preset": preset} for preset in PRESETS} | {
    "cyclegan --recompute": {"preset": "cyclegan", "recompute": True},
    "cyclegan 128x128": {"preset": "cyclegan", "image_size": "128x128"},
    "cyclegan 128x128 --recompute": {"preset": "cyclegan", "image_size": "128x128", "recompute": True},
}
GROWTH: dict[str, dict[str, Any]] = {
    "mnist, a smaller one": {"preset": "mnist", "filters": 16, "batch_size": 32},
    "faces from JPEGs, a smaller one": {"preset": "faces", "filters": 8, "generator_filters": 8, "batch_size": 16},
}
NUM_PARTS = 10


def main() -> None:
    given = _arguments()
    if given.answer_to:
        given.answer_to.write_text(json.dumps(measure(shlex.split(given.flags), given.sample_every)))
        return
    rows = {case: _ask(CASES[case], given.steps, given) for case in filter(None, given.cases.split(","))}
    launching.print_table(["run", "peak, MiB", "images/s"], (
        [case, f"{row['peak_bytes'] / 2**20:,.0f}", f"{row['images_per_second']:.3g}"] for case, row in rows.items()
    ))  # fmt: skip
    growth = {}
    if given.growth_steps:
        settings = dict.fromkeys(("sample_every", "checkpoint_every"), f"{given.growth_steps // 4}steps")
        for name, case in GROWTH.items():
            growth[name] = _ask(case | settings, given.growth_steps, given)
            growth[name]["slope_bytes"], growth[name]["slope_interval_bytes"] = _slope(growth[name]["resident_bytes"])
        print()
        launching.print_table(["run", "steps", "first, MiB", "last, MiB", "KiB a step", "its 95 % interval"], (
            [name, given.growth_steps, *(f"{row['resident_bytes'][place][1] / 2**20:,.0f}" for place in (0, -1)),
             f"{row['slope_bytes'] / 1024:.2f}",
             launching.between((lower / 1024, upper / 1024), ".2f")]
            for name, row in growth.items()
            for lower, upper in [row["slope_interval_bytes"]]
        ))  # fmt: skip
    print(record.write("memory", vars(given), {"peak": rows, "growth": growth}))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--steps", type=int, default=3, help="made for a peak; the first one compiles")
    parser.add_argument("--cases", default=",".join(CASES), help="whose peaks are measured")
    parser.add_argument("--growth_steps", type=int, default=2000, help="of each long run; 0 for none")
    parser.add_argument("--sample_every", type=int, default=5, help="steps")
    parser.add_argument("--flags", default="", help="of distgan.train, for all")
    return parser.parse_args()


def _ask(case: dict[str, Any], steps: int, given: argparse.Namespace) -> dict[str, Any]:
    """Train in a fresh process on all cores."""
    every = {"log_every_steps": 1, "sample_every": "1000000steps"} if steps < 20 else {}
    with tempfile.TemporaryDirectory() as directory:
        data = launching.make_data(case["preset"], Path(directory) / "data")
        settings = {"run_dir": f"{directory}/run", "steps": steps} | every | data | case
        flags = shlex.join([*launching.as_flags(settings), *shlex.split(given.flags)])
        whole = Layout("single", crowded=True)
        return launching.ask(whole, __file__, f"--flags={flags}", f"--sample_every={given.sample_every}")


def measure(flags: list[str], sample_every: int) -> dict[str, Any]:
    """The peak of a training run, its speed, and its resident set as (step, bytes)."""
    from distgan.replicas.connect import connect
    from distgan.training import loop

    resident: list[tuple[int, int]] = []

    def look(number: int, step: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if number % sample_every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident.append((number, pages * os.sysconf("SC_PAGE_SIZE")))
        return step(*arguments)

    config = launching.config_of(flags)
    launching.watch_steps(look)
    with open(os.devnull, "w") as console:
        loop.train(config, connect(config), console)
    lines = [json.loads(line) for line in (config.directory / "metrics.jsonl").read_text().splitlines()]
    rates = [line["speed/images_per_second"] for line in lines if "warning" not in line]
    return {
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "images_per_second": rates[-1],
        "resident_bytes": resident,
    }


def _slope(resident: list[tuple[int, int]]) -> tuple[float, tuple[float, float]]:
    """Bytes a step by which the resident set grows, and the 95 % confidence interval."""
    kept = np.array(resident[len(resident) // 5 :], float)
    steps, sizes = np.array([part.mean(axis=0) for part in np.array_split(kept, NUM_PARTS)]).T
    slope, start = np.polyfit(steps, sizes, 1)
    freedom = NUM_PARTS - 2
    deviation = np.sqrt(np.sum((sizes - slope * steps - start) ** 2) / freedom)
    half = launching.T_95[freedom - 1] * deviation / np.sqrt(np.sum((steps - steps.mean()) ** 2))
    return float(slope), (float(slope - half), float(slope + half))


if __name__ == "__main__":
    main()
