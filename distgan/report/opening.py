"""What a run says when it starts: what is about to be trained, on what, and for how long."""

from collections.abc import Mapping
from typing import Any


def words(
    config: Any, *, data: str, streams: Mapping[str, int], image_shape: tuple[int, ...], facts: Mapping[str, Any],
    processes: int, step: int, total_steps: int, epoch: float, total_epochs: float,
) -> str:  # fmt: skip
    """The lines for the start of the log, the whole config among them."""
    height, width, channels = image_shape
    counts = " and ".join(f"{number:,} {'of ' * (len(name) == 1)}{name}" for name, number in streams.items())
    replicas = facts["num_replicas"]
    return "\n".join([
        f"preset {config.preset} on {data}: {counts}, {height}x{width}x{channels}",
        f"backend {facts['backend']}: {_count(replicas, 'replica')} in {_count(processes, 'process')}",
        f"precision {facts['precision']}",
        f"batch {config.batch_size} over all replicas, {config.batch_size / replicas:g} on each; learning rates do not "
        "depend on their number",
        f"step {step} of {total_steps}, epoch {epoch:.2f} of {total_epochs:.2f}",
        "config " + " ".join(f"{name}={value}" for name, value in vars(config).items() if value is not None),
    ])  # fmt: skip


def _count(number: int, what: str) -> str:
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{'' if number == 1 else plural}"
