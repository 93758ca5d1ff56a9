"""Files of other formats compute what distgan computes, and the card beside them says what is known of the run."""

import json
import math
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pages
import preset_program
import pytest
import tensorflow as tf

from distgan import formats, model_card
from distgan.data.order import Draws
from distgan.errors import UserError
from distgan.gans.base import GAN, make_gan
from distgan.nets import convolutions
from distgan.report import recorded
from distgan.run import Run
from distgan.serving import write_saved_model
from distgan.training import precision

onnx = pytest.importorskip("onnx", reason="pip install 'distgan[onnx]'")
pytest.importorskip("tf2onnx", reason="pip install 'distgan[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'distgan[onnx]'")
interpreters = pytest.importorskip("ai_edge_litert.interpreter", reason="pip install 'distgan[litert]'")
safetensors = pytest.importorskip("safetensors", reason="pip install 'distgan[safetensors]'")

NOWHERE = Path("nowhere")
SUFFIXES = {"keras": ".keras", "onnx": ".onnx", "litert": ".tflite", "safetensors": ".safetensors"}
FACTS = {"made_by": "distgan", "step": 400, "class_names": ['a "b"', "\N{PILE OF POO}"]}
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {"noise": "uniform"}),
    ("dcgan", {"normalization": "none", "data": "mnist-colours"}),
    ("dcgan64", {}),
    ("r3gan", {"image_size": "14x18"}),
    ("pix2pix", {"dropout": 0.0}),
    ("cyclegan", {"image_size": "32x48"}),
]


def _run(preset: str, **settings: Any) -> Run:
    """A run with small networks whose variables are random numbers, as it is exported."""
    config = preset_program.config(preset, NOWHERE, NOWHERE, **settings | {"precision": "float32"})
    shape = (*(config.height_and_width or (28, 28)), 1 if preset.startswith("m") else 3)
    classes = ["cat", "dog", "owl"] if config.gan.uses_classes else []
    with precision.policy("float32"), convolutions.way("direct"):
        gan = make_gan(config, shape, list, classes)
    numbers = np.random.default_rng(0)
    for name in gan.players["generator"]:
        for variable in gan.shown(name).variables:
            is_kernel, is_positive = len(variable.shape) > 1, variable.name in ("gamma", "moving_variance")
            scale = 2 / math.prod(variable.shape[:-1]) ** 0.5 if is_kernel else 0.5
            variable.assign(is_positive + scale * numbers.uniform(-1, 1, variable.shape))
    return Run(config, gan, 400, shape)


def _written(run: Run, directory: Path) -> dict[str, list[Path]]:
    return {name: formats.write(name, run.gan, FACTS, directory / f"generator{suffix}")
            for name, suffix in SUFFIXES.items()}  # fmt: skip


