"""How much memory does a step of the full-size networks take?

    python benchmarks/memory.py [--steps=2]

Pix2Pix at 256x256 and CycleGAN at 128x128 and 256x256, batch 1, float32, as their presets have them; CycleGAN with
--recompute too. Each in a fresh process; the peak is the largest resident set of it, as the system counts it, and what
the program holds before the first step is part of it. Prints a table and writes results/memory_*.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from typing import Any

import record

CASES: dict[str, dict[str, Any]] = {
    "pix2pix 256x256": {"preset": "pix2pix", "data": "mnist-edges", "image_size": "256x256"},
    "cyclegan 128x128": {"preset": "cyclegan", "data": "mnist-domains", "image_size": "128x128"},
    "cyclegan 128x128 --recompute": {
        "preset": "cyclegan", "data": "mnist-domains", "image_size": "128x128", "recompute": True,
    },
    "cyclegan 256x256": {"preset": "cyclegan", "data": "mnist-domains"},
    "cyclegan 256x256 --recompute": {"preset": "cyclegan", "data": "mnist-domains", "recompute": True},
}  # fmt: skip


def main() -> None:
    given = _arguments()
    if given.case:
        _measure(given.case, given.steps)
        return
    rows = {}
    for case in CASES:
        command = [sys.executable, __file__, f"--case={case}", f"--steps={given.steps}"]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows[case] = json.loads(answer.stdout.splitlines()[-1])
        print(f"{case:32} peak {rows[case]['peak_bytes'] / 2**20:7,.0f} MiB   "
              f"{rows[case]['images_per_second']:.2f} images/s", flush=True)  # fmt: skip
    print(record.write("memory", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="steps made; the first one compiles")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(case: str, steps: int) -> None:
    from distgan import Config, train

    with tempfile.TemporaryDirectory() as run_dir:
        # No picture; the checkpoint at the end is part of what is measured, as it is of a run.
        settings = {"precision": "float32", "steps": steps, "log_every_steps": 1, "sample_every_steps": 10**6}
        train(Config(**CASES[case] | settings, run_dir=run_dir))
        with open(f"{run_dir}/metrics.jsonl") as file:
            last = json.loads(file.readlines()[-1])
    peak_kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_bytes": peak_kibibytes * 1024, "images_per_second": last["speed/images_per_second"]}))


if __name__ == "__main__":
    main()
