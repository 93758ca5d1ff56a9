"""What comes out of a trained run: from Python and from the command line."""

import io
import subprocess
import sys
from pathlib import Path

import forks
import numpy as np
import picture_files
import pytest
import scipy.stats
import small_runs
from PIL import Image

import distgan
from distgan import latents
from distgan.config import Config
from distgan.replicas.base import Replicas
from distgan.training import loop


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    small_runs.train(directory, steps=3)
    return directory


def test_a_run_generates_pixels_that_depend_on_the_seed(run_dir: Path) -> None:
    run = distgan.load(run_dir)
    assert run.step == 3
    pixels = run.generate(5)
    assert pixels.shape == (5, 28, 28, 1) and pixels.dtype == np.uint8
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


@pytest.mark.slow
def test_train_gives_what_load_gives(tmp_path: Path) -> None:
    code = (
        "import distgan, numpy\n"
        f"run = distgan.train(distgan.Config(steps=2, filters=4, batch_size=16, run_dir={str(tmp_path)!r}))\n"
        f"assert numpy.array_equal(run.generate(4), distgan.load({str(tmp_path)!r}).generate(4))\n"
        "assert set(run.networks) == {'generator', 'discriminator'}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_truncated_latents_are_those_of_the_seed_in_the_same_order(run_dir: Path) -> None:
    run = distgan.load(run_dir)
    whole, few = latents.of_seed(run, 3, 500), latents.of_seed(run, 3, 500, most=0.7)
    assert np.array_equal(few[:2], latents.of_seed(run, 3, 2, most=0.7))
    assert 0.69 < np.abs(few).max() <= 0.7
    assert np.array_equal(np.argsort(whole, axis=None), np.argsort(few, axis=None))
    assert scipy.stats.kstest(few.ravel(), scipy.stats.truncnorm(-0.7, 0.7).cdf).pvalue > 0.01
    assert np.allclose(latents.of_seed(run, 3, 500, most=9.0), whole, atol=1e-5)


def test_latents_between_seeds_go_through_the_first_image_of_each(run_dir: Path) -> None:
    run = distgan.load(run_dir)
    way = latents.of_seeds(run, [5, 9, 5], 9)
    assert np.allclose(way[[0, 8]], latents.of_seed(run, 5, 1), atol=1e-6)
    assert np.allclose(way[4], latents.of_seed(run, 9, 1), atol=1e-6)
    assert np.array_equal(run.generate_from(way)[:1], run.generate(1, seed=5))
    assert np.linalg.norm(way[2]) > 0.7 * np.linalg.norm(way[[0, 4]], axis=1).min()  # a circle


def test_a_grid_of_truncated_images_and_a_row_between_seeds_are_written(run_dir: Path, tmp_path: Path) -> None:
    for flags, size in ((["--grid=2x3", "--truncation=0.5"], (3, 2)), (["--seeds=1,2", "--grid=1x5"], (5, 1))):
        output = tmp_path / f"{len(flags[0])}.png"
        answer = _sample(f"--run_dir={run_dir}", f"--output={output}", *flags)
        assert answer.returncode == 0, answer.stderr
        with Image.open(output) as image:
            assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.1)


def _sample(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "distgan.sample", *flags]
    return forks.run(command, environment)


