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
from distgan.data import folders, images
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


# The program, for which each folder is too large to keep its pixels.
READS_AGAIN = """
import runpy
from distgan.data import folders
folders.MOST_KEPT_BYTES = 0
runpy.run_module("distgan.train", run_name="__main__")
"""


@pytest.mark.slow
def test_a_folder_that_goes_away_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    pictures = picture_files.write_folder(tmp_path / "pictures", 300)
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-c", READS_AGAIN, *flags, f"--data=folder:{pictures}", "--steps=1000000",
               f"--run_dir={tmp_path / 'run'}"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        small_runs.wait_for_step(tmp_path / "run", 1, [process])
        shutil.rmtree(pictures)
        errors = process.communicate(timeout=limits.LIMIT_SECONDS)[1]
    assert process.returncode == 2
    assert errors.startswith(f"distgan: --data=folder:{pictures}: ")
    assert "No such file or directory" in errors
    assert errors.count("\n") == 1


@pytest.mark.slow
def test_kept_pixels_train_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tuple(NOT_LOOKED_AT[:2])
    pictures = picture_files.write_folder(tmp_path / "pictures", NUM_PICTURES, broken=broken)
    settings = SETTINGS | {"data": f"folder:{pictures}", "batch_size": 200, "jitter_pixels": 2, "mirror": True}
    made = list[int]()

    def counted(*picture: Any) -> Any:
        made[-1] += 1
        return images.fitted(*picture)

    monkeypatch.setattr(folders, "fitted", counted)
    for name, most_bytes in (("once", folders.MOST_KEPT_BYTES), ("anew", 0)):
        made.append(0)
        monkeypatch.setattr(folders, "MOST_KEPT_BYTES", most_bytes)
        said = small_runs.train(tmp_path / name, steps=13, **settings)
        assert all(f"{number:05d}.png is left out" in said for number in broken)
    assert small_runs.digest(tmp_path / "once", 13) == small_runs.digest(tmp_path / "anew", 13)
    once, anew = made
    assert NUM_PICTURES <= once <= NUM_PICTURES + 400 < 13 * 200 <= anew  # some are decoded by two readers at a time
