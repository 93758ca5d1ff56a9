"""How long is it from the command to the first step?

    python benchmarks/startup.py                                                    # about 10 minutes
    python benchmarks/startup.py --rounds=1 --layouts=single:1                      # a minute
    python benchmarks/startup.py --flags="--preset=mlp" --layouts=single:1,horovod:2,multiworker:2

In turn, round after round, in fresh processes, one core a replica, for each layout:

imports     `python -c "import tensorflow, keras"` in so many processes at once: what nobody can avoid
command     `python -m distgan.train --steps=1`, as it is, from its start to the log line of its first step
parts       the same, of two steps, with a stopwatch: when each part of it was done, on the chief

The tracing that nobody can avoid either is the first step less the second. What the processes of a layout take longer
than one is what they wait for each other, and what each repeats; `apart:2` are two that do not talk to each other. All
files are in the page cache, as a round that is not counted reads them first. Prints two tables and writes
results/startup_*.json.
"""

import argparse
import functools
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import launching
import record
from launching import Layout

AS_IT_IS = "--preset=mnist"


class Case(NamedTuple):
    """What is started, and where."""

    layout: Layout
    flags: str
    what: str


def main() -> None:
    given = _arguments()
    if given.answer_to:
        parts = stopwatch(shlex.split(given.flags[0]), given.started)
        if parts:
            given.answer_to.write_text(json.dumps(parts))
        return
    starts = [(layout, flags) for layout in launching.layouts(given.layouts) for flags in given.flags or [AS_IT_IS]]
    cases = [Case(*start, what) for start in starts for what in MEASURES]
    launching.run(Layout("single"), [sys.executable, "-c", "import tensorflow, keras"])
    found = launching.in_turn(cases, given.rounds, lambda case: MEASURES[case.what](case))
    rows = [_row(layout, flags, found) for layout, flags in starts]
    _print_tables(rows)
    print(record.write("startup", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layouts", default="single:1,horovod:2", help="backends and numbers of replicas")
    parser.add_argument(
        "--flags", action="append", help=f"of distgan.train, each in rows of its own; {AS_IT_IS}, if none"
    )
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def _imports(case: Case) -> float:
    started = time.time()
    launching.run(Layout("apart", case.layout.count), [sys.executable, "-c", "import tensorflow, keras"])
    return time.time() - started


def _command(case: Case) -> float:
    with tempfile.TemporaryDirectory() as directory:
        flags = _flags(case, directory, steps=1)
        started = time.time()
        launching.run(case.layout, [sys.executable, "-m", "distgan.train", *flags])
        log = next(Path(directory).glob("run*/metrics.jsonl"))
        return json.loads(log.read_text())["seconds"] - started


def _parts(case: Case) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        flags = shlex.join(_flags(case, directory, steps=2))
        return launching.ask(case.layout, __file__, f"--flags={flags}", f"--started={time.time()}")


MEASURES: dict[str, Callable[[Case], Any]] = {"imports": _imports, "command": _command, "parts": _parts}


def _flags(case: Case, directory: str, steps: int) -> list[str]:
    own = "{process}" if case.layout.backend == "apart" else ""
    return [*launching.backend_flags(case.layout), *shlex.split(case.flags), f"--steps={steps}",
            f"--run_dir={directory}/run{own}", "--log_every_steps=1", "--sample_every=1000000steps"]  # fmt: skip


def stopwatch(flags: list[str], started: float) -> dict[str, float] | None:
    """What distgan.train does, and seconds that its parts took, on the chief."""
    ends = {"": started}

    def done(part: str, function: Callable[..., Any] = lambda: None) -> Callable[..., Any]:
        """A function that notes when it was done for the first time."""

        def noted(*arguments: Any, **settings: Any) -> Any:
            result = function(*arguments, **settings)
            ends.setdefault(part, time.time())
            return result

        return noted

    from distgan import program

    config = launching.config_of(flags)
    done("start Python")()
    program.import_tensorflow()
    done("TensorFlow")()
    from distgan.replicas.connect import connect
    from distgan.training import loop, trainer

    done("Keras, distgan")()
    replicas = done("connect", connect)(config)
    launching.wrap(loop, "open_data", functools.partial(done, "data"))
    launching.wrap(trainer, "TrainState", functools.partial(done, "networks"))

    def step_of_number(number: int, step: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        done("input" if number == 0 else "logs")()
        results = step(*arguments)
        results["flags"].numpy()  # waits for the device
        done("first step" if number == 0 else "second step")()
        return results

    launching.watch_steps(step_of_number)
    with open(os.devnull, "w") as console:
        loop.train(config, replicas, console)
    seconds = list(ends.values())
    parts = {part: end - begin for part, begin, end in zip(list(ends)[1:], seconds, seconds[1:], strict=False)}
    return parts if replicas.is_chief else None


def _row(layout: Layout, flags: str, found: dict[Case, list[Any]]) -> dict[str, Any]:
    imports, commands, parts = (found[Case(layout, flags, what)] for what in MEASURES)
    tracing = [one["first step"] - one["second step"] for one in parts]
    return {
        "layout": str(layout),
        "flags": flags,
        "imports_seconds": imports,
        "command_seconds": commands,
        "tracing_seconds": tracing,
        "ratios": [command / sum(least) for command, *least in zip(commands, imports, tracing, strict=True)],
        "parts": parts,
    }


def _print_tables(rows: list[dict[str, Any]]) -> None:
    kinds = ["imports", "command", "tracing"]
    launching.print_table(
        ["layout", "flags", *(f"{kind}, s" for kind in kinds), "command over imports and tracing"],
        ([row["layout"], row["flags"], *(launching.spread(row[f"{kind}_seconds"], ".2f") for kind in kinds),
          launching.spread(row["ratios"], ".2f")] for row in rows),
    )  # fmt: skip
    print()
    parts = list(rows[0]["parts"][0])
    medians = [[statistics.median(one[part] for one in row["parts"]) for part in parts] for row in rows]
    launching.print_table(["layout", "flags", *(f"{part}, s" for part in parts)], (
        [row["layout"], row["flags"], *(f"{seconds:.2f}" for seconds in of_parts)]
        for row, of_parts in zip(rows, medians, strict=True)
    ))  # fmt: skip


if __name__ == "__main__":
    main()
