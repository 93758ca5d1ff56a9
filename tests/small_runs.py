"""A run small enough to be made many times, and what a test wants to know of one."""

import contextlib
import io
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import limits
import numpy as np
import psutil
import supervisor

from distgan.config import Config
from distgan.replicas.base import Replicas
from distgan.training import loop

SMALL: dict[str, Any] = {"filters": 4, "latent_dim": 10, "batch_size": 16, "precision": "float32", "log_every_steps": 1}


def flags(run_dir: Path, **settings: Any) -> list[str]:
    return [f"--{name}={value}" for name, value in (SMALL | settings | {"run_dir": run_dir}).items()]


def train(run_dir: Path, **settings: Any) -> str:
    """Train in this process; returns what was said."""
    said = io.StringIO()
    loop.train(Config(**SMALL | settings | {"run_dir": str(run_dir)}), Replicas(), said)
    return said.getvalue()


def checkpoints(run_dir: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step_")) for path in (run_dir / "checkpoints").glob("step_*"))


def manifest(run_dir: Path, step: int) -> dict[str, Any]:
    return dict(json.loads((run_dir / "checkpoints" / f"step_{step:09d}" / "manifest.json").read_text()))


def digest(run_dir: Path, step: int) -> str:
    return str(manifest(run_dir, step)["state_digest"])


def state(run_dir: Path, step: int) -> dict[str, np.ndarray]:
    with np.load(run_dir / "checkpoints" / f"step_{step:09d}" / "state.npz") as arrays:
        return dict(arrays)


def assert_same(run_dir: Path, expected: Path, step: int) -> None:
    """Compare all variables of two runs in float64 at a step."""
    found, wanted = state(run_dir, step), state(expected, step)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-10, err_msg=name)


def workers(run_dir: Path) -> list[psutil.Process]:
    """The processes of this test that train into a directory, oldest first, without the parents that watch them."""
    found = {}
    for process in supervisor.descendants():
        with contextlib.suppress(psutil.Error):  # it has just ended
            words = process.cmdline()
            if words[1:3] == ["-m", "distgan.train"] and f"--run_dir={run_dir}" in words:
                found[process] = process.ppid()
    return sorted((process for process in found if process.pid not in found.values()), key=lambda one: one.pid)


def logged_steps(run_dir: Path) -> list[int]:
    """The steps of the logs of a run, without warnings."""
    path = run_dir / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [record["step"] for record in records if "warning" not in record]


def wait_for_step(run_dir: Path, step: int, processes: Iterable[subprocess.Popen[str]] = ()) -> None:
    """Wait until a step is logged, while all of these processes run."""
    limits.wait_until(
        lambda: max(logged_steps(run_dir), default=0) >= step, f"step {step}",
        goes_on=lambda: all(process.poll() is None for process in processes),
    )  # fmt: skip
