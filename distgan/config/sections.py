"""The settings that all GANs share, by section. Each GAN declares its own in its file in `gans/`."""

import dataclasses

from distgan.config.fields import Section, option
from distgan.config.presets import PRESETS
from distgan.gans.registry import GANS


@dataclasses.dataclass(frozen=True)
class Run(Section):
    """Run."""

    may_change = True

    preset: str = option("mnist", "Recipe that sets the defaults of all flags.", choices=PRESETS.keys(), main=True)
    data: str | None = option(
        "mnist",
        "Data set. Built in: mnist, mnist-colours, mnist-edges, mnist-domains, emoji, emoji-styles, emoji-domains. "
        "Yours: idx:DIR, folder:DIR, zip:FILE, tar:FILES, npz:FILE, parquet:FILES, pairs:DIR, unpaired:DIR, hf:NAME, "
        "tfds:NAME.",
        main=True,
    )
    run_dir: str | None = option(None, "Directory of all outputs; runs/PRESET if not given.", main=True)
    init_from: str | None = option(None, "Run directory whose weights a new run starts from.")
    epochs: int | None = option(50, "Length of the run, in passes over the data.", at_least=1, main=True)
    steps: int | None = option(None, "Length of the run in steps, instead of --epochs.", at_least=1, main=True)


@dataclasses.dataclass(frozen=True)
class Images(Section):
    """Images."""

    image_size: str | None = option(
        None, "HxW in pixels, the size to which images are resized; that of the data if not given.", main=True
    )
    fit: str = option(
        "resize",
        "How images are fitted to --image_size: resize stretches, crop scales and centre-crops.",
        choices=("resize", "crop"),
    )
    channels: int | None = option(None, "1 (grey), 3 (RGB); that of the data if not given.", choices=(1, 3), main=True)
    max_classes: int | None = option(None, "Use at most this many top folders, or labels.", at_least=1)
    max_images_per_class: int | None = option(None, "Use at most this many images per top folder or label.", at_least=1)
    jitter_pixels: int = option(0, "Random-crop margin, in pixels.", at_least=0)
    mirror: bool = option(False, "Flip each image horizontally with a probability of 1/2.")


@dataclasses.dataclass(frozen=True)
class Training(Section):
    """Training."""

    architecture: str = option("mnist", "Model family.", choices=GANS.keys(), main=True)
    batch_size: int = option(256, "Global batch size, in images, shared by all replicas.", at_least=1, main=True)
    learning_rate_schedule: str = option(
        "constant", "How learning rates change after --constant_epochs.", choices=("constant", "linear", "cosine")
    )
    constant_epochs: float = option(0.0, "Epochs before learning rates fall.", at_least=0)
    decay_epochs: float = option(100.0, "Number of epochs over which the learning rates decay to zero.", above=0)
    ema_half_life_images: int = option(
        0, "Half-life, in images, of the EMA of the generator's weights. Samples use the EMA. 0 is off.", at_least=0
    )
    clip_gradients: float | None = option(
        None,
        "Largest norm of all gradients of the generator together, and of the discriminator, summed over replicas; "
        "larger ones are scaled down. Off if not given.",
        above=0,
    )
    seed: int = option(0, "Seed of weights, data order, noise and dropout.", at_least=0, main=True)


@dataclasses.dataclass(frozen=True)
class Optimizer(Section):
    """Optimizers."""

    optimizer: str = option("adam", "Optimizer of the {player}.", choices=("adam", "rmsprop", "sgd"))
    learning_rate: float = option(1e-4, "Learning rate of the {player}.", above=0, main=True)
    beta_1: float = option(0.9, "Adam's beta 1, or SGD's momentum, of the {player}.", at_least=0, below=1)
    beta_2: float = option(0.999, "Adam's beta 2 of the {player}.", at_least=0, below=1)


