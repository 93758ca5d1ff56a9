"""The config of a run: all settings, with their checks."""

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Never

from distgan import paths
from distgan.config import older
from distgan.config.fields import Option, options_of, plain
from distgan.config.presets import PRESETS
from distgan.config.sections import Evaluation, Images, Optimizer, Output, Run, System, Training
from distgan.errors import UserError
from distgan.gans.registry import GANS

MOST_BYTES = 2**20  # of a config.json
PLAYERS = ("generator", "discriminator")
_LENGTH = ("epochs", "steps")  # exactly one of them is set


@dataclasses.dataclass(frozen=True, init=False, kw_only=True)
class Config(Run, Images, Training, Output, Evaluation, System):
    """All settings of a run. A run is a pure function of these, its images and the step number.

    Settings are given by the names of their flags; those not given take the preset's value. Raises `UserError` if a
    value is not allowed.

    Attributes:
        generator, discriminator: the settings of their optimizers.
        gan: the settings that the GAN of `architecture` adds.
    """

    generator: Optimizer
    discriminator: Optimizer
    gan: Any  # the `GANOptions` of the architecture

    def __init__(self, **given: Any) -> None:
        known = options()
        unknown = [name for name in given if name not in known]
        if unknown:
            raise TypeError(f"Config has no setting {', '.join(unknown)}")
        given = {name: plain(value) for name, value in given.items()}
        preset = given.get("preset", known["preset"].default)
        known["preset"].check(preset)
        architecture = given.get("architecture", defaults_of(preset)["architecture"])
        known["architecture"].check(architecture)
        own = gan_options(architecture)
        declared, used = COMMON | own, used_by(architecture)
        for name, value in given.items():
            if name not in used and value not in (None, declared[name].default if name in declared else None):
                raise UserError(f"--{name} is not used by --architecture={architecture}: remove it.")
        values = _merged({name: option.default for name, option in declared.items()}, PRESETS[preset], given)
        values = {name: value for name, value in values.items() if name in declared}
        for name, value in values.items():
            declared[name].check(value)
        set_field = object.__setattr__  # the class is frozen
        for name in _SHARED:
            set_field(self, name, values[name])
        for player in PLAYERS:
            set_field(self, player, Optimizer(**{name: values[f"{player}_{name}"] for name in _OPTIMIZER}))
        set_field(self, "gan", GANS[architecture].options(**{name: values[name] for name in own}))
        self._check_together()

    def values(self) -> dict[str, Any]:
        """Return all settings by the names of their flags, without those of other GANs."""
        optimizers = {
            f"{player}_{name}": value for player in PLAYERS for name, value in vars(getattr(self, player)).items()
        }
        return {name: getattr(self, name) for name in _SHARED} | optimizers | vars(self.gan)

    def _check_together(self) -> None:
        if self.data is None:
            example = self.gan.example_data
            raise UserError(f"--preset={self.preset} has no data of its own: give --data, e.g. {example}.")
        _ = self.height_and_width, self.directory
        self.check_schedule(f"--epochs={self.epochs}", self.epochs or 0)
        if self.epochs is None and self.steps is None:
            raise UserError("Give one of --epochs and --steps: a run needs a length.")
        self.gan.check(self)
        self.profile_range()

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """`--image_size` as (height, width) in pixels; None for that of the data. Raises `UserError` if malformed."""
        if self.image_size is None:
            return None
        height, _, width = self.image_size.partition("x")
        if not (height.isdecimal() and width.isdecimal() and min(int(height), int(width)) >= 4):
            raise UserError(f"--image_size={self.image_size} is refused: it must be HxW, each 4 or more, e.g. 64x64.")
        return int(height), int(width)

    def profile_range(self) -> range:
        """Return the steps to profile; then the trace is written. Empty if none. Raises `UserError` if malformed."""
        if self.profile_steps is None:
            return range(0)
        first, _, last = self.profile_steps.partition(":")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise UserError(f"--profile_steps={self.profile_steps} is refused: it must be FIRST:LAST, e.g. 100:110.")
        return range(int(first), int(last) + 1)

    def check_schedule(self, length: str, epochs: float) -> None:
        """Raise `UserError` if learning rates reach zero before a run of `epochs`, given by the flag `length`, ends."""
        falls = self.learning_rate_schedule != "constant"
        if falls and epochs > self.constant_epochs + self.decay_epochs:
            raise UserError(
                f"{length} is too long: learning rates are zero after --constant_epochs + --decay_epochs = "
                f"{self.constant_epochs + self.decay_epochs:g} epochs. Raise one of them, or shorten the run."
            )

    def check_replicas(self, num_replicas: int) -> None:
        """Raise `UserError` if the batch is too small for so many replicas, or XLA can't compile their step."""
        if self.jit_compile:
            self.gan.check_compiles(num_replicas)
        if self.batch_size < num_replicas:
            raise UserError(
                f"--batch_size={self.batch_size} is too small for {num_replicas} replicas: give as many or more."
            )

    @property
    def directory(self) -> Path:
        """The run directory: `--run_dir`, or one fixed by the preset, so that the same command resumes the run."""
        return paths.local("run_dir", self.run_dir or f"runs/{self.preset}")

    def to_json(self) -> str:
        """Return the settings as JSON, one per line."""
        return json.dumps(self.values(), indent=2) + "\n"


