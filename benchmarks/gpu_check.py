"""Does distgan run on this machine's GPU as it does on a CPU, and how fast?

    python benchmarks/gpu_check.py                       # a quarter of an hour on an H200; six minutes without a GPU
    python benchmarks/gpu_check.py --device=cpu          # the short form, which is taken where there is no GPU
    python benchmarks/gpu_check.py --parts=bits,calls

Goes through its --parts and on past those that fail; each line of the report is marked `pass`, `fail`, `not possible
here` (the reason beside it) or, where there is nothing to hold a figure against, `measured`:

doctor      python -m distgan.doctor
placement   every preset makes steps, a sample picture and a checkpoint with soft placement off: an operation that has
            no GPU kernel is an error with its name
equal       every preset makes 20 steps (cyclegan 3) in float64 on the GPU and on the CPU: each network's weights, as
            the largest difference over the largest weight, to 1e-8
bits        with --deterministic, 10 steps and then 10 more in another process come to the bits of 20 at once
compiled    --jit_compile comes to the weights of the run that is not compiled, in float64, to 1e-10; on two replicas
            too, with --normalization=local
calls       with --deterministic, --steps_per_call=7 comes to the bits of single steps; so it does with --jit_compile
mirrored    two replicas, on two GPUs or on two halves of one, come to the weights of one replica, in float64, to 1e-10
programs    `make train`'s run, with the time it takes and its Frechet distance, then evaluate, sample and export
horovod     two processes of Horovod, on two GPUs by NCCL or on the CPU, come to the weights of one, in float64, to
            1e-10; images a second of one and of two, with a batch of 256 each
speed       images a second of whole runs by preset, precision, batch, --jit_compile and --steps_per_call
norm        batch norm, forwards and backwards, by TensorFlow's fused kernels and by operations, as it is made on GPUs
profile     kernels a step, and the share of the time in which the GPU computes
peers       the networks of `mnist` in PyTorch, where --torch_python has it: eager, compiled, and by CUDA graphs

`equal`, `compiled` and `mirrored` train by SGD: Adam moves a weight that has no gradient, such as a bias before a batch
norm, by what rounding leaves of it. The first eight run up to four at a time, the rest alone. Prints a table and writes
results/gpu_check_*.json, and a page, gpu_check_*.html.
"""

import argparse
import concurrent.futures
import html
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import launching
import numpy as np
import record

