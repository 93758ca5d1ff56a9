"""The parts of training that need one process only."""

import io
import itertools
import json
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import small_runs
import tensorflow as tf
from idx_files import write_idx

import distgan
from distgan.config import Config
from distgan.config.sections import Optimizer
from distgan.errors import UserError
from distgan.gans import losses
from distgan.gans.noise_to_image import DCGAN
from distgan.replicas.base import Replicas
from distgan.replicas.hvd import BUCKET_BYTES, _buckets
from distgan.store import checkpoint
from distgan.training import loop, optimizers, trainer
from distgan.training.clock import Clock


def test_losses_are_the_paper_s() -> None:
    real, fake = np.array([[2.0], [-1.0]]), np.array([[0.5], [-3.0]])
    of_real, of_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    expected = (-np.log(of_real) - np.log(1 - of_fake))[:, 0]
    assert np.allclose(losses.discriminator_loss(tf.constant(real), tf.constant(fake)), expected)
    assert np.allclose(losses.non_saturating_loss(tf.constant(fake)), -np.log(of_fake)[:, 0])
    counted = losses.accuracies(tf.constant(real), tf.constant(fake))
    assert {name: float(value) for name, value in counted.items()} == {
        "accuracy/real": 1, "accuracy/fake": 1, "accuracy/mean": 1
    }  # fmt: skip


class _Counts(SimpleNamespace):
    """What is trained so far, of 30 images a step and 100 in all."""

    images_per_step, num_examples = 30, 100

    def step(self) -> None:
        self.step_number += 1
        self.images_shown += self.images_per_step


def _clock(step: int = 0, steps: int | None = None, epochs: int | None = None) -> tuple[Clock, _Counts]:
    counts = _Counts(step_number=step, images_shown=step * _Counts.images_per_step)
    return Clock(counts, steps=steps, epochs=epochs), counts


def test_epochs_end_in_the_step_that_shows_their_last_image() -> None:
    clock, counts = _clock(epochs=2)
    ended = []
    while not clock.is_over:
        counts.step()
        if clock.due("1epochs"):
            ended.append((clock.step, clock.images_shown))
    assert ended == [(4, 120), (7, 210)]
    assert (clock.total_steps, clock.total_epochs) == (7, 2)
    assert _clock(steps=5)[0].total_epochs == 1.5


def test_a_clock_that_goes_on_ends_where_it_would_have() -> None:
    assert _clock(step=4, epochs=2)[0].total_steps == 7
    assert _clock(step=4, steps=9)[0].total_steps == 9
    assert _clock(step=9, epochs=2)[0].is_over


@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")  # tf.data is compiled all the same
def test_losses_can_be_stepped_through_in_a_debugger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, losses_of = [], DCGAN.losses

    def counted(*given: Any) -> Any:
        calls.append(given)
        return losses_of(*given)

    monkeypatch.setattr(DCGAN, "losses", counted)
    tf.config.run_functions_eagerly(True)
    try:
        small_runs.train(tmp_path, steps=3, sample_every="1000steps", max_images_per_class=20)
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(calls) == 3


def test_steps_are_due_at_their_multiples() -> None:
    clock, counts = _clock(steps=10)
    due = []
    while not clock.is_over:
        counts.step()
        due.append(clock.due("4steps"))
    assert [step for step, is_due in enumerate(due, 1) if is_due] == [4, 8]
    assert not clock.due("never")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_every_optimizer_moves_both_networks_and_repeats_its_bits(optimizer: str, tmp_path: Path) -> None:
    settings = {"generator_optimizer": optimizer, "discriminator_optimizer": optimizer, "checkpoint_every": "1steps"}
    for name in ("one", "two"):
        small_runs.train(tmp_path / name, **settings, steps=2)
    assert small_runs.digest(tmp_path / "one", 2) == small_runs.digest(tmp_path / "two", 2)
    before, after = (small_runs.state(tmp_path / "one", step) for step in (1, 2))
    for kernel in ("generator/project/kernel", "discriminator/logit/kernel"):
        assert not np.array_equal(before[kernel], after[kernel])


@pytest.mark.parametrize("normalization", ["local", "none"])
def test_other_normalisations_train(normalization: str, tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=3, normalization=normalization)
    assert ("generator/project_norm/gamma" in small_runs.state(tmp_path, 3)) == (normalization == "local")


def test_a_run_leaves_logs_pictures_and_a_manifest(tmp_path: Path) -> None:
    said = small_runs.train(tmp_path, steps=6, sample_every="3steps", num_samples=4)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {"loss/generator", "loss/discriminator", "accuracy/real", "accuracy/fake", "accuracy/mean",
            "gradient_norm/generator", "gradient_norm/discriminator", "learning_rate/generator",
            "learning_rate/discriminator", "speed/images_per_second"} <= lines[-1].keys()  # fmt: skip
    assert lines[-1]["images_shown"] == 6 * 16
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {
        "image_at_step_000003.png", "image_at_step_000006.png"
    }  # fmt: skip
    assert (tmp_path / "progress.gif").exists()
    manifest = small_runs.manifest(tmp_path, 6)
    assert (manifest["step"], manifest["images_shown"], len(manifest["state_digest"])) == (6, 96, 64)
    for word in ("samples", "tensorboard", "checkpoint", "batch 16, 16 on each replica"):
        assert word in said


