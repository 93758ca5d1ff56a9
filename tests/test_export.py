"""What is exported loads without distgan, and gives what distgan gives."""

import functools
import io
import json
import math
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forks
import keras
import numpy as np
import preset_program
import pytest
import tensorflow as tf

import distgan
from distgan import formats
from distgan.data.order import Draws
from distgan.errors import UserError
from distgan.gans.base import GAN, make_gan
from distgan.gans.noise_to_image import NoiseToImage
from distgan.gans.pix2pix import Pix2Pix
from distgan.nets.stock import stock
from distgan.replicas.base import Replicas
from distgan.run import Run, load
from distgan.serving import write_saved_model
from distgan.training import loop, precision

LOADER = Path(__file__).parent / "load_exports.py"
NOWHERE = Path("nowhere")
WITHOUT_FILES = {"dcgan": {"data": "mnist-colours"}}
# Large steps, so that a run of two has images with a contrast.
TRAINED: dict[str, dict[str, Any]] = {
    "mnist": {"generator_learning_rate": 0.02},
    "mlp": {"precision": "mixed_bfloat16"},
    "dcgan": {"generator_learning_rate": 0.02},
    "dcgan64": {"generator_learning_rate": 0.02},
    "pix2pix": {"image_size": "32x64", "generator_learning_rate": 0.02},
    "cyclegan": {"image_size": "32x48", "recompute": True},
}
REBUILT: list[tuple[str, dict[str, Any]]] = [
    *((preset, {}) for preset in preset_program.PRESETS if preset != "pix2pix"),
    *(("pix2pix", {"dropout": 0.0, "image_size": "32x64", "normalization": kind})
      for kind in ("sync", "instance", "none")),
    ("dcgan", {"normalization": "none", "stride": 3}),
    ("cyclegan", {"image_size": "32x48", "recompute": True}),
]  # fmt: skip


def _gan(preset: str, **settings: Any) -> GAN:
    """A GAN of a preset in float64, all of its variables at random."""
    config = preset_program.config(preset, NOWHERE, NOWHERE, **WITHOUT_FILES.get(preset, {}) | settings)
    height, width = config.height_and_width or (28, 28)
    with precision.policy("float64"):
        gan = make_gan(config, (height, width, 1 if preset.startswith("m") else 3), list, ())
    numbers = np.random.default_rng(0)
    for network in (*gan.networks.values(), *gan.averages.values()):
        for variable in network.variables:
            is_kernel, is_positive = len(variable.shape) > 1, variable.name in ("gamma", "moving_variance")
            scale = 2 / math.prod(variable.shape[:-1]) ** 0.5 if is_kernel else 0.5
            variable.assign(is_positive + scale * numbers.uniform(-1, 1, variable.shape))
    return gan


@pytest.mark.parametrize(("preset", "settings"), REBUILT)
def test_a_generator_of_keras_s_own_layers_computes_the_same(preset: str, settings: dict[str, Any]) -> None:
    gan = _gan(preset, **settings)
    for name in gan.players["generator"]:
        original = gan.shown(name)
        with precision.policy("float64"):
            rebuilt = gan.rebuilt(name)
        assert original is gan.averages[name]
        assert {type(layer).__module__.partition(".")[0] for layer in rebuilt.layers} == {"keras"}
        inputs = np.random.default_rng(1).uniform(-1, 1, (3, *original.input_shape[1:]))
        ours = original(inputs, training=False, own_statistics=isinstance(gan, Pix2Pix)).numpy()
        assert ours.std() > 0.1
        np.testing.assert_allclose(rebuilt(inputs).numpy(), ours, rtol=0, atol=1e-10)


def test_dropout_stays_on_where_it_does_in_translation() -> None:
    generator = _gan("pix2pix").shown("generator")
    inputs = np.random.default_rng(1).uniform(-1, 1, (1, *generator.input_shape[1:]))
    with precision.policy("float64"):
        noisy, calm = stock(generator, as_in_training=True), stock(generator)
    assert not np.allclose(noisy(inputs), noisy(inputs))
    np.testing.assert_allclose(calm(inputs), generator(inputs, training=False), atol=1e-10)


