"""The settings of GANs that generate images from noise."""

import dataclasses
from typing import Any, ClassVar

from distgan.config.fields import option
from distgan.errors import UserError
from distgan.gans.augmentation_options import AugmentationOptions, check_augmentation
from distgan.gans.options import SpectralNormOptions

LOSSES = ("non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic")
CROSS_ENTROPIES = LOSSES[:2]  # losses whose labels may be smoothed


def refuse_compiled_batch_norm(options: Any, num_replicas: int) -> None:
    """Raise `UserError` if batch norm sums over replicas, which XLA can't compile."""
    if num_replicas > 1 and options.normalization == "sync":
        needed = f"--jit_compile on {num_replicas} replicas needs --normalization=local or none"
        raise UserError(f"{needed}: XLA can't compile the all-reduce of batch norm.")


@dataclasses.dataclass(frozen=True)
class NoiseToImageOptions(AugmentationOptions, SpectralNormOptions):
    """Networks and losses."""

    is_measurable = True
    normalizes_discriminator: ClassVar[bool] = False
    check_compiles = refuse_compiled_batch_norm

    latent_dim: int = option(100, "Latent dimension.", at_least=1)
    noise: str = option("normal", "Latents are standard normal, or uniform in [-1, 1).", choices=("normal", "uniform"))
    conditional: bool = option(
        False,
        "Give both networks the class of each image (its label, or its top folder); samples are then made by class.",
        main=True,
    )
    normalization: str = option(
        "sync",
        "Batch norm over the global batch (sync) or a replica's share (local), instance norm (pix2pix only), or none.",
        choices=("sync", "local", "none"),
    )
    loss: str = option("non_saturating", "Adversarial loss.", choices=LOSSES, main=True)
    alternating: bool = option(
        False, "Update the discriminator first, then the generator on a batch of its own; else both on one batch."
    )
    discriminator_updates: int = option(1, "Discriminator updates per step; above 1 implies --alternating.", at_least=1)
    generator_updates: int = option(1, "Generator updates per step; above 1 implies --alternating.", at_least=1)
    real_label: float = option(1.0, "Label of real images; below 1 is one-sided label smoothing.", above=0.5, at_most=1)
    gradient_penalty: float = option(0.0, "WGAN-GP gradient-penalty coefficient.", at_least=0)
    r1_weight: float = option(0.0, "R1 gradient-penalty coefficient.", at_least=0)
    r2_weight: float = option(0.0, "R2 gradient-penalty coefficient: R1 at generated images.", at_least=0)
    r1_every_steps: int = option(16, "Apply R1 and R2 every N steps (lazy regularisation).", at_least=1)
    final_penalty_part: float = option(
        1.0, "R1 and R2 fall to this part of their weights, along the learning rates' curve.", above=0, at_most=1
    )

    @property
    def uses_classes(self) -> bool:
        """True if the run is conditional."""
        return self.conditional

    def check(self, config: Any) -> None:
        """Raise `UserError` if the loss has no labels to smooth, or a penalty has no schedule or meets batch norm."""
        check_augmentation(self)
        if self.real_label < 1 and self.loss not in CROSS_ENTROPIES:
            raise UserError(f"--real_label={self.real_label:g} is not used by --loss={self.loss}: remove it.")
        if self.final_penalty_part < 1:
            needed = "" if self.r1_weight or self.r2_weight else "--r1_weight or --r2_weight"
            needed = needed or ("--learning_rate_schedule" if config.learning_rate_schedule == "constant" else "")
            if needed:
                raise UserError(
                    f"--final_penalty_part={self.final_penalty_part:g} needs {needed}: give it, or remove it."
                )
        for name in ("gradient_penalty", "r1_weight", "r2_weight"):
            if (value := getattr(self, name)) and self.normalizes_discriminator and self.normalization != "none":
                raise UserError(
                    f"--{name}={value:g} needs --normalization=none with --architecture={config.architecture}: "
                    "the penalty is computed per image, and batch norm makes logits depend on the rest of the batch."
                )


@dataclasses.dataclass(frozen=True)
class DCGANOptions(NoiseToImageOptions):
    """Networks and losses."""

    filters: int = option(64, "Channels of the first convolution; later stages have more.", at_least=1, main=True)
    generator_filters: int | None = option(
        None,
        "Channels of the generator's last hidden layer; earlier ones have more. Default: --filters (dcgan64: 2x).",
        at_least=1,
    )
    kernel_size: int = option(5, "Kernel size of the convolutions, in pixels.", at_least=1)
    stride: int = option(2, "Factor by which a stage scales the image.", at_least=1)
    depth: int | None = option(
        None,
        "Number of up- or downsampling stages; if not given, that of the preset, or chosen from the image size.",
        at_least=1,
    )
    dropout: float = option(
        0.3,
        "Dropout rate of the discriminator; in dcgan of both networks, in pix2pix of the generator.",
        at_least=0,
        below=1,
    )


@dataclasses.dataclass(frozen=True)
class NormalizedDCGANOptions(DCGANOptions):
    """Networks and losses."""

    normalizes_discriminator = True
