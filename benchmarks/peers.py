"""How fast is distgan beside what else its users might run?

    python benchmarks/peers.py [--rounds=3] [--steps=20] [--batch_size=256] [--peers=tensorflow_tutorial,pytorch_ddp]

The networks of the `mnist` recipe, its batch, optimizers and data, on the cores 0 and 1, by distgan and by programs of
peers/, written as their users would write them:

tensorflow_tutorial   the loop of TensorFlow's DCGAN tutorial, in float32 as it is copied, and in mixed_bfloat16
pytorch_ddp           PyTorch eager, DistributedDataParallel over Gloo, channels_last, in float32 and under autocast
keras_fit             Keras's `fit` with a `train_step` of its own, under MirroredStrategy over two CPU devices

Programs of two processes have a core each, those of one both. They run in turn, round after round, as a machine's speed
drifts; a comparison is the ratio of the medians, its range that of the ratios within a round. Where the networks of two
programs differ in the number of parameters nothing is compared. PyTorch is in the extra `bench`; where the interpreter
has none, name another by --torch_python, or it is left out. bfloat16 is fast only on processors that have it (the flags
avx512_bf16 or amx_bf16 in /proc/cpuinfo). Prints a table and writes results/peers_*.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import record

import distgan
from distgan.data.arrays import open_mnist

WARM_UP_STEPS = 5
CORES = 2
PEERS = Path(__file__).parent / "peers"


class Program(NamedTuple):
    """One way to train the networks."""

    name: str
    processes: int
    batch_norm: str  # what its statistics are of
    precision: str


class Answer(NamedTuple):
    """What a program measured of itself."""

    images_per_second: float
    parameters: dict[str, int]


OURS = (
    Program("distgan", 2, "global batch", "float32"),
    Program("distgan", 2, "process's share", "float32"),
    Program("distgan", 1, "global batch", "float32"),
)
THEIRS = (
    Program("tensorflow_tutorial", 1, "global batch", "float32"),
    Program("tensorflow_tutorial", 1, "global batch", "mixed_bfloat16"),
    Program("pytorch_ddp", 2, "process's share", "float32"),
    Program("pytorch_ddp", 2, "process's share", "mixed_bfloat16"),
    Program("keras_fit", 1, "replica's share", "float32"),
)


def main() -> None:
    given = _arguments()
    if os.cpu_count() < CORES:
        sys.exit(f"This needs {CORES} cores, and here is {os.cpu_count()}.")
    if given.batch_size % CORES:
        sys.exit(f"--batch_size={given.batch_size} does not divide by {CORES}: give one that does.")
    wanted = set(given.peers.split(","))
    if unknown := wanted - {program.name for program in THEIRS}:
        sys.exit(f"--peers names no program of peers/: {', '.join(sorted(unknown))}.")
    torch_version = _torch_version(given.torch_python)
    if "pytorch_ddp" in wanted and torch_version is None:
        print(f"pytorch_ddp is left out: {given.torch_python} has no torch; name another by --torch_python=PATH.")
        wanted.remove("pytorch_ddp")
    ours = [program._replace(precision=given.precision) for program in OURS]
    programs = [*ours, *(program for program in THEIRS if program.name in wanted)]
    rates: dict[Program, list[float]] = {program: [] for program in programs}
    parameters: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as directory:
        pixels = Path(directory) / "pixels.npy"
        np.save(pixels, open_mnist().pixels)
        for round_number in range(given.rounds):
            for program in programs:
                answer = _distgan(program, given) if program in ours else _peer(program, given, pixels)
                parameters[program.name] = answer.parameters
                if answer.parameters != parameters["distgan"]:
                    sys.exit(f"The networks are not the same, so their speeds are not compared: {parameters}")
                rates[program].append(answer.images_per_second)
                print(f"round {round_number + 1}: {program.name}, {program.processes} processes, batch norm over "
                      f"{program.batch_norm}, {program.precision}: {answer.images_per_second:.0f} images/s",
                      file=sys.stderr, flush=True)  # fmt: skip
    rows = [_row(program, rates[program], rates[ours[0]]) for program in programs]
    _print_table(rows)
    config = {name: value for name, value in vars(given).items() if name != "torch_python"}
    measured = {"parameters": parameters["distgan"], "torch": torch_version or "not installed", "programs": rows}
    print(record.write("peers", config, measured))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help=f"measured steps, after {WARM_UP_STEPS} to warm up")
    parser.add_argument("--batch_size", type=int, default=256, help="images a step, of all processes together")
    parser.add_argument("--peers", default="tensorflow_tutorial,pytorch_ddp,keras_fit")
    parser.add_argument("--precision", default="float32", help="of distgan")
    parser.add_argument("--torch_python", default=sys.executable, help="an interpreter that has torch")
    return parser.parse_args()


def _torch_version(python: str) -> str | None:
    try:
        found = _run([python, "-c", "import torch; print(torch.__version__)"])
    except OSError:
        return None
    return None if found.returncode else found.stdout.strip()


def _distgan(program: Program, given: argparse.Namespace) -> Answer:
    """Train in a directory that is thrown away; the rate after the warm-up, by the run's own log."""
    with tempfile.TemporaryDirectory() as run_dir:
        command = [
            sys.executable, "-m", "distgan.train", f"--backend={'single' if program.processes == 1 else 'horovod'}",
            f"--batch_size={given.batch_size}", f"--precision={program.precision}", f"--run_dir={run_dir}",
            f"--normalization={'sync' if program.batch_norm == 'global batch' else 'local'}",
            f"--steps={WARM_UP_STEPS + given.steps}", "--log_every_steps=1", "--sample_every=1000epochs",
        ]  # fmt: skip
        horovodrun = str(Path(sys.executable).with_name("horovodrun"))
        _checked(program, _on_cores(program, command, [horovodrun, "--gloo", "-np", str(CORES)], "HOROVOD_LOCAL_RANK"))
        lines = [json.loads(line) for line in (Path(run_dir) / "metrics.jsonl").read_text().splitlines()]
        networks = distgan.load(run_dir).networks
    seconds = lines[-1]["seconds"] - lines[WARM_UP_STEPS - 1]["seconds"]
    parameters = {name: sum(weight.value.shape.num_elements() for weight in network.trainable_weights)
                  for name, network in networks.items()}  # fmt: skip
    return Answer(given.steps * given.batch_size / seconds, parameters)