@dataclasses.dataclass(frozen=True)
class Output(Section):
    """Checkpoints, samples and logs."""

    may_change = True

    checkpoint_every: str = option("15epochs", "Checkpoint cadence.", cadence=("epochs", "steps", "seconds"), main=True)
    keep_checkpoints: int = option(3, "Number of checkpoints to keep, the newest ones.", at_least=1)
    on_checkpoint_error: str = option("stop", "What to do if a checkpoint can't be written.", choices=("stop", "warn"))
    sample_every: str = option("1epochs", "How often to save a sample picture.", cadence=("epochs", "steps"), main=True)
    num_samples: int = option(16, "Images in a sample picture.", at_least=1)
    log_every_steps: int = option(20, "Steps between log lines, which hold the means since the last one.", at_least=1)
    track: str | None = option(
        None,
        "Services that receive the logs, samples and results too: Weights & Biases (wandb), MLflow, or both.",
        choices=("wandb", "mlflow", "wandb,mlflow", "mlflow,wandb"),
    )
    profile_steps: str | None = option(None, "FIRST:LAST, the steps to profile for TensorBoard, e.g. 100:110.")


@dataclasses.dataclass(frozen=True)
class Evaluation(Section):
    """Evaluation, of GANs that generate images from noise."""

    may_change = True

    evaluate_every: str = option(
        "never",
        "How often samples are evaluated; unless this is `never`, also at the end of the run.",
        cadence=("epochs", "steps"),
        main=True,
    )
    evaluate_num_images: int = option(
        10_000, "Samples to evaluate, and real images to compare them with.", at_least=100
    )
    features: str | None = option(
        None,
        "Network whose features evaluation compares: imagenet (EfficientNet-Lite0), inception (Inception V3), or a "
        "Keras model (FILE.keras) from images to vectors; if not given, a digit classifier for 28x28 grey images, "
        "else inception if Keras has its weights, else imagenet if it is installed, else inception.",
    )


@dataclasses.dataclass(frozen=True)
class System(Section):
    """System."""

    may_change = True

    backend: str = option(
        "auto",
        "auto is horovod under horovodrun, or under MPI or Slurm if Horovod is installed; multiworker under any other "
        "launcher, such as torchrun, or with TF_CONFIG; mirrored with several GPUs; else single.",
        choices=("auto", "single", "mirrored", "multiworker", "horovod"),
        main=True,
    )
    precision: str = option(
        "auto",
        "Compute precision; auto is the fastest that the hardware supports.",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16", "float64"),
        main=True,
    )
    wire_dtype: str = option(
        "float32",
        "Dtype of the gradients that replicas exchange; bfloat16 halves the traffic.",
        choices=("float32", "bfloat16"),
    )
    jit_compile: bool | None = option(
        None,
        "Compile the step with XLA (with several replicas, its losses and gradients only). Not supported with several "
        "replicas and --normalization=sync, nor with --image_buffer_size. If not given, it is compiled on GPUs, where "
        "supported, but not with --deterministic.",
    )
    steps_per_call: int | None = option(
        None,
        "Steps that one call of the compiled step makes; more have less overhead. A call ends where a log line or "
        "another action is due, and a signal takes effect within three calls. If not given: on GPUs up to 64, while a "
        "call takes less than 0.05 s; 1 on CPUs.",
        at_least=1,
    )
    deterministic: bool = option(
        False, "Use deterministic kernels and no TF32, for bitwise reproducible runs on GPUs; slower."
    )
    convolutions: str = option(
        "auto",
        "auto uses FFT for some convolutions on a CPU, if all replicas have equal shares; direct never uses it.",
        choices=("auto", "direct"),
    )
    virtual_devices: int = option(0, "Split the CPU into N devices, to try --backend=mirrored; 0 is off.", at_least=0)
    start_timeout_seconds: float = option(600.0, "Abort if processes have not connected within N seconds.", at_least=1)
    stall_timeout_seconds: float = option(
        600.0, "Abort after N seconds without progress of a process, and report the stalled rank.", at_least=4
    )
    commit_every_steps: int = option(
        20, "Elastic: steps between in-memory snapshots, from which the job resumes when workers are lost.", at_least=1
    )
