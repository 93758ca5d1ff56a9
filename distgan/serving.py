"""Exports of a GAN for programs without this package: a SavedModel of TensorFlow, and the marks of all exports."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from distgan.data.base import Shape
from distgan.data.order import Draws
from distgan.data.pipeline import to_images, to_pixels
from distgan.errors import UserError
from distgan.gans.base import GAN
from distgan.store import atomic

MARK_FILE = Path("assets.extra") / "distgan.json"  # a SavedModel's place for files that are not TensorFlow's


def write_saved_model(
    gan: GAN, image_shape: Shape, facts: dict[str, Any], path: Path, further: Mapping[str, bytes] | None = None
) -> None:
    """Write a SavedModel that generates or translates as the GAN does, with the signatures of `functions`, and facts.

    The first is served by default. `further` files, by name, are put into the directory. Raises `UserError` if `path`
    exists and is no export, `OSError` if writing fails.
    """
    refuse_others([path])
    of_gan = functions(gan, image_shape)
    module = tf.Module()
    module.weights = [variable.value for name in gan.players["generator"] for variable in gan.shown(name).variables]
    for name, function in of_gan.items():
        setattr(module, name, function)
    signatures = {"serving_default": next(iter(of_gan.values()))} | of_gan
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with atomic.replaced(path) as unfinished:
        tf.saved_model.save(module, str(unfinished), signatures, options)
        (unfinished / MARK_FILE).parent.mkdir()
        (unfinished / MARK_FILE).write_text(json.dumps(facts, indent=2) + "\n")
        for name, content in (further or {}).items():
            (unfinished / name).write_bytes(content)


def functions(gan: GAN, image_shape: Shape) -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
    """Return a SavedModel's functions by name; each gives `{"pixels": uint8 [n, height, width, channels]}`.

    `generate(num_images, seed)`, with `classes`, one per image, if the GAN is conditional; or `translate(images)`,
    named `translate_AtoB` and `translate_BtoA` if the GAN has learnt both, with a seed if it draws random numbers.
    """
    if not gan.directions:
        return {"generate": _generation(gan)}
    return {
        f"translate_{direction}" if len(gan.directions) > 1 else "translate": _translation(gan, direction, image_shape)
        for direction in gan.directions
    }


def _generation(gan: GAN) -> Any:
    classes = [tf.TensorSpec([None], tf.int32, "classes")] if gan.num_classes else []

    @tf.function(
        input_signature=[tf.TensorSpec([], tf.int32, "num_images"), tf.TensorSpec([], tf.int64, "seed"), *classes],
        autograph=False,
    )
    def generate(num_images: tf.Tensor, seed: tf.Tensor, classes: Any = None) -> dict[str, tf.Tensor]:
        if classes is None:
            return {"pixels": to_pixels(gan.generate(num_images, seed))}
        fit = (tf.size(classes) == num_images) & tf.reduce_all((classes >= 0) & (classes < gan.num_classes))
        words = f"classes must be num_images whole numbers from 0 to {gan.num_classes - 1}"
        with tf.control_dependencies([tf.debugging.Assert(fit, [words])]):
            classes = tf.identity(classes)
        return {"pixels": to_pixels(gan.generate(num_images, seed, classes=classes))}

    return generate


def _translation(gan: GAN, direction: str, image_shape: Shape) -> Any:
    seeds = [tf.TensorSpec([], tf.int64, "seed")] if gan.draws_in_translation else []

    @tf.function(input_signature=[tf.TensorSpec([None, *image_shape], tf.uint8, "images"), *seeds], autograph=False)
    def translate(images: tf.Tensor, seed: Any = 0) -> dict[str, tf.Tensor]:
        draws = Draws("translate", seed, 0, tf.shape(images)[0])
        return {"pixels": to_pixels(gan.translate(to_images(images), direction, draws))}

    return translate


def refuse_others(paths: list[Path]) -> None:
    """Raise `UserError` if a path exists and is not an export."""
    for path in paths:
        if path.exists() and not _is_export(path):
            raise UserError(f"--output={path} exists and is not an export: choose another path, or remove it.")


def _is_export(path: Path) -> bool:
    if path.is_dir():
        return (path / MARK_FILE).exists() or not any(path.iterdir())
    if path.suffix == ".html":
        return b'<meta name="distgan" content="latents"/>' in path.read_bytes()[:2000]
    return path.is_file() and holds(path, '"made_by": "distgan"')


def holds(path: Path, text: str) -> bool:
    """Return whether a file has a part of the facts in it: as JSON, or as JSON in a text of JSON."""
    content = path.read_bytes()
    return text.encode() in content or json.dumps(text)[1:-1].encode() in content
