"""The settings of CycleGAN."""

import dataclasses

from distgan.config.fields import option
from distgan.errors import UserError
from distgan.gans.options import SpectralNormOptions


@dataclasses.dataclass(frozen=True)
class CycleGANOptions(SpectralNormOptions):
    """Networks and losses."""

    streams = ("A", "B")
    example_data = "--data=unpaired:DIR, or --data=mnist-domains --image_size=32x32 to try it"

    filters: int = option(64, "Channels of the first convolution; later stages have more.", at_least=1)
    residual_blocks: int | None = option(
        None, "Residual blocks of a generator; if not given, 9 for images of 256 pixels or more, else 6.", at_least=1
    )
    cycle_weight: float = option(10.0, "Cycle-consistency weight.", at_least=0)
    identity_weight: float = option(0.5, "Identity-loss weight, as a fraction of --cycle_weight.", at_least=0)
    recompute: bool = option(
        False, "Compute the residual blocks again in the backward pass: slower, and less memory.", may_change=True
    )
    image_buffer_size: int = option(50, "Image-buffer size per domain; 0 is off.", at_least=0)

    def check_compiles(self, num_replicas: int) -> None:
        """Raise `UserError` if there are image buffers."""
        if self.image_buffer_size:
            raise UserError("XLA can't compile image buffers: remove --jit_compile, or give --image_buffer_size=0.")
