"""The config: its layers, its checks, its flags and its file."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distgan.config import OPTIONS, Config, changed_for_good, load_config
from distgan.errors import UserError
from distgan.presets import PRESETS


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"batch_size": 0}, "--batch_size=0 is refused: it must be a whole number of at least 1."),
        ({"batch_size": 2.5}, "--batch_size=2.5 is refused: it must be a whole number of at least 1."),
        ({"batch_size": True}, "--batch_size=True is refused: it must be a whole number of at least 1."),
        ({"dropout": 1.0}, "--dropout=1.0 is refused: it must be a number of at least 0 and below 1."),
        ({"dropout": float("nan")}, "--dropout=nan is refused: it must be a number of at least 0 and below 1."),
        ({"generator_learning_rate": 0.0}, "--generator_learning_rate=0.0 is refused: it must be a number above 0."),
        ({"precision": "half"}, "--precision=half is refused: it must be one of auto, float32, mixed_bfloat16, "
                                "mixed_float16, float64."),
        ({"preset": "stylegan"}, "--preset=stylegan is refused: it must be one of mnist, mnist_large, mnist_best, "
                                 "mlp, dcgan, dcgan64, faces, pix2pix, cyclegan."),
        ({"preset": "dcgan"}, "--preset=dcgan learns from images of yours: give --data, e.g. --data=folder:DIR, "
                              "or --data=mnist-colours to try it."),
        ({"preset": "cyclegan"}, "--preset=cyclegan learns from images of yours: give --data, e.g. "
                                 "--data=unpaired:DIR, or --data=mnist-domains --image_size=32x32 to try it."),
        ({"preset": "mlp", "filters": 8}, "--filters says nothing to --architecture=mlp: leave it out."),
        ({"l1_weight": 1.0}, "--l1_weight says nothing to --architecture=mnist: leave it out."),
        ({"image_size": "64"}, "--image_size=64 is refused: it must be HxW, two numbers of pixels from 4, e.g. 64x64."),
        ({"image_size": "64x2"},
         "--image_size=64x2 is refused: it must be HxW, two numbers of pixels from 4, e.g. 64x64."),
        ({"channels": 2}, "--channels=2 is refused: it must be one of 1, 3."),
        ({"real_label": 0.5}, "--real_label=0.5 is refused: it must be a number above 0.5 and of at most 1."),
        ({"normalization": "instance"}, "--normalization=instance is for pix2pix, not for --architecture=mnist."),
        ({"steps": 1, "epochs": 1}, "Give only one of --epochs and --steps."),
        ({"profile_steps": "7"}, "--profile_steps=7 is refused: it must be FIRST:LAST, two step numbers from 1, e.g. "
                                 "100:110."),
        ({"epochs": None}, "Give one of --epochs and --steps, as a run has an end."),
        ({"batch_size": None}, "--batch_size=None is refused: it must be a whole number of at least 1."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_in_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        Config(**given)
    assert str(refusal.value) == sentence


def test_fields_that_are_left_out_take_the_preset_s_values() -> None:
    assert (Config().batch_size, Config().epochs, Config().generator_learning_rate) == (256, 50, 1e-4)


@pytest.mark.parametrize(
    ("given", "hidden"),
    [("steps", "epochs"), ("sample_every_steps", "sample_every_epochs"),
     ("checkpoint_every_steps", "checkpoint_every_epochs"), ("checkpoint_every_seconds", "checkpoint_every_epochs")],
)  # fmt: skip
def test_one_of_a_group_takes_the_place_of_the_other(given: str, hidden: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {given: 7}
    config = Config(**settings)
    assert (getattr(config, given), getattr(config, hidden)) == (7, None)
    stored = tmp_path / "config.json"
    stored.write_text(config.to_json())
    again = load_config(stored, **{hidden: 9})
    assert (getattr(again, given), getattr(again, hidden)) == (None, 9)


def test_a_config_comes_back_from_its_file(tmp_path: Path) -> None:
    config = Config(steps=3, dropout=0.0, data="idx:/data", checkpoint_every_seconds=1.5, deterministic=True)
    (tmp_path / "config.json").write_text(config.to_json())
    assert load_config(tmp_path / "config.json") == config


@pytest.mark.parametrize("content", ["", "[1]", '{"batch_sise": 3}', '{"batch_size": "3"}', "\x00"])
def test_an_unfit_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError):
        load_config(tmp_path / "config.json")


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "mnist"])
def test_every_preset_has_a_config_that_comes_back_from_its_file(preset: str, tmp_path: Path) -> None:
    config = Config(preset=preset, data="folder:x")
    (tmp_path / "config.json").write_text(config.to_json())
    assert load_config(tmp_path / "config.json") == config
    with pytest.raises(UserError, match=rf"is of --preset={preset}: leave out --preset"):
        load_config(tmp_path / "config.json", preset="mnist")


def test_what_says_nothing_to_an_architecture_is_none() -> None:
    config = Config(preset="cyclegan", data="unpaired:x")
    settings = vars(config)
    assert [settings[name] for name in ("noise_size", "normalization", "alternating", "l1_weight")] == [None] * 4
    assert (config.cycle_weight, config.history_size) == (10.0, 50)


@pytest.mark.parametrize("name", ["mnist-edges", "mnist-domains"])
def test_the_small_configs_of_translation_are_ones(name: str) -> None:
    assert load_config(Path(__file__).parents[1] / "launch" / f"{name}.json").data == name


def test_the_quick_config_of_make_train_is_one_and_flags_override_it() -> None:
    path = Path(__file__).parents[1] / "launch" / "mnist-quick.json"
    assert load_config(path).filters == 32
    assert (load_config(path, steps=10).steps, load_config(path, steps=10).epochs) == (10, None)


def test_a_config_can_t_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


def test_a_run_that_goes_on_may_change_its_length_but_not_its_networks() -> None:
    assert not changed_for_good(Config(), Config(epochs=99, backend="single", precision="float64", keep_checkpoints=9))
    assert changed_for_good(Config(), Config(filters=8, seed=1)) == [
        "--filters=8 (the run has 64)",
        "--seed=1 (the run has 0)",
    ]


def test_a_batch_smaller_than_the_number_of_replicas_is_refused() -> None:
    with pytest.raises(UserError, match=r"--batch_size=3 is too small for 4 replicas: it must be at least 4\."):
        Config(batch_size=3).check_batch(4)


def _train(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "distgan.train", *flags], capture_output=True, text=True, check=False)


def test_helpfull_explains_every_flag_with_its_default() -> None:
    text = " ".join(_train("--helpfull").stdout.split())
    for name, option in OPTIONS.items():
        assert f"{name}:" in text
        assert option.explanation in text
        assert option.default is None or f"Default: {option.default}." in text


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--batch_size=many"], "distgan: --batch_size=many is refused: it must be a whole number of at least 1."),
        (["--bach_size=3"], "distgan: Unknown command line flag 'bach_size'. Did you mean: batch_size."),
        (["--steps=3", "--epochs=3"], "distgan: Give only one of --epochs and --steps."),
        (["--data=cifar"], "--data"),
        (["fast"], "distgan: fast is not a flag: flags are written as --name=value."),
        (["--config=/nowhere.json"], "/nowhere.json"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_gets_one_sentence_and_status_2(flags: list[str], sentence: str) -> None:
    answer = _train(*flags)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert answer.stdout == ""


def test_importing_the_package_does_not_import_tensorflow() -> None:
    code = "import sys, distgan, distgan.train; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
