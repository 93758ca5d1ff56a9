"""distgan.sweep: several settings, one run after the other."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import documents
import kubernetes_validate
import limits
import psutil
import pytest
import small_runs
import yaml

from distgan import trials
from distgan.errors import UserError
from distgan.report import comparison, recorded

SMALL: dict[str, Any] = {
    "preset": "mlp", "latent_dim": 8, "batch_size": 16, "steps": 40, "log_every_steps": 1,
    "evaluate_every": "40steps", "evaluate_num_images": 100, "sample_every": "never", "checkpoint_every": "1steps",
}  # fmt: skip


def _write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content) if not isinstance(content, str) else content)
    return path


def _sweep(directory: Path, *words: str, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "distgan.sweep", *words], cwd=directory, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def _ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=limits.LIMIT_SECONDS)
    return process.returncode, output, errors


def _training(directory: Path) -> list[int]:
    """The processes that train in a directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "distgan.train" in process.cmdline() and process.cwd() == str(directory):
                found.append(process.pid)
    return found


def _read(path: Path, content: Any) -> list[trials.Trial]:
    return trials.read(_write(path, content))[1]


@pytest.mark.slow  # a run of its own, killed, and once more
def test_a_killed_sweep_goes_on_and_compares(tmp_path: Path) -> None:
    _write(tmp_path / "s.json", {"settings": SMALL, "vary": {"seed": [0, 1]}})
    first, second = (tmp_path / "runs/s" / f"seed={seed}" for seed in (0, 1))
    process = _sweep(tmp_path, "s.json")
    try:
        limits.wait_until(lambda: small_runs.checkpoints(first), "a checkpoint", goes_on=lambda: process.poll() is None)
    finally:
        process.kill()
        process.communicate()
    limits.wait_until(lambda: not _training(tmp_path), "the end of its run")
    saved = small_runs.checkpoints(first)[-1]
    assert saved < SMALL["steps"]
    assert not second.exists()

    status, output, errors = _ended(_sweep(tmp_path, "s.json", "--by=precision"))
    assert (status, errors) == (0, "")
    assert "Precision, the best of each run:" in output
    assert f"step {saved} of 40, " in (tmp_path / "runs/s/seed=0.log").read_text()
    for run_dir in (first, second):
        assert small_runs.checkpoints(run_dir)[-1] == SMALL["steps"]
        assert set(small_runs.logged_steps(run_dir)) == set(range(1, SMALL["steps"] + 1))
    assert b"seed=1" in (tmp_path / "runs/s/compare.html").read_bytes()

    status, output, _ = _ended(_sweep(tmp_path, "s.json", "--only=1"))
    assert status == 0
    assert "run 1 of 1, seed=1: is finished" in output


def test_a_run_that_fails_is_reported_and_stops_none(tmp_path: Path) -> None:
    _write(tmp_path / "s.json", {"settings": {"data": "folder:none"}, "vary": {"seed": [0, 1]}})
    status, output, _ = _ended(_sweep(tmp_path, "s.json", "--parallel=2"))
    assert status == 2
    assert len(re.findall(r"run \d of 2, seed=\d: failed with status 2", output)) == 2
    assert "none cannot be listed" in (tmp_path / "runs/s/seed=1.log").read_text()


def test_grids_have_all_combinations_and_names_that_files_may_have(tmp_path: Path) -> None:
    found = _read(tmp_path / "s.json", {
        "run_dir": str(tmp_path / "here"), "settings": {"preset": "mlp"},
        "vary": {"data": ["folder:a b/c", "mnist"], "mirror": [True, False], "r1_weight": [1, 0.5]},
    })  # fmt: skip
    assert len(found) == 8
    assert found[0].name == "data=folder-a-b-c,mirror=true,r1_weight=1"
    assert found[0].config.directory == tmp_path / "here" / found[0].name
    assert [one.config.gan.r1_weight for one in found[:2]] == [1.0, 0.5]


def test_more_random_runs_keep_the_first_ones(tmp_path: Path) -> None:
    vary = {"generator_learning_rate": {"from": "1e-4", "to": 1e-2, "log": True}, "batch_size": {"from": 2, "to": 9},
            "seed": [0, 1]}  # fmt: skip
    few, many = (_read(tmp_path / "s.json", {"vary": vary, "number": number}) for number in (3, 40))
    assert [one.name for one in many[:3]] == [one.name for one in few]
    rates = [one.config.generator.learning_rate for one in many]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 10 <= sum(rate < 1e-3 for rate in rates) <= 30
    assert {one.config.batch_size for one in many} == set(range(2, 10))
    assert len({one.config.seed for one in many}) == 2
    assert _read(tmp_path / "s.json", {"vary": vary, "number": 3, "seed": 1})[0].name != few[0].name