def _ours(run: Run, count: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Inputs of each generator, and what it makes of them."""
    if not run.gan.directions:
        noise, classes = run.gan.latents(Draws("test", 0, 0, count)), np.arange(count, dtype=np.int32) % 3
        inputs = {"noise": noise.numpy()} | ({"classes": classes} if run.gan.num_classes else {})
        yield inputs, run.gan.images_of(noise, tf.constant(classes)).numpy()
    for direction in run.gan.directions:
        images = np.random.default_rng(count).uniform(-1, 1, (count, *run.image_shape)).astype(np.float32)
        yield {"images": images}, run.gan.translate(tf.constant(images), direction, Draws("test", 0, 0, count)).numpy()


def _by_litert(interpreter: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What a network of LiteRT makes of inputs, whose batch is larger or smaller than before."""
    places = {one["name"].removeprefix("serving_default_").partition(":")[0]: one["index"]
              for one in interpreter.get_input_details()}  # fmt: skip
    for name, array in inputs.items():
        interpreter.resize_tensor_input(places[name], array.shape)
    interpreter.allocate_tensors()
    for name, array in inputs.items():
        interpreter.set_tensor(places[name], array)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _assert_alike(run: Run, files: dict[str, list[Path]]) -> None:
    sessions = [onnxruntime.InferenceSession(path) for path in files["onnx"]]
    assert all(one.get_inputs()[0].shape[0] == one.get_outputs()[0].shape[0] == "batch" for one in sessions)
    by_litert = [interpreters.Interpreter(str(path)) for path in files["litert"]]
    for count in (3, 1, 7):
        for session, interpreter, (inputs, ours) in zip(sessions, by_litert, _ours(run, count), strict=True):
            assert ours.std() > 0.1
            (by_onnx,) = session.run(None, inputs)
            assert by_onnx.dtype == np.float32
            np.testing.assert_allclose(by_onnx, ours, rtol=0, atol=1e-5)
            np.testing.assert_allclose(_by_litert(interpreter, inputs), ours, rtol=0, atol=1e-5)


def _follow(card: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Execute the code in a card where it is, in the order of the files; returns the variables of each block."""
    monkeypatch.chdir(card.parent)
    found = []
    for code in re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL):
        found.append(dict[str, Any]())
        exec(compile(code, str(card), "exec"), found[-1])
    return found


@pytest.fixture(scope="module")
def conditional() -> Run:
    return _run("mnist_best")


@pytest.fixture(scope="module")
def files(conditional: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """All formats of a conditional DCGAN, with transposed convolutions and batch norm."""
    return _written(conditional, tmp_path_factory.mktemp("files"))


def test_a_conditional_dcgan_computes_the_same_in_batches_of_any_size(
    conditional: Run, files: dict[str, list[Path]]
) -> None:
    _assert_alike(conditional, files)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "settings"), OTHERS)
def test_each_architecture_computes_the_same_and_its_card_loads_it(
    preset: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(preset, **settings)
    files = _written(run, tmp_path)
    _assert_alike(run, files)
    names = {name: paths[0].name for name, paths in files.items()}
    (tmp_path / "README.md").write_bytes(model_card.text(run, recorded.read(tmp_path), names))
    assert len(_follow(tmp_path / "README.md", monkeypatch)) == len(SUFFIXES)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["mlp", "mnist_best", "pix2pix", "cyclegan"])
def test_the_card_in_a_saved_model_loads_it(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(preset)
    card = model_card.text(run, recorded.read(tmp_path), {"saved_model": "."})
    write_saved_model(run.gan, run.image_shape, FACTS, tmp_path / "1", {"README.md": card})
    assert _follow(tmp_path / "1" / "README.md", monkeypatch)[0]["pixels"].shape[1:] == run.image_shape


def test_safetensors_are_the_weights_that_make_the_samples(conditional: Run, files: dict[str, list[Path]]) -> None:
    from safetensors.numpy import load_file

    weights, shown = load_file(files["safetensors"][0]), conditional.gan.averages["generator"]
    assert {"generator/project/kernel", "generator/project_norm/gamma"} <= weights.keys()
    assert len(weights) == len(shown.variables)
    assert all(np.array_equal(weights[variable.path], variable) for variable in shown.variables)


def test_each_file_has_the_facts_in_it_where_its_readers_look(files: dict[str, list[Path]]) -> None:
    found = []
    for name in ("keras", "litert"):
        with zipfile.ZipFile(files[name][0]) as archive:
            found.append(archive.comment)
    found.append({one.key: one.value for one in onnx.load(files["onnx"][0]).metadata_props}["distgan"])
    with safetensors.safe_open(files["safetensors"][0], "np") as opened:
        found.append(opened.metadata()["distgan"])
    assert [json.loads(text) for text in found] == [FACTS] * 4


def test_an_export_is_replaced_and_anything_else_left_alone(
    conditional: Run, files: dict[str, list[Path]], tmp_path: Path
) -> None:
    for name, (path,) in files.items():
        place = tmp_path / path.name
        place.write_bytes(path.read_bytes().replace(b"distgan", b"another"))
        before = place.read_bytes()
        with pytest.raises(UserError, match="exists and is not an export"):
            formats.write(name, conditional.gan, FACTS, place)
        assert place.read_bytes() == before
    (path,) = files["safetensors"]
    place = tmp_path / "kept.safetensors"
    place.write_bytes(path.read_bytes())
    with pytest.raises(TypeError):
        formats.write("safetensors", conditional.gan, {"made_by": object()}, place)
    assert place.read_bytes() == path.read_bytes()
    formats.write("safetensors", conditional.gan, FACTS | {"step": 800}, place)
    assert place.read_bytes() != path.read_bytes()
    assert sorted(one.suffix for one in tmp_path.iterdir()) == sorted([*SUFFIXES.values(), ".safetensors"])


@pytest.mark.parametrize(("name", "package"), [("onnx", "tf2onnx"), ("onnx", "onnx"), ("safetensors", "safetensors")])
def test_a_missing_package_is_named_with_its_extra(
    name: str, package: str, conditional: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'--format={name} needs {package} \(.*pip install "distgan\[{name}\]"'):
        formats.write(name, conditional.gan, FACTS, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_dropout_that_is_always_on_is_refused_where_there_are_no_random_numbers(tmp_path: Path) -> None:
    gan: GAN = _run("pix2pix").gan
    for name in ("onnx", "litert"):
        with pytest.raises(UserError, match=f"--format={name} holds no network with random numbers"):
            formats.write(name, gan, FACTS, tmp_path / f"generator{SUFFIXES[name]}")
    assert not list(tmp_path.iterdir())


def test_a_card_tells_the_run_and_its_code_loads_each_format(
    conditional: Run, files: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="pip install 'distgan[hf]'")
    record = recorded.read(pages.make_run(tmp_path / 'an "odd": name', evaluate_num_images=500))
    path = files["keras"][0].with_name("README.md")
    path.write_bytes(model_card.text(conditional, record, {name: one.name for name, (one,) in files.items()}))
    text, data = path.read_text(), huggingface_hub.ModelCard.load(path).data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "unknown",
        "keras",
        "unconditional-image-generation",
    )
    assert data.tags == ["gan", "distgan", *SUFFIXES]
    assert data.model_name == 'an "odd": name'
    scores = {one.metric_type: one.metric_value for one in data.eval_results}
    assert data.metrics == list(scores)
    assert scores["frechet_distance"] == 40 * 100 / 460  # of the last evaluation up to step 400
    assert "Of 500 samples at step 360, by the features of" in text
    assert "python -m distgan.train --preset=mnist_best --steps=4 --max_images_per_class=200 " in text
    assert "under CC BY-SA 3.0" in text
    for row in ("| step | 400 |", "| images shown | 2,800 |", "| seed | 0 |", "| TensorFlow | 2.21.0 |"):
        assert row in text
    assert "node1" not in text
    *networks, weights = _follow(path, monkeypatch)
    assert [block["outputs"].shape for block in networks] == [(16, 28, 28, 1)] * 3
    assert "generator/project/kernel" in weights["weights"]


def test_a_card_tells_no_directories_and_no_scores_that_were_not_measured(conditional: Run, tmp_path: Path) -> None:
    pictures, features = Path("/home/me:too/faces of us"), "/home/me:too/net.keras"
    config = preset_program.config("dcgan", pictures, tmp_path, features=features)
    run = Run(config, conditional.gan, 400, conditional.image_shape)
    text = model_card.text(run, recorded.read(tmp_path), {"onnx": "generator.onnx"}).decode()
    assert "'--data=folder:faces of us'" in text and "--features=net.keras" in text and "/home/me" not in text
    assert "its licence is not known here" in text
    assert "Its samples were not measured" in text and "metrics:" not in text


@pytest.mark.parametrize(
    ("data", "told"),
    [("mnist-edges", "mnist-edges"), ("hf:me/faces", "hf:me/faces"), ("hf:/home/me/faces", "hf:faces"),
     ("tfds:mnist:3.0.1", "tfds:mnist:3.0.1"), ("tar:/home/me/part-*.tar", "tar:part-*.tar"), ("idx:a\nb", "idx:a b")],
)  # fmt: skip
def test_of_data_a_card_tells_the_name(data: str, told: str) -> None:
    assert model_card.without_directory(data) == told


def test_a_card_of_another_hand_is_recognised(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    assert not model_card.is_foreign(card)
    card.write_text(f"---\n---\n{model_card.MARK}\n")
    assert not model_card.is_foreign(card)
    card.write_text("# Mine\n")
    assert model_card.is_foreign(card)
    card.unlink()
    card.mkdir()
    assert model_card.is_foreign(card)
