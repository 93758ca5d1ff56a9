"""Scores of samples: against values that are known, and the same by any number of processes."""

import json
import sys
from pathlib import Path
from typing import Any

import forks
import keras
import layouts
import numpy as np
import picture_files
import pytest
import scipy.linalg
import small_runs
import tensorflow as tf

from distgan import paths
from distgan.data.arrays import open_mnist
from distgan.data.base import Wanted
from distgan.data.npz import open_npz
from distgan.errors import UserError
from distgan.metrics import features, neighbours, quality, reference
from distgan.metrics.classes import ClassStatistics, class_scores, classifier_score
from distgan.metrics.features import FeatureNetwork
from distgan.metrics.moments import FeatureStatistics, add, frechet_distance
from distgan.pictures import write_samples
from distgan.replicas.base import Replicas

ALONE = Replicas()


def _normal(seed: int, count: int, width: int = 16, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, (count, width)).astype(np.float32)


def _as_network(width: int) -> FeatureNetwork:
    """A network that takes the numbers of an image for its features."""

    def read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return rows, np.zeros((len(rows), 0))

    return FeatureNetwork("rows", "", width, 0, read, lambda images: tf.reshape(images, [len(images), -1]))


def _features(rows: np.ndarray) -> quality.Features:
    network = _as_network(rows.shape[1])
    return quality.find_features(lambda first, count: rows[first : first + count], len(rows), network, ALONE)


def _scores(
    fakes: np.ndarray, reals: np.ndarray, others: np.ndarray | None = None, num_learnt: int = 0
) -> dict[str, float]:
    training = _features(reals if others is None else others)
    reference = quality.make_reference(_features(reals), training, num_learnt or len(reals), ALONE)
    return quality.judge(_features(fakes), reference, ALONE)


def test_frechet_distance_is_that_of_scipy() -> None:
    one, other = _normal(0, 3000) @ _normal(1, 16), _normal(2, 2000, mean=0.3) @ _normal(3, 16)
    (mean_1, cov_1), (mean_2, cov_2) = ((x.astype(float).mean(0), np.cov(x.astype(float), rowvar=False))
                                        for x in (one, other))  # fmt: skip
    root = scipy.linalg.sqrtm(cov_1 @ cov_2).real
    expected = np.sum((mean_1 - mean_2) ** 2) + np.trace(cov_1 + cov_2 - 2 * root)
    assert frechet_distance(FeatureStatistics.of(one), FeatureStatistics.of(other)) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_a_shift_is_its_square() -> None:
    rows = _normal(0, 500)
    assert frechet_distance(FeatureStatistics.of(rows), FeatureStatistics.of(rows + 2)) == pytest.approx(
        4 * 16, rel=1e-6
    )


def test_moments_may_be_summed_in_parts() -> None:
    rows = _normal(0, 700)
    parts = add(FeatureStatistics.of(rows[:200]), FeatureStatistics.of(rows[200:]))
    assert np.allclose(parts.covariance, np.cov(rows.astype(float), rowvar=False), atol=1e-12)


def test_kernel_distance_is_zero_on_average_for_equal_distributions_even_of_few_points() -> None:
    found = [quality.kernel_distance(_normal(2 * n, 12), _normal(2 * n + 1, 12), ALONE) for n in range(600)]
    deviation = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * deviation
    biased = neighbours.kernel_diagonal(_normal(0, 12)) / 12**2  # what keeping pairs of one point would add
    assert biased > 10 * deviation


def test_kernel_distance_is_the_sum_by_hand() -> None:
    fakes, reals = np.array([[1.0], [2.0], [3.0]]), np.array([[0.0], [1.0]])
    within_fakes = 2 * (3**3 + 4**3 + 7**3) / 6  # (1*2+1)^3, (1*3+1)^3, (2*3+1)^3
    across = (3 * 1 + 2**3 + 3**3 + 4**3) / 6
    assert quality.kernel_distance(fakes, reals, ALONE) == pytest.approx(within_fakes + 1 - 2 * across)


