"""What a run is: one frozen dataclass, its presets, its flags and its file on disk."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import flags

from distgan.errors import UserError
from distgan.options import UNSET, define_flag, merge, option, options_of


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole of a run but its data: a run is a pure function of this and the step number.

    Fields that are left out take the preset's value. Raises `UserError` where a value is not allowed.
    """

    # What is learnt, and by what
    preset: str = option("mnist", "The recipe that gives every flag its default.", choices=("mnist",), may_change=True)
    data: str = option("mnist", "Data set: `mnist` (embedded) or `idx:DIR` (IDX files).", may_change=True)
    noise_size: int = option(100, "Numbers in a latent vector.", at_least=1)
    filters: int = option(64, "Channels of the discriminator's first convolution; each stage doubles them.", at_least=1)
    kernel_size: int = option(5, "Width of the convolutions, in pixels.", at_least=1)
    depth: int = option(2, "Stages of stride 2 in each network.", at_least=1)
    dropout: float = option(0.3, "Dropout rate of the discriminator.", at_least=0, below=1)
    normalization: str = option(
        "sync",
        "Batch norm over the global batch (sync), over each replica's share (local), or none.",
        choices=("sync", "local", "none"),
    )
    # How it is learnt
    batch_size: int | None = option(256, "Global batch, in images, however many replicas share it.", at_least=1)
    batch_size_per_replica: int | None = option(
        None, "Images per replica instead of --batch_size; the run then depends on the number of replicas.", at_least=1
    )
    accumulate_steps: int = option(
        1, "Parts in which a replica computes its share, to save memory; needs --normalization=none.",
        at_least=1, may_change=True,
    )  # fmt: skip
    precision: str = option(
        "auto",
        "Number format; auto picks the fastest the hardware has.",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16", "float64"),
        may_change=True,
    )
    generator_optimizer: str = option("adam", "Optimizer of the generator.", choices=("adam", "rmsprop", "sgd"))
    generator_learning_rate: float = option(1e-4, "Learning rate of the generator, per step.", above=0)
    generator_beta_1: float = option(0.9, "Adam's beta 1, or SGD's momentum, of the generator.", at_least=0, below=1)
    discriminator_optimizer: str = option("adam", "Optimizer of the discriminator.", choices=("adam", "rmsprop", "sgd"))
    discriminator_learning_rate: float = option(1e-4, "Learning rate of the discriminator, per step.", above=0)
    discriminator_beta_1: float = option(
        0.9, "Adam's beta 1, or SGD's momentum, of the discriminator.", at_least=0, below=1
    )
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
    keep_checkpoints: int = option(3, "How many checkpoints are kept, the newest ones.", at_least=1, may_change=True)
    sample_every_epochs: int | None = option(1, "Epochs between sample pictures.", at_least=1, may_change=True)
    sample_every_steps: int | None = option(
        None, "Steps between sample pictures, instead of epochs.", at_least=1, may_change=True
    )
    num_samples: int = option(16, "Images in a sample picture.", at_least=1, may_change=True)
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
    virtual_devices: int = option(
        0, "Split the CPU into this many logical devices, and use no GPU, to try --backend=mirrored; 0 is off.",
        at_least=0, may_change=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not UNSET}
        preset = given.get("preset", DEFAULTS["preset"])
        OPTIONS["preset"].check(preset)
        for name, value in merge(given, PRESETS[preset], DEFAULTS, one_of=ONE_OF).items():
            object.__setattr__(self, name, value)
            OPTIONS[name].check(value)
        self._check_together()

    def _check_together(self) -> None:
        if self.epochs is None and self.steps is None:
            raise UserError("Give one of --epochs and --steps, as a run has an end.")
        if self.batch_size is None and self.batch_size_per_replica is None:
            raise UserError("Give one of --batch_size and --batch_size_per_replica.")
        if self.batch_size_per_replica is not None and self.batch_size_per_replica < self.accumulate_steps:
            raise UserError(
                f"--batch_size_per_replica={self.batch_size_per_replica} is too small for "
                f"--accumulate_steps={self.accumulate_steps}: each part needs an image."
            )
        if self.accumulate_steps > 1 and self.normalization != "none":
            raise UserError(
                f"--accumulate_steps={self.accumulate_steps} needs --normalization=none, as batch norm over parts of a "
                "batch is another network."
            )
        self.profile_range()

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

    @property
    def directory(self) -> Path:
        """The run directory: `--run_dir`, or one fixed by the preset, so that the same command goes on."""
        return Path(self.run_dir or f"runs/{self.preset}")

    def global_batch_size(self, num_replicas: int) -> int:
        """Images a step over all replicas. Raises `UserError` where some replica would get none."""
        if self.batch_size_per_replica is not None:
            return self.batch_size_per_replica * num_replicas
        assert self.batch_size is not None
        if self.batch_size < num_replicas * self.accumulate_steps:
            parts = f" in {self.accumulate_steps} parts each" if self.accumulate_steps > 1 else ""
            raise UserError(
                f"--batch_size={self.batch_size} is too small for {num_replicas} replicas{parts}: it must be at least "
                f"{num_replicas * self.accumulate_steps}."
            )
        return self.batch_size

    def to_json(self) -> str:
        """The resolved config as JSON, a field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def load_config(path: Path, **overrides: Any) -> Config:
    """The config of a `config.json`, some fields replaced. Raises `UserError` naming the file where it is unfit."""
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read as a config: {error}.") from None
    unknown = sorted(set(stored) - set(OPTIONS)) if isinstance(stored, dict) else ["(not a JSON object)"]
    if unknown:
        raise UserError(f"{path} is not a config of this version: it holds {', '.join(unknown)}.")
    return Config(**merge(overrides, stored, one_of=ONE_OF))


def changed_for_good(old: Config, new: Config) -> list[str]:
    """What a resumed run may not change and `new` does, as `--flag=new (the run has old)`."""
    return [
        f"--{name}={getattr(new, name)} (the run has {getattr(old, name)})"
        for name, declared in OPTIONS.items()
        if not declared.may_change and getattr(old, name) != getattr(new, name)
    ]


OPTIONS = options_of(Config)
DEFAULTS = {name: declared.default for name, declared in OPTIONS.items()}
PRESETS: dict[str, dict[str, Any]] = {"mnist": {}}  # the defaults are the MNIST DCGAN of the TensorFlow tutorial
ONE_OF = (
    ("epochs", "steps"),
    ("batch_size", "batch_size_per_replica"),
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
