"""No operation of a step lacks a GPU kernel, by TensorFlow's table of kernels, which any machine has."""

from pathlib import Path
from typing import Any

import gpu_kernels
import keras
import preset_program
import pytest
import tensorflow as tf

from distgan.metrics.features import outputs_of
from distgan.replicas.base import Replicas
from distgan.tracing import traced
from distgan.training.feed import held_out_images, open_data
from distgan.training.step import in_one_call
from distgan.training.trainer import Trainer


def test_the_table_of_kernels_tells_what_has_none() -> None:
    @tf.function(input_signature=[tf.TensorSpec([9, 4], tf.uint8), tf.TensorSpec([9, 4], tf.float32)])
    def gather(pixels: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(pixels, [1, 2]), tf.gather(images, [1, 2])

    found = gpu_kernels.without_gpu_kernel(gather.get_concrete_function())
    assert found == {"GatherV2(Taxis=int32, Tindices=int32, Tparams=uint8)"}


NOT_COMPILED: dict[str, Any] = {"jit_compile": False, "steps_per_call": 1}  # on a machine with a GPU too


def _trainer(preset: str, **settings: Any) -> Trainer:
    """One replica's trainer, with convolutions as on a GPU."""
    config = preset_program.config(preset, Path(), Path(), convolutions="direct", **NOT_COMPILED | settings)
    return Trainer(config, Replicas(), open_data(config, Replicas()))


def _in_colours(**settings: Any) -> dict[str, Any]:
    return {"data": "mnist-colours", "image_size": "28x28"} | settings


CASES: list[tuple[str, dict[str, Any]]] = [
    ("mnist", {"mirror": True}),
    ("mnist_large", {"precision": "mixed_bfloat16"}),
    ("mnist_best", {"augment": "translation,cutout"}),
    ("mlp", {"precision": "mixed_float16"}),
    ("dcgan", _in_colours(precision="float32")),
    ("dcgan64", {"augment": "translation,cutout", "precision": "mixed_float16"}),
    ("faces", {"precision": "mixed_bfloat16"}),
    ("rgb_best", {"conditional": True, "augment": "color", "augment_target": 0.6}),
    ("r3gan", {"precision": "mixed_bfloat16", "alternating": True}),
    ("pix2pix", {"precision": "mixed_bfloat16"}),
    ("pix2pix", {"normalization": "instance", "precision": "mixed_float16"}),
    ("cyclegan", {"precision": "float32"}),
    ("cyclegan", {"recompute": True, "precision": "mixed_bfloat16"}),
    ("mnist", {"loss": "minimax", "real_label": 0.9, "precision": "mixed_float16"}),
    ("mnist", {"loss": "least_squares", "noise": "uniform", "learning_rate_schedule": "linear"}),
    ("mnist", {"loss": "hinge", "spectral_norm": True, "precision": "mixed_bfloat16"}),
    ("mnist", {"loss": "wasserstein", "gradient_penalty": 10.0, "normalization": "none", "conditional": True}),
    ("mnist", {"normalization": "local", "alternating": True, "generator_optimizer": "sgd"}),
    ("mnist", {"r1_weight": 1.0, "normalization": "none", "discriminator_optimizer": "rmsprop"}),
]
QUICK = 1  # of them


def _words(case: tuple[str, dict[str, Any]]) -> str:
    return " ".join([case[0], *(f"{name}={value}" for name, value in case[1].items())])


@pytest.mark.parametrize(
    "case",
    [case if number < QUICK else pytest.param(case, marks=pytest.mark.slow) for number, case in enumerate(CASES)],
    ids=_words,
)
def test_no_operation_of_a_step_or_a_preview_falls_to_the_cpu(case: tuple[str, dict[str, Any]]) -> None:
    preset, settings = case
    trainer = _trainer(preset, **settings)
    step: Any = trainer.make_step()
    made = step.get_concrete_function(trainer.feed.resident, trainer.feed.next(), tf.zeros(4))
    assert not gpu_kernels.without_gpu_kernel(made)
    held_out = held_out_images(trainer.config, trainer.source) if trainer.gan.shows_data else {}
    preview: Any = traced(lambda: trainer.gan.preview(4, 0, held_out))
    assert not gpu_kernels.without_gpu_kernel(preview.get_concrete_function())


def test_nor_does_one_of_the_features_of_an_evaluation() -> None:
    images = keras.Input((32, 32, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))
    outputs: Any = traced(outputs_of(keras.Model(images, features), (32, 32, 3)))
    for shape in ([8, 28, 28, 1], [8, 64, 48, 3]):
        made = outputs.get_concrete_function(tf.TensorSpec(shape, tf.uint8))
        assert not gpu_kernels.without_gpu_kernel(made)


def test_nor_does_one_of_several_steps_in_a_call() -> None:
    trainer = _trainer("mnist", steps_per_call=3, log_every_steps=3)
    steps: Any = in_one_call(trainer.make_step(), 3, "")
    call = steps.get_concrete_function(trainer.feed.resident, trainer.feed.next(), tf.zeros(4), tf.constant(2))
    assert not gpu_kernels.without_gpu_kernel(call)