def test_copies_of_the_real_ones_have_full_precision_recall_and_coverage() -> None:
    reals = _normal(0, 700)
    scores = _scores(reals, reals)
    assert (scores["precision"], scores["recall"], scores["coverage"]) == (1, 1, 1)
    # In a ball to the k-th neighbour are the centre, k - 1 and the k-th.
    assert scores["density"] == pytest.approx((neighbours.BALLS_OF_DENSITY + 1) / neighbours.BALLS_OF_DENSITY, rel=1e-3)


def test_fakes_far_from_all_have_none_of_it() -> None:
    scores = _scores(_normal(0, 300) + 1000, _normal(1, 300))
    assert [scores[name] for name in ("precision", "recall", "density", "coverage")] == [0, 0, 0, 0]


def test_fakes_of_one_of_two_clusters_are_precise_and_lack_recall_and_coverage() -> None:
    near, far = _normal(0, 400), _normal(1, 400) + 1000
    scores = _scores(near[:200], np.concatenate([near[200:], far[:200]]))
    assert scores["precision"] > 0.6
    assert scores["recall"] <= 0.5
    assert scores["coverage"] <= 0.5


def test_copies_of_what_was_learnt_have_no_distance_to_it() -> None:
    learnt, held_out = _normal(0, 500), _normal(1, 500)
    assert _scores(learnt, held_out, learnt)["nearest_neighbour_ratio"] < 1e-3
    assert _scores(_normal(2, 500), held_out, learnt)["nearest_neighbour_ratio"] == pytest.approx(1, abs=0.05)


def test_copies_of_which_some_are_looked_at_have_the_floor() -> None:
    learnt, held_out = _normal(0, 2000), _normal(1, 500)
    scores = _scores(learnt[::4], held_out, learnt[:500], num_learnt=len(learnt))
    assert scores["nearest_neighbour_floor"] == 0.75
    assert scores["nearest_neighbour_ratio"] == pytest.approx(0.75, abs=0.03)


def test_a_classifier_that_is_sure_of_all_classes_scores_their_number() -> None:
    sure = ClassStatistics.of(np.eye(10).repeat(7, axis=0))
    assert classifier_score(sure) == pytest.approx(10)
    scores = class_scores(sure)
    assert scores["modes"] == 10
    assert scores["kl_to_uniform"] == pytest.approx(0, abs=1e-12)
    assert scores["share_of_3"] == pytest.approx(0.1)


def test_one_class_alone_is_one_mode_and_scores_one() -> None:
    collapsed = ClassStatistics.of(np.tile(np.eye(10)[4], (50, 1)))
    assert classifier_score(collapsed) == pytest.approx(1)
    assert class_scores(collapsed)["modes"] == 1
    assert class_scores(collapsed)["kl_to_uniform"] == pytest.approx(np.log(10))


def test_the_probabilities_are_the_classifier_s() -> None:
    pixels, labels = open_mnist("test").pixels[:50], open_mnist("test").labels
    assert labels is not None
    network = features.network_for(None, "mnist", (28, 28, 1))
    found, probabilities = network.read(pixels)
    assert found.shape == (50, network.width)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == labels[:50]).mean() > 0.95


def test_what_was_seen_in_real_images_is_kept_and_made_anew_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    looks: list[int] = []
    network = features.network_for(None, "mnist", (28, 28, 1))

    def read(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        looks.append(len(pixels))
        return network.read(pixels)

    counted = network._replace(read=read)

    def made() -> quality.Reference:
        return reference.reference_for("mnist", Wanted(), counted, 200, ALONE)

    first = made()
    assert looks == [200, 200]
    assert np.array_equal(made().radii, first.radii)
    assert len(looks) == 2
    (path,) = (paths.cache_directory() / "features").iterdir()
    path.write_bytes(path.read_bytes()[:-2000])
    assert made().floor == first.floor
    assert len(looks) == 4


def test_a_network_of_ones_own_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    keras.Sequential([keras.Input((14, 14, 3)), keras.layers.Flatten(), keras.layers.Dense(5)]).save(path)
    found, probabilities = features.network_for(str(path), "mnist", (28, 28, 1)).read(np.zeros((4, 28, 28, 1), "uint8"))
    assert found.shape == (4, 5)
    assert probabilities.shape[1] == 0


@pytest.mark.parametrize("size", [(28, 28), (40, 17), (64, 48)])
def test_images_are_resized_as_tensorflow_does_it(size: tuple[int, int]) -> None:
    images = tf.constant(np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32))
    expected = tf.image.resize(images, (32, 24), antialias=True)
    assert np.allclose(tf.function(features._resized)(images, 32, 24), expected, atol=1e-5)


