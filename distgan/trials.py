"""The file of a sweep: the settings of all runs, and those that each run tries."""

import difflib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distgan import paths
from distgan.config import Config
from distgan.config.config import options
from distgan.errors import UserError, in_short, sentence_of
from distgan.report import recorded
from distgan.report.numbers import setting

KEYS = ("run_dir", "settings", "vary", "number", "seed")
RANGE = '{"from": 1e-4, "to": 1e-2, "log": true}'
MOST_CHARACTERS = 150  # in the name of a directory


class Trial(NamedTuple):
    """A run of the sweep: its name, from the settings that it tries, and its config."""

    name: str
    config: Config

    def is_finished(self) -> bool:
        """True if the run has ended with these settings, and its last step is saved."""
        run = recorded.read(self.config.directory)
        is_saved = run.checkpoint.get("step") == run.last["step"]
        return is_saved and run.progress == 1 and run.config == self.config.values()


def read(path: Path) -> tuple[Path, list[Trial]]:
    """Return the directory of a sweep, and its runs. Raises `UserError`, which names the file, if it is invalid."""
    content = _content(path)
    vary, settings = content.get("vary"), content.get("settings", {})
    if set(content) - set(KEYS) or not isinstance(vary, dict) or not vary or not isinstance(settings, dict):
        raise UserError(f'{path} must have "vary", and may have {in_short(sorted({*KEYS} - {"vary"}))}; nothing else.')
    known = [name for name in options() if name != "run_dir"]
    for name in map(str, (*settings, *vary)):
        if name not in known:
            meant = difflib.get_close_matches(name, known, 1)
            hint = f": did you mean {meant[0]}?" if meant else "."
            raise UserError(f"{path} has {name}, which a sweep can't set{hint}")
    if twice := set(vary) & set(settings):
        raise UserError(f'{path} has {in_short(sorted(twice))} in "settings" and in "vary": leave it in one of them.')
    directory = paths.local("run_dir", str(content.get("run_dir", f"runs/{path.stem}")))
    trials: dict[str, Trial] = {}
    for values in _choices(path, vary, content):
        name = _label(",".join(f"{name}={setting(value)}" for name, value in values.items()))
        try:
            typed = {name: _typed(name, value) for name, value in (settings | values).items()}
            trial = Trial(name, Config(**typed, run_dir=str(directory / name)))
            if trials.setdefault(name, trial) != trial:
                raise UserError("another run has this name: write one of the values in another way, or shorter.")
        except UserError as error:
            raise UserError(f"{path}, {name}: {error}") from None
    return directory, list(trials.values())


def _content(path: Path) -> dict[str, Any]:
    """Return the object in a JSON or YAML file. Raises `UserError`."""
    try:
        paths.check_regular(path)
        text = path.read_text()
        if path.suffix in (".yaml", ".yml"):
            import yaml

            found = yaml.safe_load(text)
        else:
            found = json.loads(text)
    except OSError as error:
        raise UserError(sentence_of(error)) from None
    except ImportError:
        raise UserError(f"{path} needs PyYAML: pip install pyyaml, or write it as JSON.") from None
    except Exception as error:  # of either parser
        raise UserError(f"{path} can't be read: {' '.join(str(error).split())}.") from None
    return found if isinstance(found, dict) else {}


def _choices(path: Path, vary: dict[str, Any], content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings that each run tries: all combinations or, if a number is given, so many random ones."""
    number, seed = content.get("number"), content.get("seed", 0)
    if not all(type(one) is int and one >= 0 for one in (seed, number or 0)):
        raise UserError(f'{path}: "number" and "seed" must be whole numbers, of at least 0.')
    for name, values in vary.items():
        is_range = isinstance(values, dict) and {"from", "to"} <= set(values) <= {"from", "to", "log"}
        if not (isinstance(values, list) and values) and not (is_range and number):
            raise UserError(f'{path}: {name} must have a list of values or, with "number", a range: {RANGE}.')
    if not number:
        yield from (dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values()))
    for trial in range(number or 0):  # the draws of a run do not depend on the number of runs
        rng = np.random.default_rng([seed, trial])
        yield {name: _drawn(path, name, values, rng.random()) for name, values in vary.items()}


def _drawn(path: Path, name: str, values: Any, share: float) -> Any:
    """Return the value of a list or a range at a random number of [0, 1). Raises `UserError`."""
    if isinstance(values, list):
        return values[int(share * len(values))]
    low, high, log = _typed(name, values["from"]), _typed(name, values["to"]), values.get("log", False)
    if not all(type(end) in (int, float) for end in (low, high)) or not (low > 0 or not log) or not low < high:
        raise UserError(f"{path}: {name} has the range {low} to {high}: it must rise, with log from above 0.")
    value = low * (high / low) ** share if log else low + share * (high - low)
    return round(value) if isinstance(low, int) else float(f"{value:.3g}")


def _typed(name: str, value: Any) -> Any:
    """Return a number as the setting's type: YAML takes 2e-4 for a text."""
    option = options()[name]
    return option.parsed(value) if option.type in (int, float) and type(value) in (str, int) else value


def _label(text: str) -> str:
    return re.sub(r"[^\w.,=+-]+", "-", text, flags=re.ASCII)[:MOST_CHARACTERS]
