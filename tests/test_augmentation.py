"""What is done to the images that a discriminator sees."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
import tensorflow as tf

from distgan.config import Config
from distgan.data.order import Draws, fair_range
from distgan.errors import UserError
from distgan.gans.augmentation import AUGMENTATIONS, PROBABILITY, SIGN, Policy, augmented, coloured, cut_out, translated
from distgan.gans.augmentation_options import AugmentationOptions

COUNT = 300
ALL = ",".join(AUGMENTATIONS)
ADAPTIVE: dict[str, Any] = {"augment": ALL, "augment_target": 0.6, "augment_adapt_images": 100}


def _images(height: int, width: int, channels: int = 2) -> np.ndarray:
    """Images without a zero."""
    return np.random.default_rng(0).uniform(0.1, 1, (COUNT, height, width, channels)).astype(np.float32)


def _shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width, _ = image.shape
    shifted = np.zeros_like(image)
    shifted[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return shifted


@pytest.mark.parametrize(("height", "width", "most"), [(28, 28, (4, 4)), (16, 9, (2, 1))])
def test_a_translation_moves_each_image_by_up_to_an_eighth(height: int, width: int, most: tuple[int, int]) -> None:
    images = _images(height, width)
    found = set()
    for image, moved in zip(images, translated(tf.constant(images), Draws("x", 5, 0, COUNT)).numpy(), strict=True):
        by = [
            (down, right)
            for down in range(-most[0], most[0] + 1)
            for right in range(-most[1], most[1] + 1)
            if np.array_equal(_shifted(image, down, right), moved)
        ]
        assert len(by) == 1
        found.update(by)
    assert len(found) > 0.9 * (2 * most[0] + 1) * (2 * most[1] + 1)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (10, 6)])
def test_a_cutout_is_a_square_of_half_the_size_anywhere(height: int, width: int) -> None:
    images = _images(height, width)
    cut = cut_out(tf.constant(images), Draws("x", 5, 0, COUNT)).numpy()
    middles = set()
    for image, left in zip(images, cut, strict=True):
        is_gone = left == 0
        rows, columns = np.flatnonzero(is_gone.any((1, 2))), np.flatnonzero(is_gone.any((0, 2)))
        assert is_gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert is_gone.sum() == len(rows) * len(columns) * 2
        assert np.array_equal(left[~is_gone], image[~is_gone])
        for places, size in ((rows, height), (columns, width)):
            is_at_an_edge = places[0] == 0 or places[-1] == size - 1
            whole = (size + 1) // 2
            assert len(places) == whole or (is_at_an_edge and whole // 2 <= len(places) < whole)
        middles.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert len(middles) > 40


def _factor(of: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The number k of each image for which `of` is k times `by`."""
    factors = (of * by).sum((1, 2, 3)) / (by * by).sum((1, 2, 3))
    assert np.allclose(of, factors[:, None, None, None] * by, atol=1e-5)
    return factors


def test_colours_change_in_brightness_saturation_and_contrast() -> None:
    images = _images(6, 5, channels=3)
    changed = coloured(tf.constant(images), Draws("x", 5, 0, COUNT)).numpy()
    (means, greys), (new_means, new_greys) = (
        (values.mean((1, 2, 3), keepdims=True), values.mean(3, keepdims=True)) for values in (images, changed)
    )
    brighter, contrast = (new_means - means).ravel(), _factor(new_greys - new_means, greys - means)
    saturation = _factor(changed - new_greys, images - greys) / contrast
    for values, least, most in ((brighter, -0.5, 0.5), (saturation, 0, 2), (contrast, 0.5, 1.5)):
        assert least - 1e-5 <= values.min() < least + 0.05 * (most - least)
        assert most - 0.05 * (most - least) < values.max() <= most + 1e-5
        assert abs(values.mean() - (least + most) / 2) < 0.1 * (most - least)
    assert abs(np.corrcoef([brighter, saturation, contrast]) - np.eye(3)).max() < 0.2


@pytest.mark.parametrize("names", [("color",), ("translation",), ("cutout",), ("color", "translation", "cutout")])
def test_an_image_is_changed_by_its_position_alone(names: tuple[str, ...]) -> None:
    images = tf.constant(_images(12, 12))
    whole = augmented(images, names, Draws("x", 5, 0, COUNT)).numpy()
    part = augmented(images[37:51], names, Draws("x", 5, 37, 14)).numpy()
    assert np.array_equal(part, whole[37:51])
    assert not np.array_equal(augmented(images, names, Draws("x", 6, 0, COUNT)), whole)
    assert not np.array_equal(augmented(images, names, Draws("y", 5, 0, COUNT)), whole)


def test_gradients_go_back_to_the_pixels_that_are_left() -> None:
    images = tf.ones([COUNT, 8, 8, 1])
    with tf.GradientTape() as tape:
        tape.watch(images)
        changed = augmented(images, ("translation", "cutout"), Draws("x", 0, 0, COUNT))
    gradients = tape.gradient(changed, images).numpy()
    assert set(np.unique(gradients)) == {0, 1}
    assert np.array_equal(gradients.sum((1, 2, 3)), changed.numpy().sum((1, 2, 3)))