def test_a_layer_that_keras_does_not_have_is_named() -> None:
    class Strange(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return inputs

    images = keras.Input((4,))
    with pytest.raises(UserError, match="Keras has no layer for odd \\(Strange\\): choose --format=saved_model"):
        stock(keras.Model(images, Strange(name="odd")(images)))


def test_latents_in_a_compiled_function_have_the_bits_of_those_outside() -> None:
    def latents(count: Any, seed: Any) -> tf.Tensor:
        return Draws("samples", seed, 0, count).normal((10,))

    of_tensors = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int64)]
    compiled = tf.function(latents, input_signature=of_tensors)
    for count, seed in ((1, 0), (7, 3), (1000, 2**63 - 1)):
        assert np.array_equal(compiled(count, seed), latents(count, seed))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a short run of a preset."""
    directory = tmp_path_factory.mktemp("runs")

    @functools.cache
    def train(preset: str) -> Path:
        settings = {"precision": "float32", "steps": 2} | WITHOUT_FILES.get(preset, {}) | TRAINED[preset]
        loop.train(preset_program.config(preset, NOWHERE, directory / preset, **settings), Replicas(), io.StringIO())
        return directory / preset

    return train


@pytest.fixture(scope="module")
def trained(run_dir: Callable[[str], Path]) -> Callable[[str], Run]:
    """The GAN of a short run of a preset, as it is exported."""
    return lambda preset: load(run_dir(preset), number_format="float32", way="direct")


@pytest.fixture
def load_elsewhere(tmp_path: Path) -> Callable[..., list[np.ndarray]]:
    """What exports give in a process that can't import distgan: each a path, a signature or None, and inputs."""

    def load(*asked: tuple[Path, str | None, dict[str, Any]]) -> list[np.ndarray]:
        for number, (_, _, inputs) in enumerate(asked):
            np.savez(tmp_path / f"{number}.npz", **inputs)
        (tmp_path / "asked.json").write_text(json.dumps([(str(path), signature) for path, signature, _ in asked]))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [sys.executable, str(LOADER), str(tmp_path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        assert answer.returncode == 0, answer.stderr[-3000:]
        assert "WARNING:absl" not in answer.stderr
        return [np.load(tmp_path / f"{number}.npy") for number in range(len(asked))]

    return load


def _export(trained: Run, directory: Path) -> tuple[Path, list[Path]]:
    saved_model = directory / "saved_model" / "1"
    write_saved_model(trained.gan, trained.image_shape, {"made_by": "distgan"}, saved_model)
    return saved_model, formats.write("keras", trained.gan, {"made_by": "distgan"}, directory / "generator.keras")


def _are_alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.slow
def test_generators_give_the_images_of_a_seed_without_distgan(
    trained: Callable[[str], Run], run_dir: Callable[[str], Path], tmp_path: Path,
    load_elsewhere: Callable[..., list[np.ndarray]],
) -> None:  # fmt: skip
    presets, asked, requests = (
        ("mnist", "mlp", "dcgan", "dcgan64"),
        {"num_images": np.int32(5), "seed": np.int64(3)},
        [],
    )
    for preset in presets:
        saved_model, (keras_file,) = _export(trained(preset), tmp_path / preset)
        to_export = trained(preset).gan
        assert isinstance(to_export, NoiseToImage)
        requests += [
            (saved_model, "serving_default", asked), (saved_model, "generate", asked),
            (saved_model, "generate", asked | {"seed": np.int64(4)}),
            (keras_file, None, {"inputs": to_export.latents(Draws("samples", 3, 0, 5))}),
        ]  # fmt: skip
    answers = load_elsewhere(*requests)
    for number, preset in enumerate(presets):
        default, named, other_seed, images = answers[4 * number : 4 * number + 4]
        gan = trained(preset).gan
        ours = gan.generate(5, 3).numpy()
        np.testing.assert_allclose(images, ours, rtol=0, atol=1e-5, err_msg=preset)
        assert np.array_equal(default, named), preset
        assert np.abs(default - (ours + 1) * 127.5).max() < 0.51, preset
        assert not _are_alike(default, other_seed), preset
        if preset != "mlp":  # whose run is in bfloat16
            assert _are_alike(default, distgan.load(run_dir(preset)).generate(5, 3)), preset


@pytest.mark.slow
def test_a_pix2pix_translates_as_distgan_does_without_it(
    trained: Callable[[str], Run], run_dir: Callable[[str], Path], tmp_path: Path,
    load_elsewhere: Callable[..., list[np.ndarray]],
) -> None:  # fmt: skip
    saved_model, (keras_file,) = _export(trained("pix2pix"), tmp_path / "export")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 64, 3), np.uint8)
    asked = {"images": pixels, "seed": np.int64(3)}
    default, named, other_seed, images = load_elsewhere(
        (saved_model, "serving_default", asked), (saved_model, "translate", asked),
        (saved_model, "translate", asked | {"seed": np.int64(4)}),
        (keras_file, None, {"inputs": pixels / np.float32(127.5) - 1}),
    )  # fmt: skip
    assert np.array_equal(default, named)
    assert not _are_alike(default, other_seed)
    assert _are_alike(default, distgan.load(run_dir("pix2pix")).translate(pixels, seed=3))
    assert images.shape == (9, 32, 64, 3)


