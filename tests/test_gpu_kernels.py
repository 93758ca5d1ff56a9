"""No operation of a step lacks a GPU kernel, by TensorFlow's table of kernels, which any machine has."""

from pathlib import Path
from typing import Any

import gpu_kernels
import preset_program
import pytest
import tensorflow as tf

from distgan.replicas.base import Replicas
from distgan.training.feed import open_data
from distgan.training.step import in_one_call
from distgan.training.trainer import Trainer


def test_the_table_of_kernels_tells_what_has_none() -> None:
    @tf.function(input_signature=[tf.TensorSpec([9, 4], tf.uint8), tf.TensorSpec([9, 4], tf.float32)])
    def gather(pixels: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(pixels, [1, 2]), tf.gather(images, [1, 2])

    found = gpu_kernels.without_gpu_kernel(gather.get_concrete_function())
    assert found == {"GatherV2(Taxis=int32, Tindices=int32, Tparams=uint8)"}


def _traced_step(preset: str, **settings: Any) -> Any:
    """The concrete function of a step as one replica makes it, with convolutions as on a GPU."""
    config = preset_program.config(preset, Path(), Path(), convolutions="direct", **settings)
    trainer = Trainer(config, Replicas(), open_data(config, Replicas()))
    step: Any = trainer.make_step()
    return step.get_concrete_function(trainer.feed.resident, trainer.feed.next(), tf.zeros(4))


OF_A_STEP: dict[str, dict[str, Any]] = {
    "mnist": {"mirror": True},
    "mnist_best": {"augment": "translation,cutout"},
    "mlp": {"precision": "mixed_float16"},
    "pix2pix": {"precision": "mixed_bfloat16"},
    "cyclegan": {"precision": "float32"},
}
QUICK = {"mnist"}  # those tried without the slow tests


@pytest.mark.parametrize(
    "preset", [preset if preset in QUICK else pytest.param(preset, marks=pytest.mark.slow) for preset in OF_A_STEP]
)
def test_no_operation_of_a_step_falls_to_the_cpu(preset: str) -> None:
    assert not gpu_kernels.without_gpu_kernel(_traced_step(preset, **OF_A_STEP[preset]))


def test_nor_does_one_of_several_steps_in_a_call() -> None:
    config = preset_program.config("mnist", Path(), Path(), convolutions="direct", steps_per_call=3)
    trainer = Trainer(config, Replicas(), open_data(config, Replicas()))
    steps: Any = in_one_call(trainer.make_step(), 3, "")
    call = steps.get_concrete_function(trainer.feed.resident, trainer.feed.next(), tf.zeros(4), tf.constant(2))
    assert not gpu_kernels.without_gpu_kernel(call)
