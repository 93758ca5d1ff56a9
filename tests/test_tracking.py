"""What Weights & Biases, MLflow and TensorBoard's HParams page have of a run, read by their own classes."""

import importlib.util
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import layouts
import limits
import numpy as np
import pytest
import small_runs
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

import distgan
from distgan.config import Config
from distgan.errors import UserError
from distgan.report import recorded, trackers
from distgan.report.reporter import Reporter

BOTH = "wandb,mlflow"
MISSING = [name for name in BOTH.split(",") if not importlib.util.find_spec(name)]
needs_both = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} is not installed")
BLOCK, HEADER = 2**15, struct.Struct("<IHB")  # of a .wandb file, which is a log of LevelDB


def wandb_records(path: Path) -> list[Any]:
    """The records of a .wandb file as Weights & Biases' own messages; wandb has no reader of its own in Python."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts, found = path.read_bytes(), 7, b"", []
    assert content[:4] == b":W&B"
    while at + HEADER.size <= len(content):
        if BLOCK - at % BLOCK < HEADER.size:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = HEADER.unpack_from(content, at)
        parts += content[at + HEADER.size : at + HEADER.size + length]
        at += HEADER.size + length
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(Record.FromString(parts))
            parts = b""
    return found


def wandb_files(run_dir: Path) -> list[Path]:
    """The files of a run's starts, oldest first."""
    return sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)


