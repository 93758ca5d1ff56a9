"""Warnings from a run's logged values: networks that no longer train, and samples of too little variety."""

import statistics
from collections.abc import Mapping

import numpy as np

from distgan.report.recorded import RANK

FEW_LOGS = 10  # in a row before a warning, as one log may show a problem by chance
ALL = 0.995  # a discriminator accuracy above which the generator has nothing to learn from
NO_GRADIENT = 1e-6  # a gradient norm below it has vanished; 1e-3 to 10 are usual
MOST_MISSING = 0.2  # of the classes that samples may lack; also the threshold of coverage and precision
SLOW = 1.5  # times the median of the other ranks' seconds per step
UNSURE_FLOOR = 0.9  # from this nearest-neighbour floor on, too few training images are compared for a warning


class Health:
    """A monitor of logged values that gives each warning once, and again only after the problem has disappeared."""

    def __init__(self) -> None:
        """Start without problems."""
        self._in_a_row: dict[str, int] = {}
        self._said: set[str] = set()

    def of_training(self, values: Mapping[str, float]) -> list[str]:
        """Return the warnings for a log of means over some steps."""
        real, fake = values.get("accuracy/real", 0.5), values.get("accuracy/fake", 0.5)
        found = {
            "The discriminator separates all samples from real images, so the generator gets little gradient: try a "
            "smaller --discriminator_learning_rate, or --augment.": min(real, fake) > ALL,
            "The discriminator has equal outputs for all images: try a smaller --discriminator_learning_rate.": (
                max(real, fake) > ALL and min(real, fake) < 1 - ALL
            ),
        }
        for player in ("generator", "discriminator"):
            norm = values.get(f"gradient_norm/{player}", 1.0)
            found[f"The gradients of the {player} have vanished: it no longer learns."] = norm < NO_GRADIENT
        spent = _spent_by_rank(values)
        for rank, seconds in spent.items():
            others = [value for other, value in spent.items() if other != rank]
            text = f"Rank {rank} is slower than the others, who wait for it: see speed/rank_{rank}_*_seconds."
            found[text] = bool(others) and seconds > SLOW * statistics.median(others)
        return self._new(found, FEW_LOGS)

    def of_samples(self, scores: Mapping[str, float]) -> list[str]:
        """Return the warnings for the scores of the samples."""
        shares = [value for name, value in scores.items() if name.startswith("quality/share_of_")]
        modes, coverage = scores.get("quality/modes", 1.0), scores["quality/coverage"]
        floor = scores["quality/nearest_neighbour_floor"]
        found = {
            "The samples have few modes (mode collapse, or an early step).": modes < (1 - MOST_MISSING) * len(shares),
            "The samples are alike, and near to few real images (quality/coverage): the generator may have "
            "collapsed.": coverage < MOST_MISSING and scores["quality/precision"] > MOST_MISSING,
            "The samples are closer to training images than held-out images are: they may be memorized.": (
                floor < UNSURE_FLOOR and scores["quality/nearest_neighbour_ratio"] < (1 + floor) / 2
            ),
        }
        return self._new(found, 1)

    def _new(self, found: dict[str, bool], logs: int) -> list[str]:
        """Return the warnings found in `logs` logs in a row, and not given since they were first found."""
        for text, is_so in found.items():
            self._in_a_row[text] = self._in_a_row.get(text, 0) + 1 if is_so else 0
            if not is_so:
                self._said.discard(text)
        new = [text for text, is_so in found.items() if is_so and self._in_a_row[text] >= logs]
        new = [text for text in new if text not in self._said]
        self._said.update(new)
        return new


def _spent_by_rank(values: Mapping[str, float]) -> dict[int, float]:
    """Return the seconds of data waiting plus CPU time that each logged rank spends on a step."""
    spent: dict[int, float] = {}
    for name, seconds in values.items():
        if found := RANK.fullmatch(name):
            spent[int(found[1])] = spent.get(int(found[1]), 0.0) + seconds
    return spent


def not_finite(values: Mapping[str, np.ndarray], last_step: int, precision: str) -> str:
    """Return which loss, `[steps]`, of the steps up to the last one is NaN or infinite, and since when; else nothing.

    Under float16 a step whose values overflow is skipped, so a loss is reported only if it is bad in all steps.
    """
    for name, of_steps in values.items():
        bad = np.flatnonzero(~np.isfinite(of_steps))
        if name.startswith("loss/") and len(bad) >= (len(of_steps) if precision == "mixed_float16" else 1):
            return f"{name} is NaN or infinite since step {last_step - len(of_steps) + 1 + bad[0]}"
    return ""
