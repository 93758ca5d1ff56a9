"""The promises of a run, held for every preset: the same on every layout, and the same after a kill."""

import functools
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import layouts
import limits
import numpy as np
import picture_files
import preset_program
import pytest
import small_runs
import tensorflow as tf
from preset_program import PRESETS, STEPS

from distgan.config.presets import PRESETS as ALL_PRESETS
from distgan.data.order import examples_at
from distgan.replicas.connect import connect
from distgan.training import loop

PROGRAM = str(Path(__file__).parent / "preset_program.py")
EXACT = 1e-10  # in float64
QUICK = ["dcgan"]  # the preset that is tried without the slow tests
# What the slow tests try: all presets in one layout, and some in each of the others.
EVERY = {
    "horovod-2": [preset for preset in PRESETS if preset not in QUICK],  # QUICK is tried there anyway
    "mirrored-2": ["r3gan", "cyclegan"],
    "multiworker-2": ["dcgan", "r3gan"],
}
# What is killed: one preset of each kind, with all that a run may hold.
KILLED = ["mlp", "mnist_best", "dcgan", "r3gan", "pix2pix", "cyclegan"]
WHOLE_STEPS = preset_program.WHOLE["steps"]
NUM_PICTURES = 1100  # more than are looked at when a run starts


class Ran(NamedTuple):
    """Where the runs of some presets in a layout are."""

    directory: Path
    presets: list[str]


def _parameter(layout: layouts.Layout, presets: list[str]) -> Any:
    marks = [] if presets is QUICK else [pytest.mark.slow]
    if layout.backend == "horovod" and not layouts.HOROVODRUN:
        marks.append(pytest.mark.skip(reason=layouts.NO_HOROVOD))
    return pytest.param((layout, presets), marks=marks, id=f"{layout}-{'some' if presets is QUICK else len(presets)}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one of the first examples shown is no picture, and is not looked at when a run starts."""
    first_shown = examples_at(tf.range(STEPS * preset_program.SHARED["batch_size"], dtype=tf.int64), NUM_PICTURES, 0,
                              "images").numpy()  # fmt: skip
    looked_at = {place * NUM_PICTURES // 1000 for place in range(1000)}
    broken = next(int(example) for example in first_shown[:14] if example not in looked_at)
    directory = tmp_path_factory.mktemp("pictures") / "of_noise"
    return picture_files.write_folder(directory, NUM_PICTURES, broken=(broken,))


@pytest.fixture(scope="module")
def single(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run directory of a preset on one replica."""
    directory = tmp_path_factory.mktemp("single")

    @functools.cache
    def run(preset: str) -> Path:
        config = preset_program.config(preset, pictures, directory / preset, **preset_program.WHOLE)
        loop.train(config, connect(config), io.StringIO())
        return directory / preset

    return run


@pytest.fixture(
    scope="module",
    params=[_parameter(layouts.Layout("horovod", 2), QUICK)]
    + [_parameter(layout, EVERY[str(layout)]) for layout in layouts.LAYOUTS if str(layout) in EVERY],
)
def ran(request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    layout, presets = request.param
    directory = tmp_path_factory.mktemp(str(layout))
    status, output = layouts.run(
        layout, PROGRAM, f"--output={directory}", f"--pictures={pictures}", f"--presets={','.join(presets)}"
    )
    assert status == 0, output[-5000:]
    return Ran(directory, presets)


def test_no_preset_is_left_out() -> None:
    assert PRESETS.keys() == ALL_PRESETS.keys()


def test_every_variable_is_the_single_process_s_in_float64(ran: Ran, single: Callable[[str], Path]) -> None:
    for preset in ran.presets:
        ours, theirs = small_runs.state(ran.directory / preset, STEPS), small_runs.state(single(preset), STEPS)
        assert ours.keys() == theirs.keys()
        differences = {name: np.abs(ours[name] - theirs[name]).max() for name in ours}
        print(f"{preset}: largest difference in float64 {max(differences.values()):.2g}")
        assert max(differences.values()) <= EXACT, (preset, differences)


@pytest.mark.slow
def test_the_image_history_is_full_and_was_exchanged(single: Callable[[str], Path]) -> None:
    before, after = (small_runs.state(single("cyclegan"), step) for step in (2, 4))
    for domain in "AB":
        assert before[f"history_{domain}/filled"] == after[f"history_{domain}/filled"] == 9
        changed = (before[f"history_{domain}/images"] != after[f"history_{domain}/images"]).any((1, 2, 3))
        assert 0 < changed.sum() < 9


@pytest.mark.slow
def test_the_augmentation_has_adapted(single: Callable[[str], Path]) -> None:
    assert 0 < small_runs.state(single("r3gan"), 2)["augmentation/probability"] < 1


def test_a_file_that_is_no_image_is_named_once_and_replaced_alike(pictures: Path, ran: Ran) -> None:
    (broken,) = [path.name for path in pictures.iterdir() if path.read_bytes() == picture_files.BROKEN]
    sentence = f"warning: {broken} is left out: not an image (1 so far)"
    said = json.loads((ran.directory / "said-0.json").read_text())
    told = {preset: text.count(sentence) for preset, text in said.items()}
    assert told == {preset: int(preset == "dcgan") for preset in ran.presets}  # the one that learns from a folder


@pytest.fixture(scope="module")
def killed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Runs like those of `single`, each killed when its first checkpoint was there."""
    directory = tmp_path_factory.mktemp("killed")
    done = limits.run([
        sys.executable, PROGRAM, "--backend=single", f"--output={directory}", f"--pictures={pictures}",
        f"--presets={','.join(KILLED)}", "--kill",
    ])  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Ran(directory, KILLED)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bits(
    killed: Ran, pictures: Path, single: Callable[[str], Path]
) -> None:
    for preset in killed.presets:
        broken = killed.directory / preset
        assert max(small_runs.checkpoints(broken)) < WHOLE_STEPS, preset
        config = preset_program.config(preset, pictures, broken, **preset_program.WHOLE)
        loop.train(config, connect(config), io.StringIO())
        ours, theirs = (small_runs.digest(directory, WHOLE_STEPS) for directory in (broken, single(preset)))
        assert ours == theirs, preset