def test_yaml_is_read_as_json_is(tmp_path: Path) -> None:
    (found,) = _read(tmp_path / "s.yaml", "settings: {preset: mlp}\nvary:\n  generator_learning_rate: [2e-4]\n")
    assert found.config.generator.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "can't be read: "),
        ("[1]", 'must have "vary"'),
        ({"vary": {}}, 'must have "vary"'),
        ({"vary": {"seed": [0]}, "flags": {}}, "nothing else"),
        ({"vary": {"sed": [0]}}, "has sed, which a sweep can't set: did you mean seed?"),
        ({"vary": {"run_dir": ["a"]}}, "has run_dir, which a sweep can't set."),
        ({"vary": {"seed": [0]}, "settings": {"seed": 1}}, 'has seed in "settings" and in "vary"'),
        ({"vary": {"seed": []}}, "seed must have a list of values"),
        ({"vary": {"seed": 3}, "number": 2}, "seed must have a list of values"),
        ({"vary": {"seed": {"from": 0, "to": 9}}}, "seed must have a list of values"),
        ({"vary": {"seed": {"from": 9, "to": 0}}, "number": 2}, "seed has the range 9 to 0"),
        ({"vary": {"r1_weight": {"from": 0, "to": 1, "log": True}}, "number": 2}, "r1_weight has the range 0.0 to 1.0"),
        ({"vary": {"seed": [0]}, "number": 1.5}, "whole numbers"),
        ({"vary": {"data": ["folder:a b", "folder:a/b"]}}, "data=folder-a-b: another run has this name"),
        ({"vary": {"batch_size": [0]}}, "batch_size=0: --batch_size=0 is refused"),
        ({"vary": {"batch_size": ["many"]}}, "batch_size=many: --batch_size=many is refused"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence_that_names_it(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        _read(tmp_path / "s.json", content)
    assert str(tmp_path / "s.json") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "s.json", {"vary": {"seed": [0, 1]}})
    for words, said in (((), "Give one file"), (("none.json",), "none.json"), (("s.json", "--only=2"), "has 2 runs")):
        status, _, errors = _ended(_sweep(tmp_path, *words))
        assert status == 2
        assert re.fullmatch(rf"distgan: [^\n]*{said}[^\n]*\n", errors), errors
    assert not (tmp_path / "runs").exists()


def test_arrays_run_each_trial_by_its_number(tmp_path: Path) -> None:
    _write(tmp_path / "My sweep.json", {"vary": {"seed": [0, 1, 2]}})
    _, script, _ = _ended(_sweep(tmp_path, "My sweep.json", "--array=slurm"))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "#SBATCH --array=0-2\n" in script
    assert "-m distgan.sweep 'My sweep.json' --only=\"$SLURM_ARRAY_TASK_ID\"" in script
    _, job, _ = _ended(_sweep(tmp_path, "My sweep.json", "--array=kubernetes"))
    document = yaml.safe_load(job)
    kubernetes_validate.validate(document, "1.30", strict=True)
    assert document["metadata"]["name"] == "my-sweep"
    assert document["spec"]["completions"] == 3
    assert not (tmp_path / "runs").exists()


def test_each_run_gets_its_part_of_the_gpus(tmp_path: Path) -> None:
    _write(tmp_path / "s.json", {"settings": {"data": "folder:none"}, "vary": {"seed": [0]}})
    hook = "import os, sys\nif 'distgan.train' in sys.orig_argv: print('sees', os.environ['CUDA_VISIBLE_DEVICES'])\n"
    (tmp_path / "sitecustomize.py").write_text(hook)
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "3,5,7,9"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    _ended(_sweep(tmp_path, "s.json", "--parallel=2", env=environment))
    assert "sees 3,7\n" in (tmp_path / "runs/s/seed=0.log").read_text()


def test_runs_are_ordered_by_their_best_score(tmp_path: Path) -> None:
    for name, values in {"a": [3.0, 9.0], "b": [], "c": [5.0, 1.0]}.items():
        (tmp_path / name).mkdir()
        lines = [{"step": 1, "images_shown": 1, "epoch": 1, "seconds": 1, "quality/frechet_distance": one,
                  "quality/precision": one} for one in values]  # fmt: skip
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    runs = [recorded.read(tmp_path / name) for name in "bac"]
    assert [run.name for run in comparison.ordered(runs, "frechet_distance")] == ["c", "a", "b"]
    best_first = comparison.ordered(runs, "precision")
    assert [run.name for run in best_first] == ["a", "c", "b"]
    assert list(comparison.ranking(best_first, "precision"))[1:] == [
        "           9  a",
        "           5  c",
        "not measured  b",
    ]


def test_the_files_of_the_document_are_valid(tmp_path: Path) -> None:
    blocks = [block.text for block in documents.blocks(documents.ROOT / "docs/sweep.md") if block.language == "json"]
    assert [len(_read(tmp_path / "sweep.json", text)) for text in blocks] == [6, 8]


def test_ctrl_c_lets_a_run_save(tmp_path: Path) -> None:
    _write(tmp_path / "s.json", {"settings": SMALL | {"steps": 100_000}, "vary": {"seed": [0, 1]}})
    run_dir = tmp_path / "runs/s/seed=0"
    process = _sweep(tmp_path, "s.json")
    try:
        small_runs.wait_for_step(run_dir, 3, [process])
        process.send_signal(signal.SIGINT)
        status = _ended(process)[0]
    finally:
        process.kill()
    assert status == 130
    assert small_runs.checkpoints(run_dir)[-1] == small_runs.logged_steps(run_dir)[-1]
    assert not (tmp_path / "runs/s/seed=1").exists()