def wandb_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a history."""
    rows = [record.history.item for record in wandb_records(path) if record.HasField("history")]
    return [{"/".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]


def wandb_losses(path: Path) -> dict[int, float]:
    return {row["step"]: row["loss/generator"] for row in wandb_rows(path) if "loss/generator" in row}


def mlflow_run(run_dir: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient().get_run(ids(run_dir)["mlflow"])


def mlflow_losses(run_dir: Path) -> dict[int, float]:
    from mlflow import MlflowClient

    history = MlflowClient().get_metric_history(ids(run_dir)["mlflow"], "loss/generator")
    return {metric.step: metric.value for metric in history}


def ids(run_dir: Path) -> dict[str, str]:
    path = run_dir / trackers.IDS
    return dict(json.loads(path.read_text())) if path.exists() else {}


def logged_losses(run_dir: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss/generator"] for line in lines}


def last_wandb_losses(run_dir: Path) -> dict[int, float]:
    return wandb_losses(wandb_files(run_dir)[-1])


def newest(losses: Callable[[Path], dict[int, float]], run_dir: Path) -> int:
    """The newest step that a service has; to be asked for not too often."""
    time.sleep(0.3)
    return max(losses(run_dir), default=0)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Both services, without a network."""
    with pytest.MonkeyPatch.context() as patch:
        store = tmp_path_factory.mktemp("mlflow")
        for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
            patch.delenv(name)
        for name, value in {
            "WANDB_MODE": "offline", "WANDB_CACHE_DIR": str(store), "MLFLOW_TRACKING_URI": f"file:{store}/runs",
            "MLFLOW_ALLOW_FILE_STORE": "true", "DO_NOT_TRACK": "true", "WANDB_ERROR_REPORTING": "false",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        patch.setattr(sys, "exit", sys.exit)  # wandb replaces them
        patch.setattr(sys, "excepthook", sys.excepthook)
        import wandb

        wandb.setup()  # its process serves all tests
        yield
        wandb.teardown()


class Tracked(NamedTuple):
    """A run that was killed after a checkpoint, and resumed to its end."""

    run_dir: Path
    said_before: str
    checkpoint: int
    last: int


@pytest.fixture(scope="module")
def tracked(services: None, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    run_dir = tmp_path_factory.mktemp("runs") / "tracked"
    settings = {
        "track": BOTH,
        "backend": "single",
        "log_every_steps": 2,
        "checkpoint_every": "never",
        "sample_every": "5steps",
    }
    flags = small_runs.flags(run_dir, **settings, steps=1_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_SERVICE")  # or it would use our process of wandb, which outlives it
        (process,) = layouts.start(layouts.SINGLE, "-m", "distgan.train", *flags)
    limits.wait_until(lambda: len(ids(run_dir)) == 2, "tracked runs", goes_on=lambda: process.poll() is None)
    process.send_signal(signal.SIGUSR1)
    limits.wait_until(lambda: small_runs.checkpoints(run_dir), "a checkpoint")
    (checkpoint,) = small_runs.checkpoints(run_dir)
    limits.wait_until(lambda: newest(mlflow_losses, run_dir) > checkpoint, "a step after the checkpoint in MLflow")
    limits.wait_until(lambda: newest(last_wandb_losses, run_dir) > checkpoint, "a step after the checkpoint in wandb")
    (worker,) = small_runs.workers(run_dir)
    worker.kill()
    said, last = limits.output_of(process), checkpoint + 5 - checkpoint % 5 + 5  # with a picture
    small_runs.train(run_dir, **settings, steps=last)
    return Tracked(run_dir, said, checkpoint, last)


# A run that is killed and resumed


@needs_both
def test_a_resumed_run_goes_on_in_the_same_run_of_mlflow(tracked: Tracked) -> None:
    import mlflow

    (run,) = mlflow.search_runs(experiment_names=["distgan"], output_format="list")
    assert (run.info.run_id, run.info.run_name) == (ids(tracked.run_dir)["mlflow"], "tracked")
    assert run.info.status == "FINISHED"
    losses, expected = mlflow_losses(tracked.run_dir), logged_losses(tracked.run_dir)
    assert {step: loss for step, loss in losses.items() if step <= tracked.last} == expected
    assert run.data.metrics.keys() > {"epoch", "images_shown", "speed/images_per_second", "learning_rate/generator"}


@needs_both
def test_a_resumed_run_goes_on_in_the_same_run_of_wandb(tracked: Tracked) -> None:
    before, after = wandb_files(tracked.run_dir)
    for file, exits in ((before, []), (after, [0])):
        records = wandb_records(file)
        (run,) = [record.run for record in records if record.HasField("run")]
        assert (run.run_id, run.project) == (ids(tracked.run_dir)["wandb"], "distgan")
        assert (run.display_name, run.resume) == ("tracked", True)
        assert [record.exit.exit_code for record in records if record.HasField("exit")] == exits
        metrics = [record.metric for record in records if record.HasField("metric")]
        assert [(metric.name, metric.glob_name, metric.step_metric) for metric in metrics] == [
            ("step", "", ""), ("", "*", "step")
        ]  # fmt: skip
    first, second, expected = wandb_losses(before), wandb_losses(after), logged_losses(tracked.run_dir)
    assert min(second) > tracked.checkpoint and max(first) > tracked.checkpoint
    assert {step: loss for step, loss in (first | second).items() if step <= tracked.last} == expected
    both = first.keys() & second.keys() - {min(second)}  # which is the mean of fewer steps after the resumption
    assert both
    assert [first[step] for step in both] == [second[step] for step in both]


@needs_both
def test_the_settings_are_hyper_parameters_and_a_changed_one_is_seen(tracked: Tracked) -> None:
    settings = json.loads((tracked.run_dir / "config.json").read_text())
    data = mlflow_run(tracked.run_dir).data
    assert data.params == {name: str(value) for name, value in settings.items()} | {"steps": "1000000"}
    assert {name: text for name, text in data.tags.items() if "." not in name} == {"steps": str(tracked.last)}
    run = next(record.run for record in wandb_records(wandb_files(tracked.run_dir)[1]) if record.HasField("run"))
    config = {item.key: json.loads(item.value_json) for item in run.config.update if item.key != "_wandb"}
    assert config == settings


@needs_both
def test_sample_pictures_are_sent_with_their_steps(tracked: Tracked) -> None:
    from mlflow import MlflowClient

    pictures = [path.path for path in MlflowClient().list_artifacts(ids(tracked.run_dir)["mlflow"], "images")]
    steps = {int(re.findall(r"step\+(\d+)", name)[0]) for name in pictures}
    file = wandb_files(tracked.run_dir)[1]
    rows = {row["step"]: row["samples"] if "samples" in row else row["samples/path"] for row in wandb_rows(file)
            if any(name.startswith("samples") for name in row)}  # fmt: skip
    assert tracked.last in steps and max(rows) == tracked.last
    assert len(list(file.parent.glob("files/media/images/samples_*.png"))) == len(rows)


@needs_both
def test_the_results_of_a_finished_run_are_a_run_directory(tracked: Tracked, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    received = Path(MlflowClient().download_artifacts(ids(tracked.run_dir)["mlflow"], "", str(tmp_path)))
    assert (received / "report.html").read_bytes() == (tracked.run_dir / "report.html").read_bytes()
    np.testing.assert_array_equal(distgan.load(received).generate(2), distgan.load(tracked.run_dir).generate(2))
    (artifact,) = [
        record.artifact for record in wandb_records(wandb_files(tracked.run_dir)[1]) if record.HasField("artifact")
    ]
    sent = {path.relative_to(received).as_posix() for path in received.rglob("*.*") if "images" not in path.parts}
    assert {file.path for file in artifact.manifest.contents} == sent
    assert (artifact.type, artifact.name) == ("model", f"distgan-{ids(tracked.run_dir)['wandb']}")


@needs_both
def test_the_services_say_nothing_on_the_console(tracked: Tracked) -> None:
    without_flags = re.sub(r"--track=\S+", "", tracked.said_before)
    assert "wandb" not in without_flags and "mlflow" not in without_flags.lower()


def test_a_checkpoint_that_is_too_large_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("checkpoints/step_000000007/state.npz", "best/step_000000003/state.npz", "config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    assert list(recorded.results_of(tmp_path)) == ["checkpoints/step_000000003/state.npz", "config.json"]
    monkeypatch.setattr("distgan.report.recorded.MOST_CHECKPOINT_BYTES", 1)
    assert list(recorded.results_of(tmp_path)) == ["config.json"]


@needs_both
def test_a_finished_run_that_is_started_again_is_left_as_it_is(tracked: Tracked) -> None:
    before = mlflow_run(tracked.run_dir).to_dictionary()
    said = small_runs.train(tracked.run_dir, steps=tracked.last, log_every_steps=2, backend="single", track=BOTH)
    assert "This run is finished" in said
    assert mlflow_run(tracked.run_dir).to_dictionary() == before
    assert len(wandb_files(tracked.run_dir)) == 2


@needs_both
@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [
        layouts.Layout("multiworker", 2),
        pytest.param(
            layouts.Layout("horovod", 2), marks=pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
        ),
    ],
    ids=str,
)
def test_of_several_processes_only_the_chief_sends(
    services: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: layouts.Layout
) -> None:
    monkeypatch.delenv("WANDB_SERVICE")
    flags = small_runs.flags(tmp_path / "run", track=BOTH, steps=3)
    status, said = layouts.run(layout, "-m", "distgan.train", *flags)
    assert status == 0, said
    assert list(wandb_losses(*wandb_files(tmp_path / "run"))) == [1, 2, 3] == list(mlflow_losses(tmp_path / "run"))


# The end of a run, and failures


def begin(run_dir: Path, track: str, enabled: bool = True) -> tuple[Reporter, io.StringIO]:
    console = io.StringIO()
    run = Reporter(run_dir, enabled=enabled, first_step=0, console=console)
    run.begin(Config(track=track).values())
    return run, console


@needs_both
@pytest.mark.parametrize(("exit_status", "name"), [(143, "KILLED"), (1, "FAILED")])
def test_a_run_that_does_not_finish_is_marked(services: None, tmp_path: Path, exit_status: int, name: str) -> None:
    run, console = begin(tmp_path, BOTH)
    run.scalars(7, 64, 0.5, {"loss/generator": float("nan")})
    run.warning(7, 64, 0.5, "The samples are alike.")
    run.close(exit_status)
    found = mlflow_run(tmp_path)
    assert (found.info.status, found.data.tags["warnings"]) == (name, "step 7: The samples are alike.")
    assert np.isnan(found.data.metrics["loss/generator"])
    records = wandb_records(*wandb_files(tmp_path))
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [exit_status]
    (alert,) = [record.alert for record in records if record.HasField("alert")]
    assert (alert.title, alert.text, alert.level) == ("Warning at step 7", "The samples are alike.", "WARN")
    assert console.getvalue() == "warning: The samples are alike.\n"


@needs_both
def test_a_service_that_cannot_be_reached_is_reported_once(
    services: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = layouts.free_ports(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://localhost:{port}")
    run, console = begin(tmp_path, "mlflow")
    for step in range(20):
        run.scalars(step, 64, 0.5, {"loss/generator": 0.5})
    run.finish()
    (said,) = console.getvalue().splitlines()
    assert said.startswith("mlflow fails (API request to http://localhost")
    assert said.endswith("; the run does not depend on it.")
    assert list(logged_losses(tmp_path)) == list(range(20))
    assert ids(tmp_path) == {}


def test_a_service_that_hangs_does_not_stall_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    class Hangs(trackers.MLflow):
        def __init__(self, *_: object) -> None:
            answers.wait()

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Hangs)
    monkeypatch.setattr(trackers, "names_of", lambda track: [track])
    for name, value in (("MOST_WAITING", 5), ("START_SECONDS", 0.1), ("FINISH_SECONDS", 0.1)):
        monkeypatch.setattr(trackers, name, value)
    run, console = begin(tmp_path, "mlflow")
    for step in range(20):
        run.scalars(step, 64, 0.5, {"loss/generator": 0.5})
    run.finish()
    answers.set()
    assert console.getvalue().splitlines() == [
        "mlflow is slower than the log of the run and misses a part: raise --log_every_steps.",
        "mlflow has not taken all of the run in time; its own files are complete.",
    ]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_service_that_is_not_installed_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    needed = f'--track={name} needs {name}: run `pip install "distgan[{name}]"`, or remove it.'
    with pytest.raises(UserError, match=re.escape(needed)):
        small_runs.train(tmp_path / "run", steps=1, track=name)
    assert not (tmp_path / "run").exists()


def test_an_unknown_service_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UserError, match="--track=comet is refused: it must be one of wandb, mlflow, wandb,mlflow"):
        Config(track="comet")


def test_nothing_is_imported_without_the_flag_nor_off_the_chief(tmp_path: Path) -> None:
    code = """
from pathlib import Path
import sys
from distgan.config import Config
from distgan.report.reporter import Reporter
for enabled, track in ((True, None), (False, "wandb,mlflow")):
    run = Reporter(Path(sys.argv[1]), enabled=enabled, first_step=0)
    run.begin(Config(track=track).values())
    run.scalars(1, 1, 0.1, {"loss/generator": 0.5})
    run.close()
print(sorted({"wandb", "mlflow", "tensorflow"} & sys.modules.keys()))
"""
    assert subprocess.check_output([sys.executable, "-c", code, tmp_path], text=True) == "[]\n"


# TensorBoard's HParams page


def hparams_page(logdir: Path) -> tuple[Any, list[Any]]:
    """The columns and the rows of the page of all runs in a directory."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    context = backend_context.Context(TBContext(logdir=str(logdir), data_provider=provider))
    columns = get_experiment.Handler(RequestContext(), context, "", api_pb2.GetExperimentRequest()).run()
    asked = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_UNKNOWN],
        start_index=0,
        slice_size=100,
        aggregation_type=api_pb2.AGGREGATION_AVG,
    )
    return columns, list(list_session_groups.Handler(RequestContext(), context, "", asked).run().session_groups)


def test_mlflow_needs_an_address_where_what_its_default_takes_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"mlflow": True}
    monkeypatch.setattr(importlib.util, "find_spec", found.get)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(
        UserError, match=r"^--track=mlflow needs MLFLOW_TRACKING_URI: set it to your server's address, or"
    ):
        trackers.names_of("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:runs")
    assert trackers.names_of("mlflow") == ["mlflow"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    found["sqlalchemy"] = True
    assert trackers.names_of("mlflow") == ["mlflow"]


def test_tensorboard_shows_the_settings_the_losses_and_the_scores_of_runs(tmp_path: Path) -> None:
    starts = (("a", "mnist", 0, 10), ("b", "mlp", 0, 20), ("resumed", "mnist", 0, 5), ("resumed", "mnist", 5, 30))
    for name, preset, first_step, steps in starts:
        run = Reporter(tmp_path / name, enabled=True, first_step=first_step, console=io.StringIO())
        run.begin(Config(preset=preset, steps=steps).values())
        run.scalars(first_step + 1, 64, 0.5, {"loss/generator": 0.25, "quality/recall": 0.5, "speed/x": 1.0})
        run.close()
    columns, rows = hparams_page(tmp_path)
    assert {info.name for info in columns.hparam_infos} > {"steps", "filters", "mirror", "jitter_pixels"}
    shown = {info.name.tag for info in columns.metric_infos}
    assert {"loss/generator", "loss/discriminator", "quality/frechet_distance", "quality/recall"} < shown
    assert not any(name.startswith("speed/") for name in shown)
    assert sorted(row.name for row in rows) == ["a/tensorboard", "b/tensorboard", "resumed/tensorboard"]
    by_name = {row.name.partition("/")[0]: row for row in rows}
    assert {name: row.hparams["steps"].number_value for name, row in by_name.items()} == {
        "a": 10,
        "b": 20,
        "resumed": 30,
    }
    assert by_name["b"].hparams["preset"].string_value == "mlp"
    assert by_name["a"].hparams["mirror"].bool_value is False and "image_size" not in by_name["a"].hparams
    for row in rows:
        found = {value.name.tag: value.value for value in row.metric_values}
        assert found == {"loss/generator": 0.25, "quality/recall": 0.5}
