"""The outputs of a run: TensorBoard, metrics.jsonl, the console, pictures, its page.

This module writes TensorBoard's files without TensorFlow and without a thread, so that a full disk
raises an ordinary OSError. It is reported once, and training continues: a missing log must not end a run.
"""

import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

from distgan import pictures
from distgan.report import hparams, logs, trackers
from distgan.report.console import Console
from distgan.report.numbers import duration
from distgan.report.recorded import PAGE
from distgan.store import atomic

HISTOGRAM_BINS = 30
PAGE_SHARE = 1 / 50  # largest fraction of the time for writing the page
LIVE = {
    "loss/generator": "G",
    "loss/discriminator": "D",
    "accuracy/mean": "accuracy",
    "quality/frechet_distance": "Frechet",
}


class Reporter:
    """The writer of a run's outputs. On ranks other than the chief, `enabled=False`: no file, no output.

    All files are written by `spared`, which does nothing on the other ranks.
    """

    def __init__(self, run_dir: Path, *, enabled: bool, first_step: int, console: TextIO | None = None):
        """Continue after `first_step`, the checkpoint's step or 0 for a new run.

        Log records of a killed run after that step are cut off; its sample pictures stay.
        """
        self.enabled = enabled
        self.metrics_path = run_dir / "metrics.jsonl"
        self.samples_dir = run_dir / "samples"
        self.tensorboard_dir = run_dir / "tensorboard"
        self._run_dir = run_dir
        self._console = Console(console or sys.stdout)
        self._said: set[tuple[Path, int | None]] = set()
        self._next_page_seconds = -math.inf
        self._senders: list[trackers.Sender] = []
        # Names must sort by time: TensorBoard reads the files of a directory in the order of their names.
        self._events_path = self.tensorboard_dir / (
            f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        )
        if enabled:
            self._start(first_step + 1 if first_step else 0)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Report the settings to TensorBoard's HParams page, and to the services that `--track` names."""
        self.spared(self.tensorboard_dir / hparams.FILE, lambda: hparams.write(self.tensorboard_dir, settings))
        for name in trackers.names_of(settings["track"]) if self.enabled else []:
            self._senders.append(trackers.Sender(name, self._run_dir, settings, self.say))

    def scalars(self, step: int, images_shown: int, epoch: float, values: dict[str, float]) -> None:
        """Log values named `group/name` as TensorBoard scalars and as one line of metrics.jsonl."""
        known = {name: float(v) if math.isfinite(v) else None for name, v in values.items()}
        self._add_line(step, images_shown, epoch, known)
        self._summarize(step, *(Summary.Value(tag=t, simple_value=v) for t, v in values.items()))
        self._track(lambda run: run.scalars(step, {"images_shown": images_shown, "epoch": epoch, **values}))

    def warning(self, step: int, images_shown: int, epoch: float, text: str) -> None:
        """Print a problem of the run, and log it as a line of metrics.jsonl."""
        self.say(f"warning: {text}")
        self._add_line(step, images_shown, epoch, {"warning": text})
        self._track(lambda run: run.warning(step, text))

    def progress(
        self,
        *,
        step: int,
        total_steps: int,
        epoch: float,
        total_epochs: float,
        images_per_second: float,
        values: dict[str, float],
        seconds_left: float,
    ) -> None:
        """Show the live line, at most ten times a second, or every five seconds if not on a terminal.

        `epoch` is the number of finished epochs, with a fraction. The last step is always shown.
        """
        if not self.enabled:
            return
        parts = [
            f"epoch {max(1, math.ceil(min(epoch, total_epochs)))}/{max(1, math.ceil(total_epochs))}",
            f"step {step}/{total_steps}",
            f"{100 * step // max(total_steps, 1)}%",
            f"{images_per_second:,.{0 if images_per_second >= 10 else 1}f} images/s".replace("nan", "?"),
            f"{duration(seconds_left)} left",
            *(f"{short} {values[name]:.3f}" for name, short in LIVE.items() if name in values),
        ]
        self._console.progress("  ".join(parts), last=step >= total_steps)

    def say(self, text: str) -> None:
        """Print a line above the live line."""
        if self.enabled:
            self._console.say(text)

    def samples(self, step: int, epoch: int | None, pixels: np.ndarray) -> None:
        """Write uint8 `[number, height, width, channels]` as a grid, to TensorBoard and as a PNG.

        The PNG is named after the finished epoch, or after the step if `epoch` is None.
        """
        picture = pictures.enlarge(pictures.grid(pixels))
        png = pictures.encode_png(picture)
        name = f"step_{step:06d}" if epoch is None else f"epoch_{epoch:04d}"
        path = self.samples_dir / f"image_at_{name}.png"
        self.spared(self.samples_dir, partial(atomic.write, path, png))
        self._track(lambda run: run.picture(step, path))
        height, width, channels = picture.shape
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
        self._summarize(step, Summary.Value(tag="samples", image=image))

    def histograms(self, step: int, arrays: dict[str, np.ndarray]) -> None:
        """Log a histogram of each array; NaN and infinite values are left out."""
        found = {name: _histogram(array) for name, array in arrays.items()}
        self._summarize(step, *(Summary.Value(tag=t, histo=h) for t, h in found.items() if h))

    def page(self, state: str) -> None:
        """Rewrite report.html, the page of a run in `state`; while "running", use at most PAGE_SHARE of the time."""
        started = time.monotonic()
        if not self.enabled or (state == "running" and started < self._next_page_seconds):
            return
        from distgan.report import run_page  # which imports Jinja2; most processes do not need it

        self.spared(self._run_dir / PAGE, lambda: run_page.write(self._run_dir, state))
        now = time.monotonic()
        self._next_page_seconds = now + (now - started) / PAGE_SHARE

    def spared(self, path: Path, write: Callable[[], object]) -> None:
        """Write a file on the chief; print an OSError as one sentence, once for each path and reason, and continue."""
        if not self.enabled:
            return
        try:
            write()
        except OSError as error:
            if (path, error.errno) not in self._said:
                self._said.add((path, error.errno))
                self.say(f"Cannot write {path}: {error.strerror or error}; the run continues.")

    def finish(self) -> None:
        """Close a finished run: write progress.gif and the last page."""
        self._console.leave_line()
        film = self._run_dir / "progress.gif"
        self.spared(film, lambda: pictures.progress_gif(self.samples_dir, film))
        self.page("finished")
        self.close(0)

    def close(self, exit_status: int = 1) -> None:
        """End the live line, if there is one, and the run at the services; all files are already complete on disk."""
        self._console.leave_line()
        while self._senders:
            self._senders.pop().finish(exit_status)

    def _start(self, first_new_step: int) -> None:
        for directory in (self.samples_dir, self.tensorboard_dir):
            self.spared(directory, partial(directory.mkdir, parents=True, exist_ok=True))
        self.spared(self.metrics_path, lambda: logs.cut(self.metrics_path, logs.steps_of_lines, first_new_step))
        for events_path in self.tensorboard_dir.glob("events.out.tfevents.*"):
            self.spared(events_path, partial(logs.cut, events_path, logs.steps_of_events, first_new_step))
        self._log(Event(file_version="brain.Event:2"))
        # A TensorBoard that stays open drops the old steps from this START's step on
        # (with --load_fast=false; the fast loader drops a tag's steps when they are logged again).
        self._log(Event(step=first_new_step, session_log=SessionLog(status=SessionLog.START)))

    def _track(self, call: Callable[[trackers.Tracker], None]) -> None:
        for sender in self._senders:
            sender.send(call)

    def _add_line(self, step: int, images_shown: int, epoch: float, values: Mapping[str, object]) -> None:
        when = {"step": int(step), "images_shown": int(images_shown), "epoch": float(epoch), "seconds": time.time()}
        line = json.dumps({**when, **values}).encode() + b"\n"
        self.spared(self.metrics_path, lambda: logs.append(self.metrics_path, line))

    def _summarize(self, step: int, *values: Summary.Value) -> None:
        self._log(Event(step=step, summary=Summary(value=values)))

    def _log(self, event: Event) -> None:
        record = logs.record_of(event)
        self.spared(self._events_path, lambda: logs.append(self._events_path, record))


def _histogram(array: np.ndarray) -> HistogramProto | None:
    # float32 is precise enough; float64 then has 30 different bin edges between any two values.
    values = np.asarray(array, np.float32).ravel().astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    counts, edges = np.histogram(values, HISTOGRAM_BINS)
    return HistogramProto(min=edges[0], max=edges[-1], num=values.size, bucket_limit=edges[1:], bucket=counts)
