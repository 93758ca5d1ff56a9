"""What an option is: a field of a dataclass that is declared once, with its default, bounds and explanation.

Its check, its flag and what is told of it are all read from that declaration.
"""

import dataclasses
import math
import types
import typing
from typing import Any

from absl import flags

from distgan.errors import UserError

UNSET: Any = ...  # the value of a field that the caller left to the preset


@dataclasses.dataclass(frozen=True)
class Option:
    """A declared option.

    `may_change` is whether a run that goes on may be given another value, `only` the architectures that it says
    something to; () is all.
    """

    name: str
    type: type
    optional: bool
    default: Any
    explanation: str
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: tuple[Any, ...] = ()
    may_change: bool = False
    only: tuple[str, ...] = ()

    def applies_to(self, architecture: str) -> bool:
        """Whether the option says something to an architecture."""
        return not self.only or architecture in self.only

    def check(self, value: Any) -> None:
        """Raise `UserError`, naming the flag and what it allows, where `value` can't be the option's value."""
        if value is None and self.optional:
            return
        right_type: Any = (int, float) if self.type is float else self.type
        if (
            not isinstance(value, right_type)
            or (isinstance(value, bool) and self.type is not bool)
            or (isinstance(value, float) and not math.isfinite(value))
            or (self.choices and value not in self.choices)
            or (self.at_least is not None and value < self.at_least)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
            or (self.at_most is not None and value > self.at_most)
        ):
            raise UserError(f"--{self.name}={value} is refused: it must be {self.allowed}.")

    @property
    def allowed(self) -> str:
        """What the option allows, in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[self.type]
        bounds = (
            (self.at_least, "of at least"), (self.above, "above"), (self.below, "below"), (self.at_most, "of at most")
        )  # fmt: skip
        limits = [f"{word} {bound}" for bound, word in bounds if bound is not None]
        return " ".join([words, " and ".join(limits)]).strip()

    @property
    def is_limited(self) -> bool:
        """Whether the type alone does not say what the option allows."""
        return bool(self.choices) or self.type in (int, float)


def option(default: Any, explanation: str, **declared: Any) -> Any:
    """Declare a field of a dataclass as an `Option`, whose further fields are `declared`."""
    return dataclasses.field(default=UNSET, metadata={"default": default, "explanation": explanation} | declared)


def options_of(dataclass: type) -> dict[str, Option]:
    """The options that a dataclass declares, by name."""
    hints = typing.get_type_hints(dataclass)
    return {
        field.name: Option(field.name, *_type_of(hints[field.name]), **field.metadata)
        for field in dataclasses.fields(dataclass)
    }


def _type_of(hint: Any) -> tuple[type, bool]:
    """The type of a hint, and whether None is allowed beside it."""
    optional = isinstance(hint, types.UnionType)
    return (typing.get_args(hint)[0] if optional else hint), optional


def merge(*layers: dict[str, Any], one_of: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    """Lay settings over one another, the first layer on top. Raises `UserError` where one layer contradicts itself.

    Of each group in `one_of` one setting holds: the first layer that names a member decides for all of them.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        hidden = set(merged)
        for group in one_of:
            named = [name for name in group if layer.get(name) is not None]
            if len(named) > 1:
                raise UserError(f"Give only one of {' and '.join('--' + name for name in named)}.")
            if any(merged.get(name) is not None for name in group):
                hidden.update(group)
        merged.update({name: value for name, value in layer.items() if name not in hidden})
    for group in one_of:
        if any(merged.get(name) is not None for name in group):
            merged.update({name: None for name in group if name not in merged})
    return merged


class _Parser(flags.ArgumentParser[Any]):
    """Parse a flag's text by the declaration of its option."""

    def __init__(self, declared: Option) -> None:
        self.declared = declared

    def parse(self, argument: Any) -> Any:
        try:
            value = self.declared.type(argument)
            self.declared.check(value)
        except ValueError:
            raise ValueError(f"it must be {self.declared.allowed}") from None
        return value

    def flag_type(self) -> str:
        return self.declared.type.__name__


def define_flag(declared: Option) -> None:
    """Define an absl flag for an option; its value is None where it isn't given."""
    limits = f" Allowed: {declared.allowed}." if declared.is_limited else ""
    default = f" Default: {declared.default}." if declared.default is not None else ""
    explanation = declared.explanation + limits + default
    if declared.type is bool:
        flags.DEFINE_boolean(declared.name, None, explanation)
    else:
        flags.DEFINE(_Parser(declared), declared.name, None, explanation)
