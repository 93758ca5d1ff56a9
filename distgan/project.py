"""Find latents with which a run's generator makes an image like a given one (projection).

python -m distgan.project --run_dir=runs/faces --image=photo.jpg --output=photo.png

The output is the picture, fitted as in training, beside the image found; photo.latents.npz has the latents.
"""

import numpy as np
from absl import flags

from distgan import paths, pictures, program
from distgan.data.images import BadImageError, fitted, open_picture
from distgan.errors import UserError, sentence_of
from distgan.replicas import launcher
from distgan.store import atomic

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.")
_IMAGE = flags.DEFINE_string("image", None, "An image file.")
_CLASS = flags.DEFINE_string("class", None, "Its class, of a conditional run. Default: the one that fits best.")
_STEPS = flags.DEFINE_integer("steps", 200, "Steps of the search.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the search.", lower_bound=0, upper_bound=2**63 - 1)
_FEATURES = flags.DEFINE_string("features", None, "imagenet, inception or FILE.keras. Default: the run's.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "newest", ["newest", "best"], "best: by Frechet distance.")
_OUTPUT = flags.DEFINE_string("output", "projection.png", "A .png to write, with a .latents.npz beside it.")


def main() -> int:
    """Find and write what the flags ask for, and return the exit status."""
    if _RUN_DIR.value is None or _IMAGE.value is None:
        raise UserError("Give --run_dir, the directory of a run, and --image, the picture to find latents for.")
    image, output = paths.local("image", _IMAGE.value), paths.local("output", _OUTPUT.value)
    if output.suffix != ".png" or output.resolve() == image.resolve():
        raise UserError(f"--output={output} must end in .png, and must not be where --image={image} is.")
    if launcher.launched_rank() > 0:
        return 0
    program.import_tensorflow()
    from distgan.replicas import devices
    from distgan.run import load

    devices.set_up(*launcher.place_on_host(), 0, deterministic=True)
    try:
        run = load(_RUN_DIR.value, _CHECKPOINT.value, number_format="float32")
        picture = fitted(open_picture(image, run.image_shape[:2]), run.image_shape, run.config.fit)
        found = run.project(picture, _CLASS.value, steps=_STEPS.value, seed=_SEED.value, features=_FEATURES.value)
        made = run.generate_from(found["latents"][None], [found["label"]] if "label" in found else None)
        pictures.save_png(output, pictures.grid(np.stack([picture, *made]), columns=2))
        with atomic.replaced(output.with_suffix(".latents.npz")) as unfinished:
            np.savez(unfinished, **found)
    except (BadImageError, OSError) as error:
        raise UserError(sentence_of(error) if isinstance(error, OSError) else f"--image={image}: {error}.") from None
    of_class = f"class {found['label']}, " if "label" in found else ""
    said = f"{of_class}distance {found['start']:.3g} at the start, {found['end']:.3g} at the end, of random images 1"
    print(said, output, output.with_suffix(".latents.npz"), sep="\n")
    return 0


if __name__ == "__main__":
    program.run(main)
