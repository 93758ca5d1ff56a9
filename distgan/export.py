"""Write a run's generator for other programs, which need TensorFlow or Keras and nothing of this package.

    python -m distgan.export --run_dir=runs/mnist                        # a SavedModel, for TensorFlow Serving
    python -m distgan.export --run_dir=runs/mnist --format=keras         # a .keras file
    python -m distgan.export --run_dir=runs/mnist --format=page          # a web page to try the latents on

docs/export.md says what is in them, and how they are served.
"""

from pathlib import Path

from absl import flags, logging

from distgan import paths, program
from distgan.errors import UserError, first_line, sentence_of
from distgan.replicas import launcher

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.")
_FORMAT = flags.DEFINE_enum(
    "format",
    "saved_model",
    ["saved_model", "keras", "page"],
    "saved_model: a function from a seed, or an image, to pixels; keras: the network itself; page: a web page.",
)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "newest", ["newest", "best"], "best: by Frechet distance.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Path to write. Default: saved_model/1, generator.keras or latents.html in the run's export/."
)
DEFAULT_OUTPUTS = {"saved_model": "saved_model/1", "keras": "generator.keras", "page": "latents.html"}


def main() -> int:
    """Write the export that the flags ask for, and return the exit status."""
    if _RUN_DIR.value is None:
        raise UserError("--run_dir is missing: give the directory of a run, e.g. --run_dir=runs/mnist.")
    output = _output(_RUN_DIR.value)
    if launcher.launched_rank() > 0:
        return 0
    program.import_tensorflow()
    import tensorflow as tf

    logging.set_verbosity(logging.WARNING)  # TensorFlow logs the internal name of every signature
    tf.config.set_visible_devices([], "GPU")  # GPUs may be in use, and nothing is computed here
    try:
        written = _write(_RUN_DIR.value, output)
    except OSError as error:
        raise UserError(sentence_of(error)) from None
    except tf.errors.OpError as error:
        raise UserError(f"{output} can't be written: {first_line(error)}.") from None
    print(*written, sep="\n")
    return 0


def _output(run_dir: str) -> Path:
    """Return where to write. Raises `UserError` if the path does not suit --format."""
    default = paths.local("run_dir", run_dir) / "export" / DEFAULT_OUTPUTS[_FORMAT.value]
    output = paths.local("output", _OUTPUT.value) if _OUTPUT.value else default
    suffix = Path(DEFAULT_OUTPUTS[_FORMAT.value]).suffix
    if output.suffix != suffix and {output.suffix, suffix} & {".keras", ".html"}:
        wanted = f"end in {suffix}" if suffix else "be a directory, such as models/digits/1"
        raise UserError(f"--output={output} must {wanted} for --format={_FORMAT.value}.")
    return output


def _write(run_dir: str, output: Path) -> list[Path]:
    """Write the generators in float32 with direct convolutions, as the other ways are for training."""
    from distgan import latent_page
    from distgan.run import load
    from distgan.serving import write_keras, write_saved_model

    run = load(run_dir, _CHECKPOINT.value, number_format="float32", way="direct")
    config = run.config
    noise = getattr(config.gan, "noise", None)
    facts = {"made_by": "distgan", "architecture": config.architecture, "step": run.step, "noise": noise}
    facts["class_names"] = list(run.gan.class_names)
    if _FORMAT.value == "keras":
        return write_keras(run.gan, facts, output)
    if _FORMAT.value == "page":
        latent_page.write(run, paths.local("run_dir", run_dir).resolve().name, output)
    else:
        write_saved_model(run.gan, run.image_shape, facts, output)
    return [output]


if __name__ == "__main__":
    program.run(main)
