"""Experiment tracking: `--track` sends what a run reports to Weights & Biases or MLflow, too.

Each service has a thread of its own: training never waits for it, and its first error ends the tracking, not the run.
The services' own environment variables set the account, the server and the project. tracking.json stores the ids of the
tracked runs, so that a resumed run continues in the same ones.
"""

import importlib.util
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from distgan.errors import UserError, reason
from distgan.replicas import watchdog
from distgan.report.recorded import read_json, results_of
from distgan.store import atomic

IDS, PROJECT = "tracking.json", "distgan"
MOST_WAITING = 1000  # calls that a slow service may be behind
START_SECONDS, FINISH_SECONDS = 30, 120  # for which a service is waited for


class Tracker(Protocol):
    """A run at a service, its id there, and its page, if that is known. Any method may raise any exception.

    An exit status above 128 is that of a run that a signal stopped.
    """

    run_id: str
    page: str

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...
    def picture(self, step: int, path: Path) -> None: ...
    def warning(self, step: int, text: str) -> None: ...
    def finish(self, exit_status: int, files: Mapping[str, Path]) -> None: ...


class WandB:
    """A run at Weights & Biases, whose own steps can't go back: they count rows, and the x-axis is a value, "step"."""

    def __init__(self, run_dir: Path, settings: Mapping[str, Any], run_id: str | None) -> None:
        """Begin a run, or continue the one with the id. Raises `wandb.Error` if there is no account or no server."""
        import wandb

        quiet = wandb.Settings(silent=True, console="off", init_timeout=START_SECONDS, finish_timeout=FINISH_SECONDS)
        quiet.finish_timeout_raises = True
        quiet.x_transaction_log_flush_interval = 1.0  # seconds; a killed run loses what is not flushed
        self._wandb, own = wandb, wandb.setup(quiet).settings
        if own.mode == "online" and not wandb.run and not wandb.login(prompt=False):
            raise wandb.Error("no API key: run `wandb login`, or set WANDB_API_KEY, or WANDB_MODE=offline")
        self._run = wandb.init(
            project=own.project or PROJECT,
            name=own.run_name or run_dir.resolve().name,
            id=run_id or own.run_id,
            resume="allow",
            reinit="create_new",
            dir=run_dir,
            config=dict(settings),
            allow_val_change=True,
            settings=quiet,
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self.run_id, self.page = self._run.id, self._run.url or ""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row to the history."""
        self._run.log({"step": step, **values})

    def picture(self, step: int, path: Path) -> None:
        """Add a picture to the history."""
        self._run.log({"step": step, "samples": self._wandb.Image(str(path))})

    def warning(self, step: int, text: str) -> None:
        """Send an alert."""
        self._run.alert(f"Warning at step {step}", text, level="WARN", wait_duration=0.001)  # 0 would be a minute

    def finish(self, exit_status: int, files: Mapping[str, Path]) -> None:
        """Send the files as one artifact, and mark the run as finished or, if the status is not 0, as failed."""
        artifact = self._wandb.Artifact(f"distgan-{self.run_id}", type="model")
        for name, path in files.items():
            artifact.add_file(str(path), name, policy="immutable", skip_cache=True)  # without copies
        if files:
            self._run.log_artifact(artifact)
        self._run.finish(exit_status)


class MLflow:
    """A run at an MLflow server. MLflow's active run is one of the thread: all calls must come from the same."""

    def __init__(self, run_dir: Path, settings: Mapping[str, Any], run_id: str | None) -> None:
        """Begin a run, or continue the one with the id. Raises `MlflowException` if it can't."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # 7 take minutes
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        import mlflow

        self._mlflow, experiment = mlflow, None
        is_new = not run_id and "MLFLOW_RUN_ID" not in os.environ
        if is_new and not {"MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"} & os.environ.keys():
            found = mlflow.get_experiment_by_name(PROJECT)
            experiment = found.experiment_id if found else mlflow.create_experiment(PROJECT)
        run = mlflow.start_run(run_id, experiment_id=experiment, run_name=run_dir.resolve().name if is_new else None)
        self.run_id, self.page = run.info.run_id, ""
        texts, known = {name: str(value) for name, value in settings.items()}, run.data.params
        mlflow.log_params({name: text for name, text in texts.items() if name not in known})
        # A parameter can't change: if a resumed run changes a setting, its value is a tag from then on.
        changed = {name for name, text in texts.items() if known.get(name, text) != text} | run.data.tags.keys()
        mlflow.set_tags({name: text for name, text in texts.items() if name in changed})
        self._warnings = list(filter(None, run.data.tags.get("warnings", "").split("\n")))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics."""
        self._mlflow.log_metrics(dict(values), step)

    def picture(self, step: int, path: Path) -> None:
        """Log a picture of a step."""
        self._mlflow.log_image(self._mlflow.Image(str(path)), key="samples", step=step)

    def warning(self, step: int, text: str) -> None:
        """Add a line to the tag "warnings", once."""
        self._warnings = list(dict.fromkeys([*self._warnings, f"step {step}: {text}"]))
        self._mlflow.set_tag("warnings", "\n".join(self._warnings))

    def finish(self, exit_status: int, files: Mapping[str, Path]) -> None:
        """Log the files as artifacts, and mark the run as FINISHED, KILLED by a signal, or FAILED."""
        for name, path in files.items():
            self._mlflow.log_artifact(str(path), name.rpartition("/")[0] or None)
        self._mlflow.end_run("KILLED" if exit_status > 128 else "FAILED" if exit_status else "FINISHED")


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], str | None], Tracker]] = {"wandb": WandB, "mlflow": MLflow}
_ids_lock = threading.Lock()


