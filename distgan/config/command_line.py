"""The flags of the settings, and the config that they describe."""

from pathlib import Path
from typing import Any

from absl import flags

from distgan.config.config import Config, load_config, options
from distgan.config.fields import define_flag, help_of


def define_flags() -> None:
    """Define `--config` and a flag for each setting; settings not given take the preset's values."""
    flags.DEFINE_string("config", None, "A config.json to repeat; flags override it.")
    for option in options().values():
        define_flag(option)


def from_flags(values: flags.FlagValues = flags.FLAGS) -> Config:
    """Return the config that the parsed flags describe. Raises `UserError`."""
    given: dict[str, Any] = {
        name: option.parsed(values[name].value) for name, option in options().items() if values[name].value is not None
    }
    return load_config(Path(values.config), **given) if values.config else Config(**given)


def help_text() -> str:
    """Return the help of the most important flags, by section."""
    lines = []
    main = [option for option in options().values() if option.main]
    for section in dict.fromkeys(option.section for option in main):
        lines += ["", f"{section}:"]
        for option in main:
            if option.section == section:
                lines += [f"  --{option.name}", f"      {help_of(option)}"]
    return "\n".join([*lines, "", "--config=FILE repeats the settings of a config.json. --helpfull lists all flags."])
