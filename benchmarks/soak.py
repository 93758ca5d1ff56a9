"""Does a long run of several processes stay as it is: in memory, file descriptors and threads, and its ranks equal?

    python benchmarks/soak.py                                   # 2,000 steps of a smaller mnist on four processes
    python benchmarks/soak.py --steps=200000 --processes=2 \\
        --flags="--filters=1 --latent_dim=4 --batch_size=4 --alternating=false --normalization=none"    # 21 minutes

Looks at the processes of one horovodrun from outside, every second. The slope is that of a line through the last four
fifths. The replicas are compared, bit for bit, at each of twenty checkpoints: a run whose ranks drift apart ends there.
For how long training stands still for each of them is told beside what writing one takes.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import launching
import numpy as np
import psutil
import record

CHECKPOINTS = 20
FLAGS = "--filters=16 --batch_size=32"
KINDS = {"MiB": "resident set", "descriptors": "file descriptors", "threads": "threads"}


def main() -> None:
    given = _arguments()
    with tempfile.TemporaryDirectory() as directory:
        seen = _watch(given, Path(directory))
        checkpoints = len(list(Path(directory).glob("checkpoints/step_*")))
        lines = [json.loads(line) for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()]
        writing_seconds = _writing_seconds(Path(directory))
    lines = [line for line in lines if "warning" not in line]
    seconds = lines[-1]["seconds"] - lines[0]["seconds"]
    stalls = [line["speed/checkpoint_seconds"] for line in lines if "speed/checkpoint_seconds" in line]
    rows = [_row(rank, pid, seen[pid]) for rank, pid in enumerate(sorted(seen))]
    case = {name: getattr(given, name) for name in ("steps", "processes", "flags")}
    record.add("soak", case, ranks=rows, seconds=seconds, checkpoints=checkpoints, stalls_seconds=stalls,
               writing_seconds=writing_seconds)  # fmt: skip
    print(f"{given.steps:,} steps on {given.processes} processes in {seconds:,.0f} s; the replicas were equal at each "
          f"of {checkpoints} checkpoints, for each of which training stood still for {statistics.median(stalls):.3f} s "
          f"({min(stalls):.3f} to {max(stalls):.3f}); to write one takes {writing_seconds:.3f} s.")  # fmt: skip
    heads = [f"{name}: at a fifth, last, slope per 1,000 steps" for name in KINDS.values()]
    launching.print_table(
        ["process", *heads], ([row["rank"], *(_words_of(row[kind]) for kind in KINDS)] for row in rows)
    )


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--flags", default=FLAGS, help="of distgan.train")
    return parser.parse_args()


def _watch(given: argparse.Namespace, run_dir: Path) -> dict[int, list[dict[str, float]]]:
    """Train; what each process that does so held, second by second."""
    every = max(1, given.steps // CHECKPOINTS)
    flags = launching.as_flags({
        "run_dir": run_dir, "steps": given.steps, "checkpoint_every": f"{every}steps",
        "keep_checkpoints": CHECKPOINTS + 1, "sample_every": f"{every}steps", "log_every_steps": max(1, every // 10),
    })  # fmt: skip
    horovodrun = [str(Path(sys.executable).with_name("horovodrun")), "--gloo", "-np", str(given.processes)]
    command = [*horovodrun, sys.executable, "-m", "distgan.train", *flags, *shlex.split(given.flags)]
    seen: dict[int, list[dict[str, float]]] = {}
    with (run_dir / "output").open("w") as output:
        job = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while job.poll() is None:
            step = _step(run_dir)
            for process in psutil.Process(job.pid).children(recursive=True):
                if 0 < step < given.steps and _trains(process):  # while it ends it gives back what it has
                    seen.setdefault(process.pid, []).append({"step": step, **_held(process)})
            time.sleep(1)
    if job.returncode:
        sys.exit((run_dir / "output").read_text())
    return seen


def _writing_seconds(run_dir: Path) -> float:
    """What it takes to write a checkpoint of a run, the median of five times."""
    from distgan.store import checkpoint

    found = checkpoint.load_newest(run_dir / "checkpoints")
    assert found
    seconds = []
    for number in range(5):
        began = time.monotonic()
        checkpoint.save(run_dir / "again", found.arrays, found.manifest | {"step": number}, keep=1)
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds)


def _words_of(found: dict[str, float]) -> str:
    return f"{found['at_a_fifth']:.0f}, {found['last']:.0f}, {found['slope']:+.3f}"


def _trains(process: psutil.Process) -> bool:
    """Whether a process trains, and does not just watch one that does."""
    try:
        return "distgan.train" in " ".join(process.cmdline()) and not process.children()
    except psutil.Error:  # it has just ended
        return False


def _held(process: psutil.Process) -> dict[str, float]:
    try:
        return {"MiB": process.memory_info().rss / 2**20, "descriptors": process.num_fds(),
                "threads": process.num_threads()}  # fmt: skip
    except psutil.Error:
        return dict.fromkeys(KINDS, np.nan)


def _step(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    last = path.read_text().splitlines()[-1:] if path.exists() else []
    return int(json.loads(last[0])["step"]) if last else 0


def _row(rank: int, pid: int, held: list[dict[str, float]]) -> dict[str, Any]:
    kept = [moment for moment in held[len(held) // 5 :] if np.isfinite(moment["MiB"])]
    steps = np.array([moment["step"] for moment in kept])
    row: dict[str, Any] = {"rank": rank, "pid": pid}
    for kind in KINDS:
        values = [float(moment[kind]) for moment in kept]
        slope = float(np.polyfit(steps, values, 1)[0]) if len(set(steps)) > 1 else 0.0
        row[kind] = {"at_a_fifth": values[0], "last": values[-1], "slope": 1000 * slope}
    return row


if __name__ == "__main__":
    main()