def names_of(track: str | None) -> list[str]:
    """Return the services that `--track` names. Raises `UserError` if the package of one is not installed."""
    names = track.split(",") if track else []
    for name in names:
        if not importlib.util.find_spec(name):
            raise UserError(f'--track={track} needs {name}: run `pip install "distgan[{name}]"`, or remove it.')
        set_elsewhere = "MLFLOW_TRACKING_URI" in os.environ or name in sys.modules
        if name == "mlflow" and not set_elsewhere and not importlib.util.find_spec("sqlalchemy"):
            raise UserError(f"--track={track} needs MLFLOW_TRACKING_URI: set it to your server's address, or, with "
                            "MLFLOW_ALLOW_FILE_STORE=true, to file:DIRECTORY.")  # fmt: skip
    return names


class Sender:
    """A thread that sends a run to a service. The thread that trains calls its methods, which raise no errors."""

    def __init__(self, name: str, run_dir: Path, settings: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """Begin the tracked run, or continue it; `say` prints a sentence."""
        self._name, self._run_dir, self._settings, self._say = name, run_dir, settings, say
        self._calls: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self._notes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._exit_status, self._is_behind = 0, False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def send(self, call: Callable[[Tracker], None]) -> None:
        """Have the thread make a call, without waiting for it, and print what the thread has to say."""
        if self._calls.qsize() < MOST_WAITING:
            self._calls.put(call)
        elif self._thread.is_alive() and not self._is_behind:
            self._is_behind = True
            self._say(f"{self._name} is slower than the log of the run and misses a part: raise --log_every_steps.")
        self._tell()

    def finish(self, exit_status: int) -> None:
        """End the tracked run with the run's exit status, and its results if that is 0; waits until all is sent."""
        self._exit_status = exit_status
        end = time.monotonic() + START_SECONDS + FINISH_SECONDS
        self._calls.put(None)
        while self._thread.is_alive() and time.monotonic() < end:
            watchdog.works()
            self._thread.join(timeout=1.0)
        if self._thread.is_alive():
            self._notes.put(f"{self._name} has not taken all of the run in time; its own files are complete.")
        self._tell()

    def _tell(self) -> None:
        while not self._notes.empty():
            self._say(self._notes.get())

    def _work(self) -> None:
        try:
            run_id = read_json(self._run_dir / IDS).get(self._name)
            tracker = TRACKERS[self._name](self._run_dir, self._settings, run_id)
            with _ids_lock:
                ids = read_json(self._run_dir / IDS) | {self._name: tracker.run_id}
                atomic.write(self._run_dir / IDS, json.dumps(ids).encode() + b"\n")
            if tracker.page:
                self._notes.put(f"{self._name}: {tracker.page}")
            while call := self._calls.get():
                call(tracker)
            tracker.finish(self._exit_status, {} if self._exit_status else results_of(self._run_dir))
        except Exception as error:  # services raise almost any exception
            self._notes.put(f"{self._name} fails ({reason(error)}); the run does not depend on it.")