PASS, FAIL, MEASURED, NOT_HERE = "pass", "fail", "measured", "not possible here"
TOGETHER = ("doctor", "placement", "equal", "bits", "compiled", "calls", "mirrored", "programs")
ALONE = ("horovod", "speed", "norm", "profile", "peers")
SHORT = {
    "parts": "doctor,placement,bits,compiled,calls,mirrored,programs,horovod,speed,norm,profile,peers",
    "presets": "mnist,mlp",
}
LIMIT_SECONDS = 300  # of each process
STEPS, CYCLEGAN_STEPS = 20, 3  # as a difference grows thirtyfold with each step of CycleGAN
FEW: dict[str, Any] = {"max_images_per_class": 200}  # as each is made larger, or coloured, one by one
SMALL: dict[str, dict[str, Any]] = {
    "mnist": {"filters": 16},
    "mnist_large": FEW | {"filters": 8, "image_size": "56x56"},
    "mnist_best": {"filters": 8, "generator_filters": 8},
    "mlp": {},
    "dcgan": {"data": "mnist-colours", "image_size": "28x28", "filters": 8, "mirror": True},
    "dcgan64": FEW | {"data": "mnist", "image_size": "32x32", "channels": 3, "filters": 8, "generator_filters": 16},
    "faces": FEW | {"data": "mnist", "channels": 3, "filters": 8, "generator_filters": 8},
    "rgb_best": FEW | {"data": "mnist", "channels": 3, "filters": 8, "generator_filters": 8, "r1_every_steps": 2},
    "r3gan": FEW | {"data": "mnist", "channels": 3, "filters": 8, "group_channels": 4, "r1_every_steps": 2},
    "pix2pix": {"data": "mnist-edges", "image_size": "32x32", "filters": 8},
    "cyclegan": {"data": "mnist-domains", "image_size": "32x32", "filters": 8, "residual_blocks": 2},
}
SHARED: dict[str, Any] = {
    "batch_size": 16, "steps": STEPS, "log_every_steps": STEPS, "sample_every": "1000000steps", "num_samples": 4,
    "jit_compile": False, "steps_per_call": 1,
}  # fmt: skip
OTHERS: dict[str, dict[str, Any]] = {
    "mnist_best": {},
    "dcgan64": {"data": "mnist", "channels": 3},
    "pix2pix": {"data": "mnist-edges", "image_size": "64x64", "batch_size": 16},
}
WAYS: list[dict[str, Any]] = [  # the last one is what a run does if neither flag is given
    {"jit_compile": False, "steps_per_call": 1}, {"jit_compile": True, "steps_per_call": 1}, {},
]  # fmt: skip
SPEED: list[tuple[str, dict[str, Any]]] = [
    (preset, settings | {"precision": precision} | way)
    for preset, settings, precisions in [
        ("mnist", {"batch_size": 256}, ("float32", "mixed_bfloat16", "mixed_float16")),
        ("mnist", {"batch_size": 2048}, ("float32", "mixed_bfloat16", "mixed_float16")),
        *((preset, settings, ("mixed_bfloat16",)) for preset, settings in OTHERS.items()),
    ]
    for precision in precisions
    for way in WAYS
]
EXACT: dict[str, Any] = {
    "precision": "float64", "deterministic": True, "generator_optimizer": "sgd", "discriminator_optimizer": "sgd",
    "generator_learning_rate": 0.01, "discriminator_learning_rate": 0.01,
}  # fmt: skip
BITS = [
    ("mnist", "float32"), ("mnist", "mixed_bfloat16"), ("mnist", "mixed_float16"), ("mnist_best", "mixed_bfloat16"),
    ("dcgan64", "float32"), ("pix2pix", "mixed_bfloat16"), ("cyclegan", "float32"),
]  # fmt: skip
NORMS = {"mnist, batch 256": (256 * 14 * 14, 64), "dcgan64, batch 128": (128 * 32 * 32, 64)}  # rows and channels
NORM_BOUND = 1e-3
HOROVOD = ("mnist", "dcgan64", "cyclegan")  # presets
WARM_UP, BLOCK, BLOCKS = 50, 50, 4
GROWTH = 700  # steps in which calls of few steps become calls of many
PROFILED = range(41, 51)


