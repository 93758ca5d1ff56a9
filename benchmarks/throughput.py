"""How many images a second, by precision, batch, layout and preset, and where does a step's time go?

    python benchmarks/throughput.py                                                                    # about an hour
    python benchmarks/throughput.py --rounds=1 --blocks=2 --steps=3 --batch_sizes=16 --layouts=single:1    # a minute
    python benchmarks/throughput.py --presets=mlp --batch_sizes=32 --flags="--precision=mixed_bfloat16"

Every combination of --presets, --precisions, --batch_sizes and --layouts trains in fresh processes, one core a replica,
in turn, round after round; each --flags is a further one, beside the flags as they are. Within a process, blocks of so
many --steps take turns:

loop          the training loop as it is: input, step, logs
step          the compiled step alone, called again and again with what the loop gave it last
no update     the same, but no optimizer applies anything
no reduction  nor is anything summed over the replicas, batch norms' sums included

So host is loop less step, as a part of the loop; update, reduction, and forward and backward are the differences. Input
is what a share of the batch costs when it is drawn alone; it is made beside the step, which hides it if it is longer.
Prints a table and writes results/throughput_*.json.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import launching
import numpy as np
import record
from launching import Layout


class Case(NamedTuple):
    """What is trained, and where."""

    layout: Layout
    preset: str
    precision: str
    batch: int
    flags: str


def main() -> None:
    given = _arguments()
    if given.answer_to:
        measured = Parts(given).measure(shlex.split(given.flags[0]))
        if measured:
            given.answer_to.write_text(json.dumps(measured))
        return
    cases = [
        Case(*one)
        for one in itertools.product(
            launching.layouts(given.layouts), given.presets.split(","), given.precisions.split(","),
            map(int, given.batch_sizes.split(",")), ["", *(given.flags or [])],
        )
    ]  # fmt: skip
    found = launching.in_turn(cases, given.rounds, lambda case: _ask(case, given))
    rows = [_row(case, found) for case in cases]
    _print_table(rows)
    print(record.write("throughput", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of fresh processes")
    parser.add_argument("--blocks", type=int, default=3, help="of each kind in a process")
    parser.add_argument("--steps", type=int, default=20, help="in a block")
    parser.add_argument("--presets", default="mnist")
    parser.add_argument("--precisions", default="float32,mixed_bfloat16")
    parser.add_argument("--batch_sizes", default="16,256", help="over all replicas")
    parser.add_argument("--layouts", default="single:1,horovod:2", help="backends and numbers of replicas")
    parser.add_argument("--flags", action="append", help="of distgan.train, to compare")
    return parser.parse_args()


def _ask(case: Case, given: argparse.Namespace) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as directory:
        data = launching.make_data(case.preset, Path(directory) / "data")
        flags = [
            f"--preset={case.preset}", f"--precision={case.precision}", f"--batch_size={case.batch}",
            f"--run_dir={directory}/run", *launching.as_flags(data), *launching.backend_flags(case.layout),
            *shlex.split(case.flags),
        ]  # fmt: skip
        return launching.ask(
            case.layout, __file__, f"--blocks={given.blocks}", f"--steps={given.steps}", f"--flags={shlex.join(flags)}"
        )


class Measured(Exception):  # noqa: N818 - it is no error: it ends a run whose replicas may differ by now
    """All blocks are done."""


class Parts:
    """Blocks of steps, timed: of the loop as it is and, between them, of the step and of what is left of it.

    seconds: a step in each block, by kind.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self._blocks, self._steps = given.blocks, given.steps
        self._without: set[str] = set()
        self._lesser: dict[str, Callable[..., Any]] = {}
        self.seconds: dict[str, list[float]] = {"loop": []}
        self._started = 0.0

    def measure(self, flags: list[str]) -> dict[str, list[float]] | None:
        """Train; returns seconds a step, on the chief."""
        from distgan.data import pipeline
        from distgan.replicas.connect import connect
        from distgan.training import loop
        from distgan.training.trainer import Trainer

        last = launching.WARM_UP_STEPS + self._blocks * self._steps
        config = launching.config_of([*flags, f"--steps={last + 1}", "--sample_every=1000000steps"])
        replicas = connect(config)
        self._make_switchable(replicas)
        kinds = ["no update", "no reduction"] if replicas.num_replicas > 1 else ["no update"]

        def with_lesser(make_step: Callable[[Trainer], Callable[..., Any]]) -> Callable[[Trainer], Callable[..., Any]]:
            def make_all(trainer: Trainer) -> Callable[..., Any]:
                self._lesser = {kind: make_step(trainer) for kind in kinds}
                return make_step(trainer)

            return make_all

        launching.wrap(Trainer, "make_step", with_lesser)
        launching.watch_steps(self._watch)

        def with_timing(make: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *given, **named: self._time_input(make(*given, **named), make(*given, **named))

        launching.wrap(pipeline, "make_shares", with_timing)
        with open(os.devnull, "w") as console, contextlib.suppress(Measured):
            loop.train(config, replicas, console)
        return self.seconds if replicas.is_chief else None

    def _make_switchable(self, replicas: Any) -> None:
        """Let what is traced while `_without` names it do nothing."""

        def switch(name: str, part: str, nothing: Callable[..., Any]) -> None:
            method = getattr(replicas, name)

            def switched(*given: Any) -> Any:
                return nothing(*given) if part in self._without else method(*given)

            setattr(replicas, name, switched)

        switch("sum_in_step", "reduction", list)
        switch("sum_rounded", "reduction", list)
        switch("apply", "update", lambda *move: None)

    def _time_input(self, drawn: Any, shares: Any) -> Any:
        import tensorflow as tf

        from distgan.data import pipeline

        # In memory the shares of many steps are drawn at once, and some ahead.
        at_once = pipeline.STEPS_AT_ONCE if isinstance(next(drawn)["rows"], np.ndarray) else 1
        for _ in range(3 * at_once + launching.WARM_UP_STEPS):
            next(drawn)
        started, count = time.perf_counter(), max(self._steps, 6 * at_once) // at_once * at_once
        for _ in range(count):
            tf.convert_to_tensor(next(drawn)["rows"])
        self.seconds.setdefault("input", []).append((time.perf_counter() - started) / count)
        return shares

    def _watch(self, number: int, step: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Make a step of the loop; before each block, those of the other kinds first."""
        past = number - launching.WARM_UP_STEPS
        if past >= 0 and past % self._steps == 0:
            if past:
                self.seconds["loop"].append((time.perf_counter() - self._started) / self._steps)
            if past == self._blocks * self._steps:
                raise Measured
            for kind, lesser in self._lesser.items():
                self._without = {"update"} if kind == "no update" else {"update", "reduction"}
                lesser(*arguments)  # traces, the first time
                self._time(kind, functools.partial(_flags, lesser, arguments))
            self._without = set()
            self._time("step", functools.partial(_flags, step, arguments))
            self._started = time.perf_counter()
        return step(*arguments)

    def _time(self, kind: str, make: Callable[[], Any]) -> None:
        started = time.perf_counter()
        for _ in range(self._steps):
            result = make()
        result.numpy()  # waits for the device
        self.seconds.setdefault(kind, []).append((time.perf_counter() - started) / self._steps)


def _flags(step: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What is there when a step is over."""
    return step(*arguments)["flags"]


def _row(case: Case, found: dict[Case, list[dict[str, list[float]]]]) -> dict[str, Any]:
    """Medians of a case: of each round first, as the differences are those within a process."""
    rounds = [{kind: statistics.median(blocks) for kind, blocks in one.items()} for one in found[case]]
    for one in rounds:
        one["host"] = one["loop"] - one["step"]
        one["update"] = one["step"] - one["no update"]
        one["forward and backward"] = one.get("no reduction", one["no update"])
        one["reduction"] = one["no update"] - one["forward and backward"]
    rates = [case.batch / one["loop"] for one in rounds]
    plain = [statistics.median(one["loop"]) for one in found[case._replace(flags="")]]
    return {
        **case._asdict(),
        "layout": str(case.layout),
        "images_per_second": rates,
        "over_plain": [base / one["loop"] for base, one in zip(plain, rounds, strict=True)],
        "host_share": [one["host"] / one["loop"] for one in rounds],
        "median_seconds": {kind: statistics.median(one[kind] for one in rounds) for kind in rounds[0]},
        "seconds": found[case],
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    parts = ["loop", "forward and backward", "reduction", "update", "host", "input"]
    heads = ["preset", "precision", "batch", "layout", "flags", "images/s, median (range)", "speed-up by the flags",
             *(f"{part}, ms" for part in parts), "host, median (range)"]  # fmt: skip
    launching.print_table(heads, (
        [
            row["preset"], row["precision"], row["batch"], row["layout"], row["flags"] or "-",
            launching.spread(row["images_per_second"]), launching.spread(row["over_plain"], ".2f"),
            *(f"{1000 * row['median_seconds'][part]:.2f}" for part in parts),
            launching.spread(row["host_share"], ".1%"),
        ]
        for row in rows
    ))  # fmt: skip


if __name__ == "__main__":
    main()
