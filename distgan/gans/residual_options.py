"""The settings of the residual GAN."""

import dataclasses
from typing import ClassVar

from distgan.config.fields import option
from distgan.gans.noise_to_image_options import NoiseToImageOptions


@dataclasses.dataclass(frozen=True)
class ResidualOptions(NoiseToImageOptions):
    """Networks and losses."""

    normalization: ClassVar[str] = "none"  # type: ignore[misc]  # not a setting here
    spectral_norm: ClassVar[bool] = False  # type: ignore[misc]  # nor this

    filters: int = option(64, "Channels of the first convolution; later stages have more.", at_least=1, main=True)
    blocks: int = option(2, "Residual blocks of a stage.", at_least=1)
    group_channels: int = option(
        16,
        "Channels of a group of the blocks' 3x3 convolutions, or somewhat more; all, if equal groups are impossible.",
        at_least=1,
    )