@pytest.mark.slow
def test_a_cyclegan_translates_both_ways_without_distgan(
    trained: Callable[[str], Run], run_dir: Callable[[str], Path], tmp_path: Path,
    load_elsewhere: Callable[..., list[np.ndarray]],
) -> None:  # fmt: skip
    saved_model, keras_files = _export(trained("cyclegan"), tmp_path / "export")
    assert [path.name for path in keras_files] == ["generator_AtoB.keras", "generator_BtoA.keras"]
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
    images = pixels / np.float32(127.5) - 1
    default, *both, there, back = load_elsewhere(
        *((saved_model, name, {"images": pixels}) for name in ("serving_default", "translate_AtoB", "translate_BtoA")),
        *((path, None, {"inputs": images}) for path in keras_files),
    )
    run = distgan.load(run_dir("cyclegan"))
    assert np.array_equal(default, both[0])
    for direction, given, rebuilt in zip(("AtoB", "BtoA"), both, (there, back), strict=True):
        assert _are_alike(given, run.translate(pixels, direction))
        ours = run.networks[f"generator_{direction}"](images, training=False)
        np.testing.assert_allclose(rebuilt, ours, rtol=0, atol=1e-5)
    assert not _are_alike(*both)


def _program(*flags: str) -> subprocess.CompletedProcess[str]:
    return forks.run([sys.executable, "-m", "distgan.export", *flags])


def test_the_program_writes_into_the_run_s_directory(run_dir: Callable[[str], Path]) -> None:
    directory = run_dir("mnist")
    answer = _program(f"--run_dir={directory}")
    assert (answer.returncode, answer.stdout) == (0, f"{directory}/export/saved_model/1\n"), answer.stderr
    assert "signature" not in answer.stderr
    answer = _program(f"--run_dir={directory}", "--format=keras")
    assert (answer.returncode, answer.stdout) == (0, f"{directory}/export/generator.keras\n"), answer.stderr
    answer = _program(f"--run_dir={directory}", "--format=page")
    assert (answer.returncode, answer.stdout) == (0, f"{directory}/export/latents.html\n"), answer.stderr
    names = {path.name for path in (directory / "export").iterdir()}
    assert names == {"saved_model", "generator.keras", "README.md", "latents.html"}
    for place, loads in (("README.md", "load_model"), ("saved_model/1/README.md", "tf.saved_model.load")):
        assert loads in (directory / "export" / place).read_text()
    assert {path.name for path in (directory / "export" / "saved_model").iterdir()} == {"1"}
    told = json.loads((directory / "export" / "saved_model" / "1" / "assets.extra" / "distgan.json").read_text())
    assert told == {
        "made_by": "distgan", "run": "mnist", "architecture": "mnist", "step": 2, "noise": "normal", "class_names": []
    }  # fmt: skip


