"""The settings of the GANs that translate images."""

import dataclasses

from distgan.config.fields import option
from distgan.errors import UserError
from distgan.gans.noise_to_image_options import refuse_compiled_batch_norm
from distgan.gans.options import SpectralNormOptions

DIRECTIONS = ("AtoB", "BtoA")


@dataclasses.dataclass(frozen=True)
class Pix2PixOptions(SpectralNormOptions):
    """Networks and losses."""

    streams = ("pairs",)
    example_data = "--data=pairs:DIR, or --data=mnist-edges --image_size=32x32 to try it"
    check_compiles = refuse_compiled_batch_norm

    direction: str = option("AtoB", "Translation direction.", choices=DIRECTIONS)
    filters: int = option(64, "Channels of the first convolution; later stages have more.", at_least=1)
    depth: int | None = option(None, "Stages that scale the image; as many as suit its size if not given.", at_least=1)
    dropout: float = option(0.3, "Dropout rate of the generator.", at_least=0, below=1)
    normalization: str = option(
        "sync",
        "Batch norm over the global batch (sync) or a replica's share (local), instance norm, or none.",
        choices=("sync", "local", "instance", "none"),
    )
    l1_weight: float = option(100.0, "L1 reconstruction weight.", at_least=0)


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
