"""The settings of the residual GAN."""

import dataclasses
from typing import ClassVar

from distgan.config.fields import option
from distgan.errors import UserError
from distgan.gans.noise_to_image_options import NoiseToImageOptions


@dataclasses.dataclass(frozen=True)
class ResidualOptions(NoiseToImageOptions):
    """Networks and losses."""

    normalization: ClassVar[str] = "none"  # type: ignore[misc]  # not a setting here

    filters: int = option(64, "Channels of the first convolution; later stages have more.", at_least=1, main=True)
    blocks: int = option(2, "Residual blocks of a stage.", at_least=1)
    group_channels: int = option(16, "Channels of a group of the blocks' 3x3 convolutions.", at_least=1)

    def check(self, architecture: str) -> None:
        """Raise `UserError` if there is spectral norm, which these networks do not have."""
        super().check(architecture)
        if self.spectral_norm:
            raise UserError(f"--spectral_norm is not used by --architecture={architecture}: remove it.")