@pytest.mark.parametrize(
    "output",
    [
        "grid.png",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("new/walk.gif", "pixels.npz", "new/images")),
    ],
)
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
        (["--run_dir=.", "--num_images=0"], "distgan: --num_images=0: 0 is not a positive integer"),
        (["--run_dir=.", "--output=x.jpg"], "distgan: --output=x.jpg"),
        (["--run_dir=.", "--seeds=1"], "distgan: --seeds=1 is refused"),
        (["--run_dir=.", "--seeds=1,a"], "distgan: --seeds=1,a is refused"),
        (["--run_dir=.", f"--seeds=1,{2**63}"], f"distgan: --seeds=1,{2**63} is refused"),
        (["--run_dir=.", "--grid=3"], "distgan: --grid=3 is refused"),
        (["--run_dir=.", "--grid=3x0"], "distgan: --grid=3x0 is refused"),
        (["--run_dir=.", "--grid=1x2", "--classes=1"], "distgan: --classes makes a row of each class"),
        (["--run_dir=.", "--truncation=0"], "distgan: --truncation=0"),
        (["--run_dir=.", "--truncation=1", "--output=a.gif"], "distgan: --truncation is not used"),
    ],
)
def test_a_wrong_command_line_gets_one_sentence_and_status_2(flags: list[str], sentence: str) -> None:
    answer = _sample(*flags)
    assert answer.returncode == 2
    assert answer.stderr.startswith(sentence)
    assert answer.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_output_that_can_t_be_written_gets_one_sentence(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for output in ("taken", "taken/walk.gif"):
        answer = _sample(f"--run_dir={run_dir}", f"--output={tmp_path / output}")
        assert answer.returncode == 2
        assert answer.stderr.startswith(f"distgan: {tmp_path / 'taken'}")
        assert answer.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("translator")
    config = Config(
        preset="cyclegan", data="mnist-domains", image_size="32x32", jitter_pixels=0, filters=2, residual_blocks=1,
        batch_size=2, steps=1, precision="float32", run_dir=str(directory),
    )  # fmt: skip
    loop.train(config, Replicas(), io.StringIO())
    return directory


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures in two folders, two of one stem, and a file that is none."""
    directory = tmp_path_factory.mktemp("photos") / "of"
    picture_files.write_folder(directory, 10, side_pixels=20)
    picture_files.write_folder(directory / "more", 2, broken=(1,))
    with Image.open(directory / "00003.png") as image:
        image.save(directory / "00003.jpg")
    return directory


@pytest.mark.slow
def test_a_folder_is_translated_with_its_names(translator: Path, photos: Path, tmp_path: Path) -> None:
    answer = _sample(f"--run_dir={translator}", f"--input={photos}", f"--output={tmp_path / 'b'}", "--direction=BtoA")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.splitlines()[-1] == f"warning: {photos}/more/00001.png is left out: not an image"
    names = {str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*.png")}
    others = {f"{number:05d}.png" for number in range(10) if number != 3}
    assert names == others | {"00003.png.png", "00003.jpg.png", "more/00000.png"}
    with Image.open(photos / "00007.png") as image:
        pixels = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC, reducing_gap=3.0))[None]
    with Image.open(tmp_path / "b" / "00007.png") as image:
        assert np.abs(np.asarray(image).astype(int) - distgan.load(translator).translate(pixels, "BtoA")[0]).max() <= 1


@pytest.mark.slow
def test_processes_share_a_folder_and_translate_as_one_would(translator: Path, photos: Path, tmp_path: Path) -> None:
    flags = [f"--run_dir={translator}", f"--input={photos}"]
    assert _sample(*flags, f"--output={tmp_path / 'one'}").returncode == 0
    written = []
    for rank in range(2):
        output = tmp_path / f"rank-{rank}"
        assert _sample(*flags, f"--output={output}", HOROVOD_SIZE="2", HOROVOD_RANK=str(rank)).returncode == 0
        written.append({path.relative_to(output): path.read_bytes() for path in output.rglob("*.png")})
    assert not written[0].keys() & written[1].keys()
    whole = {path.relative_to(tmp_path / "one"): path for path in (tmp_path / "one").rglob("*.png")}
    both = written[0] | written[1]
    assert both.keys() == whole.keys()
    for name, path in whole.items():
        with Image.open(path) as ours, Image.open(io.BytesIO(both[name])) as theirs:
            assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max() <= 1  # of another batch


@pytest.mark.slow
def test_a_process_whose_files_are_all_bad_leaves_the_others_to_their_work(translator: Path, tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "in", 2, broken=(1,))
    flags = [f"--run_dir={translator}", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
    for rank in range(2):
        assert _sample(*flags, HOROVOD_SIZE="2", HOROVOD_RANK=str(rank)).returncode == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00000.png"]


@pytest.mark.slow
def test_of_several_processes_one_writes_what_is_generated(run_dir: Path, tmp_path: Path) -> None:
    for rank in (1, 0):
        assert not (tmp_path / "a.png").exists()
        flags = [f"--run_dir={run_dir}", f"--output={tmp_path / 'a.png'}"]
        assert _sample(*flags, HOROVOD_SIZE="2", HOROVOD_RANK=str(rank)).returncode == 0
    assert (tmp_path / "a.png").exists()


@pytest.mark.slow
def test_one_image_is_translated(translator: Path, photos: Path, tmp_path: Path) -> None:
    answer = _sample(f"--run_dir={translator}", f"--input={photos / '00003.jpg'}", f"--output={tmp_path / 'out'}")
    assert answer.returncode == 0, answer.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00003.png"]


@pytest.mark.slow
def test_what_can_t_be_translated_gets_one_sentence(
    translator: Path, run_dir: Path, photos: Path, tmp_path: Path
) -> None:
    broken = photos / "more" / "00001.png"
    for flags, sentence in (
        ([f"--run_dir={translator}"], "A CycleGAN does not generate images from noise"),
        ([f"--run_dir={run_dir}", f"--input={photos}"], "A DCGAN translates no images"),
        ([f"--run_dir={translator}", f"--input={photos}", f"--output={photos}/b"], "must not be where --input"),
        ([f"--run_dir={translator}", f"--input={photos}/00003.jpg", f"--output={photos}"], "must not be where --input"),
        ([f"--run_dir={translator}", "--direction=AtoB"], "--direction=AtoB needs --input"),
        ([f"--run_dir={translator}", "--input=/nowhere"], "--input=/nowhere: /nowhere cannot be listed"),
        ([f"--run_dir={translator}", f"--input={photos}", "--output=x.png"], "--output=x.png has an unknown file type"),
        ([f"--run_dir={translator}", f"--input={broken}", f"--output={tmp_path}"], "none of its 1 files is an image"),
    ):
        answer = _sample(*flags)
        assert answer.returncode == 2, answer.stderr
        assert sentence in answer.stderr.splitlines()[-1]
        assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_the_dcgan_class_learns_from_a_folder(tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "pictures", 10, side_pixels=20)
    code = (
        "import distgan\n"
        f"gan = distgan.DCGAN(save_path={str(tmp_path / 'run')!r}, kernel_size=4, stride=2, input_size=10,\n"
        "    img_size=(18, 14, 3), dropout=0.2, depth=2, increment=4, batch_size=5, precision='float32',\n"
        "    generator_learning_rate=1e-3)\n"
        f"run = gan.train({str(tmp_path / 'pictures')!r}, epochs=2)\n"
        "assert run.step == 4 and run.generate(3).shape == (3, 18, 14, 3)\n"
        "assert (run.config.generator.learning_rate, run.config.gan.filters) == (1e-3, 4)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_dcgan_class_is_the_dcgan_preset() -> None:
    from distgan.config import Config

    assert Config(**distgan.DCGAN().settings, data="folder:x") == Config(
        preset="dcgan", data="folder:x", run_dir="runs/dcgan", channels=3
    )
