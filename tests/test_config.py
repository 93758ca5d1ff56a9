"""The config: its layers, its checks, its flags and its file."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distgan.config import Config, changed_settings, command_line, load_config
from distgan.config.config import defaults_of, gan_options, options, used_by
from distgan.config.fields import every
from distgan.config.presets import PRESETS
from distgan.errors import UserError
from distgan.gans.registry import GANS


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
                                 "mlp, dcgan, dcgan64, faces, rgb_best, r3gan, pix2pix, cyclegan."),
        ({"preset": "dcgan"}, "--preset=dcgan has no data of its own: give --data, e.g. --data=folder:DIR, "
                              "or --data=mnist-colours to try it."),
        ({"preset": "cyclegan"}, "--preset=cyclegan has no data of its own: give --data, e.g. "
                                 "--data=unpaired:DIR, or --data=mnist-domains --image_size=32x32 to try it."),
        ({"preset": "mlp", "filters": 8}, "--filters is not used by --architecture=mlp: remove it."),
        ({"l1_weight": 1.0}, "--l1_weight is not used by --architecture=mnist: remove it."),
        ({"image_size": "64"}, "--image_size=64 is refused: it must be HxW, each 4 or more, e.g. 64x64."),
        ({"image_size": "64x2"},
         "--image_size=64x2 is refused: it must be HxW, each 4 or more, e.g. 64x64."),
        ({"channels": 2}, "--channels=2 is refused: it must be one of 1, 3."),
        ({"real_label": 0.5}, "--real_label=0.5 is refused: it must be a number above 0.5 and of at most 1."),
        ({"normalization": "instance"}, "--normalization=instance is refused: it must be one of sync, local, none."),
        ({"preset": "pix2pix", "data": "pairs:x", "evaluate_every": "2epochs"},
         "--evaluate_every is not used by --architecture=pix2pix: remove it."),
        ({"checkpoint_every": "15"}, "--checkpoint_every=15 is refused: it must be 15epochs, 5000steps, 10min or the "
                                     "like, or never."),
        ({"sample_every": "10min"}, "--sample_every=10min is refused: it must be 15epochs, 5000steps or the like, or "
                                    "never."),
        ({"sample_every": "1.5steps"}, "--sample_every=1.5steps is refused: it must be 15epochs, 5000steps or the "
                                       "like, or never."),
        ({"steps": 1, "epochs": 1}, "Give only one of --epochs and --steps."),
        ({"profile_steps": "7"}, "--profile_steps=7 is refused: it must be FIRST:LAST, e.g. "
                                 "100:110."),
        ({"epochs": None}, "Give one of --epochs and --steps: a run needs a length."),
        ({"batch_size": None}, "--batch_size=None is refused: it must be a whole number of at least 1."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_in_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        Config(**given)
    assert str(refusal.value) == sentence


def test_fields_that_are_left_out_take_the_preset_s_values() -> None:
    assert (Config().batch_size, Config().epochs, Config().generator.learning_rate) == (256, 50, 1e-4)


def test_a_length_in_steps_takes_the_place_of_one_in_epochs_and_the_other_way_round(tmp_path: Path) -> None:
    config = Config(steps=7)
    assert (config.steps, config.epochs) == (7, None)
    stored = tmp_path / "config.json"
    stored.write_text(config.to_json())
    again = load_config(stored, epochs=9)
    assert (again.steps, again.epochs) == (None, 9)


@pytest.mark.parametrize(
    ("cadence", "number", "unit"),
    [("15epochs", 15, "epochs"), ("1epoch", 1, "epochs"), ("200steps", 200, "steps"), ("1.5min", 90, "seconds"),
     ("30s", 30, "seconds"), ("2h", 7200, "seconds")],
)  # fmt: skip
def test_a_cadence_is_a_number_and_a_unit(cadence: str, number: float, unit: str) -> None:
    assert every(Config(checkpoint_every=cadence).checkpoint_every) == (number, unit)


def test_a_config_of_an_older_version_is_read(tmp_path: Path) -> None:
    older = {
        "preset": "mnist", "noise_size": 7, "average_half_life_images": 5, "l1_weight": None, "accumulate_steps": 1,
        "checkpoint_every_epochs": None, "checkpoint_every_steps": 40, "checkpoint_every_seconds": None,
        "sample_every_epochs": 2, "sample_every_steps": None, "evaluate_every_epochs": 0,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert load_config(tmp_path / "config.json") == Config(
        latent_dim=7, ema_half_life_images=5, checkpoint_every="40steps", sample_every="2epochs"
    )


def test_settings_that_several_gans_declare_are_declared_alike() -> None:
    declared: dict[str, set[Any]] = {}
    for architecture in GANS:
        for name, option in gan_options(architecture).items():
            declared.setdefault(name, set()).add((option.type, option.optional, option.default, option.at_least))
    assert {name: kinds for name, kinds in declared.items() if len(kinds) > 1} == {}


def test_a_config_comes_back_from_its_file(tmp_path: Path) -> None:
    config = Config(steps=3, dropout=0.0, data="idx:/data", checkpoint_every="1.5s", deterministic=True)
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
    with pytest.raises(UserError, match=rf"was written with --preset={preset}: remove --preset"):
        load_config(tmp_path / "config.json", preset="mnist")


def test_a_gan_has_its_own_settings_and_not_those_of_others() -> None:
    config = Config(preset="cyclegan", data="unpaired:x")
    assert not {"latent_dim", "normalization", "alternating", "l1_weight"} & config.values().keys()
    assert (config.values()["cycle_weight"], config.values()["image_buffer_size"]) == (10.0, 50)


def test_the_quick_config_of_make_train_is_one_and_flags_override_it() -> None:
    path = Path(__file__).parents[1] / "launch" / "mnist-quick.json"
    assert load_config(path).values()["filters"] == 32
    assert (load_config(path, steps=10).steps, load_config(path, steps=10).epochs) == (10, None)


def test_a_config_can_t_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


def test_a_run_that_goes_on_may_change_its_length_but_not_its_networks() -> None:
    assert not changed_settings(Config(), Config(epochs=99, backend="single", precision="float64", keep_checkpoints=9))
    assert changed_settings(Config(), Config(filters=8, seed=1)) == [
        "--seed=1 (the run has 0)",
        "--filters=8 (the run has 64)",
    ]


def test_a_batch_smaller_than_the_number_of_replicas_is_refused() -> None:
    with pytest.raises(UserError, match=r"--batch_size=3 is too small for 4 replicas: give as many or more\."):
        Config(batch_size=3).check_replicas(4)


def _train(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "distgan.train", *flags], capture_output=True, text=True, check=False)


def test_helpfull_explains_every_flag_of_the_preset_with_its_default() -> None:
    seen = set()
    for preset in PRESETS:
        text = " ".join(command_line.help_text(["--helpfull", f"--preset={preset}"]).split())
        defaults, declared = defaults_of(preset), options()
        for name in used_by(defaults["architecture"]):
            default = "" if defaults[name] is None else f"={defaults[name]}"
            default = default.lower() if declared[name].type is bool else default
            assert f" --{name}{default} {declared[name].help}" in text
            seen.add(name)
    assert seen == options().keys()


def test_help_shows_the_flags_that_matter_by_section() -> None:
    text = _train("--help").stdout
    shown = re.findall(r"^  --(\w+)(?:=\S+)?$", text, re.MULTILINE)
    assert 15 <= len(shown) <= 25
    assert {"preset", "data", "run_dir", "epochs", "batch_size", "checkpoint_every", "backend"} <= set(shown)
    assert text.index("Run:") < text.index("Images:") < text.index("Training:") < text.index("System:")
    of_pix2pix = _train("--help", "--preset=pix2pix").stdout
    assert "  --batch_size=1\n" in of_pix2pix
    assert "--conditional" not in of_pix2pix


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--batch_size=many"], "distgan: --batch_size=many is refused: it must be a whole number of at least 1."),
        (["--bach_size=3"], "distgan: Unknown command line flag 'bach_size'. Did you mean: batch_size."),
        (["--learning_rate=1"], "'learning_rate'. Did you mean: discriminator_learning_rate, generator_learning_rate."),
        (["--noise_size=3"], "distgan: --noise_size is now --latent_dim."),
        (["--sample_every_steps=3"], "is now --sample_every, with a unit: --sample_every=10steps."),
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