_SHARED = {name: option for section in Config.__bases__ for name, option in options_of(section).items()}
_OPTIMIZER = tuple(options_of(Optimizer))
_EVALUATION = options_of(Evaluation)
COMMON = _SHARED | {name: option for player in PLAYERS for name, option in options_of(Optimizer, player).items()}


def gan_options(architecture: str) -> dict[str, Option]:
    """Return the settings that a GAN adds, by name. Raises `TypeError` if one has the name of a shared setting."""
    found = options_of(GANS[architecture].options)
    for name in found.keys() & COMMON.keys():
        raise TypeError(f"{architecture} has a setting {name}, but a common setting has this name: rename it")
    return found


def used_by(architecture: str) -> Collection[str]:
    """Return the names of the settings that have an effect on a GAN."""
    measured = GANS[architecture].options.is_measurable
    return [name for name in COMMON | gan_options(architecture) if measured or name not in _EVALUATION]


def options() -> dict[str, Option]:
    """Return all settings by name; a setting of several GANs allows the choices of each of them."""
    found = dict(COMMON)
    for architecture in GANS:
        for name, option in gan_options(architecture).items():
            choices = tuple(dict.fromkeys([*(found[name].choices if name in found else ()), *option.choices]))
            found[name] = dataclasses.replace(found.get(name, option), choices=choices)
    return found


def defaults_of(preset: str) -> dict[str, Any]:
    """Return the values of all settings if no flag but --preset is given."""
    return _merged({name: option.default for name, option in options().items()}, PRESETS[preset], {"preset": preset})


def _merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Merge settings; later layers override earlier ones, and --steps and --epochs replace each other."""
    merged: dict[str, Any] = {}
    for layer in layers:
        given = [name for name in _LENGTH if layer.get(name) is not None]
        if len(given) > 1:
            raise UserError("Give only one of --epochs and --steps.")
        merged |= dict.fromkeys(_LENGTH) if given else {}
        merged |= layer
    return merged


def load_config(path: Path, **given: Any) -> Config:
    """Read a `config.json` and replace some settings. Raises `UserError`, which names the file, if it is invalid."""

    def refuse(problem: object) -> Never:
        raise UserError(f"{path} can't be read as a config{problem}.")

    try:
        paths.check_regular(path)
        with path.open("rb") as file:
            stored = json.loads(file.read(MOST_BYTES))
    except OSError as error:
        refuse(f" ({error.strerror})")
    except (ValueError, RecursionError) as error:
        refuse(f": {error}")
    if not isinstance(stored, dict):
        refuse(": it is not a JSON object")
    stored = older.converted(stored)
    known = options()
    unknown = sorted(set(stored) - set(known))
    if unknown:
        held = ", ".join(unknown)
        raise UserError(f"{path} has unknown settings: {held}. If they are of a GAN of your own, import it first.")
    stored = {name: value for name, value in stored.items() if value is not None or known[name].optional}
    preset = stored.get("preset", known["preset"].default)
    if given.get("preset", preset) != preset:
        raise UserError(f"{path} was written with --preset={preset}: remove --preset, or --config.")
    return Config(**_merged(stored, given))


def changed_settings(old: Config, new: Config) -> list[str]:
    """Return the changes in `new` that a resumed run does not allow, as `--flag=new (the run has old)`."""
    known, before, after = options(), old.values(), new.values()
    return [
        f"--{name}={after.get(name)} (the run has {before.get(name)})"
        for name in known
        if not known[name].may_change and before.get(name) != after.get(name)
    ]
