"""Does anything that comes from outside end in a traceback, a hang or without memory?

    python benchmarks/fuzz.py                                  # 20,000 inputs a target, a quarter of an hour
    python benchmarks/fuzz.py --targets=idx,state --inputs=100000

Atheris (libFuzzer for Python) feeds each target of tests/hostile.py, guided by which lines of the package and of
zipfile, gzip, json, pickletools and NumPy's readers an input reaches: half of the inputs are mutated from valid
content, half grow from nothing. An input that raises anything but the sentence to the user, takes 10 seconds, or 1 GiB
of memory, is a finding, and is kept in --findings. The target parquet needs the extra hf of distgan.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import launching
import record

TESTS = Path(__file__).parent.parent / "tests"
SECONDS, MEGABYTES, MOST_BYTES = 10, 1024, 4096
READERS = ["distgan", "gzip", "json", "zipfile", "pickletools", "numpy.lib"]

FUZZ = """
import json, sys
import atheris
with atheris.instrument_imports(include={readers}):
    import hostile
    target = hostile.TARGETS[{name!r}]
    for content in target.valid():  # some modules are imported by their first use
        hostile.meets(target, content)
from absl import flags
from distgan.config import command_line
command_line.define_flags()
counts = {{"inputs": 0, "accepted": 0}}

def one(content):
    counts["accepted"] += hostile.meets(target, content)
    counts["inputs"] += 1
    if counts["inputs"] % 500 == 0:
        json.dump(counts, open({counts!r}, "w"))

atheris.Setup(sys.argv, one)
atheris.Fuzz()
"""


def main() -> None:
    given = _arguments()
    sys.path.insert(0, str(TESTS))
    import hostile

    names = given.targets.split(",") if given.targets else list(hostile.TARGETS)
    measured = []
    for name in names:
        valid = hostile.TARGETS[name].valid()
        for start, seeds in (("valid content", valid), ("nothing", [])):
            row = {"target": name, "from": start, **_fuzz(name, seeds, given.inputs // 2, Path(given.findings))}
            print(row, flush=True)
            measured.append(row)
    record.write("fuzz", {"inputs": given.inputs}, measured)
    launching.print_table(
        ["target", "from", "inputs", "accepted", "findings", "peak memory, MiB", "seconds"],
        ([row[name] for name in ("target", "from", "inputs", "accepted", "findings", "peak_mib", "seconds")]
         for row in measured),
    )  # fmt: skip
    sys.exit(any(row["findings"] for row in measured))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--targets", default="", help="of tests/hostile.py, with commas; all if not given")
    parser.add_argument("--inputs", type=int, default=20_000, help="of each target")
    parser.add_argument("--findings", default="findings", help="a directory")
    return parser.parse_args()


def _fuzz(name: str, seeds: list[bytes], inputs: int, findings: Path) -> dict[str, Any]:
    """Feed a target in a process of its own; what is found does not end it, but is counted and kept."""
    findings.mkdir(exist_ok=True)
    before = set(findings.iterdir())
    with tempfile.TemporaryDirectory() as directory:
        corpus, counts = Path(directory) / "corpus", Path(directory) / "counts.json"
        corpus.mkdir()
        for number, content in enumerate(seeds):
            (corpus / str(number)).write_bytes(content)
        program = FUZZ.format(readers=READERS, name=name, counts=str(counts))
        prefix = f"-artifact_prefix={findings}/{re.sub('[^a-z]', '-', name)}-"
        done = subprocess.run(
            [sys.executable, "-c", program, f"-runs={inputs}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}",
             f"-max_len={MOST_BYTES}", "-print_final_stats=1", "-seed=1", prefix, str(corpus)],
            env=os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        found = json.loads(counts.read_text()) if counts.exists() else {"inputs": 0, "accepted": 0}
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    new = sorted(path.name for path in set(findings.iterdir()) - before)
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
    return {
        "inputs": int(stats.get("number_of_executed_units", found["inputs"])), "accepted": found["accepted"],
        "findings": len(new) + bool(done.returncode and not new), "kept": new,
        "peak_mib": int(stats.get("peak_rss_mb", 0)),
        "seconds": round(float((re.findall(r"Done \d+ runs in (\d+) second", done.stderr) or ["0"])[0])),
    }  # fmt: skip


if __name__ == "__main__":
    main()
