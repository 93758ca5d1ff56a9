"""What a run is: one frozen dataclass, its flags and its file on disk."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import flags

from distgan import paths
from distgan.errors import UserError
from distgan.options import UNSET, define_flag, merge, option, options_of
from distgan.presets import PRESETS

NOISE = ("mnist", "mlp", "dcgan", "dcgan64")  # the architectures that turn noise into images
TRANSLATION = ("pix2pix", "cyclegan")  # those that turn images into images
LOSSES = ("non_saturating", "minimax", "least_squares", "hinge", "wasserstein")
CROSS_ENTROPIES = LOSSES[:2]  # whose labels may be smoothed
AUGMENTATIONS = ("none", "translation", "cutout", "translation,cutout")
MOST_BYTES = 2**20  # of a config.json
BATCH_NORM_DISCRIMINATORS = ("dcgan", "dcgan64")


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole of a run but its images: a run is a pure function of these, this and the step number.

    Fields that are left out take the preset's value; those that say nothing to the architecture are None. Raises
    `UserError` where a value is not allowed.
    """

    # What is learnt, and by what
    preset: str = option(
        "mnist", "The recipe that gives every flag its default.", choices=tuple(PRESETS), may_change=True
    )
    data: str | None = option(
        "mnist",
        "Data set: mnist, mnist-colours, mnist-edges, mnist-domains (all embedded), idx:DIR, folder:DIR, pairs:DIR, "
        "unpaired:DIR or tfds:NAME.",
        may_change=True,
    )
    image_size: str | None = option(
        None, "HxW, the size that images are brought to, in pixels; if not given, that of the data."
    )
    fit: str = option(
        "resize", "Resize a picture of another size, or crop the middle of what covers it.", choices=("resize", "crop")
    )
    channels: int | None = option(None, "1 (grey) or 3 (RGB); if not given, what the data has.", choices=(1, 3))
    max_classes: int | None = option(None, "Top folders of a tree, or labels, to take at most.", at_least=1)
    max_images_per_class: int | None = option(None, "Images of each of these to take, at most.", at_least=1)
    jitter_pixels: int = option(0, "Random-crop margin, in pixels.", at_least=0)
    mirror: bool = option(False, "Mirror each image with a probability of 1/2.")
    direction: str = option("AtoB", "Translation direction.", choices=("AtoB", "BtoA"), only=("pix2pix",))
    architecture: str = option("mnist", "The networks, and the game that they play.", choices=(*NOISE, *TRANSLATION))
    noise_size: int = option(100, "Latent dimension.", at_least=1, only=NOISE)
    noise: str = option(
        "normal", "Latents are standard normal, or uniform in [-1, 1).", choices=("normal", "uniform"), only=NOISE
    )
    conditional: bool = option(
        False, "Tell both players the class of each image: its label, or its top folder; samples are then asked by "
        "class.", only=NOISE,
    )  # fmt: skip
    filters: int = option(
        64, "Channels of the first convolution; each stage has more.", at_least=1,
        only=("mnist", "dcgan", "dcgan64", *TRANSLATION),
    )  # fmt: skip
    generator_filters: int | None = option(
        None, "Channels of the generator's last but one layer; each stage before has twice as many. If not given, "
        "--filters.", at_least=1, only=("mnist", "dcgan64"),
    )  # fmt: skip
    kernel_size: int = option(
        5, "Width of the convolutions, in pixels.", at_least=1, only=("mnist", "dcgan", "dcgan64")
    )
    stride: int = option(2, "By how much a stage scales the image.", at_least=1, only=("dcgan",))
    depth: int | None = option(
        None, "Stages that scale the image; if not given, as many as the preset has, or suit its size.", at_least=1,
        only=("mnist", "dcgan", "dcgan64", "pix2pix"),
    )  # fmt: skip
    residual_blocks: int | None = option(
        None, "Residual blocks of a generator; if not given, 9 from 256 pixels on, else 6.", at_least=1,
        only=("cyclegan",),
    )  # fmt: skip
    dropout: float = option(
        0.3, "Dropout rate: of the discriminator; of both in dcgan; of the generator in pix2pix.",
        at_least=0, below=1, only=("mnist", "dcgan", "pix2pix"),
    )  # fmt: skip
    normalization: str = option(
        "sync",
        "Batch norm over the global batch (sync), a replica's share (local), an image (instance; pix2pix), or none.",
        choices=("sync", "local", "instance", "none"),
        only=(*NOISE, "pix2pix"),
    )
    spectral_norm: bool = option(False, "Divide the discriminator's weights by their spectral norms.")
    recompute: bool = option(
        False, "Compute the residual blocks again in the backward pass: slower, and less memory.", only=("cyclegan",),
        may_change=True,
    )  # fmt: skip
    # The game
    loss: str = option("non_saturating", "What the two players want.", choices=LOSSES, only=NOISE)
    alternating: bool = option(
        False, "Each player moves on a batch of its own, discriminator first, not both on one.", only=NOISE
    )
    discriminator_updates: int = option(
        1, "Updates of the discriminator in a step; above 1, players alternate.", at_least=1, only=NOISE
    )
    generator_updates: int = option(
        1, "Updates of the generator in a step; above 1, players alternate.", at_least=1, only=NOISE
    )
    real_label: float = option(
        1.0, "What the discriminator is to answer to real images; below 1 is one-sided label smoothing.",
        above=0.5, at_most=1, only=NOISE,
    )  # fmt: skip
    gradient_penalty: float = option(0.0, "WGAN-GP gradient-penalty coefficient.", at_least=0, only=NOISE)
    r1_weight: float = option(0.0, "R1 gradient-penalty coefficient.", at_least=0, only=NOISE)
    r1_every_steps: int = option(16, "Apply R1 every N steps (lazy regularisation).", at_least=1, only=NOISE)
    augment: str = option("none", "DiffAugment policy.", choices=AUGMENTATIONS, only=NOISE)
    l1_weight: float = option(100.0, "L1 reconstruction weight.", at_least=0, only=("pix2pix",))
    cycle_weight: float = option(10.0, "Cycle-consistency weight.", at_least=0, only=("cyclegan",))
    identity_weight: float = option(
        0.5, "Identity-loss weight, as a part of --cycle_weight.", at_least=0, only=("cyclegan",)
    )
    history_size: int = option(50, "Image-buffer size per domain; 0 is off.", at_least=0, only=("cyclegan",))
    # How it is learnt
    batch_size: int = option(256, "Global batch, in images, however many replicas share it.", at_least=1)
    precision: str = option(
        "auto",
        "Number format; auto picks the fastest the hardware has.",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16", "float64"),
        may_change=True,
    )
    wire_dtype: str = option(
        "float32", "Number format in which gradients travel between replicas; bfloat16 halves the bytes.",
        choices=("float32", "bfloat16"), may_change=True,
    )  # fmt: skip
    generator_optimizer: str = option("adam", "Optimizer of the generator.", choices=("adam", "rmsprop", "sgd"))
    generator_learning_rate: float = option(1e-4, "Learning rate of the generator, per step.", above=0)
    generator_beta_1: float = option(0.9, "Adam's beta 1, or SGD's momentum, of the generator.", at_least=0, below=1)
    generator_beta_2: float = option(0.999, "Adam's beta 2 of the generator.", at_least=0, below=1)
    discriminator_optimizer: str = option("adam", "Optimizer of the discriminator.", choices=("adam", "rmsprop", "sgd"))
    discriminator_learning_rate: float = option(1e-4, "Learning rate of the discriminator, per step.", above=0)
    discriminator_beta_1: float = option(
        0.9, "Adam's beta 1, or SGD's momentum, of the discriminator.", at_least=0, below=1
    )
    discriminator_beta_2: float = option(0.999, "Adam's beta 2 of the discriminator.", at_least=0, below=1)
    learning_rate_schedule: str = option(
        "constant", "What learning rates do after --constant_epochs.", choices=("constant", "linear", "cosine")
    )
    constant_epochs: float = option(0.0, "Epochs before learning rates fall.", at_least=0)
    decay_epochs: float = option(100.0, "Epochs in which learning rates fall to zero.", above=0)
    average_half_life_images: int = option(
        0, "Half-life of a running average of the generator's weights, which then makes the samples; 0 is off.",
        at_least=0,
    )  # fmt: skip
    seed: int = option(0, "Seed of weights, data order, noise and dropout.", at_least=0)
    deterministic: bool = option(
        False, "TensorFlow's deterministic kernels, and no TF32: same bits on GPUs too, slower.", may_change=True
    )
    # How long, and what is kept of it
    epochs: int | None = option(50, "Length of the run, in passes over the data.", at_least=1, may_change=True)
    steps: int | None = option(None, "Length of the run, in steps, instead of --epochs.", at_least=1, may_change=True)
    checkpoint_every_epochs: int | None = option(15, "Epochs between checkpoints.", at_least=1, may_change=True)
    checkpoint_every_steps: int | None = option(
        None, "Steps between checkpoints, instead of epochs.", at_least=1, may_change=True
    )
    checkpoint_every_seconds: float | None = option(
        None, "Seconds between checkpoints, instead of epochs.", above=0, may_change=True
    )
    on_checkpoint_error: str = option(
        "stop", "What a run does when a checkpoint can't be written: stop, or warn and go on.",
        choices=("stop", "warn"), may_change=True,
    )  # fmt: skip
    commit_every_steps: int = option(
        20, "Under an elastic launcher, steps between copies of the state in memory, from which those that are left go "
        "on when others are lost.", at_least=1, may_change=True,
    )  # fmt: skip
    start_timeout_seconds: float = option(
        600.0, "Abort where the processes have not met within N seconds of their start.", at_least=1, may_change=True,
    )  # fmt: skip
    stall_timeout_seconds: float = option(
        600.0, "Seconds without progress, by any process, after which the run ends and says whose fault it was.",
        at_least=4, may_change=True,
    )  # fmt: skip
    keep_checkpoints: int = option(3, "How many checkpoints are kept, the newest ones.", at_least=1, may_change=True)
    sample_every_epochs: int | None = option(1, "Epochs between sample pictures.", at_least=1, may_change=True)
    sample_every_steps: int | None = option(
        None, "Steps between sample pictures, instead of epochs.", at_least=1, may_change=True
    )
    num_samples: int = option(16, "Images in a sample picture.", at_least=1, may_change=True)
    evaluate_every_epochs: int = option(
        0, "Epochs between measurements of the samples' quality, and of the last one; 0 is off.", at_least=0,
        only=NOISE, may_change=True,
    )  # fmt: skip
    evaluate_num_images: int = option(
        10_000, "Samples to measure, and real images to measure them by, where there are as many.", at_least=100,
        only=NOISE, may_change=True,
    )  # fmt: skip
    features: str | None = option(
        None, "FILE.keras, of images to feature vectors, to measure quality by; if not given, a classifier of digits "
        "for 28x28 grey images, else Inception V3.", only=NOISE, may_change=True,
    )  # fmt: skip
    log_every_steps: int = option(
        20, "Steps between log lines; each holds the means since.", at_least=1, may_change=True
    )
    profile_steps: str | None = option(
        None, "FIRST:LAST, the steps to profile for TensorBoard, e.g. 100:110.", may_change=True
    )
    run_dir: str | None = option(None, "Where everything is written; runs/PRESET if not given.", may_change=True)
    init_from: str | None = option(
        None, "Another run's directory, whose weights a new run starts from.", may_change=True
    )
    # What it runs on
    backend: str = option(
        "auto",
        "auto is horovod under a launcher, multiworker if TF_CONFIG is set, mirrored with several GPUs, else single.",
        choices=("auto", "single", "mirrored", "multiworker", "horovod"),
        may_change=True,
    )
    convolutions: str = option(
        "auto", "auto computes some by Fourier transforms on a CPU, if replicas have equal shares; direct does not.",
        choices=("auto", "direct"), may_change=True,
    )  # fmt: skip
    jit_compile: bool = option(
        False, "Compile the step by XLA, or with several replicas its losses and gradients: for GPUs; not where layers "
        "communicate.", may_change=True,
    )  # fmt: skip
    virtual_devices: int = option(
        0, "Split the CPU into this many logical devices, and use no GPU, to try --backend=mirrored; 0 is off.",
        at_least=0, may_change=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not UNSET}
        preset = given.get("preset", DEFAULTS["preset"])
        OPTIONS["preset"].check(preset)
        merged = merge(given, PRESETS[preset], DEFAULTS, one_of=ONE_OF)
        OPTIONS["architecture"].check(merged["architecture"])
        for name, value in merged.items():
            declared = OPTIONS[name]
            if declared.applies_to(merged["architecture"]):
                declared.check(value)
            elif given.get(name) is not None:
                raise UserError(f"--{name} says nothing to --architecture={merged['architecture']}: leave it out.")
            object.__setattr__(self, name, value if declared.applies_to(merged["architecture"]) else None)
        self._check_together()

    def _check_together(self) -> None:
        if self.data is None:
            raise UserError(f"--preset={self.preset} learns from images of yours: give --data, e.g. {self._example}.")
        _ = self.height_and_width, self.directory
        self.check_schedule(f"--epochs={self.epochs}", self.epochs or 0)
        if self.epochs is None and self.steps is None:
            raise UserError("Give one of --epochs and --steps, as a run has an end.")
        if self.normalization == "instance" and self.architecture != "pix2pix":
            raise UserError(f"--normalization=instance is for pix2pix, not for --architecture={self.architecture}.")
        self._check_game()
        self.profile_range()

    def _check_game(self) -> None:
        if (self.real_label or 1) < 1 and self.loss not in CROSS_ENTROPIES:
            raise UserError(
                f"--real_label={self.real_label:g} is for cross-entropies: give --real_label=1 with --loss={self.loss}."
            )
        normalizes = self.normalization != "none" and self.architecture in BATCH_NORM_DISCRIMINATORS
        for name in ("gradient_penalty", "r1_weight"):
            if normalizes and getattr(self, name):
                raise UserError(
                    f"--{name}={getattr(self, name):g} needs --normalization=none with --architecture="
                    f"{self.architecture}: with batch norm, what is said of an image depends on the others."
                )

    @property
    def _example(self) -> str:
        return {
            "pix2pix": "--data=pairs:DIR, or --data=mnist-edges --image_size=32x32 to try it",
            "cyclegan": "--data=unpaired:DIR, or --data=mnist-domains --image_size=32x32 to try it",
        }.get(self.architecture, "--data=folder:DIR, or --data=mnist-colours to try it")

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """`--image_size` as (height, width) in pixels; None where the data has it. Raises `UserError`."""
        if self.image_size is None:
            return None
        height, _, width = self.image_size.partition("x")
        if not (height.isdecimal() and width.isdecimal() and min(int(height), int(width)) >= 4):
            raise UserError(
                f"--image_size={self.image_size} is refused: it must be HxW, two numbers of pixels from 4, e.g. 64x64."
            )
        return int(height), int(width)

    def profile_range(self) -> range:
        """The steps to profile, after which the trace is written; empty where none were asked for."""
        if self.profile_steps is None:
            return range(0)
        first, _, last = self.profile_steps.partition(":")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise UserError(
                f"--profile_steps={self.profile_steps} is refused: it must be FIRST:LAST, two step numbers from 1, "
                "e.g. 100:110."
            )
        return range(int(first), int(last) + 1)

    def check_schedule(self, length: str, epochs: float) -> None:
        """Raise `UserError` where a run of a `length`, as a flag, learns nothing from its end on, after `epochs`."""
        falls = self.learning_rate_schedule != "constant"
        if falls and epochs > self.constant_epochs + self.decay_epochs:
            raise UserError(
                f"{length} is refused: learning rates are zero after {self.constant_epochs:g} epochs and "
                f"{self.decay_epochs:g} more, which --constant_epochs and --decay_epochs set."
            )

    def check_compiles(self, num_replicas: int) -> None:
        """Raise `UserError` where `--jit_compile` would have to compile communication between replicas."""
        if not self.jit_compile:
            return
        if num_replicas > 1 and self.normalization in ("sync", "local"):
            raise UserError(
                f"--jit_compile is refused on {num_replicas} replicas with --normalization={self.normalization}, whose "
                "sums XLA can't make: leave it out, or give --normalization=none."
            )
        if self.history_size:
            raise UserError(
                f"--jit_compile is refused with --history_size={self.history_size}, which XLA can't compile: leave it "
                "out, or give --history_size=0."
            )

    @property
    def directory(self) -> Path:
        """The run directory: `--run_dir`, or one fixed by the preset, so that the same command goes on."""
        return paths.local("run_dir", self.run_dir or f"runs/{self.preset}")

    def check_batch(self, num_replicas: int) -> None:
        """Raise `UserError` where some replica would get no image of a batch."""
        if self.batch_size < num_replicas:
            raise UserError(
                f"--batch_size={self.batch_size} is too small for {num_replicas} replicas: it must be at least "
                f"{num_replicas}."
            )

    def to_json(self) -> str:
        """The resolved config as JSON, a field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def load_config(path: Path, **overrides: Any) -> Config:
    """The config of a `config.json`, some fields replaced. Raises `UserError` naming the file where it is unfit."""
    try:
        paths.check_regular(path)
        with path.open("rb") as file:
            stored = json.loads(file.read(MOST_BYTES))
    except OSError as error:
        raise UserError(f"{path} can't be read as a config ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read as a config: {error}.") from None
    if isinstance(stored, dict):
        stored = {name: value for name, value in stored.items() if (name, value) not in RETIRED}
    unknown = sorted(set(stored) - set(OPTIONS)) if isinstance(stored, dict) else ["(not a JSON object)"]
    if unknown:
        raise UserError(f"{path} is not a config of this version: it holds {', '.join(unknown)}.")
    preset = stored.get("preset", DEFAULTS["preset"])
    if overrides.get("preset", preset) != preset:
        raise UserError(f"{path} is of --preset={preset}: leave out --preset, or --config.")
    return Config(**merge(overrides, stored, one_of=ONE_OF))


def changed_for_good(old: Config, new: Config) -> list[str]:
    """What a resumed run may not change and `new` does, as `--flag=new (the run has old)`."""
    return [
        f"--{name}={getattr(new, name)} (the run has {getattr(old, name)})"
        for name, declared in OPTIONS.items()
        if not declared.may_change and getattr(old, name) != getattr(new, name)
    ]


OPTIONS = options_of(Config)
RETIRED = (("batch_size_per_replica", None), ("accumulate_steps", 1))  # of older versions, which ask for nothing
DEFAULTS = {name: declared.default for name, declared in OPTIONS.items()}
ONE_OF = (
    ("epochs", "steps"),
    ("checkpoint_every_epochs", "checkpoint_every_steps", "checkpoint_every_seconds"),
    ("sample_every_epochs", "sample_every_steps"),
)


def define_flags() -> None:
    """Define `--config` and one absl flag an option; a flag that isn't given leaves its field to the preset."""
    flags.DEFINE_string("config", None, "A config.json to repeat; flags override it.")
    for declared in OPTIONS.values():
        define_flag(declared)


def from_flags(values: flags.FlagValues = flags.FLAGS) -> Config:
    """The config that the parsed flags describe. Raises `UserError`."""
    given: dict[str, Any] = {name: values[name].value for name in OPTIONS if values[name].value is not None}
    return load_config(Path(values.config), **given) if values.config else Config(**given)
