"""Generate images from a trained run.

python -m distgan.sample --run_dir=runs/mnist --num_images=64 --output=digits.png
"""

from pathlib import Path

from absl import flags

from distgan import pictures, program
from distgan.errors import UserError, sentence_of

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.")
_NUM_IMAGES = flags.DEFINE_integer("num_images", 16, "How many images, or frames of a .gif.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the latents; image i depends on it and on i only.")
_OUTPUT = flags.DEFINE_string(
    "output", "samples.png", ".png: one grid; .gif: a walk between latents; .npz: uint8 [N, H, W, C]; else a directory."
)
SUFFIXES = (".png", ".gif", ".npz")
GIF_MILLISECONDS = 60


def main() -> int:
    """Write what the flags ask for; returns the exit status."""
    if _RUN_DIR.value is None:
        raise UserError("--run_dir is missing: give the directory of a run, e.g. --run_dir=runs/mnist.")
    if _NUM_IMAGES.value < 1 or _SEED.value < 0:
        raise UserError("--num_images must be at least 1 and --seed at least 0.")
    output = Path(_OUTPUT.value)
    if output.suffix not in ("", *SUFFIXES):
        raise UserError(
            f"--output={output} is of no kind that is known: end it in {', '.join(SUFFIXES)}, or name a directory."
        )
    program.import_tensorflow()
    from distgan.run import load

    try:
        run = load(_RUN_DIR.value)
        if output.suffix == ".gif":
            pictures.save_gif(output, list(run.walk(_NUM_IMAGES.value, _SEED.value)), GIF_MILLISECONDS)
        else:
            pictures.write_samples(output, run.generate(_NUM_IMAGES.value, _SEED.value))
    except OSError as error:
        raise UserError(sentence_of(error)) from None
    print(output)
    return 0


if __name__ == "__main__":
    program.run(main)
