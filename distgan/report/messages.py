"""The messages at the start and at the end of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distgan.config.config import defaults_of
from distgan.config.fields import NEVER
from distgan.errors import in_short
from distgan.report.recorded import PAGE


def opening(config: Any, source: Any, clock: Any, facts: Mapping[str, Any], num_processes: int) -> str:
    """Return the lines for the start of the log."""
    height, width, channels = source.image_shape
    counts = " and ".join(f"{number:,} {'of ' * (len(name) == 1)}{name}" for name, number in source.streams.items())
    replicas = facts["num_replicas"]
    epochs = max(clock.total_epochs, int(clock.epochs))  # it may have more than are asked for now
    saves = "" if config.checkpoint_every == NEVER else f"every {config.checkpoint_every}, "
    saves += "" if config.evaluate_every == NEVER else "after each evaluation, "
    lines = [
        f"preset {config.preset} on {source.name}: {counts}, {height}x{width}x{channels}",
        f"settings that differ from the preset: {_differing(config)}",
        f"backend {facts['backend']}: {_count(replicas, 'replica')} in {_count(num_processes, 'process')}",
        f"precision {facts['precision']}",
        *_classes(facts["class_names"]),
        f"batch {config.batch_size}, {config.batch_size / replicas:g} on each replica",
        f"step {clock.step} of {clock.total_steps}, epoch {clock.epochs:.2f} of {epochs:.2f}",
        f"checkpoints {saves}at the end",
    ]
    return "\n".join(lines)


def _differing(config: Any) -> str:
    """Return the settings that differ from those of the preset, as flags."""
    usual = defaults_of(config.preset)
    values = {name: value for name, value in config.values().items() if value != usual[name] and name != "run_dir"}
    return " ".join(f"--{name}={value}" for name, value in values.items() if value is not None) or "none"


def _classes(names: list[str]) -> list[str]:
    return [f"{len(names)} classes: {in_short(names)}"] if names else []


def ending(run_dir: Path, checkpoint: str, distance: float | None, floor: float | None, is_finished: bool) -> str:
    """Return the paths of a run's results, and the quality of its samples if it was measured."""
    lines = [
        f"page         {run_dir}/{PAGE}",
        f"samples      {run_dir}/samples" + (f", {run_dir}/progress.gif" if is_finished else ""),
        f"tensorboard  tensorboard --logdir {run_dir}/tensorboard",
        f"checkpoint   {run_dir}/checkpoints/{checkpoint}",
    ]
    if distance is not None and floor is not None:
        lines.insert(0, f"quality      Frechet distance {distance:.3f} (real images: {floor:.3f})")
    return "\n".join(lines)


def measured(step: int, scores: Mapping[str, float]) -> str:
    """Return the line after a measurement of samples."""
    distance, floor, seconds = (scores[f"quality/{name}"] for name in ("frechet_distance", "frechet_floor", "seconds"))
    return f"step {step}: Frechet distance {distance:.4g} (real images: {floor:.3g}), measured in {seconds:.0f} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "es" if what.endswith("s") else "s")
