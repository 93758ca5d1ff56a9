"""What comes out of a trained run: from Python and from the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_runs
from PIL import Image

import distgan


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    small_runs.train(directory, steps=3)
    return directory


def test_a_run_generates_pixels_that_depend_on_the_seed(run_dir: Path) -> None:
    run = distgan.load(run_dir)
    assert run.step == 3
    pixels = run.generate(5)
    assert (pixels.shape, pixels.dtype) == ((5, 28, 28, 1), np.uint8)
    assert np.array_equal(distgan.load(run_dir).generate(5), pixels)
    assert not np.array_equal(run.generate(5, seed=1), pixels)


def test_an_image_does_not_depend_on_how_many_are_asked_for(run_dir: Path) -> None:
    run = distgan.load(run_dir)
    assert np.array_equal(run.generate(1200)[:3], run.generate(3))


@pytest.mark.parametrize(("num_frames", "num_stops"), [(36, 3), (30, 3), (8, 3)])
def test_a_walk_is_closed_and_goes_in_small_steps(num_frames: int, num_stops: int, run_dir: Path) -> None:
    frames = distgan.load(run_dir).walk(num_frames).astype(int)
    steps = [np.abs(frames[index] - frames[(index + 1) % num_frames]).mean() for index in range(num_frames)]
    apart = np.abs(frames[0] - frames[num_frames // num_stops]).mean()
    assert 0 < max(steps) < apart


def test_train_gives_what_load_gives(tmp_path: Path) -> None:
    code = (
        "import distgan, numpy\n"
        f"run = distgan.train(distgan.Config(steps=2, filters=4, batch_size=16, run_dir={str(tmp_path)!r}))\n"
        f"assert numpy.array_equal(run.generate(4), distgan.load({str(tmp_path)!r}).generate(4))\n"
        "assert set(run.networks) == {'generator', 'discriminator'}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def _sample(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "distgan.sample", *flags], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("output", ["grid.png", "new/walk.gif", "pixels.npz", "new/images"])
def test_samples_are_written_as_their_name_says(output: str, run_dir: Path, tmp_path: Path) -> None:
    answer = _sample(f"--run_dir={run_dir}", "--num_images=9", f"--output={tmp_path / output}")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == str(tmp_path / output)
    if output == "pixels.npz":
        assert np.array_equal(np.load(tmp_path / output)["pixels"], distgan.load(run_dir).generate(9))
    elif output == "new/images":
        assert len(list((tmp_path / output).glob("*.png"))) == 9
    else:
        with Image.open(tmp_path / output) as image:
            assert getattr(image, "n_frames", 1) == (9 if output == "new/walk.gif" else 1)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "distgan: --run_dir is missing"),
        (["--run_dir=/nowhere"], "distgan: /nowhere holds no checkpoint"),
        (["--run_dir=.", "--num_images=0"], "distgan: --num_images must be at least 1"),
        (["--run_dir=.", "--output=x.jpg"], "distgan: --output=x.jpg"),
    ],
)
def test_a_wrong_command_line_gets_one_sentence_and_status_2(flags: list[str], sentence: str) -> None:
    answer = _sample(*flags)
    assert answer.returncode == 2
    assert answer.stderr.startswith(sentence)
    assert answer.stderr.count("\n") == 1


def test_an_output_that_can_t_be_written_gets_one_sentence(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for output in ("taken", "taken/walk.gif"):
        answer = _sample(f"--run_dir={run_dir}", f"--output={tmp_path / output}")
        assert answer.returncode == 2
        assert answer.stderr.startswith(f"distgan: {tmp_path / 'taken'}")
        assert answer.stderr.count("\n") == 1
