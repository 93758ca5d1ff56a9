"""GANs that are told classes: whose, and what they make of them."""

import json
import sys
from pathlib import Path

import forks
import keras
import numpy as np
import picture_files
import pytest
import small_runs
import tensorflow as tf

import distgan
from distgan import formats
from distgan.config import Config
from distgan.data.arrays import open_mnist
from distgan.data.base import Wanted
from distgan.data.order import Draws
from distgan.data.sources import open_source
from distgan.errors import UserError
from distgan.gans.base import make_gan
from distgan.gans.noise_to_image import NoiseToImage
from distgan.metrics.features import FeatureNetwork
from distgan.pictures import grid
from distgan.run import load
from distgan.serving import write_saved_model
from distgan.training.evaluation import Evaluator

NUM_CLASSES = 10


@pytest.fixture(scope="module")
def gan() -> NoiseToImage:
    made = make_gan(Config(**small_runs.SMALL, conditional=True), (28, 28, 1), list, tuple("0123456789"))
    assert isinstance(made, NoiseToImage)
    return made


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("conditional")
    small_runs.train(run_dir, steps=2, conditional=True, evaluate_every="1epochs", evaluate_num_images=600)
    return run_dir


def test_mnist_and_its_colours_have_the_digits_for_classes() -> None:
    labels = open_mnist("train").labels
    assert labels is not None
    for data in ("mnist", "mnist-colours"):
        source = open_source(data, "train", Wanted())
        assert len(source.class_names) == NUM_CLASSES and source.labels is not None
        assert np.array_equal(source.labels, labels)


def test_top_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "dogs" / "small", 1)
    picture_files.write_folder(tmp_path / "cats", 2)
    source = open_source(f"folder:{tmp_path}", "train", Wanted())
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1]


def test_data_without_classes_is_refused(tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "photos", 3)
    with pytest.raises(UserError, match="--conditional needs classes"):
        small_runs.train(tmp_path / "run", data=f"folder:{tmp_path}/photos", conditional=True, batch_size=1)


def test_the_logit_is_moved_by_how_well_the_class_fits_the_features(gan: NoiseToImage) -> None:
    network = gan.networks["discriminator"]
    images = np.random.default_rng(0).uniform(-1, 1, (3, 28, 28, 1)).astype(np.float32)
    classes = np.eye(NUM_CLASSES, dtype=np.float32)[[4, 0, 9]]
    flat = keras.Model(network.input, network.get_layer("flatten").output)([images, classes]).numpy()
    embedding = network.get_layer("embedding").kernel.numpy()
    weights, bias = network.get_layer("logit").get_weights()
    expected = flat @ weights + bias + (flat * (classes @ embedding)).sum(1, keepdims=True)
    assert np.allclose(network([images, classes]), expected, atol=1e-4)


def test_a_sample_s_class_depends_on_the_seed_and_its_number_only(gan: NoiseToImage) -> None:
    classes, few = gan.classes_of(2000, seed=3), gan.classes_of(5, 3, 700)
    assert classes is not None and few is not None
    assert np.array_equal(classes[700:705], few)
    assert np.abs(np.bincount(classes, minlength=NUM_CLASSES) / 2000 - 0.1).max() < 0.03
    assert np.allclose(gan.generate(3, 3, 700), gan.generate(3, 3, 700, classes=classes[700:703]))


def test_fakes_are_of_the_classes_of_the_real_images_beside_them(gan: NoiseToImage) -> None:
    from distgan.data.pipeline import Batch

    labels = tf.constant([3, 1, 4], tf.int32)
    draws = Draws("0/0", 0, 0, 3)
    taken = gan._classes(Batch({}, draws, 3, labels))
    assert taken is not None
    assert np.array_equal(taken, labels)
    drawn = gan._classes(Batch({}, draws, 3))
    assert drawn is not None
    assert drawn.shape == (3,)


def test_how_many_are_read_as_asked_is_logged(run_dir: Path) -> None:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    (last,) = (line for line in lines if "quality/class_accuracy" in line)
    assert 0 <= last["quality/class_accuracy"] <= 0.3  # after two steps, no more than by chance


