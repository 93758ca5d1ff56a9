"""What --dry_run and --validate_data tell of a run, which they do not begin."""

import re
import sys
from pathlib import Path
from typing import Any

import forks
import picture_files
import pytest

from distgan import dry_run
from distgan.config import Config, load_config
from distgan.errors import UserError

LAUNCH = Path(__file__).parents[1] / "launch"
SMALL = {"filters": 4, "latent_dim": 10, "batch_size": 16, "precision": "float32"}


def _found(config: Config, pattern: str) -> list[tuple[str, ...]]:
    return re.findall(pattern, "\n".join(dry_run.describe(config)))


def test_networks_memory_and_schedule_are_told(tmp_path: Path) -> None:
    schedule = {"learning_rate_schedule": "cosine", "constant_epochs": 1.0, "decay_epochs": 2.0}
    config = Config(**SMALL, **schedule, epochs=3, run_dir=tmp_path / "r")
    said = "\n".join(dry_run.describe(config))
    (every, trained), *_ = re.findall(r"^generator: ([\d,]+) parameters, of which ([\d,]+) are trained", said, re.M)
    assert int(every.replace(",", "")) > int(trained.replace(",", "")) > 0  # batch norms have moving statistics
    assert "output 28x28x1" in said
    assert "44.9 MiB of images" in said  # 60,000 of 784 bytes
    assert "an epoch: 3,750.0 steps" in said
    assert "learning rate of the discriminator: 0.0001, 1 epochs, then cosine to zero over 2 epochs" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        ({}, 7),  # the gradients, and for each of three batch norms the moments, forward and backward
        ({"normalization": "local"}, 1),
        ({"normalization": "local", "alternating": True}, 2),  # two phases
    ],
)
def test_the_sums_of_a_step_are_counted(settings: dict[str, Any], number: int) -> None:
    ((sums, size),) = _found(Config(**SMALL | settings), r"replicas: (\d+) all-reduces? of ([\d.]+) MiB, the")
    assert int(sums) == number
    assert float(size) > 0


def test_the_launcher_s_processes_are_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for backend, planned in (
        ("auto", "multiworker: 2 replicas in 2 processes"),
        ("single", "single: 1 replica in 1 p"),
    ):
        assert f"backend {planned}" in "\n".join(dry_run.describe(Config(**SMALL, backend=backend)))
    with pytest.raises(UserError, match="--batch_size=16 is too small for 32 replicas"):
        monkeypatch.setenv("WORLD_SIZE", "32")
        list(dry_run.describe(Config(**SMALL)))


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.json")), ids=lambda path: path.stem)
def test_a_config_of_launch_can_be_run_as_it_stands(path: Path) -> None:
    config = load_config(path)
    assert config.preset in next(dry_run.describe(config))


def test_data_is_read_as_a_whole(tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "good" / "cats", 150)
    picture_files.write_folder(tmp_path / "good" / "dogs", 150, broken=(7,))
    said = list(dry_run.check_data(Config(data=f"folder:{tmp_path}/good", image_size="16x16")))
    assert said[0] == "train: 300 images read, 16x16x3"
    assert said[1] == "train: 2 classes: cats 150, dogs 150"
    assert any(line.endswith("dogs/00007.png is left out: not an image") for line in said)


def test_too_many_damaged_files_are_refused_and_nothing_is_trained(tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "bad", 50, broken=(1, 2))
    command = [sys.executable, "-m", "distgan.train", "--validate_data", "--dry_run", f"--data=folder:{tmp_path}/bad",
               "--image_size=16x16", f"--run_dir={tmp_path}/run"]  # fmt: skip
    answer = forks.run(command)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"distgan: --data=folder:{tmp_path}/bad: 2 of 50 files are not images")
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_that_could_not_begin_is_refused(tmp_path: Path) -> None:
    config = Config(**SMALL, learning_rate_schedule="linear", decay_epochs=0.001, steps=1000, run_dir=tmp_path / "r")
    with pytest.raises(UserError, match="--steps=1000 is too long"):
        list(dry_run.describe(config))