def _peer(program: Program, given: argparse.Namespace, pixels: Path) -> Answer:
    """Run a program of peers/, whose last line is its answer."""
    python = given.torch_python if program.name == "pytorch_ddp" else sys.executable
    command = [
        python, str(PEERS / f"{program.name}.py"), f"--pixels={pixels}", f"--batch_size={given.batch_size}",
        f"--warm_up_steps={WARM_UP_STEPS}", f"--steps={given.steps}", f"--precision={program.precision}",
    ]  # fmt: skip
    torchrun = [python, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={CORES}", "--no_python"]
    answer = json.loads(_checked(program, _on_cores(program, command, torchrun, "LOCAL_RANK")).splitlines()[-1])
    return Answer(answer["images_per_second"], answer["parameters"])


def _on_cores(program: Program, command: list[str], launcher: list[str], rank_variable: str) -> list[str]:
    """The command on all cores, or started by a launcher as processes of one core each."""
    if program.processes == 1:
        return ["taskset", "-c", f"0-{CORES - 1}", *command]
    return [*launcher, "sh", "-c", f'exec taskset -c "${rank_variable}" "$@"', "rank", *command]


def _checked(program: Program, command: list[str]) -> str:
    finished = _run(command)
    if finished.returncode:
        sys.exit(f"{program} failed:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that sees no GPU: it is cores that are compared."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def _row(program: Program, rates: list[float], ours: list[float]) -> dict[str, Any]:
    return program._asdict() | {
        "images_per_second": rates,
        "median_images_per_second": statistics.median(rates),
        "ratios": [our / rate for our, rate in zip(ours, rates, strict=True)],
        "ratio_of_medians": statistics.median(ours) / statistics.median(rates),
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    print("| program | processes | batch norm over | precision | images/s, median (range) "
          "| first row / it, of medians (range) |")  # fmt: skip
    print("|---|---:|---|---|---:|---:|")
    for row in rows:
        rates, ratios = row["images_per_second"], row["ratios"]
        print(
            f"| {row['name']} | {row['processes']} | {row['batch_norm']} | {row['precision']} "
            f"| {row['median_images_per_second']:.0f} ({min(rates):.0f}-{max(rates):.0f}) "
            f"| {row['ratio_of_medians']:.2f} ({min(ratios):.2f}-{max(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()
