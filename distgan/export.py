"""Write a run's generator for other programs, which need TensorFlow or Keras and nothing of this package.

    python -m distgan.export --run_dir=runs/mnist                        # a SavedModel, for TensorFlow Serving
    python -m distgan.export --run_dir=runs/mnist --format=keras         # a .keras file; also onnx, litert, safetensors
    python -m distgan.export --run_dir=runs/mnist --format=page          # a web page to try the latents on

docs/export.md says what is in them, and how they are served.
"""

import json
import sys
from pathlib import Path

from absl import flags, logging

from distgan import paths, program
from distgan.errors import UserError, first_line, sentence_of
from distgan.replicas import launcher
from distgan.store import atomic

DEFAULT_OUTPUTS = {
    "saved_model": "saved_model/1",
    "keras": "generator.keras",
    "onnx": "generator.onnx",
    "litert": "generator.tflite",
    "safetensors": "generator.safetensors",
    "page": "latents.html",
}
_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.")
_FORMAT = flags.DEFINE_enum(
    "format",
    "saved_model",
    list(DEFAULT_OUTPUTS),
    "saved_model: a function from a seed, or an image, to pixels; keras, onnx, litert: the network itself; "
    "safetensors: its weights; page: a web page.",
)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "newest", ["newest", "best"], "best: by Frechet distance.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Path to write. Default: saved_model/1, generator.keras and so on in the run's export/."
)


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
    suffixes = {name: Path(path).suffix for name, path in DEFAULT_OUTPUTS.items()}
    suffix = suffixes[_FORMAT.value]
    if output.suffix != suffix and (suffix or output.suffix in suffixes.values()):
        wanted = f"end in {suffix}" if suffix else "be a directory, such as models/digits/1"
        raise UserError(f"--output={output} must {wanted} for --format={_FORMAT.value}.")
    return output


def _write(run_dir: str, output: Path) -> list[Path]:
    """Write the generators in float32 with direct convolutions, as the other ways are for training."""
    from distgan import formats, latent_page, model_card
    from distgan.report import recorded
    from distgan.run import load
    from distgan.serving import holds, write_saved_model

    run = load(run_dir, _CHECKPOINT.value, number_format="float32", way="direct")
    record = recorded.read(paths.local("run_dir", run_dir))
    if _FORMAT.value == "page":
        latent_page.write(run, record.name, output)
        return [output]
    noise = getattr(run.config.gan, "noise", None)
    facts = {"made_by": "distgan", "run": record.name, "architecture": run.config.architecture, "step": run.step}
    facts |= {"noise": noise, "class_names": list(run.gan.class_names)}
    is_directory = _FORMAT.value == "saved_model"
    card = (output if is_directory else output.parent) / model_card.NAME
    is_kept = model_card.is_foreign(card)
    if is_directory:
        text = card.read_bytes() if is_kept else model_card.text(run, record, {"saved_model": "."})
        write_saved_model(run.gan, run.image_shape, facts, output, {card.name: text})
        written = [output]
    else:
        written, told = formats.write(_FORMAT.value, run.gan, facts, output), json.dumps(facts)
        beside = {name: written[0].with_suffix(Path(DEFAULT_OUTPUTS[name]).suffix) for name in formats.FORMATS}
        same = [path for path in beside.values() if path in written or (path.is_file() and holds(path, told))]
        if not is_kept:
            files = {name: path.name for name, path in beside.items() if path in same}
            atomic.write(card, model_card.text(run, record, files))
    if is_kept:
        print(f"{card} is not by distgan.export: it was kept, and no model card was written.", file=sys.stderr)
    return written


if __name__ == "__main__":
    program.run(main)
