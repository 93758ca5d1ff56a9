"""What the benchmarks share: programs on cores of their own, turns, the speed that a run wrote down, data, tables."""

import argparse
import itertools
import json
import math
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

WARM_UP_STEPS = 5
ROOT = Path(__file__).parent.parent
# Student's t, two-sided 95 %, by degrees of freedom from 1 up.
T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


@dataclass(frozen=True)
class Layout:
    """How many replicas there are, and who makes them one run.

    backend: one of --backend; or "mpi": Horovod, started by and communicating through MPI; or "apart": so many
        processes that do not talk to each other.
    crowded: whether all share all cores; else each replica has a core of its own.
    """

    backend: str
    count: int = 1
    crowded: bool = False

    def __str__(self) -> str:
        return f"{self.backend}:{self.count}" + (" crowded" if self.crowded else "")


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser of flags whose --help is the program's docstring; --answer_to is for `ask`."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--answer_to", type=Path, help=argparse.SUPPRESS)
    return made


def layouts(text: str) -> list[Layout]:
    """The layouts of a flag: `single:1,horovod:2`."""
    return [Layout(name, int(count)) for name, _, count in (one.partition(":") for one in text.split(","))]


def cores() -> list[int]:
    """The cores that this program may use."""
    return sorted(os.sched_getaffinity(0))


