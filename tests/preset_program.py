"""Runs on every process of a layout: a short run of each preset, for test_every_preset.py to compare.

Each run is of small networks in float64, with uneven shares, dropout, random crops, mirrors, schedules and averages
wherever the preset has them.
"""

import argparse
import io
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from distgan.config import Config
from distgan.replicas.connect import connect
from distgan.training import loop

STEPS = 4
SHARED: dict[str, Any] = {
    "batch_size": 7, "steps": STEPS, "checkpoint_every": "2steps", "sample_every": "2steps", "log_every_steps": 1,
    "precision": "float64", "jitter_pixels": 2, "ema_half_life_images": 20,
    "learning_rate_schedule": "cosine", "constant_epochs": 0.0, "decay_epochs": 0.3,
}  # fmt: skip
# A run that is long enough to be killed after its first checkpoint.
WHOLE: dict[str, Any] = {"steps": 16, "keep_checkpoints": 1000, "sample_every": "1000steps"}
# Fewer digits, as each is made larger one by one, and with margins for crops.
FEW: dict[str, Any] = {"max_images_per_class": 200}
PRESETS: dict[str, dict[str, Any]] = {
    "mnist": FEW | {"filters": 4},
    "mnist_large": FEW | {"filters": 4, "image_size": "56x56"},
    "mnist_best": FEW | {"filters": 4, "generator_filters": 4, "evaluate_num_images": 100},
    "mlp": FEW | {"latent_dim": 10, "learning_rate_schedule": "constant", "clip_gradients": 0.1},
    "dcgan": {"image_size": "14x10", "filters": 4, "mirror": True},
    "dcgan64": FEW | {"data": "mnist", "image_size": "32x32", "channels": 3, "filters": 4, "generator_filters": 8},
    "faces": FEW | {"data": "mnist", "channels": 3, "filters": 4, "generator_filters": 4, "discriminator_updates": 2},
    "rgb_best": FEW | {
        "data": "mnist", "image_size": "16x16", "channels": 3, "filters": 4, "generator_filters": 4,
        "conditional": True, "augment": "color", "augment_target": 0.6, "augment_adapt_images": 20,
        "loss": "relativistic", "r1_every_steps": 2, "r2_weight": 1.0,
    },
    "r3gan": FEW | {
        "data": "mnist", "image_size": "16x16", "channels": 3, "filters": 4, "group_channels": 4, "r1_every_steps": 2,
        "conditional": True, "augment": "color,translation,cutout", "augment_target": 0.6, "augment_adapt_images": 20,
        "seed": 1,
        "final_penalty_part": 0.1,
    },
    "pix2pix": {"data": "mnist-edges", "image_size": "32x32", "filters": 4},
    "cyclegan": {
        "data": "mnist-domains", "image_size": "32x32", "filters": 4, "image_buffer_size": 9, "residual_blocks": 1,
    },
}  # fmt: skip


def config(preset: str, pictures: Path, run_dir: Path, **settings: Any) -> Config:
    """A short run of a preset; `pictures` are what `dcgan` learns from."""
    folder = {"data": f"folder:{pictures}"} if preset == "dcgan" else {}
    return Config(**SHARED | PRESETS[preset] | folder | settings, preset=preset, run_dir=str(run_dir))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", required=True)
    parser.add_argument("--virtual_devices", type=int, default=0)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--presets", required=True)
    parser.add_argument("--kill", action="store_true", help="kill each run after its first checkpoint")
    given = parser.parse_args()
    if given.kill:
        for preset in given.presets.split(","):
            _kill(config(preset, given.pictures, given.output / preset, **WHOLE))
        return
    replicas = connect(Config(backend=given.backend, virtual_devices=given.virtual_devices))
    said = {}
    for preset in given.presets.split(","):
        started, console = time.monotonic(), io.StringIO()
        loop.train(config(preset, given.pictures, given.output / preset), replicas, console)
        said[preset] = f"{console.getvalue()}{time.monotonic() - started:.1f} s\n"
    (given.output / f"said-{replicas.rank}.json").write_text(json.dumps(said, indent=1))


def _kill(config: Config) -> None:
    """Run in a copy of this process, which has loaded TensorFlow but not used it, and kill that after a checkpoint."""
    child = os.fork()
    if child == 0:
        loop.train(config, connect(config), io.StringIO())
        os._exit(1)
    first = config.directory / "checkpoints" / "step_000000002"
    while not first.exists() and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


if __name__ == "__main__":
    main()
