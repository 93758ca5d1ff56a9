"""What the players of a game from noise want, and what the discriminator pays for being steep."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
import tensorflow as tf

from distgan.config import Config
from distgan.config.fields import options_of
from distgan.data.order import Draws
from distgan.data.pipeline import Batch
from distgan.errors import UserError
from distgan.gans import augmentation_options, losses
from distgan.gans import noise_to_image_options as options
from distgan.gans.augmentation import AUGMENTATIONS
from distgan.gans.base import GAN, make_gan
from distgan.nets import convolutions
from distgan.training import precision
from distgan.training.state import TrainState

REAL, FAKE = np.array([[2.0], [-1.0], [0.5]]), np.array([[0.5], [-3.0], [-1.0]])
EVERYTHING = {
    "loss": "hinge", "gradient_penalty": 10.0, "r1_weight": 2.0, "r2_weight": 1.0, "r1_every_steps": 2,
    "augment": "translation,cutout", "augment_target": 0.6, "augment_adapt_images": 50,
}  # fmt: skip
RNG = np.random.default_rng(0)


def _of_logits(function: Callable[..., tf.Tensor], *logits: np.ndarray) -> np.ndarray:
    return function(*(tf.constant(values) for values in logits)).numpy()


@pytest.mark.parametrize(
    ("name", "of_discriminator", "of_generator"),
    [
        ("non_saturating", lambda r, f: np.log1p(np.exp(-r)) + np.log1p(np.exp(f)), lambda f: np.log1p(np.exp(-f))),
        ("minimax", lambda r, f: np.log1p(np.exp(-r)) + np.log1p(np.exp(f)), lambda f: np.log(1 / (1 + np.exp(f)))),
        ("least_squares", lambda r, f: (r - 1) ** 2 + f**2, lambda f: (f - 1) ** 2),
        ("hinge", lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f), lambda f: -f),
        ("wasserstein", lambda r, f: f - r, lambda f: -f),
        ("relativistic", lambda r, f: np.log1p(np.exp(f - r)), lambda f: np.log1p(np.exp(REAL - f))),
    ],
)  # fmt: skip
def test_a_loss_is_its_formula(name: str, of_discriminator: Any, of_generator: Any) -> None:
    loss = losses.loss_called(name)
    assert np.allclose(_of_logits(loss.discriminator, REAL, FAKE), of_discriminator(REAL, FAKE)[:, 0])
    logits = (FAKE, REAL) if loss.relativistic else (FAKE,)
    assert np.allclose(_of_logits(loss.generator, *logits), of_generator(FAKE)[:, 0])


def test_a_loss_that_is_a_mean_is_refused() -> None:
    per_image = losses.non_saturating_loss(tf.zeros((4, 1)))
    assert float(losses.summed(per_image)) == pytest.approx(4 * np.log(2))
    with pytest.raises(UserError, match=r"losses of shape \(\): return one for each example"):
        losses.summed(tf.reduce_mean(per_image))


def test_the_flags_offer_what_there_is() -> None:
    assert tuple(losses.LOSSES) == options.LOSSES
    assert tuple(AUGMENTATIONS) == augmentation_options.AUGMENTATIONS
    choices = options_of(options.NoiseToImageOptions)["augment"].choices
    assert len(choices) == len(set(choices)) == 2 ** len(AUGMENTATIONS)
    assert {"none", *AUGMENTATIONS, "color,cutout", ",".join(AUGMENTATIONS)} <= set(choices)


def test_a_smoothed_label_is_the_cross_entropy_s_alone() -> None:
    smoothed = losses.loss_called("minimax", 0.9)
    assert np.allclose(
        _of_logits(smoothed.discriminator, REAL, FAKE),
        _of_logits(losses.discriminator_loss, REAL, FAKE) + 0.1 * REAL[:, 0],
    )
    Config(loss="minimax", real_label=0.9)
    with pytest.raises(UserError) as refusal:
        Config(preset="faces", data="folder:x", loss="hinge")
    assert str(refusal.value) == "--real_label=0.9 is not used by --loss=hinge: remove it."


def _linear(weights: np.ndarray) -> losses.Judge:
    """A discriminator whose gradient by an image is `weights`, `[height, width, channels]`."""
    return lambda images: tf.tensordot(images, tf.constant(weights, images.dtype), 3)[:, None] + 7


def _squared(images: tf.Tensor) -> tf.Tensor:
    """A discriminator whose gradient by an image is the image."""
    return tf.reduce_sum(images**2, [1, 2, 3]) / 2


def test_the_penalties_of_a_linear_discriminator_are_its_weights_norm_s() -> None:
    weights = RNG.normal(size=(4, 5, 3))
    images = tf.constant(RNG.normal(size=(2, 4, 5, 3)))
    norm = np.linalg.norm(weights)
    of_reals = losses.r1(_linear(weights), images)
    of_between = losses.gradient_penalty(_linear(weights), images, images + 1, Draws("between", 0, 0, 2))
    assert np.allclose(of_reals, [norm**2 / 2] * 2, rtol=1e-12)
    assert np.allclose(of_between, [(norm - 1) ** 2] * 2, rtol=1e-12)


def test_the_gradient_penalty_is_paid_between_a_real_image_and_a_fake() -> None:
    reals, fakes = (RNG.normal(size=(500, 2, 2, 1)) for _ in range(2))
    draws = Draws("between", 0, 0, 500)
    part = draws.uniform((1, 1, 1)).numpy()
    assert 0 <= part.min() < 0.01
    assert 0.99 < part.max() < 1
    assert abs(part.mean() - 0.5) < 0.05
    between = part * reals + (1 - part) * fakes
    expected = (np.linalg.norm(between.reshape(500, -1), axis=1) - 1) ** 2
    found = losses.gradient_penalty(_squared, tf.constant(reals), tf.constant(fakes), draws)
    assert np.allclose(found, expected, rtol=1e-9)


def test_a_flat_discriminator_pays_and_has_a_gradient() -> None:
    images, weights = tf.ones([2, 2, 2, 1]), tf.Variable(0.0)
    with tf.GradientTape() as tape:
        paid = losses.gradient_penalty(
            lambda x: weights * tf.reduce_sum(x, [1, 2, 3]), images, images, Draws("x", 0, 0, 2)
        )
    assert np.allclose(paid, 1)
    assert np.isfinite(tape.gradient(paid, weights))


def _discriminator(
    way: str = "auto", number_format: str = "float64", **settings: Any
) -> tuple[GAN, Callable[[], tuple[dict[str, tf.Tensor], list[tf.Tensor]]]]:
    """A small GAN, and what its discriminator pays in step 0 with the gradient of that by its weights, times 64."""
    chosen = Config(**small_runs.SMALL | {"gradient_penalty": 10.0, "r1_weight": 2.0, "dropout": 0.0} | settings)
    with convolutions.way(way), precision.policy(number_format):
        gan = make_gan(chosen, (28, 28, 1), list, ())
    images = tf.constant(np.random.default_rng(1).uniform(-1, 1, (6, 28, 28, 1)), tf.float32)
    step = tf.Variable(0, dtype=tf.int64)

    @tf.function
    def compute() -> Any:
        batch = Batch({"images": images}, Draws("0/0", step, 0, 6), 6)
        with tf.GradientTape(persistent=True) as tape:
            sums, logged = gan.losses(batch, ("discriminator",))
            paid = (sums["discriminator"] - logged["loss/discriminator"]) * 64
        gradients = tape.gradient(paid, gan.trainable("discriminator"), unconnected_gradients="zero")
        return logged | {"paid": paid}, gradients

    return gan, compute


def _paid(way: str = "auto", number_format: str = "float64") -> tuple[dict[str, float], list[np.ndarray]]:
    logged, gradients = _discriminator(way, number_format)[1]()
    return {name: float(value) for name, value in logged.items()}, [gradient.numpy() / 64 for gradient in gradients]


@pytest.mark.slow
@pytest.mark.parametrize("worth_it", [convolutions._WORTH_IT, 1e9], ids=["as it is", "by Fourier transforms"])
def test_penalties_through_the_fast_convolutions_have_the_gradients_of_keras_s(
    worth_it: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolutions, "_WORTH_IT", worth_it)
    (ours, our_gradients), (theirs, their_gradients) = _paid("auto"), _paid("direct")
    assert ours == pytest.approx(theirs, rel=1e-10)
    for our, their in zip(our_gradients, their_gradients, strict=True):
        assert np.abs(our - their).max() <= 1e-10 * max(np.abs(their).max(), 1)


@pytest.mark.slow
def test_the_gradient_of_the_penalties_is_how_they_change_with_the_weights() -> None:
    gan, compute = _discriminator()
    weights = gan.trainable("discriminator")
    moves = [np.random.default_rng(2).normal(size=variable.shape) for variable in weights]
    expected = sum(float(np.sum(move * gradient)) for move, gradient in zip(moves, compute()[1], strict=True))
    payments = []
    for part in (-1e-8, 2e-8):  # to one side and to the other; a slope jumps where a leaky ReLU has its corner
        for variable, move in zip(weights, moves, strict=True):
            variable.assign_add(part * move)
        payments.append(float(compute()[0]["paid"]))
    assert (payments[1] - payments[0]) / 2e-8 == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("number_format", "tolerance"),
    [("mixed_float16", 0.01), pytest.param("mixed_bfloat16", 0.05, marks=pytest.mark.slow)],
)
def test_penalties_in_few_bits_are_near_those_in_many(number_format: str, tolerance: float) -> None:
    (exact, exact_gradients), (found, gradients) = _paid(), _paid(number_format=number_format)
    for name in ("loss/gradient_penalty", "loss/r1"):
        assert found[name] == pytest.approx(exact[name], rel=tolerance)
    for our, their in zip(gradients, exact_gradients, strict=True):
        assert np.linalg.norm(our - their) <= 5 * tolerance * np.linalg.norm(their)


def test_slopes_too_small_for_float16_are_seen() -> None:
    def judge(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.cast(images, tf.float16) * 2.0**-13 * 2.0**-13, tf.float32)

    assert float(losses.r1(judge, tf.ones([1, 2, 2, 1]))[0]) == 4 * 2.0**-52 / 2


@pytest.mark.parametrize("preset", ["dcgan", "dcgan64", "faces"])
@pytest.mark.parametrize("name", ["gradient_penalty", "r1_weight", "r2_weight"])
def test_penalties_are_refused_where_a_discriminator_has_batch_norm(preset: str, name: str) -> None:
    settings: dict[str, Any] = {"preset": preset, "data": "folder:x", name: 2.0}
    with pytest.raises(UserError, match=f"--{name}=2 needs --normalization=none with --architecture=dcgan"):
        Config(**settings)
    Config(**settings, normalization="none")


def _metrics(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_lazy_penalty_is_logged_where_it_was_computed(tmp_path: Path) -> None:
    settings = {"r1_weight": 2.0, "precision": "float64", "steps": 8}
    small_runs.train(tmp_path / "each", **settings, r1_every_steps=3)
    small_runs.train(tmp_path / "means", **settings, r1_every_steps=3, log_every_steps=2)
    each, means = _metrics(tmp_path / "each"), _metrics(tmp_path / "means")
    assert [line["step"] for line in each if "loss/r1" in line] == [1, 4, 7]  # steps 0, 3 and 6, counted from 0
    assert [line["step"] for line in means if "loss/r1" in line] == [2, 4, 8]
    of_each = [line["loss/r1"] for line in each if "loss/r1" in line]
    assert [line["loss/r1"] for line in means if "loss/r1" in line] == of_each
    assert min(of_each) > 0
    assert {"loss/gradient_penalty"}.isdisjoint(each[0])


def test_what_is_not_due_costs_nothing_and_what_is_due_counts_for_all() -> None:
    computed = []

    def penalty() -> np.float32:
        computed.append(1)
        return np.float32(3)

    @tf.function
    def pay(step: tf.Tensor) -> tf.Tensor:
        def compute() -> tf.Tensor:
            return tf.numpy_function(penalty, [], tf.float32)

        return losses.once_in(4, step, compute, tf.float32)

    assert [float(pay(tf.constant(step))) for step in range(6)] == [3, 0, 0, 0, 3, 0]
    assert len(computed) == 2
    lazy, eager = (_discriminator(r1_every_steps=every, gradient_penalty=0.0)[1]()[0] for every in (4, 1))
    assert float(lazy["loss/r1"]) == float(eager["loss/r1"])
    assert float(lazy["paid"]) == pytest.approx(4 * float(eager["paid"]), rel=1e-12)


def test_r2_is_r1_at_generated_images() -> None:
    (of_r1, _), (of_both, _) = (
        _discriminator(gradient_penalty=0.0, r1_every_steps=1, r2_weight=weight)[1]() for weight in (0.0, 3.0)
    )
    assert "loss/r2" not in of_r1
    assert float(of_both["loss/r2"]) > 0
    assert float(of_both["loss/r1"]) == float(of_r1["loss/r1"])
    assert float(of_both["paid"]) == pytest.approx(float(of_r1["paid"]) + 64 * float(of_both["loss/r2"]), rel=1e-12)


def test_r1_and_r2_fall_to_a_part_along_the_curve_of_the_learning_rates() -> None:
    settings: dict[str, Any] = {"gradient_penalty": 0.0, "r1_every_steps": 1, "r2_weight": 3.0}
    schedule = {"final_penalty_part": 0.2, "learning_rate_schedule": "cosine", "decay_epochs": 2.0, "epochs": 2}
    whole = _discriminator(**settings)[1]()[0]
    gan, compute = _discriminator(**settings | schedule)
    state = TrainState(gan, Config(**schedule, r1_weight=2.0), "float64", num_examples=100)
    for images_shown, part in ((0, 1.0), (50, 0.2 + 0.8 * (1 + np.sqrt(0.5)) / 2), (100, 0.6), (200, 0.2), (300, 0.2)):
        state.images_shown.assign(images_shown)
        logged = compute()[0]
        for name in ("loss/r1", "loss/r2"):
            assert float(logged[name]) == pytest.approx(part * float(whole[name]), rel=1e-12)
        assert float(logged["paid"]) == pytest.approx(64 * float(logged["loss/r1"] + logged["loss/r2"]), rel=1e-12)


@pytest.mark.parametrize(
    "given, needed",
    [
        ({"r1_weight": 1.0}, "--learning_rate_schedule"),
        ({"learning_rate_schedule": "linear"}, "--r1_weight or --r2_weight"),
    ],
)
def test_a_fall_without_a_penalty_or_a_schedule_is_refused(given: dict[str, Any], needed: str) -> None:
    with pytest.raises(UserError, match=f"_part=0.5 needs {needed}: "):
        Config(final_penalty_part=0.5, **given)
    Config(final_penalty_part=0.5, **given | {"r2_weight": 1.0, "learning_rate_schedule": "linear"})


def test_a_lazy_penalty_shortens_the_discriminator_s_adam(tmp_path: Path) -> None:
    """Karras et al. 2020, appendix B; through a schedule, and not where nothing is lazy, nor the generator's."""
    for every, part in ((4, 0.8), (1, 1.0)):
        settings = {"r1_weight": 2.0, "r1_every_steps": every, "discriminator_beta_1": 0.5, "discriminator_beta_2": 0.9}
        chosen = Config(**small_runs.SMALL | settings, learning_rate_schedule="linear", decay_epochs=1.0, epochs=1)
        gan = make_gan(chosen, (28, 28, 1), list, ())
        state = TrainState(gan, chosen, "float32", 160)
        adam = state.optimizers["discriminator"]
        assert (adam.beta_1, adam.beta_2) == (0.5**part, 0.9**part)
        assert float(adam.learning_rate) == pytest.approx(1e-4 * part)
        state.advance(images=16)
        assert float(adam.learning_rate) == pytest.approx(1e-4 * part * 0.9)
        assert state.optimizers["generator"].beta_2 == 0.999
        assert float(state.optimizers["generator"].learning_rate) == pytest.approx(1e-4 * 0.9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"loss": name} for name in losses.LOSSES]
    + [{"loss": "wasserstein", "gradient_penalty": 10.0, "discriminator_updates": 2, "generator_beta_1": 0.0}]
    + [{"loss": "relativistic", "alternating": True, "r1_weight": 2.0, "r2_weight": 2.0, "r1_every_steps": 2}]
    + [{"r1_weight": 2.0, "r1_every_steps": 2}, {"augment": "translation"}, {"augment": "cutout"}]
    + [EVERYTHING | {"precision": number_format} for number_format in ("mixed_bfloat16", "mixed_float16")],
    ids=lambda settings: " ".join(str(value) for value in settings.values()),
)
def test_every_loss_and_penalty_moves_both_networks_to_finite_weights(settings: dict[str, Any], tmp_path: Path) -> None:
    small_runs.train(tmp_path, **settings, steps=3, checkpoint_every="1steps")
    before, after = (small_runs.state(tmp_path, step) for step in (1, 3))
    assert all(np.isfinite(value).all() for value in after.values())
    for kernel in ("generator/project/kernel", "discriminator/logit/kernel"):
        assert not np.array_equal(before[kernel], after[kernel])
    has_accuracy = "accuracy/mean" in _metrics(tmp_path)[-1]
    assert has_accuracy == (settings.get("loss") not in ("wasserstein", "relativistic"))


@pytest.mark.slow
def test_a_run_with_everything_is_the_same_compiled(tmp_path: Path) -> None:
    settings = EVERYTHING | {"precision": "float64", "steps": 4, "normalization": "none"}
    small_runs.train(tmp_path / "plain", **settings)
    small_runs.train(tmp_path / "compiled", **settings, jit_compile=True)
    plain, other = (small_runs.state(tmp_path / name, 4) for name in ("plain", "compiled"))
    assert max(np.abs(plain[name] - other[name]).max() for name in plain) < 1e-8
