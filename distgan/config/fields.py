"""Settings: dataclass fields that are declared once, with default, bounds and help text.

The check of a value, the absl flag and the documentation of a setting all come from its declaration.
"""

import dataclasses
import functools
import math
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, ClassVar, NamedTuple

import numpy as np

from distgan.errors import UserError

NEVER = "never"
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_CADENCE = re.compile(r"(\d+(?:\.\d+)?)(epoch|step|s|min|h)s?")


class Section:
    """A group of settings. `may_change`: whether a resumed run may have other values."""

    may_change: ClassVar[bool] = False


class Every(NamedTuple):
    """A cadence: every `number` of a `unit`, which is "epochs", "steps" or "seconds"."""

    number: float
    unit: str


@functools.cache
def every(cadence: str) -> Every | None:
    """Parse a cadence such as `15epochs`, `5000steps` or `10min`; None for `never`. Raises `ValueError`."""
    if cadence == NEVER:
        return None
    match = _CADENCE.fullmatch(cadence)
    if not match or not float(match[1]):
        raise ValueError(cadence)
    number, unit = float(match[1]), match[2]
    if unit in _SECONDS:
        return Every(number * _SECONDS[unit], "seconds")
    if not number.is_integer():
        raise ValueError(cadence)
    return Every(int(number), f"{unit}s")


@dataclasses.dataclass(frozen=True)
class Option:
    """A declared setting. `may_change`: whether a resumed run may have another value; `main`: shown by --help."""

    name: str
    type: type
    optional: bool
    default: Any
    help: str
    section: str
    may_change: bool
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: Collection[Any] = ()
    cadence: tuple[str, ...] = ()
    main: bool = False

    def parsed(self, text: Any) -> Any:
        """Return the value of a flag's text. Raises `UserError` if it is not allowed."""
        try:
            value = self.type(text)
        except ValueError:
            raise UserError(f"--{self.name}={text} is refused: it must be {self.allowed}.") from None
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise `UserError`, which names the flag and its allowed values, if `value` is not allowed."""
        if value is None and self.optional:
            return
        right_type: Any = (int, float) if self.type is float else self.type
        if (
            not isinstance(value, right_type)
            or (isinstance(value, bool) and self.type is not bool)
            or (isinstance(value, float) and not math.isfinite(value))
            or (self.choices and value not in self.choices)
            or not all(is_within(value, bound) for is_within, bound, _ in self._bounds)
            or (self.cadence and not self._is_cadence(value))
        ):
            shown = repr(value) if isinstance(value, str) and self.type is not str else value
            raise UserError(f"--{self.name}={shown} is refused: it must be {self.allowed}.")

    def _is_cadence(self, value: str) -> bool:
        try:
            parsed = every(value)
        except ValueError:
            return False
        return parsed is None or parsed.unit in self.cadence

    @property
    def _bounds(self) -> list[tuple[Callable[[Any, Any], bool], float, str]]:
        bounds = (
            (operator.ge, self.at_least, "of at least"), (operator.gt, self.above, "above"),
            (operator.lt, self.below, "below"), (operator.le, self.at_most, "of at most"),
        )  # fmt: skip
        return [(is_within, bound, limit) for is_within, bound, limit in bounds if bound is not None]

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.cadence:
            examples = {"epochs": "15epochs", "steps": "5000steps", "seconds": "10min"}
            return ", ".join(f"{examples[unit]}" for unit in self.cadence) + f" or the like, or {NEVER}"
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[self.type]
        limits = [f"{limit} {bound}" for _, bound, limit in self._bounds]
        return " ".join([words, " and ".join(limits)]).strip()

    @property
    def is_limited(self) -> bool:
        """True if the help text must list the allowed values."""
        return bool(self.choices or self.cadence) or self.type in (int, float)


def plain(value: Any) -> Any:
    """Return a path as a text and a NumPy scalar as a Python number; other values as they are."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def option(default: Any, explanation: str, **declared: Any) -> Any:
    """Declare a field of a section; `declared` are further fields of `Option`, such as `at_least=1`."""
    return dataclasses.field(default=default, metadata={"help": explanation} | declared)


def options_of(section: type[Section], player: str = "") -> dict[str, Option]:
    """Return the settings of a section by flag name, which begins with the player's name, if one is given."""
    prefix = f"{player}_" if player else ""
    hints, found = typing.get_type_hints(section), {}
    for field in dataclasses.fields(section):  # type: ignore[arg-type]  # a section is a dataclass
        if not field.metadata:
            continue
        owner: Any = next(base for base in section.__mro__ if field.name in vars(base).get("__annotations__", {}))
        hint = hints[field.name]
        optional = isinstance(hint, types.UnionType)  # of a type and None
        declared: dict[str, Any] = {"may_change": owner.may_change} | dict(field.metadata)
        declared["help"] = declared["help"].replace("{player}", player)
        found[prefix + field.name] = Option(
            prefix + field.name,
            typing.get_args(hint)[0] if optional else hint,
            optional,
            default=field.default,
            section=(owner.__doc__ or "").partition(".")[0].partition(":")[0],
            **declared,
        )
    return found
