"""Files with a generator's network or weights, and facts about them: Keras, ONNX, LiteRT and safetensors."""

import functools
import importlib
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from distgan.errors import UserError
from distgan.gans.base import GAN
from distgan.serving import refuse_others
from distgan.store import atomic

OUTPUT = "output"  # the name of the images that a converted network returns


def write(file_format: str, gan: GAN, facts: dict[str, Any], path: Path) -> list[Path]:
    """Write each generator, and facts, to a file of a format of `FORMATS`; return the paths.

    It is `path` for a single generator; two add their directions to its name: `generator_AtoB.onnx`. Raises `UserError`
    if a path exists and is no export, a package is missing, or the format can't hold the network; `OSError` if writing
    fails.
    """
    write_one, needed = FORMATS[file_format]
    for package in needed:
        try:
            importlib.import_module(package)
        except ImportError as error:
            advice = f'run `pip install "distgan[{file_format}]"`'
            raise UserError(f"--format={file_format} needs {package} ({error}): {advice}.") from None
    names = gan.players["generator"]
    endings = [name.removeprefix("generator") if len(names) > 1 else "" for name in names]
    paths = [path.with_stem(path.stem + ending) for ending in endings]
    refuse_others(paths)
    told = json.dumps(facts)
    for name, place in zip(names, paths, strict=True):
        with atomic.replaced(place) as unfinished:
            write_one(gan, name, told, unfinished)
    return paths


def _write_keras(gan: GAN, name: str, facts: str, path: Path) -> None:
    gan.rebuilt(name).save(path)
    _append(facts, path)


def _append(facts: str, path: Path) -> None:
    """Write facts into the comment of a zip file, or of an empty one that is appended: readers of LiteRT skip that."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = facts.encode()


def _write_litert(gan: GAN, name: str, facts: str, path: Path) -> None:
    built_in = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}  # others need a larger interpreter
    _convert("litert", gan, name, path, target_spec=built_in)
    _append(facts, path)


def _write_onnx(gan: GAN, name: str, facts: str, path: Path) -> None:
    import onnx

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)  # Keras makes tf2onnx find it
        _convert("onnx", gan, name, path)
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, {"distgan": facts})
    onnx.save(model, path)


def _convert(file_format: str, gan: GAN, name: str, path: Path, **options: Any) -> None:
    """Write a network by Keras's converters, with inputs `noise`, and `classes`, int32 `[n]`, or `images`.

    Raises `UserError` if the network draws random numbers.
    """
    if gan.draws_in_translation:
        raise UserError(
            f"--format={file_format} holds no network with random numbers, and this run's dropout is always on: choose "
            "--format=saved_model or --format=keras, or train with --dropout=0."
        )
    network = gan.rebuilt(name)
    for layer in _flat(network):
        if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
            layer.convolution_op = functools.partial(_convolution, layer)
    inputs, given = dict[str, Any](), []
    for tensor in network.inputs:
        is_class, own_name = tensor.name == "classes", "images" if gan.directions else tensor.name
        inputs[own_name] = keras.Input(() if is_class else tensor.shape[1:], dtype=tensor.dtype, name=own_name)
        given.append(keras.ops.expand_dims(inputs[own_name], 1) if is_class else inputs[own_name])
    model = keras.Model(inputs, {OUTPUT: network(given if len(given) > 1 else given[0])})
    signature = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in inputs.items()}
    model.export(path, format=file_format, verbose=False, input_signature=[signature], **options)


def _flat(network: keras.Model) -> Iterator[keras.Layer]:
    """Yield the layers of a network, and of the networks in it."""
    for layer in network.layers:
        yield from _flat(layer) if isinstance(layer, keras.Model) else (layer,)


def _convolution(layer: keras.layers.Conv2D, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return a convolution in groups as one operation; on a CPU Keras compiles it by XLA, which can't be converted."""
    return tf.nn.convolution(inputs, kernel, layer.strides, layer.padding.upper())


def _write_safetensors(gan: GAN, name: str, facts: str, path: Path) -> None:
    from safetensors.numpy import save

    weights = {variable.path: variable.numpy() for variable in gan.shown(name).variables}
    path.write_bytes(save(weights, {"distgan": facts}))


# The function that writes a file of a format, and the packages that it takes beside TensorFlow.
FORMATS: dict[str, tuple[Callable[[GAN, str, str, Path], None], tuple[str, ...]]] = {
    "keras": (_write_keras, ()),
    "onnx": (_write_onnx, ("onnx", "tf2onnx")),
    "litert": (_write_litert, ()),
    "safetensors": (_write_safetensors, ("safetensors",)),
}
