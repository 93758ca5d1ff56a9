"""Data sets that are small enough for memory: the embedded MNIST and IDX files."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distgan.data.base import Source, Wanted
from distgan.data.idx import read_idx
from distgan.data.images import all_fitted
from distgan.errors import UserError, in_short
from distgan.paths import expanded

MNIST_DIRECTORY = Path(__file__).parent / "mnist"
MIN_SIDE_PIXELS = 4
LARGEST_LABEL = 2**16 - 1
QMNIST_COLUMNS = 8  # of its labels, of which the first is the class
SPLITS = {"train": "train", "test": "(?:t10k|test)"}  # in file names, as regular expressions


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images in memory, and their classes.

    name: the --data value that opens it, such as "mnist" or "idx:/data/kmnist".
    pixels: uint8 `[num_examples, height, width, channels]`, 0 to 255.
    labels: int32 `[num_examples]`, 0 or more, or None.
    """

    name: str
    pixels: np.ndarray
    labels: np.ndarray | None

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, over the shape and bytes of pixels and labels."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i4").data)
        return digest.hexdigest()

    def within_caps(self, wanted: Wanted) -> "LabelledImages":
        """Return the first images of the first classes, up to the numbers in `wanted`, in their order."""
        if wanted.max_classes is None and wanted.max_images_per_class is None:
            return self
        labels = np.zeros(len(self.pixels), np.int32) if self.labels is None else self.labels
        of_classes = [np.flatnonzero(labels == label)[: wanted.max_images_per_class] for label in np.unique(labels)]
        kept = np.sort(np.concatenate(of_classes[: wanted.max_classes]))
        return LabelledImages(self.name, self.pixels[kept], None if self.labels is None else labels[kept])

    def source(self, wanted: Wanted) -> Source:
        """Return these images, in the format of `wanted`, as a source with one stream "images"."""
        kept = self.within_caps(wanted)
        _, height, width, channels = kept.pixels.shape
        image_shape, shape = wanted.shapes((height, width), wanted.channels or channels)
        pixels = all_fitted(kept.pixels, shape, wanted.fit)
        arrays = {"images": pixels}
        source = Source(self.name, {"images": len(pixels)}, image_shape, shape, self.fingerprint, arrays)
        if kept.labels is not None:
            source.set_classes(kept.labels)
        return source


def open_mnist(split: str = "train", directory: Path = MNIST_DIRECTORY) -> LabelledImages:
    """Read 60,000 ("train") or 10,000 ("test") MNIST digits `[28, 28, 1]`. Raises `UserError` if a file is damaged."""
    return _read_directory("mnist", directory, split)


def open_idx(directory: str, split: str = "train") -> LabelledImages:
    """Read the images of one split, and its labels if there are any, from IDX files in `directory`.

    The files have their usual names, such as `train-images-idx3-ubyte`, `t10k-images.idx3-ubyte` or
    `emnist-letters-test-images-idx3-ubyte`, with or without `.gz`. Images are uint8 `[num_examples, height, width]` or
    `[num_examples, height, width, channels]`. They are not rotated or transposed: the images of EMNIST are published
    transposed and stay transposed.

    Raises `UserError` if the directory cannot be listed or does not have exactly one images file of the split, or if a
    file is invalid (see `read_idx`), has a wrong type, shape or number of items, or has invalid labels.
    """
    return _read_directory(f"idx:{directory}", Path(expanded("--data", directory)), split)


def _read_directory(name: str, directory: Path, split: str) -> LabelledImages:
    try:
        listing = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise UserError(f"--data={name} cannot be listed ({error.strerror}).") from error
    images_path = _find("images", split, directory, listing)
    if images_path is None:
        example = "train-images-idx3-ubyte" if split == "train" else "t10k-images-idx3-ubyte"
        raise UserError(
            f"{directory} holds no images of the {split} split, which are named like {example} "
            f"or {example}.gz: found {in_short(listing)}."
        )
    labels_path = _find("labels", split, directory, listing)
    labels = read_idx(labels_path) if labels_path else None
    if labels is not None and labels.ndim == 2 and labels.shape[1] == QMNIST_COLUMNS:
        labels = labels[:, 0]
    return checked(name, str(images_path), read_idx(images_path), str(labels_path), labels)


def checked(name: str, path: str, pixels: np.ndarray, labels_path: str, labels: np.ndarray | None) -> LabelledImages:
    """Return images and labels of any files. Raises `UserError` if a type, shape, number or label is invalid."""
    pixels = _checked_pixels(path, pixels)
    if labels is None:
        return LabelledImages(name, pixels, None)
    labels = checked_labels(labels_path, labels)
    if len(labels) != len(pixels):
        raise UserError(f"{labels_path} holds {len(labels)} labels, but {path} {len(pixels)} images.")
    return LabelledImages(name, pixels, labels)


def _find(kind: str, split: str, directory: Path, listing: list[str]) -> Path | None:
    pattern = re.compile(rf"(?:\w.*-)?{SPLITS[split]}-{kind}[-.]idx\d-\w+(?:\.gz)?")
    names = [name for name in listing if pattern.fullmatch(name)]
    # Torchvision keeps X.gz beside the X that it unpacked from it, Kaggle packs X into a folder X.
    found = [directory / name for name in names if name.removesuffix(".gz") not in names or name[-3:] != ".gz"]
    found = [path / path.name if path.is_dir() else path for path in found]
    if len(found) > 1:
        files = [path for path in reversed(found) if path.is_file()]
        found = list({hashlib.sha256(path.read_bytes()).digest(): path for path in files}.values())
    if len(found) > 1:
        several = in_short([path.name for path in found])
        raise UserError(f"{directory} holds several files of {kind} of the {split} split: keep one of {several}.")
    return found[0] if found else None


def _checked_pixels(what: str, pixels: np.ndarray) -> np.ndarray:
    shape = list(pixels.shape)
    if pixels.ndim not in (3, 4):
        raise UserError(f"{what} has shape {shape}: images are [number, height, width] or [..., channels].")
    if pixels.dtype != np.uint8:
        raise UserError(f"{what} holds {pixels.dtype} values: images must be uint8, 0 to 255.")
    if 0 in shape:
        raise UserError(f"{what} holds no images: its header says {shape}.")
    if min(pixels.shape[1:3]) < MIN_SIDE_PIXELS:
        raise UserError(f"{what} holds images too small to learn from, {shape}: at least {MIN_SIDE_PIXELS} a side.")
    if pixels.ndim == 4 and shape[3] not in (1, 3):
        raise UserError(f"{what} holds images of {shape[3]} channels: they must have 1 (grey) or 3 (RGB).")
    return pixels if pixels.ndim == 4 else pixels[..., np.newaxis]


def checked_labels(what: str, labels: np.ndarray) -> np.ndarray:
    """Return labels as int32 `[number]`. Raises `UserError`, which begins with `what`, if they are invalid."""
    if labels.ndim != 1:
        raise UserError(f"{what} has shape {list(labels.shape)}: labels must be [number].")
    if labels.dtype.kind not in "ui":
        raise UserError(f"{what} holds {labels.dtype} values: labels must be whole numbers.")
    wrong = labels[(labels < 0) | (labels > LARGEST_LABEL)]
    if len(wrong):
        raise UserError(f"{what} holds the label {wrong[0]}: labels must be 0 to {LARGEST_LABEL}.")
    return labels.astype(np.int32)
