"""Data sets, by the name that --data gives them; plain NumPy, so that a flag check stays quick."""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from distgan.data.idx import read_idx
from distgan.errors import UserError

MNIST_DIRECTORY = Path(__file__).parent / "mnist"
MIN_SIDE_PIXELS = 4
SPLITS = {"train": "train", "test": "(?:t10k|test)"}  # how file names spell them, as patterns


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A data set small enough to be held in memory.

    name: the --data value that opens it, such as "mnist" or "idx:/data/kmnist".
    pixels: uint8 `[num_examples, height, width, channels]`, 0 to 255.
    labels: int32 `[num_examples]`, 0 or more, or None.
    """

    name: str
    pixels: np.ndarray
    labels: np.ndarray | None

    @property
    def num_examples(self) -> int:
        """How many images there are."""
        return len(self.pixels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """An image's (height, width, channels)."""
        _, height, width, channels = self.pixels.shape
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """The greatest label plus one (27 for EMNIST's 1 to 26); 0 without labels."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, over the shape and bytes of pixels and labels; computed once."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i4").data)
        return digest.hexdigest()


def open_mnist(split: str = "train", directory: Path = MNIST_DIRECTORY) -> ArraySource:
    """Reads the embedded MNIST: 60,000 ("train") or 10,000 ("test") digits `[28, 28, 1]`.

    Raises:
      UserError: a file of it is missing or its SHA-256 is not the one in `SHA256SUMS`.
    """
    _check_sums(directory)
    return _read_directory("mnist", directory, split)


def open_idx(directory: str, split: str = "train") -> ArraySource:
    """Reads one split's images, and labels if there are any, from IDX files in `directory`.

    The files have their usual names, such as `train-images-idx3-ubyte`, `t10k-images.idx3-ubyte` or
    `emnist-letters-test-images-idx3-ubyte`, with or without `.gz`. Images are uint8
    `[num_examples, height, width]` or `[num_examples, height, width, channels]`. They are taken as
    they lie: those of EMNIST are published transposed, and stay so.

    Raises:
      UserError: the directory cannot be listed, holds no or several images files of the split, or
        a file is unsound (see `read_idx`), of a wrong type, shape or number, or mislabelled.
    """
    return _read_directory(f"idx:{directory}", Path(os.path.expanduser(directory)), split)


class SourceKind(NamedTuple):
    """How --data spells a kind of data set, and what opens it: (what follows the colon, split)."""

    spelling: str
    open: Callable[[str, str], ArraySource]


SOURCES = {
    "mnist": SourceKind("mnist", lambda _, split: open_mnist(split)),
    "idx": SourceKind("idx:DIR", open_idx),
}


def open_source(data: str, split: str = "train") -> ArraySource:
    """Opens the data set that --data names; `split` is "train" or "test".

    Raises:
      UserError: `data` names no data set (see `check_name`), or the data set is unsound.
    """
    check_name(data)
    scheme, _, rest = data.partition(":")
    return SOURCES[scheme].open(rest, split)


def check_name(data: str) -> None:
    """Checks how `data` is spelled, and looks at no file.

    Raises:
      UserError: the kind of data set is unknown, or what follows the colon is missing or needless.
    """
    scheme, _, rest = data.partition(":")
    if scheme not in SOURCES or (":" in SOURCES[scheme].spelling) != bool(rest):
        allowed = " or ".join(kind.spelling for kind in SOURCES.values())
        raise UserError(f"--data={data} names no data set: it may be {allowed}.")


def _check_sums(directory: Path) -> None:
    try:
        for line in (directory / "SHA256SUMS").read_text().splitlines():
            sha256, name = line.split()
            path = directory / name
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                raise UserError(
                    f"{path} of the embedded MNIST is damaged: its SHA-256 is not {sha256}; install distgan again."
                )
    except OSError as error:
        raise UserError(
            f"{error.filename} of the embedded MNIST cannot be read ({error.strerror}); install distgan again."
        ) from error


def _read_directory(name: str, directory: Path, split: str) -> ArraySource:
    try:
        listing = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise UserError(f"--data={name} cannot be listed ({error.strerror}).") from error
    images_name = _find("images", split, directory, listing)
    if images_name is None:
        example = "train-images-idx3-ubyte" if split == "train" else "t10k-images-idx3-ubyte"
        raise UserError(
            f"{directory} holds no images of the {split} split, which are named like {example} "
            f"or {example}.gz: found {_enumerate(listing)}."
        )
    pixels = _read_pixels(directory / images_name)
    labels_name = _find("labels", split, directory, listing)
    if labels_name is None:
        return ArraySource(name, pixels, None)
    labels = _read_labels(directory / labels_name)
    if len(labels) != len(pixels):
        raise UserError(
            f"{directory / labels_name} holds {len(labels)} labels and {images_name} "
            f"{len(pixels)} images: the numbers must be equal."
        )
    return ArraySource(name, pixels, labels)


def _find(kind: str, split: str, directory: Path, listing: list[str]) -> str | None:
    pattern = re.compile(rf"(?:\w.*-)?{SPLITS[split]}-{kind}[-.]idx\d-\w+(?:\.gz)?")
    found = [name for name in listing if pattern.fullmatch(name)]
    # Torchvision leaves X beside the X.gz that it unpacked: they are one.
    found = [name for name in found if name.removesuffix(".gz") not in found or name[-3:] != ".gz"]
    if len(found) > 1:
        raise UserError(
            f"{directory} holds several files of {kind} of the {split} split, where one is "
            f"needed: found {_enumerate(found)}; give each data set a directory of its own."
        )
    return found[0] if found else None


def _enumerate(names: list[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "nothing") + more


def _read_pixels(path: Path) -> np.ndarray:
    pixels = read_idx(path)
    shape = list(pixels.shape)
    if pixels.ndim not in (3, 4):
        raise UserError(
            f"{path} holds an array {shape}, which is not one of images: they are [number, height, "
            "width] or [number, height, width, channels]."
        )
    if pixels.dtype != np.uint8:
        raise UserError(f"{path} holds {pixels.dtype} values: images must be uint8, 0 to 255.")
    if 0 in shape:
        raise UserError(f"{path} holds no images: its header says {shape}.")
    if min(pixels.shape[1:3]) < MIN_SIDE_PIXELS:
        raise UserError(
            f"{path} holds images too small to learn from: [number, height, width, ...] is "
            f"{shape}, and height and width must be at least {MIN_SIDE_PIXELS}."
        )
    return pixels if pixels.ndim == 4 else pixels[..., np.newaxis]


def _read_labels(path: Path) -> np.ndarray:
    labels = read_idx(path)
    if labels.ndim != 1:
        raise UserError(
            f"{path} holds an array {list(labels.shape)}, which is not one of labels: they are "
            "[number]; take the file away to go without."
        )
    if labels.dtype.kind not in "ui":
        raise UserError(f"{path} holds {labels.dtype} values: labels must be whole numbers.")
    if len(labels) and labels.min() < 0:
        raise UserError(f"{path} holds the label {labels.min()}: labels must be 0 or more.")
    return labels.astype(np.int32)