def main() -> None:
    given = _arguments()
    if given.answer_to:
        _answer(given)
        return
    given.device = given.device or ("gpu" if _gpu() != "none" else "cpu")
    if given.device == "cpu":
        print("on the CPU: a short form, which shows that the checks work", file=sys.stderr)
    of_device = SHORT if given.device == "cpu" else {"parts": ",".join((*TOGETHER, *ALONE)), "presets": ",".join(SMALL)}
    given.parts, given.presets = given.parts or of_device["parts"], given.presets or of_device["presets"]
    wanted = given.parts.split(",")
    if unknown := set(wanted) - {*TOGETHER, *ALONE}:
        sys.exit(f"--parts names no part: {', '.join(sorted(unknown))}. There are {', '.join((*TOGETHER, *ALONE))}.")
    lines: list[dict[str, Any]] = []

    def note(part: str) -> None:
        for line in _lines_of(part, given):
            lines.append(line)
            print(f"{line['part']}: {line['what']}: {line['mark']}: {line['found']}", file=sys.stderr, flush=True)

    with concurrent.futures.ThreadPoolExecutor(max(1, min(4, len(launching.cores()) // 2))) as pool:
        list(pool.map(note, [part for part in TOGETHER if part in wanted]))
    for part in ALONE:
        if part in wanted:
            note(part)
    lines.sort(key=lambda line: (*TOGETHER, *ALONE).index(line["part"]))
    launching.print_table(
        ["part", "what", "", "found"], ([line["part"], line["what"], line["mark"], line["found"]] for line in lines)
    )
    path = record.write("gpu_check", vars(given), {"gpu": _gpu(), "lines": lines})
    page = path.with_suffix(".html")
    page.write_text(_page(path, lines))
    print(path, page, sep="\n")
    if any(line["mark"] == FAIL for line in lines):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--device", choices=("gpu", "cpu"), help="the GPU, if there is one")
    parser.add_argument("--parts", default="", help="all; without a GPU all but `equal`")
    parser.add_argument("--presets", default="", help=f"all ten; without a GPU {SHORT['presets']}")
    parser.add_argument("--torch_python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--torch_pythonpath", default=os.environ.get("PYTHONPATH", ""), help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    return parser.parse_args()


def _gpu() -> str:
    """The GPU by its driver's own words."""
    words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "none"
    except OSError:
        return "none"


def _page(path: Path, lines: list[dict[str, Any]]) -> str:
    """The report as a page: how many lines have each mark, and a table."""
    about = json.loads(path.read_text())
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    gpu = about["measured"]["gpu"]
    marks = [line["mark"] for line in lines]
    counts = ", ".join(f"{marks.count(mark)} {mark}" for mark in dict.fromkeys(marks))
    colours = {PASS: "#d8f0d8", FAIL: "#f6cfcf", MEASURED: "#e6ecf6", NOT_HERE: "#eeeeee"}
    rows = "".join(
        f'<tr style="background: {colours[line["mark"]]}">'
        + "".join(f"<td>{html.escape(line[name])}</td>" for name in ("part", "what", "mark", "found"))
        + "</tr>\n"
        for line in lines
    )
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>distgan: GPU check</title>\n'
        "<style>body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }\n"
        "table { border-collapse: collapse; width: 100% } td, th { padding: 0.3em 0.6em; text-align: left; "
        "vertical-align: top; border-bottom: 1px solid #fff } td:last-child { overflow-wrap: anywhere }</style>\n"
        f"<h1>distgan: GPU check</h1>\n<p>GPU: {html.escape(gpu)}. {html.escape(about['hardware'])}. "
        f"{about['date']}, commit {about['commit']}. {html.escape(versions)}.</p>\n<p><b>{counts}</b></p>\n"
        f"<table><tr><th>part</th><th>what</th><th>mark</th><th>found</th></tr>\n{rows}</table>\n</html>\n"
    )


def _line(part: str, what: str, mark: str, found: str, **values: Any) -> dict[str, Any]:
    """A line of the report, and the values behind it."""
    return {"part": part, "what": what, "mark": mark, "found": found, "values": values}


def _lines_of(part: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The lines of a part, whatever becomes of it."""
    started = time.monotonic()
    try:
        yield from PARTS[part](given)
    except Exception as error:
        traceback.print_exc()
        yield _line(part, "all of it", FAIL, f"{type(error).__name__}: {str(error)[-2000:]}")
    print(f"{part} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


# ---- parts, as the first process sees them


def _ask(given: argparse.Namespace, part: str, device: str | None = None, **settings: Any) -> Any:
    """What this program, started once more, answers of a part that it computes itself."""
    device = device or given.device
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "answer.json"
        _run([
            sys.executable, __file__, f"--answer_to={path}", f"--parts={part}", f"--device={device}",
            f"--presets={given.presets}", f"--settings={json.dumps(settings)}",
        ], device)  # fmt: skip
        return json.loads(path.read_text())


def _run(command: list[str], device: str) -> str:
    """Run a program of the project on a device; returns what it printed. Raises `RuntimeError` where it fails."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "1"} | os.environ
    environment["PYTHONPATH"] = os.pathsep.join([str(launching.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=environment, timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with status {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def _doctor(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    said = _run([sys.executable, "-m", "distgan.doctor"], given.device)
    yield _line("doctor", "says", MEASURED, said.strip().splitlines()[-1], said=said)


def _placement(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for precision in ("float32", "mixed_bfloat16")[: 2 if given.device == "gpu" else 1]:
        for preset, problem in _ask(given, "placement", precision=precision).items():
            yield _line(
                "placement", f"{preset}, {precision}", FAIL if problem else PASS, problem or "all on the device"
            )


def _equal(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    yield from _weights_of_two("equal", given, 1e-8, {}, {"device": "cpu"})


def _compiled(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for of_both in ({}, {"backend": "mirrored", "normalization": "local"}):
        plain = of_both | {"with_history": False}
        yield from _weights_of_two("compiled", given, 1e-10, plain | {"jit_compile": True}, plain)


def _calls(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for compiled in (False, True):
        of_both = {"with_history": False, "jit_compile": compiled, "deterministic": True, "precision": "float32"}
        yield from _weights_of_two("calls", given, 0, of_both | {"steps_per_call": 7}, of_both)


def _mirrored(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    yield from _weights_of_two("mirrored", given, 1e-10, {"backend": "mirrored"}, {})


def _weights_of_two(
    part: str, given: argparse.Namespace, bound: float, *settings: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A line for each preset: how far apart the weights are of two runs, with these settings."""
    with tempfile.TemporaryDirectory() as directory, concurrent.futures.ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(_ask, given, "runs", directory=f"{directory}/{number}", **EXACT | of_run)
            for number, of_run in enumerate(settings)
        ]
        problems = [one.result() for one in asked]
        for preset in given.presets.split(","):
            if problem := problems[0][preset] or problems[1][preset]:
                yield _line(part, preset, FAIL, problem)
                continue
            what = preset if "backend" not in settings[1] else f"{preset}, two replicas"
            yield _compared(part, what, Path(directory, "0", preset), Path(directory, "1", preset), bound)


def _compared(part: str, what: str, run: Path, reference: Path, bound: float) -> dict[str, Any]:
    """A line: the largest difference of the weights of two runs, over the largest weight of their network."""
    one, other = (np.load(_last_checkpoint(run_dir) / "state.npz") for run_dir in (run, reference))
    floats = [name for name in other.files if np.issubdtype(other[name].dtype, np.floating) and other[name].size]
    largest: dict[str, float] = {}
    for name in floats:
        network = name.partition("/")[0]
        largest[network] = max(largest.get(network, 0.0), np.abs(other[name]).max())
    apart = {name: float(np.abs(one[name] - other[name]).max() / largest[name.partition("/")[0]]) for name in floats}
    worst = max(apart, key=lambda name: apart[name])
    return _line(part, what, PASS if apart[worst] <= bound else FAIL, f"{apart[worst]:.1e} ({worst})", apart=apart)


def _last_checkpoint(run_dir: Path) -> Path:
    return max(path for path in (run_dir / "checkpoints").iterdir() if path.name.startswith("step_"))


def _bits(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    cases = [(preset, precision) for preset, precision in BITS if preset in given.presets.split(",")]
    with tempfile.TemporaryDirectory() as directory:
        runs = {"whole": STEPS, "parts": STEPS // 2}
        problems = _ask(given, "bits", directory=directory, cases=cases, runs=runs)
        problems += _ask(given, "bits", directory=directory, cases=cases, runs={"parts": STEPS})
        if problems:
            yield _line("bits", "runs", FAIL, "; ".join(problems))
        for preset, precision in cases:
            manifests = [
                json.loads((_last_checkpoint(Path(directory, name, precision, preset)) / "manifest.json").read_text())
                for name in ("whole", "parts")
            ]
            digests = [manifest["state_digest"][:12] for manifest in manifests]
            yield _line("bits", f"{preset}, {precision}", PASS if digests[0] == digests[1] else FAIL,
                        " and ".join(digests))  # fmt: skip


def _horovod(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    horovodrun = Path(sys.executable).with_name("horovodrun")
    if not horovodrun.exists() or (given.device == "gpu" and len(_gpu().splitlines()) < 2):
        why = "there is one GPU" if horovodrun.exists() else "Horovod is not installed"
        yield _line("horovod", "two processes", NOT_HERE, why)
        return

    def train(run_dir: Path, processes: int, **settings: Any) -> Path:
        alone = [sys.executable, "-m", "distgan.train", f"--run_dir={run_dir}", *launching.as_flags(settings)]
        command = [*alone, "--backend=single"] if processes == 1 else [str(horovodrun), "-np", str(processes), *alone]
        _run(command, given.device)
        return run_dir

    with tempfile.TemporaryDirectory() as directory:
        for preset in [preset for preset in given.presets.split(",") if preset in HOROVOD]:
            exact = {"preset": preset} | SHARED | SMALL[preset] | EXACT
            exact["steps"] = CYCLEGAN_STEPS if preset == "cyclegan" else STEPS
            two, one = (train(Path(directory, f"{preset}-{count}"), count, **exact) for count in (2, 1))
            yield _compared("horovod", preset, two, one, 1e-10)
        small = {"filters": 4} if given.device == "cpu" else {"precision": "mixed_bfloat16"}
        steps = 8 if given.device == "cpu" else GROWTH
        for count in (1, 2):
            settings: dict[str, Any] = small | {
                "batch_size": 256 * count, "steps": steps, "log_every_steps": steps // 4,
                "sample_every": "1000000steps", "num_samples": 4,
            }  # fmt: skip
            run_dir = train(Path(directory, f"speed-{count}"), count, **settings)
            last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
            rate = last["speed/images_per_second"]
            yield _line("horovod", f"speed of {count}", MEASURED, f"{rate:,.0f} images/s", log=last)


def _programs(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as run_dir:
        length = ["--epochs=2"] if given.device == "gpu" else ["--steps=3", "--filters=4", "--generator_filters=4"]
        for name, flags in {
            "train": ["--preset=mnist_best", *length],
            "evaluate": [],
            "sample": [f"--output={run_dir}/some.png"],
            "export": [f"--output={run_dir}/exported"],
        }.items():
            started = time.monotonic()
            said = _run([sys.executable, "-m", f"distgan.{name}", f"--run_dir={run_dir}", *flags], given.device)
            seconds = time.monotonic() - started
            yield _line("programs", name, PASS, f"{seconds:.1f} s", seconds=seconds, said=said[-3000:])
        lines = [json.loads(line) for line in Path(run_dir, "metrics.jsonl").read_text().splitlines()]
        yield _line("programs", "train's log", MEASURED, json.dumps(lines[-1])[:300], log=lines[-3:])


def _speed(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for case in _ask(given, "speed")["cases"]:
        what = f"{case['preset']}, " + ", ".join(f"{name}={value}" for name, value in case["settings"].items())
        if case.get("problem"):
            yield _line("speed", what, FAIL, case["problem"], **case)
        else:
            rates = launching.spread([case["images"] / seconds for seconds in case["seconds"]])
            milliseconds = launching.spread([1000 * seconds for seconds in case["seconds"]], ".2f")
            found = f"{rates} images/s, {milliseconds} ms a step; {case['first_seconds']:.0f} s before"
            yield _line("speed", what, MEASURED, found, **case)


def _norm(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for what, found in _ask(given, "norm").items():
        mark = PASS if found["apart"] <= NORM_BOUND else FAIL
        times = ", ".join(f"{way} {launching.spread(found[way], '.2f')} ms" for way in ("fused", "operations"))
        yield _line("norm", what, mark, f"{times}; apart by {found['apart']:.1e} of the largest", **found)


def _profile(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if given.device == "cpu":
        yield _line("profile", "mnist", NOT_HERE, "there is no GPU whose kernels could be counted")
        return
    for way in ({"jit_compile": False, "steps_per_call": 1}, {"jit_compile": True, "steps_per_call": 1},
                {"jit_compile": True, "steps_per_call": 10}):  # fmt: skip
        settings: dict[str, Any] = {"precision": "mixed_bfloat16", "batch_size": 256} | way
        found = _ask(given, "profile", **settings)
        what = "mnist, batch 256, mixed_bfloat16, " + ", ".join(f"{name}={value}" for name, value in way.items())
        for plane, values in found.items():
            words = (f"{values['events_a_step']:.0f} kernels and copies a step; the GPU is busy for "
                     f"{values['busy_ms_a_step']:.2f} of {values['ms_a_step']:.2f} ms")  # fmt: skip
            yield _line("profile", f"{what}, {plane}", MEASURED, words, **values)


def _peers(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from distgan.data.arrays import open_mnist

    environment = os.environ | {"PYTHONPATH": given.torch_pythonpath}
    found = subprocess.run(
        [given.torch_python, "-c", "import torch"], env=environment, check=False, capture_output=True
    )
    if found.returncode or given.device == "cpu":
        why = "it needs a GPU" if given.device == "cpu" else f"{given.torch_python} has no torch"
        yield _line("peers", "PyTorch", NOT_HERE, why)
        return
    with tempfile.TemporaryDirectory() as directory:
        pixels = Path(directory) / "pixels.npy"
        np.save(pixels, open_mnist().pixels)
        program = str(Path(__file__).parent / "peers" / "pytorch_gpu.py")
        done = subprocess.run(
            [given.torch_python, program, f"--pixels={pixels}"], env=environment, check=False, text=True,
            capture_output=True, timeout=LIMIT_SECONDS,
        )  # fmt: skip
    for text in done.stdout.splitlines():
        if text.startswith("{"):
            case = json.loads(text)
            what, problem = case.pop("what"), case.get("problem")
            rate = problem or f"{case['images_per_second']:,.0f} images/s, {case['milliseconds']:.2f} ms a step"
            yield _line("peers", what, FAIL if problem else MEASURED, rate, **case)
    if done.returncode:
        yield _line("peers", "PyTorch", FAIL, done.stderr[-2000:])


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, Any]]]] = {
    "doctor": _doctor, "placement": _placement, "equal": _equal, "bits": _bits, "compiled": _compiled, "calls": _calls,
    "mirrored": _mirrored, "horovod": _horovod, "programs": _programs, "speed": _speed, "norm": _norm,
    "profile": _profile, "peers": _peers,
}  # fmt: skip


# ---- what a process computes itself


def _answer(given: argparse.Namespace) -> None:
    settings = json.loads(given.settings)
    compute = {"placement": _compute_placement, "runs": _compute_runs, "bits": _compute_bits, "speed": _compute_speed,
               "norm": _compute_norm, "profile": _compute_profile}[given.parts]  # fmt: skip
    given.answer_to.write_text(json.dumps(compute(given, settings)))


def _trained(replicas: Any, **settings: Any) -> str:
    """Train; returns what went wrong, in short, or nothing."""
    from distgan.config import Config
    from distgan.training import loop

    try:
        loop.train(Config(**settings), replicas, io.StringIO())
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:1500]}"
    return ""


def _connected(device: str, **settings: Any) -> Any:
    """The replicas of a backend; two halves of the GPU, where two are wanted and there is one."""
    import tensorflow as tf

    from distgan.config import Config
    from distgan.replicas import devices
    from distgan.replicas.connect import connect

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise RuntimeError("TensorFlow sees no GPU here.")
    if settings.get("backend") == "mirrored":
        if device == "cpu":
            settings["virtual_devices"] = 2
        elif len(gpus) == 1:
            halves = [tf.config.LogicalDeviceConfiguration(memory_limit=8192)] * 2
            launching.wrap(devices, "_take_gpus", lambda _: lambda rank, size:
                           tf.config.set_logical_device_configuration(gpus[0], halves))  # fmt: skip
    return connect(Config(**settings))


def _compute_placement(given: argparse.Namespace, settings: dict[str, Any]) -> dict[str, str]:
    import tensorflow as tf

    replicas = _connected(given.device)
    tf.config.set_soft_device_placement(False)
    with tempfile.TemporaryDirectory() as directory:
        return {
            preset: _trained(replicas, preset=preset, run_dir=f"{directory}/{preset}",
                             **SHARED | SMALL[preset] | settings | {"steps": 3, "sample_every": "2steps"})
            for preset in given.presets.split(",")
        }  # fmt: skip


def _compute_runs(given: argparse.Namespace, settings: dict[str, Any]) -> dict[str, str]:
    directory, with_history = settings.pop("directory"), settings.pop("with_history", True)
    own = {name: settings[name] for name in ("backend", "deterministic") if name in settings}
    replicas = _connected(given.device, **own)
    problems = {}
    for preset in given.presets.split(","):
        of_preset = SHARED | SMALL[preset] | settings
        if preset == "cyclegan":
            of_preset.pop("normalization", None)
            of_preset["steps"] = CYCLEGAN_STEPS
            if not with_history:
                of_preset["image_buffer_size"] = 0  # which XLA can't compile
        problems[preset] = _trained(replicas, preset=preset, run_dir=f"{directory}/{preset}", **of_preset)
    return problems


def _compute_bits(given: argparse.Namespace, settings: dict[str, Any]) -> list[str]:
    replicas = _connected(given.device, deterministic=True)
    problems = [
        _trained(replicas, preset=preset, precision=precision, deterministic=True,
                 run_dir=f"{settings['directory']}/{name}/{precision}/{preset}",
                 **SHARED | SMALL[preset] | {"steps": steps})
        for preset, precision in settings["cases"]
        for name, steps in settings["runs"].items()
    ]  # fmt: skip
    return [problem for problem in problems if problem]


def _compute_speed(given: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    replicas = _connected(given.device)
    cases = SPEED if given.device == "gpu" else [("mnist", {"precision": "float32", "batch_size": 16, "filters": 4})]
    block = BLOCK if given.device == "gpu" else 2
    found = []
    started_all = time.monotonic()
    for preset, of_case in cases:
        if time.monotonic() - started_all > 0.8 * LIMIT_SECONDS:
            found.append({"preset": preset, "settings": of_case, "problem": "out of time"})
            continue
        warm_up = WARM_UP if given.device == "cpu" or "steps_per_call" in of_case else GROWTH
        with tempfile.TemporaryDirectory() as run_dir:
            started = time.time()
            problem = _trained(
                replicas, preset=preset, run_dir=run_dir, steps=warm_up + BLOCKS * block, log_every_steps=block,
                sample_every="1000000steps", num_samples=4, **of_case,
            )  # fmt: skip
            case: dict[str, Any] = {"preset": preset, "settings": of_case}
            if problem:
                found.append(case | {"problem": problem})
                continue
            config = json.loads(Path(run_dir, "config.json").read_text())
            lines = [json.loads(line) for line in Path(run_dir, "metrics.jsonl").read_text().splitlines()]
            lines = [line for line in lines if line["step"] >= warm_up and "speed/images_per_second" in line]
            steps = np.diff([line["step"] for line in lines])
            seconds = np.diff([line["seconds"] for line in lines]) / steps
            found.append(case | {
                "images": config["batch_size"], "seconds": seconds.tolist(),
                "first_seconds": time.time() - started - sum(seconds * steps), "last": lines[-1],
            })  # fmt: skip
            print(found[-1], flush=True)
    return {"cases": found}


def _compute_norm(given: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    _connected(given.device)
    found = {}
    for name, shape in NORMS.items():
        fused, operations = (_time_norm(is_fused, shape, given.device) for is_fused in (True, False))
        pairs = zip(fused[1], operations[1], strict=True)
        apart = max(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs)
        found[name] = {"fused": fused[0], "operations": operations[0], "apart": apart}
    return found


def _time_norm(is_fused: bool, shape: tuple[int, ...], device: str) -> tuple[list[float], list[np.ndarray]]:
    """Milliseconds of a batch norm's two passes, block by block, and its gradients."""
    import tensorflow as tf

    from distgan.nets import normalization

    launching.wrap(normalization, "_is_fused", lambda _: lambda rows: is_fused)
    layer = normalization.BatchNormalization(normalization.BatchNorm("sync", list))
    layer.build(shape)
    rows, upstream = (tf.random.stateless_normal(shape, [0, seed]) for seed in (1, 2))

    @tf.function
    def passes() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(rows)
            product = tf.reduce_sum(layer(rows, training=True) * upstream)
        return tape.gradient(product, [rows, layer.gamma.value, layer.beta.value])

    milliseconds, calls = [], 20 if device == "gpu" else 1
    gradients = [gradient.numpy() for gradient in passes()]
    for _ in range(BLOCKS):
        started = time.perf_counter()
        last = [passes() for _ in range(calls)][-1]
        last[0][0].numpy()
        milliseconds.append(1000 * (time.perf_counter() - started) / calls)
    return milliseconds, gradients


def _compute_profile(given: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    replicas = _connected(given.device)
    with tempfile.TemporaryDirectory() as run_dir:
        problem = _trained(
            replicas, preset="mnist", run_dir=run_dir, steps=60, log_every_steps=60, sample_every="1000000steps",
            profile_steps=f"{PROFILED[0]}:{PROFILED[-1]}", **settings,
        )  # fmt: skip
        if problem:
            raise RuntimeError(problem)
        (path,) = Path(run_dir).rglob("*.xplane.pb")
        return _planes(path)


def _planes(path: Path) -> dict[str, Any]:
    """Of each device's plane in a profile: events a step, the share of the time in which it computed, the longest."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    planes = {}
    for plane in space.planes:
        if "GPU" not in plane.name:
            continue
        spans: list[tuple[int, int]] = []
        times: dict[str, tuple[float, int]] = {}
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                begin = line.timestamp_ns * 1000 + event.offset_ps
                spans.append((begin, begin + event.duration_ps))
                seconds, number = times.get(name, (0.0, 0))
                times[name] = (seconds + event.duration_ps / 1e12, number + 1)
        if not spans:
            continue
        spans.sort()
        busy, end = 0, spans[0][0]
        for begin, finish in spans:
            busy += max(0, finish - max(begin, end))
            end = max(end, finish)
        longest = sorted(times.items(), key=lambda one: -one[1][0])[:25]
        planes[plane.name] = {
            "events_a_step": len(spans) / len(PROFILED),
            "busy_ms_a_step": busy / 1e9 / len(PROFILED),
            "ms_a_step": (end - spans[0][0]) / 1e9 / len(PROFILED),
            "busy_share": busy / (end - spans[0][0]),
            "longest": [[name[:100], 1000 * seconds / len(PROFILED), number / len(PROFILED)]
                        for name, (seconds, number) in longest],
        }  # fmt: skip
    return planes


if __name__ == "__main__":
    main()