def test_a_network_that_would_run_code_or_is_none_is_refused(tmp_path: Path) -> None:
    unsafe, wrong, broken = (tmp_path / f"{name}.keras" for name in ("unsafe", "wrong", "broken"))
    keras.Sequential([keras.Input((14, 14, 1)), keras.layers.Lambda(lambda x: x), keras.layers.Flatten()]).save(unsafe)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)]).save(wrong)
    broken.write_bytes(b"no model")
    for path in (unsafe, broken):
        with pytest.raises(UserError, match=r"can't be loaded as a Keras model"):
            features.network_for(str(path), "mnist", (28, 28, 1))
    with pytest.raises(UserError, match="it must turn images"):
        features.network_for(str(wrong), "mnist", (28, 28, 1))
    (tmp_path / "text.keras").write_text("text")
    with pytest.raises(UserError, match=r"can't be loaded as a Keras model \(it is not a \.keras archive\)"):
        features.network_for(str(tmp_path / "text.keras"), "mnist", (28, 28, 1))
    with pytest.raises(UserError, match=r"must be imagenet, inception or a FILE\.keras"):
        features.network_for(str(tmp_path / "mine.h5"), "mnist", (28, 28, 1))


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    picture_files.write_folder(tmp_path / "photos", 5)
    network = features.network_for(None, "mnist", (28, 28, 1))
    with pytest.raises(UserError, match="has 5 images: evaluation needs at least 200"):
        reference.reference_for(f"folder:{tmp_path}/photos", Wanted(), network, 200, ALONE)
    done = forks.run([sys.executable, "-m", "distgan.evaluate", f"--images={tmp_path}/photos", "--data=mnist"])
    assert done.returncode == 2
    assert "has 5 images: give 100 or more" in done.stderr


EVALUATED: dict[str, Any] = {
    "steps": 4, "evaluate_every": "1epochs", "evaluate_num_images": 700, "max_images_per_class": 200,
}  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("run")
    small_runs.train(run_dir, **EVALUATED, ema_half_life_images=100)
    return run_dir


def _evaluate(layout: layouts.Layout, *arguments: str) -> tuple[int, str]:
    return layouts.run(layout, "-m", "distgan.evaluate", *arguments)


def test_a_run_logs_its_quality_and_keeps_the_best_checkpoint(run_dir: Path) -> None:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    (last,) = (line for line in lines if "quality/frechet_distance" in line)
    assert last["quality/frechet_distance"] > 100 * last["quality/frechet_floor"]
    assert last["quality_raw/frechet_distance"] != last["quality/frechet_distance"]
    (best,) = (run_dir / "best").iterdir()
    manifest = json.loads((best / "manifest.json").read_text())
    assert manifest["frechet_distance"] == last["quality/frechet_distance"]
    assert manifest["state_digest"] == small_runs.digest(run_dir, 4)


@pytest.mark.slow
def test_a_smaller_distance_of_other_features_is_not_better(run_dir: Path, tmp_path: Path) -> None:
    small_runs.train(tmp_path, **EVALUATED, ema_half_life_images=100)
    (best,) = (tmp_path / "best").iterdir()
    manifest = json.loads((best / "manifest.json").read_text())
    assert manifest["features"] == "digits"
    (best / "manifest.json").write_text(json.dumps(manifest | {"frechet_distance": 1.0, "features": "imagenet"}))
    small_runs.train(tmp_path, **EVALUATED | {"steps": 5}, ema_half_life_images=100)
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["step_000000005"]


