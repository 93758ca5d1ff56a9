"""A web page with the weights of a generator in it, which computes pictures from latents in the browser."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from keras import Model, layers

from distgan.errors import UserError
from distgan.nets.convolutions import Convolution, TransposedConvolution
from distgan.nets.layers import Dropout
from distgan.nets.normalization import BatchNormalization
from distgan.nets.residual import Clipped, Doubled, GroupedConvolution
from distgan.report import document
from distgan.report.numbers import whole
from distgan.run import Run
from distgan.serving import refuse_others
from distgan.store import atomic

MOST_DIRECTIONS = 8
_OTHERS = "choose --format=saved_model or --format=keras."
# The layers that templates/network.js computes, by the same names, and the settings that it needs.
_SETTINGS: dict[type[layers.Layer], tuple[str, ...]] = {
    **dict.fromkeys((Convolution, GroupedConvolution, TransposedConvolution), ("kernel_size", "strides", "groups")),
    **{layers.LeakyReLU: ("negative_slope",), layers.ReLU: ("negative_slope", "threshold")},
    **dict.fromkeys((layers.Dense, layers.EinsumDense, layers.Activation, layers.Reshape, layers.Add), ()),
    **{Dropout: (), Doubled: (), Clipped: (), BatchNormalization: ("epsilon",), layers.Cropping2D: ("cropping",)},
}
_AS_COMPUTED = {"dilation_rate": (1, 1), "equation": "bc,hwc->bhwc", "max_value": None, "scale": True, "center": True}


def write(run: Run, name: str, path: Path) -> None:
    """Write the page of a run called `name`. Raises `UserError` if it can't compute the run's pictures; `OSError`."""
    refuse_others([path])
    gan, config = run.gan, run.config
    if gan.directions:
        raise UserError(f"A {type(gan).__name__} has no latents: {_OTHERS}")
    described, weights = _layers(network := gan.shown("generator"))
    latent_dim = network.input_shape[-1] - gan.num_classes
    facts = {"name": name, "shape": run.image_shape, "latent_dim": latent_dim, "num_classes": gan.num_classes}
    facts |= {"noise": getattr(config.gan, "noise", "normal"), "directions": _directions(network, latent_dim)}
    page = document.render(
        "latents.html.j2", ("page.css", "latents.css"), ("latents.js",), title=f"{name}: latents", facts=facts,
        recipe=f"{config.preset} on {config.data}, step {whole(run.step)}", classes=gan.class_names, layers=described,
        weights=base64.b64encode(weights).decode(), network=(document.TEMPLATES / "network.js").read_text(),
    )  # fmt: skip
    atomic.write(path, page)


def _layers(network: Model) -> tuple[list[dict[str, Any]], bytes]:
    """Return the layers in the order of computation, and their weights in that order, as float16, little-endian."""
    found, weights, numbers = list[dict[str, Any]](), list[bytes](), {id(network.inputs[0]): 0}  # of tensors
    for layer in network.operations[1:]:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        is_known = type(layer) in _SETTINGS and activation in ("linear", "relu", "sigmoid", "tanh")
        is_plain = all(getattr(layer, setting, value) == value for setting, value in _AS_COMPUTED.items())
        if not (is_known and is_plain and all(id(one) in numbers for one in inputs)):
            raise UserError(f"A page can't compute the layer {layer.name} ({type(layer).__name__}): {_OTHERS}")
        arrays = layer.get_weights()
        if any(np.abs(array).max() > np.finfo(np.float16).max for array in arrays):
            raise UserError(f"{layer.name} has weights too large for float16, which a page uses: {_OTHERS}")
        weights += [array.astype("<f2").tobytes() for array in arrays]
        shapes = {"from": inputs[0].shape[1:], "shape": layer.output.shape[1:], "sizes": [one.size for one in arrays]}
        settings = {setting: getattr(layer, setting, 1) for setting in _SETTINGS[type(layer)]}
        settings |= {"kind": type(layer).__name__, "inputs": [numbers[id(one)] for one in inputs]}
        found.append(settings | shapes | {"activation": activation})
        numbers[id(layer.output)] = len(found)
    return found, b"".join(weights)


def _directions(network: Model, latent_dim: int) -> list[list[float]]:
    """Return orthonormal directions of latents, those first that change the next layer most (Shen & Zhou 2021)."""
    kernels = [layer.get_weights()[0] for layer in network.layers[1:2] if isinstance(layer, layers.Dense)]
    rows = (kernels or [np.eye(latent_dim)])[0][:latent_dim].astype(np.float64)
    return np.linalg.eigh(rows @ rows.T)[1].T[::-1][:MOST_DIRECTIONS].round(6).tolist()
