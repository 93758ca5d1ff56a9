"""Training on files that go bad on the way."""

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import limits
import picture_files
import pytest
import small_runs

from distgan.config import Config
from distgan.errors import UserError
from distgan.replicas.base import Replicas
from distgan.training import loop

NUM_PICTURES = 1100
NOT_LOOKED_AT = sorted(set(range(NUM_PICTURES)) - {place * NUM_PICTURES // 1000 for place in range(1000)})
SETTINGS: dict[str, Any] = {
    "preset": "dcgan", "image_size": "16x16", "filters": 2, "depth": 2, "latent_dim": 4, "batch_size": 20,
    "precision": "float32", "log_every_steps": 1, "sample_every": "100epochs",
}  # fmt: skip


def test_more_than_one_bad_file_in_a_hundred_ends_the_run_with_the_list_and_a_checkpoint(tmp_path: Path) -> None:
    broken = tuple(NOT_LOOKED_AT[:12])
    picture_files.write_folder(tmp_path / "pictures", NUM_PICTURES, broken=broken)
    config = Config(**SETTINGS, data=f"folder:{tmp_path / 'pictures'}", epochs=2, run_dir=str(tmp_path / "run"))
    said = io.StringIO()
    with pytest.raises(UserError, match="12 of 1100 files are not images, and at most 1% may be damaged") as refusal:
        loop.train(config, Replicas(), said)
    for number in broken:
        assert f"{number:05d}.png (not an image)" in str(refusal.value)
        assert f"warning: {number:05d}.png is left out" in said.getvalue()
    (saved,) = small_runs.checkpoints(tmp_path / "run")
    assert saved == max(small_runs.logged_steps(tmp_path / "run"))


def test_a_folder_that_goes_away_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    pictures = picture_files.write_folder(tmp_path / "pictures", 300)
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-m", "distgan.train", *flags, f"--data=folder:{pictures}", "--steps=1000000",
               f"--run_dir={tmp_path / 'run'}"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        small_runs.wait_for_step(tmp_path / "run", 1, [process])
        shutil.rmtree(pictures)
        errors = process.communicate(timeout=limits.LIMIT_SECONDS)[1]
    assert process.returncode == 2
    assert errors.startswith(f"distgan: --data=folder:{pictures}: ")
    assert "No such file or directory" in errors
    assert errors.count("\n") == 1
