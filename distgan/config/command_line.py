"""The flags of the settings, the config that they describe, and their help."""

import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from distgan.config.config import Config, defaults_of, load_config, options, used_by
from distgan.config.fields import Option
from distgan.config.presets import PRESETS

_WIDEST = 100  # characters in a line of help
_PRESET = re.compile(r"--?preset[= ](\w+)")


def define_flags() -> None:
    """Define `--config` and a flag for each setting, None unless given: a bool, or a text for `Option.parsed`."""
    flags.DEFINE_string("config", None, "A config.json to repeat; flags override it.")
    for option in options().values():
        define = flags.DEFINE_boolean if option.type is bool else flags.DEFINE_string
        define(option.name, None, option.help)


def from_flags(values: flags.FlagValues = flags.FLAGS) -> Config:
    """Return the config that the parsed flags describe. Raises `UserError`."""
    given: dict[str, Any] = {
        name: option.parsed(values[name].value) for name, option in options().items() if values[name].value is not None
    }
    return Config(**given) if values.config is None else load_config(Path(values.config), **given)


def help_text(arguments: Sequence[str]) -> str:
    """Return the help of the most important flags, or of all with --helpfull, for the preset that is given."""
    asked = _PRESET.findall(" ".join(arguments))
    preset = asked[-1] if asked and asked[-1] in PRESETS else "mnist"
    defaults, declared = defaults_of(preset), options()
    shown = [option for name, option in declared.items() if name in used_by(defaults["architecture"])]
    if "--helpfull" in arguments:
        rest = "--config=FILE repeats a config.json. --dry_run tells what the run would be, --validate_data its images."
    else:
        shown = [option for option in shown if option.main]
        rest = "--helpfull shows all flags, --help --preset=NAME those of another preset."
    lines = [f"Flags of --preset={preset}, with its defaults:"]
    for section in dict.fromkeys(option.section for option in shown):
        lines += ["", f"{section}:"]
        for option in shown:
            if option.section == section:
                lines += _described(option, defaults[option.name])
    return "\n".join([*lines, "", rest])


def _described(option: Option, default: Any) -> list[str]:
    value = str(default).lower() if option.type is bool else default
    head = f"  --{option.name}" + ("" if default is None else f"={value}")
    allowed = f" Allowed: {option.allowed}." if option.is_limited else ""
    margin, width = " " * 6, min(shutil.get_terminal_size().columns, _WIDEST)
    text = textwrap.fill(
        option.help + allowed, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
    return [head, text]