def run(layout: Layout, command: Sequence[str], hosts: Any = None, **environment: str) -> None:
    """Run a program in the processes of a layout, and wait; in those that are apart, `{process}` becomes a number.

    hosts: virtual hosts, each of which then has one of Horovod's processes.
    Ends the benchmark where a process fails, or there are not enough cores.
    """
    own = [str(core) for core in cores()]
    if layout.count > len(own) and not layout.crowded:
        sys.exit(f"{layout} needs {layout.count} cores, one a replica; here are {len(own)}.")
    masks = [",".join(own)] * layout.count if layout.crowded else own[: layout.count]
    numbers = range(layout.count) if layout.backend in ("apart", "multiworker") else [0]
    commands = [[word.replace("{process}", str(number)) for word in command] for number in numbers]
    if layout.backend in ("horovod", "mpi"):
        on_own = (
            "masks=$1; shift; rank=${HOROVOD_RANK-$OMPI_COMM_WORLD_RANK}; "
            'exec taskset -c "$(echo $masks | cut -d" " -f$((rank + 1)))" "$@"'
        )
        through = "--mpi" if layout.backend == "mpi" else "--gloo"
        horovodrun = [str(Path(sys.executable).with_name("horovodrun")), through, "-np", str(layout.count)]
        if hosts:
            places = ",".join(f"{name}:1" for name in hosts.names)
            horovodrun = hosts.on(hosts.names[0], *horovodrun, "-H", places)
        commands = [[*horovodrun, "sh", "-c", on_own, "rank", " ".join(masks), *commands[0]]]
    elif layout.backend in ("single", "mirrored"):
        commands = [["taskset", "-c", ",".join(masks), *commands[0]]]  # one process with all of the cores
    else:
        commands = [["taskset", "-c", mask, *one] for mask, one in zip(masks, commands, strict=True)]
    workers = [f"localhost:{free_port()}" for _ in commands]
    processes = []
    for index, one in enumerate(commands):
        cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        config = {"TF_CONFIG": json.dumps(cluster)} if layout.backend == "multiworker" else {}
        processes.append(_start(one, environment | config))
    outputs = [process.communicate()[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        if process.returncode:
            sys.exit(f"{layout}: {shlex.join(command)} failed:\n{output}")


def _start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={"TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ | {"PYTHONPATH": paths} | environment,
    )  # fmt: skip


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


def ask(layout: Layout, program: str, *arguments: str, **environment: str) -> Any:
    """What a benchmark, started once more in a layout, writes as JSON to the file that --answer_to names."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "answer.json"
        run(layout, [sys.executable, program, f"--answer_to={path}", *arguments], **environment)
        return json.loads(path.read_text())


def backend_flags(layout: Layout) -> list[str]:
    """The flags by which distgan runs in a layout."""
    backend = {"apart": "single", "mpi": "horovod"}.get(layout.backend, layout.backend)
    flags = [f"--backend={backend}"]
    return [*flags, f"--virtual_devices={layout.count}"] if layout.backend == "mirrored" else flags


def as_flags(settings: dict[str, Any]) -> list[str]:
    """Settings of a config as flags of distgan.train."""
    return [f"--{name}={value}" for name, value in settings.items()]


def train(layout: Layout, flags: Sequence[str], steps: int, hosts: Any = None) -> float:
    """Train in fresh processes; returns images a second of all together, after the warm-up."""
    with tempfile.TemporaryDirectory() as directory:
        run(layout, [
            sys.executable, "-m", "distgan.train", *backend_flags(layout), f"--run_dir={directory}/{{process}}",
            f"--steps={WARM_UP_STEPS + steps}", f"--log_every_steps={WARM_UP_STEPS}", "--sample_every=1000000steps",
            *flags,
        ], hosts)  # fmt: skip
        return sum(_images_per_second(path.parent) for path in Path(directory).glob("*/metrics.jsonl"))


def _images_per_second(run_dir: Path) -> float:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps, seconds = (lines[-1][what] - lines[0][what] for what in ("step", "seconds"))
    return json.loads((run_dir / "config.json").read_text())["batch_size"] * steps / seconds


def in_turn(cases: Iterable[Any], rounds: int, measure: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """Measure all cases, round after round, each second one backwards, as a machine's speed drifts."""
    found: dict[Any, list[Any]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in list(found)[:: -1 if number % 2 else 1]:
            found[case].append(measure(case))
            print(f"round {number + 1} of {rounds}: {_words(case)}: {_words(found[case][-1])}",
                  file=sys.stderr, flush=True)  # fmt: skip
    return found


def _words(value: Any) -> str:
    """A case or what was measured of it, in short."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, tuple | list):
        return " ".join(_words(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % confidence interval of the mean, by Student's t; None for one value, which tells nothing."""
    freedom = len(values) - 1
    if not freedom:
        return None
    t = T_95[freedom - 1] if freedom <= len(T_95) else 1.96 + 2.6 / freedom
    mean, half = statistics.mean(values), t * statistics.stdev(values) / math.sqrt(freedom + 1)
    return mean - half, mean + half


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median and, in brackets, the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def between(limits: tuple[float, float] | None, form: str = ".0%") -> str:
    """A confidence interval in words."""
    return f"{limits[0]:{form}} to {limits[1]:{form}}" if limits else "-"


def print_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table in Markdown."""
    for cells in (heads, ["---"] * len(heads), *rows):
        print(f"| {' | '.join(str(cell) for cell in cells)} |")


# ---- inside a program that is measured


def config_of(flags: Sequence[str]) -> Any:
    """The config that flags of distgan.train describe; once a process."""
    from absl import flags as absl_flags

    from distgan.config import command_line

    command_line.define_flags()
    absl_flags.FLAGS(["benchmark", *flags])
    return command_line.from_flags()


def wrap(owner: Any, name: str, around: Callable[[Any], Any]) -> None:
    """Have what `around` makes of a function take its place in the module, or the object, that calls it by this name.

    Raises `AttributeError` where there is none.
    """
    setattr(owner, name, around(getattr(owner, name)))


def watch_steps(watch: Callable[[int, Callable[..., Any], tuple[Any, ...]], Any]) -> None:
    """Have `watch` make each step of the training loop, of its number from 0, the compiled step and its arguments."""
    from distgan.training import trainer
    from distgan.training.trainer import Trainer

    numbers = itertools.count()

    def watched(make_step: Callable[[Trainer], Any]) -> Callable[[Trainer], Any]:
        def make_watched(own: Trainer) -> Any:
            step, concrete = make_step(own), list[Any]()

            def call(*arguments: Any) -> Any:  # it traces in its first call, which is watched too
                if not concrete:
                    concrete.append(step.get_concrete_function(*arguments))
                return concrete[0](*arguments)

            return SimpleNamespace(
                get_concrete_function=lambda *_: lambda *arguments: watch(next(numbers), call, arguments)
            )

        return make_watched

    for name in ("most_steps", "shares_per_call"):  # each call is one step
        wrap(trainer, name, lambda _: lambda *_: 1)
    wrap(Trainer, "make_step", watched)


def make_images(directory: Path, count: int, height: int, width: int) -> None:
    """Fill a directory with JPEG files, smooth with some noise, as photos are."""
    from PIL import Image

    directory.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).resize((width, height))
        noisy = np.asarray(coarse) + random.normal(0, 8, (height, width, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(directory / f"{number:05d}.jpg", quality=90)


def make_data(preset: str, directory: Path, count: int = 256) -> dict[str, Any]:
    """What a preset needs besides its own defaults: nothing, or `--data`, images of its size made here."""
    from distgan.config.presets import PRESETS

    defaults = PRESETS[preset]
    if "data" not in defaults:
        return {}
    height, width = (int(side) for side in defaults["image_size"].split("x"))
    kind = {"pix2pix": "pairs", "cyclegan": "unpaired"}.get(preset, "folder")
    for name in ("trainA", "trainB") if kind == "unpaired" else ("train",):
        make_images(directory / name, count, height, 2 * width if kind == "pairs" else width)
    return {"data": f"{kind}:{directory}"}
