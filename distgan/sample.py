"""Generate images from a trained run, or translate images by one.

python -m distgan.sample --run_dir=runs/mnist --num_images=64 --output=digits.png
python -m distgan.sample --run_dir=runs/digits --classes=0,1,2 --num_images=8
python -m distgan.sample --run_dir=runs/pix2pix --input=photos --output=translated
"""

import functools
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from distgan import latents, paths, pictures, program
from distgan.data.images import BadImageError, fitted, open_picture
from distgan.data.trees import image_files
from distgan.errors import UserError, sentence_of
from distgan.replicas import launcher
from distgan.store import atomic

if TYPE_CHECKING:
    from distgan.run import Run

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.")
_NUM_IMAGES = flags.DEFINE_integer("num_images", 16, "How many images, or frames of a .gif.", lower_bound=1)
_CLASSES = flags.DEFINE_list(
    "classes", None, "Classes to sample (labels or folders), for a conditional run; --num_images of each."
)
_SEED = flags.DEFINE_integer("seed", 0, "Image i depends only on the seed and i.", lower_bound=0, upper_bound=2**63 - 1)
_SEEDS = flags.DEFINE_list(
    "seeds", None, "Instead of --seed: two or more, for images from the first image of one to that of the next."
)
_TRUNCATION = flags.DEFINE_float(
    "truncation", None, "Largest value of normal latents; smaller ones give more typical, less varied images.", 0.01
)
_GRID = flags.DEFINE_string("grid", None, "ROWSxCOLUMNS of a .png, instead of --num_images.")
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "A .png (grid), .gif (latent interpolation), .npz (uint8 [N, H, W, C]) or directory; with --input a directory. "
    "Default: samples.png, with --input the directory translated/.",
)
_INPUT = flags.DEFINE_string("input", None, "An image file, or a directory of them, to translate.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "newest", ["newest", "best"], "best: by Frechet distance.")
_DIRECTION = flags.DEFINE_enum("direction", None, ["AtoB", "BtoA"], "Translation direction, of CycleGAN.")
SUFFIXES = (".png", ".gif", ".npz")
GIF_MILLISECONDS = 60
READ_AT_ONCE = 32  # images


def main() -> int:
    """Write the images that the flags ask for, and return the exit status."""
    if _RUN_DIR.value is None:
        raise UserError("--run_dir is missing: give the directory of a run, e.g. --run_dir=runs/mnist.")
    output = paths.local("output", _OUTPUT.value or ("translated" if _INPUT.value else "samples.png"))
    suffixes = () if _INPUT.value else SUFFIXES
    if output.suffix not in ("", *suffixes):
        files = f"a file name that ends in {', '.join(suffixes)}, or " if suffixes else ""
        raise UserError(f"--output={output} has an unknown file type: give {files}a directory.")
    if _DIRECTION.value and not _INPUT.value:
        raise UserError(f"--direction={_DIRECTION.value} needs --input, an image or a directory to translate.")
    seeds, table = _seeds(), _table()
    names = _named(paths.local("input", _INPUT.value), output) if _INPUT.value else {}
    program.import_tensorflow()
    from distgan.replicas import devices
    from distgan.run import load

    devices.set_up(*launcher.place_on_host(), 0, deterministic=False)
    try:
        run = load(_RUN_DIR.value, _CHECKPOINT.value)
        if _INPUT.value:
            _translate(run, names, output)
        elif launcher.launched_rank() == 0:
            _generate(run, output, seeds, *table)
    except OSError as error:
        raise UserError(sentence_of(error)) from None
    if launcher.launched_rank() == 0:
        print(output)
    return 0


def _seeds() -> list[int]:
    """Return the seeds of --seeds. Raises `UserError`."""
    texts = _SEEDS.value or []
    if (_SEEDS.value is not None and len(texts) < 2) or not all(one.isdecimal() and int(one) < 2**63 for one in texts):
        raise UserError(
            f"--seeds={','.join(texts)} is refused: give two or more whole numbers below 2**63, e.g. 1,2,3."
        )
    if _TRUNCATION.value and (texts or str(_OUTPUT.value).endswith(".gif")):
        raise UserError("--truncation is not used with --seeds or for a .gif: remove one of them.")
    return [int(text) for text in texts]


def _table() -> tuple[int, int | None]:
    """Return the number of images, and the columns of their grid if it is given. Raises `UserError`."""
    if _GRID.value is None:
        return _NUM_IMAGES.value, None
    rows, _, columns = _GRID.value.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) * int(columns)):
        raise UserError(f"--grid={_GRID.value} is refused: it must be ROWSxCOLUMNS, e.g. 4x8.")
    if _CLASSES.value and not _SEEDS.value:
        raise UserError("--classes makes a row of each class: give --num_images of each, and not --grid.")
    return int(rows) * int(columns), int(columns)


