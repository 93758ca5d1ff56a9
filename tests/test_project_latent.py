"""Latents are found for pictures: from Python and by distgan.project."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import forks
import numpy as np
import preset_program
import pytest
import small_runs
from PIL import Image

import distgan
from distgan.errors import UserError
from distgan.gans.base import make_gan
from distgan.run import Run

STEPS = 60


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    small_runs.train(directory, steps=60, conditional=True, noise="uniform", max_images_per_class=50)
    return directory


@pytest.fixture(scope="module")
def run(run_dir: Path) -> Run:
    return distgan.load(run_dir)


@pytest.fixture(scope="module")
def found(run: Run) -> dict[str, Any]:
    return run.project(_picture(run), steps=STEPS)


def _picture(run: Run) -> np.ndarray:
    return run.generate(1, seed=5, classes=[7])[0]


def test_a_run_s_own_image_is_found_with_its_class(run: Run, found: dict[str, Any]) -> None:
    assert found["label"] == "7"
    assert found["end"] < 0.1 * found["start"]
    assert found["latents"].shape == (10,) and found["latents"].dtype == np.float32
    assert np.abs(found["latents"]).max() <= 1
    picture = _picture(run).astype(int)
    made = run.generate_from(found["latents"][None], [found["label"]])[0]
    others = run.generate(20, seed=1, classes=[7] * 20)
    assert np.abs(made - picture).mean() < 0.2 * np.abs(others - picture).mean()


@pytest.mark.slow
def test_the_same_seed_finds_the_same_bits(run: Run) -> None:
    first, second, other = (run.project(_picture(run), 7, steps=3, seed=seed)["latents"] for seed in (0, 0, 1))
    assert first.tobytes() == second.tobytes() != other.tobytes()


def test_images_of_given_latents_are_those_of_a_seed(run: Run) -> None:
    from distgan.data.order import Draws

    latents = run.gan.latents(Draws("samples", 3, 0, 2))
    assert np.array_equal(run.generate_from(latents, [1, 2]), run.generate(2, 3, [1, 2]))


def test_what_does_not_suit_the_run_is_refused(run: Run) -> None:
    for latents, classes, sentence in (
        (np.zeros((2, 9)), [1, 2], r"takes latents \[number, 10\], not \[2, 9\]"),
        (np.zeros(10), [1], r"not \[10\]"),
        (np.zeros((2, 10)), None, "0 classes for 2 images"),
    ):
        with pytest.raises(UserError, match=sentence):
            run.generate_from(latents, classes)
    with pytest.raises(UserError, match=r"uint8 pictures \[28, 28, 1\], not uint8 \[28, 28, 3\]"):
        run.project(np.zeros((28, 28, 3), np.uint8))
    with pytest.raises(UserError, match="no class 12"):
        run.project(_picture(run), 12)
    config = preset_program.config("pix2pix", Path("nowhere"), Path("nowhere"), precision="float32")
    translator = Run(config, make_gan(config, (32, 32, 3), list, ()), 1, (32, 32, 3))
    for refused in (lambda: translator.project(np.zeros((32, 32, 3), np.uint8)), lambda: translator.generate_from([])):
        with pytest.raises(UserError, match="A Pix2Pix has no latents: choose a run that generates images from noise"):
            refused()


def _project(*flags: str) -> subprocess.CompletedProcess[str]:
    return forks.run([sys.executable, "-m", "distgan.project", *flags])


@pytest.mark.slow
def test_the_program_writes_the_pair_and_the_latents(run_dir: Path, run: Run, tmp_path: Path) -> None:
    Image.fromarray(_picture(run)[..., 0]).resize((56, 56)).save(tmp_path / "seven.png")
    output = tmp_path / "new" / "pair.png"
    answer = _project(f"--run_dir={run_dir}", f"--image={tmp_path}/seven.png", f"--output={output}", "--steps=8")
    assert answer.returncode == 0, answer.stderr
    said, *written = answer.stdout.splitlines()
    assert said.startswith("class ") and " at the start, " in said
    assert written == [str(output), str(output.with_suffix(".latents.npz"))]
    with np.load(written[1]) as arrays:
        assert arrays["latents"].shape == (10,)
        assert f"class {arrays['label']}, distance {arrays['start']:.3g}" in said
    with Image.open(output) as image:
        assert image.width > 1.9 * image.height


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--image=x.png"], "distgan: Give --run_dir"),
        (["--run_dir=.", "--image=x.png", "--output=x.jpg"], "distgan: --output=x.jpg must end in .png"),
        (
            ["--run_dir=.", "--image=x.png", "--output=./x.png"],
            "distgan: --output=x.png must end in .png, and must not",
        ),
        (["--run_dir=/nowhere", "--image=x.png"], "distgan: /nowhere holds no checkpoint"),
        (["--run_dir=RUN", "--image=/nowhere.png"], "distgan: --image=/nowhere.png: No such file or directory"),
    ],
)
def test_a_wrong_command_line_gets_one_sentence_and_status_2(flags: list[str], sentence: str, run_dir: Path) -> None:
    answer = _project(*(flag.replace("RUN", str(run_dir)) for flag in flags))
    assert answer.returncode == 2
    assert answer.stderr.startswith(sentence), answer.stderr
    assert answer.stderr.count("\n") == 1