@pytest.mark.slow
def test_the_best_checkpoint_stays_while_others_are_worse(run_dir: Path, tmp_path: Path) -> None:
    small_runs.train(tmp_path, **EVALUATED, ema_half_life_images=100)
    (best,) = (tmp_path / "best").iterdir()
    manifest = json.loads((best / "manifest.json").read_text())
    for distance, stays in ((1.0, True), (1e9, False)):
        (best / "manifest.json").write_text(json.dumps(manifest | {"frechet_distance": distance}))
        steps = 5 if stays else 6
        small_runs.train(tmp_path, **EVALUATED | {"steps": steps}, ema_half_life_images=100)
        assert [path.name for path in (tmp_path / "best").iterdir()] == [best.name if stays else "step_000000006"]


@pytest.mark.slow
@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_any_number_of_processes_measures_the_same(run_dir: Path, tmp_path: Path) -> None:
    scores = []
    for one in (layouts.SINGLE, layouts.Layout("horovod", 3)):
        output = tmp_path / f"{one}.json"
        status, said = _evaluate(one, f"--run_dir={run_dir}", "--num_images=1200", f"--output={output}")
        assert status == 0, said
        scores.append(json.loads(output.read_text()))
    alone, together = scores
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        if isinstance(value, str):
            assert together[name] == value
        elif not name.endswith("seconds"):
            assert together[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


@pytest.mark.slow
def test_images_of_any_source_are_measured_as_the_samples_that_they_are(run_dir: Path, tmp_path: Path) -> None:
    pixels = open_mnist("train").pixels[:600]
    for name in ("images.npz", "images"):
        write_samples(tmp_path / name, pixels)
        output = tmp_path / "scores.json"
        command = [sys.executable, "-m", "distgan.evaluate", f"--images={tmp_path / name}", "--data=mnist",
                   "--num_images=600", f"--output={output}"]  # fmt: skip
        done = forks.run(command)
        assert done.returncode == 0, done.stderr
        found = json.loads(output.read_text())
        assert found["frechet_distance"] < 10
        assert [found[name] for name in ("num_images", "data", "features")] == [600, "mnist", "digits"]
        assert "frechet_distance" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give one of --run_dir and --images"),
        (["--images=x.npz"], "--images needs --data"),
        (["--run_dir={run_dir}", "--data=mnist"], "--data=mnist is used only with --images"),
        (["--run_dir={run_dir}", "--image_size=8x8"], "--image_size and --fit are used only with --images"),
        (["--images={run_dir}", "--data=mnist", "--image_size=8"], "--image_size=8 is refused: it must be HxW"),
        (["--run_dir={run_dir}", "--num_images=5"], "--num_images=5: 5 is not integer >= 100"),
        (["--run_dir={run_dir}/nothing"], "holds no checkpoint"),
        (["--images={run_dir}/nothing.npz", "--data=mnist"], "does not exist, or is not a file"),
        (["--images={run_dir}/config.json", "--data=mnist"], "must be a directory of images, or an .npz file"),
        (["--images={run_dir}/tensorboard", "--data=mnist"], "/tensorboard/ holds no images"),
        (["--run_dir={run_dir}", "--features=nothing.keras"], "nothing.keras does not exist, or is not a file."),
    ],
)
def test_a_wrong_command_is_answered_in_a_sentence(arguments: list[str], sentence: str, run_dir: Path) -> None:
    command = [sys.executable, "-m", "distgan.evaluate", *(one.format(run_dir=run_dir) for one in arguments)]
    done = forks.run(command)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_npz_of_other_things_than_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "arrays.npz", faces=np.zeros(3))
    for name, sentence in (
        ("text", "is not an .npz file"),
        ("arrays", "holds faces, and no images or arr_0 or pixels"),
    ):
        with pytest.raises(UserError, match=sentence):
            open_npz(str(tmp_path / f"{name}.npz"))


def test_images_of_another_size_than_the_data_s_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", pixels=np.zeros((100, 32, 32, 1), np.uint8))
    status, said = _evaluate(layouts.SINGLE, f"--images={tmp_path}/images.npz", "--data=mnist")
    assert status == 2
    assert "has images of 32x32x1, but --data=mnist of 28x28x1" in said
