"""The settings that a GAN may declare, in addition to the shared ones; loads without TensorFlow."""

import dataclasses
from typing import Any, ClassVar

from distgan.config.fields import Section, option


@dataclasses.dataclass(frozen=True)
class GANOptions(Section):
    """Networks and losses.

    Attributes:
        streams: the streams of images that the data must have.
        example_data: data to try the GAN with, where its preset names none.
        is_measurable: whether `--evaluate_every` can measure its samples.
    """

    streams: ClassVar[tuple[str, ...]] = ("images",)
    example_data: ClassVar[str] = "--data=folder:DIR, or --data=mnist-colours to try it"
    is_measurable: ClassVar[bool] = False

    @property
    def uses_classes(self) -> bool:
        """True if the networks receive the class of each image."""
        return False

    def check(self, config: Any) -> None:
        """Raise `UserError` if settings, with the shared ones of `config`, are not allowed together."""

    def check_compiles(self, num_replicas: int) -> None:
        """Raise `UserError` if XLA can't compile the step on `num_replicas` replicas."""


@dataclasses.dataclass(frozen=True)
class SpectralNormOptions(GANOptions):
    """Networks and losses."""

    spectral_norm: bool = option(False, "Divide the discriminator's weights by their spectral norms.")