def test_a_readme_of_another_hand_stays_and_a_card_names_all_files_of_the_same_weights(
    run_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("safetensors", reason="pip install 'distgan[safetensors]'")
    directory, card = run_dir("mnist"), tmp_path / "README.md"
    card.write_text("# Mine\n")
    answer = _program(f"--run_dir={directory}", "--format=keras", f"--output={tmp_path}/a.keras")
    assert (answer.returncode, answer.stdout) == (0, f"{tmp_path}/a.keras\n"), answer.stderr
    assert answer.stderr == f"{card} is not by distgan.export: it was kept, and no model card was written.\n"
    assert card.read_text() == "# Mine\n"
    card.unlink()
    (tmp_path / "a.onnx").write_text("of another program")
    answer = _program(f"--run_dir={directory}", "--format=safetensors", f"--output={tmp_path}/a.safetensors")
    assert (answer.returncode, answer.stdout) == (0, f"{tmp_path}/a.safetensors\n"), answer.stderr
    assert re.findall(r'"(a\..*)"', card.read_text()) == ["a.keras", "a.safetensors"]


def test_what_is_no_export_is_left_alone(trained: Callable[[str], Run], tmp_path: Path) -> None:
    directory, file = tmp_path / "1", tmp_path / "generator.keras"
    directory.mkdir()
    (directory / "letter.txt").write_text("dear")
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(file)
    before = file.read_bytes()
    gan, image_shape = trained("mnist").gan, trained("mnist").image_shape
    with pytest.raises(UserError, match="1 exists and is not an export: choose another path, or remove it"):
        write_saved_model(gan, image_shape, {}, directory)
    with pytest.raises(UserError, match="keras exists and is not an export"):
        formats.write("keras", gan, {}, file)
    assert [path.name for path in directory.iterdir()] == ["letter.txt"]
    assert file.read_bytes() == before


def test_an_export_replaces_the_one_before_or_if_it_fails_leaves_it(
    trained: Callable[[str], Run], tmp_path: Path
) -> None:
    gan, image_shape = trained("mnist").gan, trained("mnist").image_shape
    for step in (1, 2):
        write_saved_model(gan, image_shape, {"made_by": "distgan", "step": step}, tmp_path / "1")
        formats.write("keras", gan, {"made_by": "distgan", "step": step}, tmp_path / "generator.keras")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path).parts[0] for path in before} == {"1", "generator.keras"}
    assert json.loads((tmp_path / "1" / "assets.extra" / "distgan.json").read_text())["step"] == 2
    with zipfile.ZipFile(tmp_path / "generator.keras") as archive:
        assert json.loads(archive.comment)["step"] == 2
    with pytest.raises(TypeError):
        write_saved_model(gan, image_shape, {"made_by": object()}, tmp_path / "1")
    with pytest.raises(TypeError):
        formats.write("keras", gan, {"made_by": object()}, tmp_path / "generator.keras")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "distgan: --run_dir is missing"),
        (["--run_dir=/nowhere"], "distgan: /nowhere holds no checkpoint"),
        (["--run_dir=gs://bucket/run"], "distgan: --run_dir=gs://bucket/run must be a local path"),
        (["--run_dir=.", "--output=gs://bucket/1"], "distgan: --output=gs://bucket/1 must be a local path"),
        (["--run_dir=.", "--output=x.keras"], "distgan: --output=x.keras must be a directory"),
        (["--run_dir=.", "--output=x", "--format=keras"], "distgan: --output=x must end in .keras"),
        (["--run_dir=.", "--output=x.html"], "distgan: --output=x.html must be a directory"),
        (["--run_dir=.", "--output=x", "--format=page"], "distgan: --output=x must end in .html"),
        (["--run_dir=.", "--output=x.keras", "--format=page"], "distgan: --output=x.keras must end in .html"),
        (["--run_dir=.", "--output=x.onnx"], "distgan: --output=x.onnx must be a directory"),
        (["--run_dir=.", "--output=x.onnx", "--format=litert"], "distgan: --output=x.onnx must end in .tflite"),
        (["--run_dir=.", "--output=x", "--format=safetensors"], "distgan: --output=x must end in .safetensors"),
        (["--run_dir=.", "--format=torch"], "distgan: "),
    ],
)
def test_a_wrong_command_line_gets_one_sentence_and_status_2(flags: list[str], sentence: str) -> None:
    answer = _program(*flags)
    assert answer.returncode == 2
    assert answer.stderr.startswith(sentence)
    assert answer.stderr.count("\n") == 1
