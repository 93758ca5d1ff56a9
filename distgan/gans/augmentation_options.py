"""The settings of the augmentation of what a discriminator sees."""

import dataclasses
import itertools
from typing import Any

from distgan.config.fields import option
from distgan.errors import UserError
from distgan.gans.options import GANOptions

AUGMENTATIONS = ("color", "translation", "cutout")
_POLICIES = [
    ",".join(some)
    for number, _ in enumerate(AUGMENTATIONS, 1)
    for some in itertools.combinations(AUGMENTATIONS, number)
]


@dataclasses.dataclass(frozen=True)
class AugmentationOptions(GANOptions):
    """Networks and losses."""

    augment: str = option("none", "DiffAugment policy.", choices=("none", *_POLICIES))
    augment_probability: float = option(
        1.0, "Probability with which each augmentation is applied to an image.", above=0, at_most=1
    )
    augment_target: float = option(
        0.0,
        "Adaptive augmentation: the share of real images judged real, minus that judged generated, towards which the "
        "probability moves, from 0 at the start; StyleGAN2-ADA's is 0.6. 0 is off.",
        at_least=0,
        below=1,
    )
    augment_adapt_images: int = option(
        500_000, "Real images in which the adaptive probability can move from 0 to 1.", at_least=1
    )


def check_augmentation(options: Any) -> None:
    """Raise `UserError` if there is nothing to apply with a probability, or nothing that the probability follows."""
    probability, target = options.augment_probability, options.augment_target
    given = f"--augment_target={target:g}" if target else f"--augment_probability={probability:g}"
    if (target or probability < 1) and options.augment == "none":
        raise UserError(f"{given} needs --augment: give e.g. --augment=color,translation,cutout, or remove it.")
    if target and probability < 1:
        raise UserError(f"{given} sets the probability itself: remove --augment_probability={probability:g}.")
    if target and options.loss == "wasserstein":
        raise UserError(
            f"{given} is not used by --loss=wasserstein, whose critic has no value from which on an image counts as "
            "real: remove it, or give another --loss."
        )
