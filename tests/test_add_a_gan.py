"""docs/add-a-gan.md does what it says."""

import dataclasses
import importlib
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_runs
import tensorflow as tf

import distgan
from distgan.config import Config
from distgan.config.fields import option
from distgan.config.presets import PRESETS
from distgan.gans.options import GANOptions
from distgan.gans.registry import GANS, Row
from distgan.replicas.base import Replicas
from distgan.run import load
from distgan.serving import write_saved_model
from distgan.training import loop

PAGE = Path(__file__).parent.parent / "docs" / "add-a-gan.md"
CLIPPED = 0.05


def _examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def _example() -> str:
    return _examples()[0]


def test_the_example_is_short() -> None:
    assert len(_example().splitlines()) < 65


def test_the_example_trains_resumes_to_the_same_bits_clips_and_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GANS, "wgan", GANS["mlp"])  # so that the example's rows are removed at the end
    monkeypatch.setitem(PRESETS, "wgan", {})
    (tmp_path / "wgan.py").write_text(_example())
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("wgan")

    def train(name: str, steps: int) -> None:
        config = Config(
            preset="wgan", units=64, steps=steps, batch_size=16, precision="float32", checkpoint_every="3steps",
            run_dir=str(tmp_path / name),
        )  # fmt: skip
        loop.train(config, Replicas(), io.StringIO())

    train("whole", 6)
    train("parts", 3)
    train("parts", 6)
    assert small_runs.digest(tmp_path / "whole", 6) == small_runs.digest(tmp_path / "parts", 6)
    state = small_runs.state(tmp_path / "whole", 6)
    assert np.abs(state["critic/hidden/kernel"]).max() <= CLIPPED
    assert not np.array_equal(
        state["generator/hidden/kernel"], small_runs.state(tmp_path / "whole", 3)["generator/hidden/kernel"]
    )
    run = load(tmp_path / "whole", number_format="float32", way="direct")
    gan, image_shape = run.gan, run.image_shape
    write_saved_model(gan, image_shape, {"made_by": "distgan"}, tmp_path / "1")
    exported = tf.saved_model.load(str(tmp_path / "1"))
    pixels = exported.generate(4, 7)["pixels"].numpy()
    assert np.abs(pixels - distgan.load(tmp_path / "whole").generate(4, 7).astype(int)).max() <= 1


@pytest.mark.slow
def test_a_program_runs_with_a_gan_of_one_s_own_and_refuses_what_it_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "wgan.py").write_text(_example())
    (tmp_path / "with_wgan.py").write_text(_examples()[2])
    for flag, sentence in (
        ("--clip=-1.5", "--clip=-1.5 is refused: it must be a number above 0."),
        ("--spectral_norm", "--spectral_norm is not used by --architecture=wgan: remove it."),
        ("--ema_half_life_images=9", "--ema_half_life_images is not used by --architecture=wgan: remove it."),
    ):
        command = [sys.executable, "with_wgan.py", "distgan.train", "--preset=wgan", "--steps=1", flag]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stderr.splitlines()[-1]) == (2, f"distgan: {sentence}")


def test_a_setting_must_not_have_the_name_of_a_shared_one(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True)
    class Clashing(GANOptions):
        channels: int = option(8, "Channels.")

    monkeypatch.setitem(GANS, "mlp", Row(Clashing, "nothing:here"))
    with pytest.raises(TypeError, match="mlp has a setting channels, but a common setting has this name"):
        Config(preset="mlp")