def test_a_classifier_with_other_classes_judges_none() -> None:
    class Made:
        class_names = ("cat", "dog")

        def classes_of(self, number: int, seed: int) -> np.ndarray:
            return np.arange(number) % len(self.class_names)

    def asked(features: str, num_classes: int) -> list[int] | None:
        evaluator = object.__new__(Evaluator)
        evaluator._num_images = 3
        evaluator._network = FeatureNetwork(features, "", 8, num_classes, None, None)  # type: ignore[arg-type]
        found = evaluator._asked(Made(), seed=0)  # type: ignore[arg-type]
        return None if found is None else found.tolist()

    assert asked("mine.keras", 2) == [0, 1, 0]
    assert asked("imagenet", 1000) is None
    assert asked("digits", 10) is None
    Made.class_names = ("3", "5")
    assert asked("digits", 10) == [3, 5, 3]
    assert asked("imagenet", 1000) is None


def test_a_run_generates_the_classes_asked_for(run_dir: Path) -> None:
    run = distgan.load(str(run_dir))
    classes = [7, 7, 2]
    assert run.generate(3, seed=1, classes=classes).shape == (3, 28, 28, 1)
    assert not np.array_equal(run.generate(3, 1, [7, 7, 2]), run.generate(3, 1, [7, 7, 3]))
    for wrong, sentence in (
        ([7], "1 classes for 3"),
        ([7, 7, 10], "no class 10: its classes are 0, 1"),
        ([-1, 0, 0], "no class -1"),
    ):
        with pytest.raises(UserError, match=sentence):
            run.generate(3, classes=wrong)


@pytest.mark.slow
def test_sample_makes_a_row_a_class(run_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "distgan.sample", f"--run_dir={run_dir}", "--num_images=4"]
    done = forks.run([*command, "--classes=0,5", f"--output={tmp_path / 'a.npz'}"])
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "a.npz") as stored:
        expected = distgan.load(str(run_dir)).generate(8, 0, [0] * 4 + [5] * 4)
        assert np.array_equal(stored["pixels"], expected)
    wrong = forks.run([*command, "--classes=0,x"])
    assert wrong.returncode == 2
    assert "The run has no class x: its classes are 0, 1, 2" in wrong.stderr


def test_an_export_makes_the_classes_asked_for(run_dir: Path, tmp_path: Path) -> None:
    run = load(run_dir, number_format="float32", way="direct")
    gan, image_shape = run.gan, run.image_shape
    write_saved_model(gan, image_shape, {}, tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    made = loaded.generate(3, 5, tf.constant([7, 7, 2]))["pixels"].numpy()
    expected = distgan.load(str(run_dir)).generate(3, 5, [7, 7, 2])
    assert np.abs(made.astype(int) - expected).max() <= 1
    for wrong in ([7, 7], [7, 7, 10], [-1, 7, 7]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="whole numbers from 0 to 9"):
            loaded.generate(3, 5, tf.constant(wrong))


def test_a_keras_file_takes_noise_and_classes(run_dir: Path, tmp_path: Path) -> None:
    gan = load(run_dir, number_format="float32", way="direct").gan
    formats.write("keras", gan, {}, tmp_path / "generator.keras")
    noise, classes = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32), np.array([7, 7, 2])
    made = keras.saving.load_model(tmp_path / "generator.keras")({"noise": noise, "classes": classes})
    latents = np.concatenate([noise, np.eye(10, dtype=np.float32)[classes]], 1)
    np.testing.assert_allclose(made, gan.shown("generator")(latents, training=False), rtol=0, atol=1e-5)


def test_a_grid_may_have_a_row_a_class() -> None:
    assert grid(np.zeros((8, 28, 28, 1), np.uint8), columns=4).shape[0] < 3 * 28


def test_a_run_that_was_told_no_classes_makes_none(tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=1)
    with pytest.raises(UserError, match="The run is not class-conditional"):
        distgan.load(str(tmp_path)).generate(1, classes=[0])
