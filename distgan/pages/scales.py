"""The axes of a plot: from numbers to places, and the round numbers that are written beside them."""

import math
from typing import NamedTuple

import numpy as np

from distgan import pictures

ROOM = 0.03  # of a straight axis, above the highest value: for its dot
LEAST_DECADES = 1.0  # a range as wide as this is drawn on a logarithmic scale, where one was wished


class Axis(NamedTuple):
    """What an axis ought to be: logarithmic where that is of use; from `least` to `most`, or beyond where some values
    are; with none but whole numbers written beside it.
    """

    logarithmic: bool = False
    least: float | None = None
    most: float | None = None
    whole: bool = False


class Scale(NamedTuple):
    """A straight or logarithmic axis of `length`; `low` and `high` are the numbers at its ends, or their log10.

    The numbers written beside a straight one are `least_step` apart, or further.
    """

    low: float
    high: float
    length: float
    is_logarithmic: bool = False
    least_step: float = 0.0

    def places(self, values: np.ndarray) -> np.ndarray:
        """Where values stand, 0 to `length`, and beyond it where they are out of range."""
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.log10(values) if self.is_logarithmic else np.asarray(values, float)
        return (scaled - self.low) / (self.high - self.low) * self.length

    def ticks(self, most: int = 5) -> list[float]:
        """A few round numbers within the range."""
        if self.is_logarithmic:
            return self._decades(most)
        return _round_numbers(self.low, self.high, max(self.least_step, (self.high - self.low) / (1 + ROOM) / most))

    def _decades(self, most: int) -> list[float]:
        factors = (1, 2, 5) if self.high - self.low < 1.6 else (1,)
        exponents = range(math.floor(self.low), math.ceil(self.high) + 1)
        every = -(-len(exponents) // most)
        numbers = [factor * 10.0**exponent for exponent in exponents for factor in factors if exponent % every == 0]
        return [number for number in numbers if self.low <= math.log10(number) <= self.high]


def _round_numbers(low: float, high: float, least: float) -> list[float]:
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [round(number * step, 12 - math.floor(math.log10(step))) for number in numbers]


def of_clock(values: np.ndarray, length: float) -> Scale:
    """The axis along which a run goes, from its beginning at zero."""
    return Scale(0.0, max(float(values.max()), 1e-9), length)


def of_values(values: np.ndarray, length: float, axis: Axis) -> Scale:
    """The axis of measured values: all but stray ones.

    It is logarithmic where that is wished and of use: all are positive, and some ten times as large as others.
    """
    known = values[np.isfinite(values)]
    if axis.logarithmic and known.min() > 0 and math.log10(known.max() / known.min()) > LEAST_DECADES:
        return Scale(*_wider(*pictures.limits(np.log10(known))), length, True)
    low, high = pictures.limits(known)
    if known.min() == known.max():
        half = abs(float(known[0])) / 2 or 0.5
        low, high = float(known[0]) - half, float(known[0]) + half
    low = low if axis.least is None else min(axis.least, float(known.min()))
    high = high if axis.most is None else max(axis.most, float(known.max()))
    return Scale(*_wider(low, high + ROOM * (high - low)), length, least_step=float(axis.whole))


def _wider(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty."""
    return (low, high) if high > low else (low - 0.5, low + 0.5)
