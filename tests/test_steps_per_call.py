"""Several steps in one call: the same bits, and nothing that is due falls inside a call."""

import json
import signal
from pathlib import Path
from typing import Any

import layouts
import picture_files
import pytest
import small_runs

from distgan.config import Config
from distgan.replicas.base import Replicas
from distgan.training import pace
from distgan.training.clock import Clock
from distgan.training.trainer import Trainer

STEPS = 24
SETTINGS: dict[str, Any] = {
    "steps": STEPS, "log_every_steps": 12, "checkpoint_every": "7steps", "sample_every": "11steps",
    "keep_checkpoints": 100, "preset": "mnist_best", "generator_filters": 4, "evaluate_every": "never",
}  # fmt: skip
LAYOUTS = [layouts.Layout("mirrored", 2), layouts.Layout("multiworker", 2)]
LAYOUTS += [layouts.Layout("horovod", 2)] * bool(layouts.HOROVODRUN)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("one")
    small_runs.train(run_dir, **SETTINGS)
    return run_dir


def _all_digests(run_dir: Path) -> dict[int, str]:
    return {step: small_runs.digest(run_dir, step) for step in small_runs.checkpoints(run_dir)}


def _losses(run_dir: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name.startswith(("loss", "accuracy"))} for line in lines]


def test_ten_steps_a_call_leave_what_single_ones_leave(one_by_one: Path, tmp_path: Path) -> None:
    small_runs.train(tmp_path, **SETTINGS, steps_per_call=10)
    assert set(_all_digests(tmp_path)) == {7, 14, 21, STEPS}
    assert _all_digests(tmp_path) == _all_digests(one_by_one)
    assert small_runs.logged_steps(tmp_path) == small_runs.logged_steps(one_by_one) == [12, STEPS]
    assert _losses(tmp_path) == _losses(one_by_one)
    pictures = [sorted(path.name for path in (run / "samples").iterdir()) for run in (tmp_path, one_by_one)]
    assert pictures[0] == pictures[1]


@pytest.mark.slow
def test_a_signal_inside_a_call_saves_at_its_end(
    one_by_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_on = Trainer.step_on

    def interrupted(trainer: Trainer, *arguments: Any) -> Any:
        results = step_on(trainer, *arguments)
        if trainer.step_number == 7:
            signal.raise_signal(signal.SIGTERM)
        return results

    monkeypatch.setattr(Trainer, "step_on", interrupted)
    said = small_runs.train(tmp_path, **SETTINGS, steps_per_call=10)
    stopped = max(small_runs.checkpoints(tmp_path))
    assert f"SIGTERM: stopped at step {stopped}, which is saved" in said
    assert stopped < STEPS
    small_runs.train(tmp_path, **SETTINGS, steps_per_call=3)
    assert small_runs.digest(tmp_path, STEPS) == small_runs.digest(one_by_one, STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_ten_steps_a_call_are_the_same_run_on_several_replicas(layout: layouts.Layout, tmp_path: Path) -> None:
    for steps in (1, 10):
        given = SETTINGS | {"steps_per_call": steps}
        status, output = layouts.run(layout, "-m", "distgan.train", *small_runs.flags(tmp_path / str(steps), **given))
        assert status == 0, output
    assert _all_digests(tmp_path / "10") == _all_digests(tmp_path / "1")


@pytest.mark.slow
def test_compiled_calls_are_the_same_run_too(tmp_path: Path) -> None:
    for steps in (1, 10):
        small_runs.train(tmp_path / str(steps), **SETTINGS, steps_per_call=steps, jit_compile=True)
    assert _all_digests(tmp_path / "10") == _all_digests(tmp_path / "1")


@pytest.mark.slow
def test_pixels_of_files_are_those_of_their_step(tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "pictures", 40, side_pixels=28)
    data = {"data": f"folder:{tmp_path}/pictures", "channels": 1}
    for steps in (1, 4):
        small_runs.train(tmp_path / str(steps), **data, steps=6, log_every_steps=6, steps_per_call=steps)
    assert small_runs.digest(tmp_path / "4", 6) == small_runs.digest(tmp_path / "1", 6)


class _Counts:
    step_number, images_shown, images_per_step, num_examples = 4, 120, 30, 100


def test_a_call_ends_where_something_is_due() -> None:
    clock = Clock(_Counts(), steps=50, epochs=None)
    assert clock.steps_until_due([]) == 46
    assert clock.steps_until_due(["never", "10min", "4steps", "5steps"]) == 1
    assert clock.steps_until_due(["4steps"]) == 4
    assert clock.steps_until_due(["1epochs"]) == 3  # 210 images
    assert clock.steps_until_due(["4steps"], stops=(4, 6, 9)) == 2


class _Time:
    """A clock that is set by hand."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_calls_grow_until_they_take_a_twentieth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "time", time := _Time())
    own = pace.Pace(Config(), Replicas(), 64)
    seen = []
    for _ in range(8 * pace.CALLS):
        seen.append(own.steps)
        time.now += 0.003 * own.steps + 10 * (len(seen) % pace.CALLS == 1)  # a picture now and then
        own.called()
    assert list(dict.fromkeys(seen)) == [1, 2, 4, 8, 16]
    assert pace.Pace(Config(steps_per_call=7), Replicas(), 7).steps == 7