def test_an_augmentation_is_applied_to_each_image_with_its_probability() -> None:
    images, draws = _images(12, 12), Draws("x", 5, 37, COUNT)
    applied = {}
    for name in AUGMENTATIONS:
        always = augmented(tf.constant(images), (name,), draws).numpy()
        some = augmented(tf.constant(images), (name,), draws, 0.5).numpy()
        is_changed = (some != images).any((1, 2, 3))
        assert np.array_equal(some, np.where(is_changed[:, None, None, None], always, images))
        assert 0.4 < is_changed.mean() < 0.6
        part = augmented(tf.constant(images[50:64]), (name,), Draws("x", 5, 87, 14), 0.5).numpy()
        assert np.array_equal(part, some[50:64])
        applied[name] = is_changed
    assert abs(np.corrcoef(list(applied.values())) - np.eye(3)).max() < 0.2


def _policy(batch_size: int = 10, **settings: Any) -> Policy:
    return Policy(AugmentationOptions(**ADAPTIVE | settings), batch_size)


def _moved(policy: Policy, sums: list[float]) -> list[float]:
    """The probability after each of some steps, by their sums of signs, or the means of these."""
    return [float(policy.adapt({SIGN: tf.constant(total / 10)})[PROBABILITY]) for total in sums]


def test_the_probability_moves_towards_the_target_between_0_and_1() -> None:
    policy = _policy()
    assert list(policy.memory) == [PROBABILITY]
    assert _moved(policy, [-10, 10, 8, 7]) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert _moved(policy, [6, np.nan, 5, 0]) == pytest.approx([0.3, 0.3, 0.2, 0.1])  # at the target it stays
    assert _moved(policy, [10] * 12)[-4:] == pytest.approx([1] * 4)
    assert float(policy.memory[PROBABILITY]) == 1
    assert _moved(policy, [-10] * 12)[-2:] == pytest.approx([0] * 2, abs=1e-6)
    assert policy.adapt({"loss/generator": tf.constant(1.0)}) == {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_replicas_decides_alike(dtype: Any) -> None:
    signs = np.random.default_rng(0).choice([-1, 1], 99).astype(dtype)
    goal = float(np.sum(signs)) / 99  # a step at the target, where a rounding would decide
    for replicas in (1, 2, 3, 7, 13):
        policy = Policy(AugmentationOptions(augment=ALL, augment_target=abs(goal)), 99)
        shares = [fair_range(99, replicas, rank) for rank in range(replicas)]
        means = [policy.signs(tf.constant(signs[first : first + count]), 0.0)[SIGN] / 99 for first, count in shares]
        moved = policy.adapt({SIGN: tf.add_n(means) * np.sign(goal)})
        assert float(moved[PROBABILITY]) == 0


def test_adaptive_augmentation_begins_with_the_images_as_they_are_and_may_change_all() -> None:
    images, draws, policy = tf.constant(_images(12, 12)), Draws("x", 5, 0, COUNT), _policy()
    assert np.array_equal(policy(images, draws), images)
    policy.memory[PROBABILITY].assign(1.0)
    assert np.array_equal(policy(images, draws), augmented(images, tuple(AUGMENTATIONS), draws))


def test_a_policy_that_does_not_adapt_has_no_state_and_draws_nothing_more() -> None:
    images, draws = tf.constant(_images(12, 12)), Draws("x", 5, 0, COUNT)
    for probability in (1, 1.0, 0.25):
        policy = Policy(AugmentationOptions(augment="cutout", augment_probability=probability), 10)
        assert not policy.memory and not policy.signs(tf.ones([4, 1]), None)
        graph: Any = tf.function(lambda policy=policy: policy(images, draws)).get_concrete_function().graph
        kinds = [operation.type for operation in graph.get_operations()]
        assert kinds.count("StatelessRandomUniformFullIntV2") == 1 + (probability < 1)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"augment_target": 0.6}, "--augment_target=0.6 needs --augment: give e.g. --augment=color,"),
        ({"augment_probability": 0.5}, "--augment_probability=0.5 needs --augment: give"),
        (ADAPTIVE | {"augment_probability": 0.5}, "sets the probability itself: remove --augment_probability=0.5"),
        (ADAPTIVE | {"loss": "wasserstein"}, "--augment_target=0.6 is not used by --loss=wasserstein, whose critic"),
        (ADAPTIVE | {"augment_target": 1.0}, "--augment_target=1.0 is refused: it must be a number of at least 0 and"),
        ({"augment": ALL, "augment_probability": 0.0}, "--augment_probability=0.0 is refused: it must be a number ab"),
    ],
)
def test_a_probability_without_an_effect_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        Config(**settings)
    assert sentence in str(refusal.value)


@pytest.mark.slow
def test_an_adaptive_run_is_logged_and_resumes_in_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, Any] = ADAPTIVE | {"architecture": "mlp", "alternating": True, "max_images_per_class": 20}
    settings |= {"filters": None, "steps": 6, "checkpoint_every": "3steps", "sample_every": "6steps"}
    small_runs.train(tmp_path, **settings)
    digest = small_runs.digest(tmp_path, 6)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    expected = 0.0
    for line in lines:  # the generator's updates do not move it
        expected = min(1, max(0, expected + 0.16 * np.sign(line[SIGN] - 0.6)))
        assert line[PROBABILITY] == pytest.approx(expected, abs=1e-6)
    probabilities = [small_runs.state(tmp_path, step)[PROBABILITY] for step in (3, 6)]
    assert 0 < probabilities[0] < probabilities[1] == lines[-1][PROBABILITY]
    shutil.rmtree(tmp_path / "checkpoints" / "step_000000006")
    assert "resumes from step 3" in small_runs.train(tmp_path, **settings, steps_per_call=3)
    assert small_runs.digest(tmp_path, 6) == digest


def test_without_a_name_nothing_is_changed() -> None:
    images = tf.constant(_images(4, 4))
    assert augmented(images, (), Draws("x", 0, 0, COUNT)) is images
