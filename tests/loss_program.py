"""Runs on every process of a layout: short runs with losses and penalties, for test_same_losses.py to compare."""

import argparse
import io
from pathlib import Path
from typing import Any

from distgan.config import Config
from distgan.replicas.base import Replicas
from distgan.replicas.connect import connect
from distgan.training import loop

STEPS = 4
SHARED: dict[str, Any] = {
    "filters": 4, "latent_dim": 10, "batch_size": 7, "steps": STEPS, "precision": "float64", "log_every_steps": 1,
    "conditional": True,
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "hinge": {
        "loss": "hinge", "spectral_norm": True, "augment": "translation,cutout", "r1_weight": 2.0,
        "r2_weight": 1.0, "r1_every_steps": 2,
    },
    "wasserstein": {
        "loss": "wasserstein", "gradient_penalty": 10.0, "discriminator_updates": 2, "generator_beta_1": 0.0,
        "discriminator_beta_1": 0.0, "generator_beta_2": 0.9, "discriminator_beta_2": 0.9,
    },
}  # fmt: skip


def train(replicas: Replicas, output: Path) -> None:
    for name, settings in RUNS.items():
        loop.train(Config(**SHARED | settings, run_dir=str(output / name)), replicas, io.StringIO())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", required=True)
    parser.add_argument("--virtual_devices", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    train(connect(Config(backend=given.backend, virtual_devices=given.virtual_devices)), given.output)


if __name__ == "__main__":
    main()
