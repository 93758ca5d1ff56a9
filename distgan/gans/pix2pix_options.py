"""The settings of Pix2Pix."""

import dataclasses

from distgan.config.fields import option
from distgan.gans.noise_to_image_options import refuse_compiled_batch_norm
from distgan.gans.options import SpectralNormOptions


@dataclasses.dataclass(frozen=True)
class Pix2PixOptions(SpectralNormOptions):
    """Networks and losses."""

    streams = ("pairs",)
    example_data = "--data=pairs:DIR, or --data=mnist-edges --image_size=32x32 to try it"
    check_compiles = refuse_compiled_batch_norm

    direction: str = option("AtoB", "Translation direction.", choices=("AtoB", "BtoA"))
    filters: int = option(64, "Channels of the first convolution; later stages have more.", at_least=1)
    depth: int | None = option(None, "Stages that scale the image; as many as suit its size if not given.", at_least=1)
    dropout: float = option(0.3, "Dropout rate of the generator.", at_least=0, below=1)
    normalization: str = option(
        "sync",
        "Batch norm over the global batch (sync) or a replica's share (local), instance norm, or none.",
        choices=("sync", "local", "instance", "none"),
    )
    l1_weight: float = option(100.0, "L1 reconstruction weight.", at_least=0)