def _generate(run: "Run", output: Path, seeds: list[int], number: int, columns: int | None) -> None:
    seed, is_film = _SEED.value, output.suffix == ".gif"
    wanted = [one for one in _CLASSES.value or [] for _ in range(number)]
    if seeds:
        found = latents.of_seeds(run, seeds, number)
        pixels = run.generate_from(found, (wanted[:1] or _drawn(run, 1, seeds[0])) * number or None)
    elif is_film:
        pixels = run.walk(number, seed)
    elif _TRUNCATION.value:
        found = latents.of_seed(run, seed, len(wanted) or number, _TRUNCATION.value)
        pixels = run.generate_from(found, wanted or _drawn(run, number, seed) or None)
    else:
        pixels = run.generate(len(wanted) or number, seed, wanted or None)
    if is_film:
        pictures.save_gif(output, list(pixels), GIF_MILLISECONDS)
    else:
        pictures.write_samples(output, pixels, columns=columns or (number if wanted else None))


def _drawn(run: "Run", number: int, seed: int) -> list[str]:
    """Return the classes that a seed draws for so many images; none if the run is not conditional."""
    classes = run.gan.classes_of(number, seed)
    return [] if classes is None else [run.gan.class_names[int(one)] for one in classes]


def _named(source: Path, output: Path) -> dict[Path, Path]:
    """Return the files to translate with their output names: the same names, as PNG. Raises `UserError`."""
    root = source.parent if source.is_file() else source
    inside = output.resolve().is_relative_to(root.resolve()) and source.is_dir()
    if inside or output.resolve() == root.resolve():
        raise UserError(f"--output={output} must not be where --input={source} is: name another directory.")
    files = [source] if source.is_file() else [root / path for path in image_files(f"--input={root}", str(root), "")]
    times = Counter(file.with_suffix("") for file in files)
    plain = [file.with_suffix("") if times[file.with_suffix("")] == 1 else file for file in files]
    return {file: name.with_name(f"{name.name}.png").relative_to(root) for file, name in zip(files, plain, strict=True)}


def _translate(run: "Run", names: dict[Path, Path], output: Path) -> None:
    """Translate the files of this process; processes that were launched together have fair shares."""
    from distgan.data.order import fair_range

    files = list(names)
    first, count = fair_range(len(files), max(1, launcher.launched_size()), launcher.launched_rank())
    num_written = 0
    with ThreadPoolExecutor() as pool:
        for start in range(first, first + count, READ_AT_ONCE):
            part = files[start : min(start + READ_AT_ONCE, first + count)]
            inputs = list(pool.map(functools.partial(_read, run), part))
            # A file that can't be read keeps its place, as random numbers depend on the number of the file.
            pixels = np.stack([np.zeros(run.image_shape, np.uint8) if image is None else image for image in inputs])
            outputs = run.translate(pixels, _DIRECTION.value, start, _SEED.value)
            for file, image, picture in zip(part, inputs, outputs, strict=True):
                if image is not None:
                    atomic.write(output / names[file], pictures.encode_png(picture))
                    num_written += 1
    if count == len(files) and not num_written:
        raise UserError(f"--input={_INPUT.value}: none of its {count} files is an image.")


def _read(run: "Run", file: Path) -> np.ndarray | None:
    try:
        return fitted(open_picture(file, run.image_shape[:2]), run.image_shape, run.config.fit)
    except BadImageError as error:
        print(f"warning: {file} is left out: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    program.run(main)