def test_each_epoch_leaves_a_picture_of_the_same_latents(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels)
    small_runs.train(tmp_path / "run", data=f"idx:{tmp_path}", epochs=3)
    names = [path.name for path in sorted((tmp_path / "run" / "samples").iterdir())]
    assert names == [f"image_at_epoch_{epoch:04d}.png" for epoch in (1, 2, 3)]


def test_a_run_that_ends_between_two_pictures_leaves_one_of_its_end(tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=2)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["image_at_step_000002.png"]


def test_a_profile_is_left_for_tensorboard(tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=5, profile_steps="2:3", steps_per_call=5, log_every_steps=5)
    assert list((tmp_path / "tensorboard").rglob("*.xplane.pb"))


def test_a_failed_save_leaves_the_checkpoints_as_they_were(tmp_path: Path) -> None:
    facts = {"images_shown": 16, "data": "noise", "image_shape": [28, 28, 1], "precision": "float32"}
    checkpoint.save(tmp_path, {"x": np.ones(3)}, facts | {"step": 1}, keep=3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.save(tmp_path, {"x": np.zeros(10_000)}, facts | {"step": 2}, keep=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000001"]
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert (found.arrays["x"].tolist(), found.manifest["step"], found.damaged) == ([1, 1, 1], 1, {})


def test_what_a_killed_run_left_unfinished_is_in_nobody_s_way(tmp_path: Path) -> None:
    facts = {"images_shown": 16, "data": "noise", "image_shape": [28, 28, 1], "precision": "float32", "step": 2}
    (tmp_path / ".unfinished-step_000000002").write_text("a file where the directory should go")
    checkpoint.save(tmp_path, {"x": np.ones(3)}, facts, keep=3)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000002"]


def test_nothing_is_loaded_from_where_there_never_was_a_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.load_newest(tmp_path) is None


def test_small_reductions_go_in_one_bucket_and_large_ones_in_backward_order() -> None:
    small = [tf.zeros([10]), tf.zeros([5])]
    assert _buckets(small) == [[0, 1]]
    megabytes = 2**18
    large = [tf.zeros([20 * megabytes]), tf.zeros([8 * megabytes]), tf.zeros([10 * megabytes])]
    assert sum(tensor.shape[0] * 4 for tensor in large) > BUCKET_BYTES
    assert _buckets(large) == [[2, 1], [0]]
    assert _buckets([tf.zeros([1]), tf.zeros([1], tf.float64), tf.zeros([1])]) == [[0, 2], [1]]


def test_the_average_s_memory_of_earlier_weights_halves_as_asked(tmp_path: Path) -> None:
    small_runs.train(
        tmp_path, steps=24, ema_half_life_images=16, checkpoint_every="1steps", keep_checkpoints=24,
        precision="float64",
    )  # fmt: skip
    states = [small_runs.state(tmp_path, step) for step in range(1, 25)]
    for name in ("generator/project/kernel", "generator/project_norm/moving_mean"):
        for images, (before, after) in zip(range(32, 400, 16), itertools.pairwise(states), strict=True):
            half_life = min(16, 0.05 * images)
            kept = 0.5 ** (16 / half_life)
            expected = kept * before[f"average/{name}"] + (1 - kept) * after[name]
            assert np.allclose(after[f"average/{name}"], expected, rtol=1e-12, atol=1e-15)
    assert kept == 0.5  # the ramp is over


def test_samples_are_made_by_the_average_where_one_is_kept(tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=30, ema_half_life_images=10**9)
    run = distgan.load(tmp_path)
    state = small_runs.state(tmp_path, 30)
    generator = run.networks["generator"]
    assert np.array_equal(generator.get_layer("project").kernel, state["average/generator/project/kernel"])
    before = run.generate(4)
    generator.set_weights([weights + 1 for weights in generator.get_weights()])
    assert not np.array_equal(run.generate(4), before)
    assert not np.array_equal(state["average/generator/project/kernel"], state["generator/project/kernel"])


@pytest.mark.slow
def test_a_new_run_s_average_starts_from_the_other_s_or_from_its_weights(tmp_path: Path) -> None:
    small_runs.train(tmp_path / "plain", steps=5)
    settings = {"ema_half_life_images": 10**9, "generator_learning_rate": 1e-12, "steps": 1}
    small_runs.train(tmp_path / "averaged", **settings, init_from=str(tmp_path / "plain"))
    kernel = small_runs.state(tmp_path / "plain", 5)["generator/project/kernel"]
    assert np.allclose(small_runs.state(tmp_path / "averaged", 1)["average/generator/project/kernel"], kernel)
    small_runs.train(tmp_path / "again", **settings, init_from=str(tmp_path / "averaged"))
    assert np.allclose(small_runs.state(tmp_path / "again", 1)["average/generator/project/kernel"], kernel)


@pytest.mark.slow
# In float32, Adam turns a rounding error in a gradient near zero into a move of the learning rate.
@pytest.mark.parametrize(("number_format", "difference"), [("float64", 1e-8), ("float32", 2 * 4 * 1e-4)])
def test_a_compiled_run_is_the_same_run(tmp_path: Path, number_format: str, difference: float) -> None:
    states = []
    for name in ("plain", "compiled"):
        small_runs.train(tmp_path / name, precision=number_format, steps=4, jit_compile=name == "compiled")
        states.append(small_runs.state(tmp_path / name, 4))
    plain, compiled = states
    assert max(np.abs(plain[name] - compiled[name]).max() for name in plain) < difference


def test_a_step_that_xla_can_t_compile_by_default_runs_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trainer, "compiler_for", lambda *_: "whole")  # as on a GPU
    accuracies = losses.accuracies

    def printed(*given: Any) -> dict[str, tf.Tensor]:
        tf.print("judged")  # which XLA can't compile
        return accuracies(*given)

    monkeypatch.setattr(losses, "accuracies", printed)
    small_runs.train(tmp_path, steps=1)
    assert "XLA can't compile the step" in capfd.readouterr().err
    assert small_runs.checkpoints(tmp_path) == [1]


def test_communication_and_a_history_are_not_compiled() -> None:
    Config(jit_compile=True).check_replicas(1)
    with pytest.raises(UserError, match="--normalization=local or none"):
        Config(jit_compile=True).check_replicas(2)
    with pytest.raises(UserError, match="--image_buffer_size=0"):
        Config(preset="cyclegan", data="unpaired:x", jit_compile=True).check_replicas(1)


class _Looking(Replicas):
    """The one replica, that looks at what its step is made of."""

    def compile(self, step: Any) -> Any:
        def looked_at(*arguments: Any) -> Any:
            results = step(*arguments)
            self.kinds = {operation.type for operation in tf.compat.v1.get_default_graph().get_operations()}
            return results

        return tf.function(looked_at)


def test_the_recipe_s_step_takes_the_fast_ways_of_a_cpu(tmp_path: Path) -> None:
    replicas = _Looking()
    config = Config(batch_size=64, steps=1, precision="float32", run_dir=str(tmp_path))
    loop.train(config, replicas, io.StringIO())
    assert {"BatchMatMulV2", "ResourceApplyAdam"} <= replicas.kinds
    assert "Conv2DBackpropInput" not in replicas.kinds


@pytest.mark.parametrize("precision", ["float32", "float64", "mixed_float16"])
def test_gradients_are_clipped_by_the_norm_of_all_of_them(precision: str) -> None:
    optimizer = optimizers.make_optimizer(
        "p", Optimizer(optimizer="sgd", learning_rate=1.0, beta_1=0.0), 1.0, precision, 2.0
    )
    dtype = "float64" if precision == "float64" else "float32"
    variables = [keras.Variable([0.0], dtype=dtype), keras.Variable([0.0, 0.0], dtype=dtype)]
    optimizer.build(variables)
    scale = float(getattr(optimizer, "dynamic_scale", 1.0))

    def moved(*gradients: list[float]) -> list[float]:
        before = [variable.numpy() for variable in variables]
        optimizer.apply([tf.constant(np.multiply(gradient, scale), dtype) for gradient in gradients], variables)
        steps = [old - variable.numpy() for old, variable in zip(before, variables, strict=True)]
        return [float(value) for step in steps for value in step]

    assert moved([3.0], [0.0, 4.0]) == pytest.approx([1.2, 0.0, 1.6])  # a norm of 5
    assert moved([0.0], [1.0, 1.0]) == pytest.approx([0.0, 1.0, 1.0])
    assert moved([0.0], [0.0, 0.0]) == [0.0, 0.0, 0.0]


def test_adam_is_keras_s() -> None:
    moved = []
    for kind in (optimizers.make_optimizer("ours", Optimizer(learning_rate=0.01, beta_1=0.5), 1.0, "float32"),
                 keras.optimizers.Adam(0.01, beta_1=0.5)):  # fmt: skip
        variable = keras.Variable(np.linspace(-1, 1, 7), dtype="float32")
        kind.build([variable])
        for _ in range(5):
            kind.apply([tf.sin(3 * variable.value)], [variable])
        moved.append(variable.numpy())
    ours, theirs = moved
    assert np.allclose(ours, theirs, rtol=0, atol=1e-6)
