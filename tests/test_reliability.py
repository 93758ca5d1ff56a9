"""What a run does when its numbers, its disk or its checkpoints fail it."""

import os
import shutil
import signal
import threading
from pathlib import Path

import layouts
import limits
import numpy as np
import pytest
import small_runs

from distgan import run
from distgan.errors import TrainingError, UserError, reason
from distgan.store import checkpoint

GOLDEN = Path(__file__).parent / "golden"
OF_GOLDEN = {"filters": 2, "latent_dim": 4}
needs_horovod = pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)


@pytest.mark.parametrize(
    "layout",
    [layouts.SINGLE, pytest.param(layouts.Layout("horovod", 2), marks=[needs_horovod, pytest.mark.slow])],
    ids=str,
)
def test_numbers_that_are_not_finite_end_the_run_by_name_and_spare_the_last_checkpoint(
    layout: layouts.Layout, tmp_path: Path
) -> None:
    flags = small_runs.flags(
        tmp_path, steps=50, generator_learning_rate=1e30, checkpoint_every="1steps", log_every_steps=3
    )
    status, output = layouts.run(layout, "-m", "distgan.train", *flags)
    assert status == (3 if layout == layouts.SINGLE else 1)  # horovodrun has a status of its own
    assert "is NaN or infinite since step" in output or "holds NaN or infinite values after step" in output
    assert "The last checkpoint, step_00000000" in output
    assert "start another run with smaller learning rates, --init_from=" in output
    assert "Traceback" not in output
    newest = max(small_runs.checkpoints(tmp_path))
    assert all(np.isfinite(array).all() for array in small_runs.state(tmp_path, newest).values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=2)
    path = tmp_path / "checkpoints" / "step_000000002"
    found = checkpoint.load_newest(tmp_path / "checkpoints")
    assert found
    name = next(name for name in found.arrays if name.startswith("discriminator/"))
    found.arrays[name][...] = np.nan
    shutil.rmtree(path)
    checkpoint.save(path.parent, found.arrays, found.manifest, keep=1)
    with pytest.raises(TrainingError, match=r"holds numbers that are not finite|is NaN or infinite since step"):
        small_runs.train(tmp_path, steps=4, log_every_steps=100)
    assert small_runs.checkpoints(tmp_path) == [2]


@pytest.mark.slow
def test_a_signal_asks_for_a_checkpoint_and_the_run_goes_on(tmp_path: Path) -> None:
    (process,) = layouts.start(layouts.SINGLE, "-m", "distgan.train", *small_runs.flags(tmp_path, steps=1_000_000))
    small_runs.wait_for_step(tmp_path, 6, [process])
    process.send_signal(signal.SIGUSR1)
    limits.wait_until(lambda: small_runs.checkpoints(tmp_path), "checkpoint", goes_on=lambda: process.poll() is None)
    (saved,) = small_runs.checkpoints(tmp_path)
    small_runs.wait_for_step(tmp_path, saved + 6, [process])
    process.send_signal(signal.SIGTERM)
    assert limits.output_of(process)
    assert process.returncode == 0


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, writing, steps_meanwhile = checkpoint.save, threading.Event(), []

    def save_slowly(*arguments: object, **settings: object) -> Path:
        if not writing.is_set():
            writing.set()
            before = max(small_runs.logged_steps(tmp_path))
            small_runs.wait_for_step(tmp_path, before + 5)
            steps_meanwhile.append(max(small_runs.logged_steps(tmp_path)) - before)
        return save(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", save_slowly)
    small_runs.train(tmp_path, steps=60, checkpoint_every="30steps")
    assert steps_meanwhile[0] >= 5
    assert small_runs.checkpoints(tmp_path) == [30, 60]


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoint.save

    def refuse(directory: Path, arrays: object, facts: dict[str, int], keep: int) -> Path:
        if facts["step"] == 10:
            raise OSError(28, "No space left on device")
        return save(directory, arrays, facts, keep)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", refuse)


@pytest.mark.usefixtures("unwritable")
def test_a_checkpoint_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint of step 10 can't be written .*No space left on device.*make room"):
        small_runs.train(tmp_path, steps=100_000, checkpoint_every="5steps")
    assert small_runs.checkpoints(tmp_path) == [5]


@pytest.mark.usefixtures("unwritable")
def test_or_is_warned_of_while_the_run_goes_on(tmp_path: Path) -> None:
    settings = {"checkpoint_every": "5steps", "on_checkpoint_error": "warn", "keep_checkpoints": 9}
    said = small_runs.train(tmp_path, steps=40, **settings)
    assert "warning: The checkpoint of step 10 can't be written" in said
    assert "the run continues" in said
    assert small_runs.checkpoints(tmp_path) == [5, 15, 20, 25, 30, 35, 40]


@pytest.mark.usefixtures("unwritable")
def test_but_never_of_the_last_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The checkpoint of step 10 can't be written"):
        small_runs.train(tmp_path, steps=10, checkpoint_every="5steps", on_checkpoint_error="warn")


def test_a_checkpoint_of_an_older_version_goes_on(tmp_path: Path) -> None:
    run_dir = shutil.copytree(GOLDEN, tmp_path / "run")
    assert "resumes from step 3" in small_runs.train(run_dir, steps=5, **OF_GOLDEN)
    pixels = run.load(GOLDEN).generate(2)
    assert pixels.shape == (2, 28, 28, 1)


def test_one_that_lacks_a_variable_says_which(tmp_path: Path) -> None:
    run_dir = shutil.copytree(GOLDEN, tmp_path / "run")
    found = checkpoint.load_newest(run_dir / "checkpoints")
    assert found
    del found.arrays["generator/project/kernel"]
    checkpoint.save(run_dir / "checkpoints", found.arrays, found.manifest | {"step": 4}, keep=1)
    with pytest.raises(
        UserError, match="The checkpoint does not match the networks: generator/project/kernel is missing there"
    ):
        small_runs.train(run_dir, steps=5, **OF_GOLDEN)


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    run_dir = shutil.copytree(GOLDEN, tmp_path / "run")
    for name in ("state.npz", "manifest.json"):
        path = run_dir / "checkpoints" / "step_000000003" / name
        path.unlink()
        os.mkfifo(path)
        with pytest.raises((UserError, OSError)):
            small_runs.train(run_dir, steps=5, **OF_GOLDEN)


def test_of_a_lost_process_the_reason_is_told_and_not_the_graph() -> None:
    said = (
        "Graph execution error:\n\nDetected at node HorovodAllreduce defined at (most recent call last):\n"
        "<stack traces unavailable>\nHorovod has been shut down.\n\t [[{{node HorovodAllreduce}}]] [Op:__inference_7]"
    )
    assert reason(RuntimeError(said)) == "Horovod has been shut down."


def test_of_a_lost_process_the_reason_is_short_and_without_lines_of_source() -> None:
    said = "Gloo failed: [/build/gloo/pair.cc:597] Read error [127.0.0.1]:42409: Connection reset by peer"
    assert reason(RuntimeError(said)) == "Gloo failed: Read error [127.0.0.1]:42409: Connection reset by peer"
    assert reason(RuntimeError("a long story " * 100)).endswith("story a ...")
