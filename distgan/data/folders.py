"""Data sets of image files, in folders or elsewhere: single images, pairs, or two domains."""

import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import psutil
from PIL import Image

from distgan.data.base import Source, Wanted, refuse_faults
from distgan.data.images import BadImageError, fitted, open_picture
from distgan.data.trees import ClassOf, FileSizes, first_of_classes, image_files, matched, pair_folders, top_folder
from distgan.errors import UserError, in_short, sentence_of
from distgan.paths import expanded

MOST_SAMPLED = 1000  # the most files that are decoded to check a data set when it is opened
MOST_PASSED = 1000  # the most examples that are tried to find a valid one
MOST_KEPT_BYTES, MOST_KEPT_PART = 2**28, 16  # of pixels that are decoded once: 256 MiB, and 1/16 of the free memory
NUM_THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

Streams = dict[str, tuple[list[str], ...]]


class Seen(NamedTuple):
    """A picture that was decoded as a check: its example's first file, its (height, width), and if it is grey."""

    path: str
    size: tuple[int, int]
    grey: bool


@dataclass(frozen=True)
class ImageFiles:
    """The files of a data set.

    name: the --data value that opens it.
    file_of: returns the file of a path as `open_picture` takes it: where it is on disk, or its bytes.
    streams: for each stream a list of paths, or two equally long lists if an example has two files.
    halved: True if each file is a pair, side by side.
    faults: files that are not valid images, each with the reason.
    """

    name: str
    file_of: Callable[[str], str | bytes]
    streams: Streams
    halved: bool = False
    faults: dict[str, str] = field(default_factory=dict)

    def paths(self, stream: str, number: int) -> list[str]:
        """Return the paths of an example's one or two files."""
        return [paths[number] for paths in self.streams[stream]]

    def pictures(self, stream: str, number: int, size: tuple[int, int] | None) -> list[Image.Image]:
        """Decode an example's pictures; if a file is invalid, add it to `faults` and return an empty list."""
        if "pairs" in self.streams:  # decoded at full size: their sizes are compared, and a width may be halved
            size = None
        pictures = []
        for path in self.paths(stream, number):
            try:
                if path not in self.faults:
                    pictures += self._decode(path, size)
            except BadImageError as error:
                self.faults[path] = str(error)
            if path in self.faults:
                return []
        return pictures

    def _decode(self, path: str, size: tuple[int, int] | None) -> list[Image.Image]:
        picture = open_picture(self.file_of(path), size)
        if not self.halved:
            return [picture]
        width, height = picture.size
        if width % 2:
            raise BadImageError(f"not two halves: {height}x{width} has an odd width")
        return [picture.crop((left, 0, left + width // 2, height)) for left in (0, width // 2)]

    def mismatch(self, stream: str, number: int, pictures: list[Image.Image]) -> str | None:
        """Return a text with the two sizes of a pair's pictures if they differ, else None."""
        if len({picture.size for picture in pictures}) < 2:
            return None
        a, b = (f"{picture.height}x{picture.width}" for picture in pictures)
        return f"{a}, and {self.paths(stream, number)[-1]} is {b}"


@dataclass(eq=False, kw_only=True)
class FileSource(Source):
    """A data set whose files are decoded once if all its pixels may be kept, else each time they are read.

    fit: that of `Wanted`.
    kept: for each stream the pixels, `[n, *example_shape]`, and whether they are there, `[n]`; empty if none are kept.
    """

    files: ImageFiles = field(repr=False)
    fit: str
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)
    pool: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, NUM_THREADS), repr=False)

    def __post_init__(self) -> None:
        """Provide for pixels to be kept if they are few; what is not written to yet takes no memory."""
        num_bytes = sum(self.streams.values()) * math.prod(self.example_shape)
        if num_bytes <= min(MOST_KEPT_BYTES, psutil.virtual_memory().available // MOST_KEPT_PART):
            for stream, number in self.streams.items():
                self.kept[stream] = np.empty((number, *self.example_shape), np.uint8), np.zeros(number, bool)

    def read(self, stream: str, examples: np.ndarray) -> np.ndarray:
        """Return examples, uint8 `[n, *example_shape]`; the next valid example replaces an invalid one.

        Raises `UserError` if `MOST_PASSED` in a row, or all, are invalid (files are gone), or if one cannot be read.
        """
        if not self.kept:
            return self._decoded(stream, examples)
        kept, is_there = self.kept[stream]
        missing = ~is_there[examples]  # read before the pixels: other threads write it after them
        pixels = kept[examples]
        pixels[missing] = kept[examples[missing]] = self._decoded(stream, examples[missing])
        is_there[examples[missing]] = True
        return pixels

    def _decoded(self, stream: str, examples: np.ndarray) -> np.ndarray:
        pixels = np.empty((len(examples), *self.example_shape), np.uint8)
        try:
            for place, example in enumerate(self.pool.map(partial(self._good, stream), examples.tolist())):
                pixels[place] = example
        except (OSError, UserError) as error:
            self.failure = str(error) if isinstance(error, UserError) else sentence_of(error)
            raise UserError(self.failure) from error
        return pixels

    def _good(self, stream: str, number: int) -> np.ndarray:
        num_examples = self.streams[stream]
        for candidate in islice(chain(range(number, num_examples), range(number)), MOST_PASSED):
            pictures = self.files.pictures(stream, candidate, self.example_shape[:2])
            mismatch = self.files.mismatch(stream, candidate, pictures)
            if mismatch:
                self.faults[self.files.paths(stream, candidate)[0]] = mismatch
            elif pictures:
                shape = (*self.example_shape[:2], self.image_shape[2])
                return np.concatenate([fitted(picture, shape, self.fit) for picture in pictures], axis=-1)
        raise UserError(
            f"--data={self.name}: {min(MOST_PASSED, num_examples)} {stream} in a row can't be read, starting "
            f"with {self.files.paths(stream, number)[0]}: repair or replace the files."
        )


def open_folder(directory: str, split: str, wanted: Wanted) -> Source:
    """Open a tree of single images, the same for each split; its top folders are classes.

    Raises `UserError` if there are no images, too many are invalid, or sizes differ and no size is requested.
    """
    name, root = f"folder:{directory}", expanded("--data", directory)
    sizes = image_files(f"--data={name}", root, "")
    return open_images(name, partial(os.path.join, root), sizes, wanted)


def open_images(
    name: str, file_of: Callable[[str], str | bytes], sizes: FileSizes, wanted: Wanted, class_of: ClassOf = top_folder
) -> Source:
    """Open single images, listed in `sizes`; `file_of` is that of `ImageFiles`. Raises `UserError` as `open_folder`."""
    paths = first_of_classes(list(sizes), wanted, class_of)
    source = _opened(ImageFiles(name, file_of, {"images": (paths,)}), sizes, wanted)
    classes = [class_of(path) for path in paths]
    if len(set(classes)) > 1:
        source.set_classes(classes)
    beside = [path for path in sizes if class_of(path) == ""]
    if beside and "" not in classes:
        source.notes = (f"images beside the class folders are left out: {in_short(beside)}",)
    return source


def open_pairs(directory: str, split: str, wanted: Wanted) -> Source:
    """Open pairs: the left and right halves of files, or the files of one name in two folders A and B.

    Raises `UserError` as `open_folder`, and if a file has no counterpart or the images of a pair differ in size.
    """
    name, root = f"pairs:{directory}", expanded("--data", directory)
    folders = pair_folders(f"--data={name}", root, split)
    listings = [image_files(f"--data={name}", root, folder) for folder in folders]
    halved = len(folders) == 1
    below = sorted({top_folder(path) for path in listings[0]})
    names = {os.path.basename(path) for path in listings[0]}
    if folders == ("",) and len(below) == 2 and 2 * len(names) == len(listings[0]):
        raise UserError(f"--data={name}: folders of pairs must be named A and B: rename {' and '.join(below)}.")
    paths = (list(listings[0]),) if halved else matched(f"--data={name}", folders, listings)
    sizes = {path: size for listing in listings for path, size in listing.items()}
    return _opened(ImageFiles(name, partial(os.path.join, root), {"pairs": paths}, halved), sizes, wanted)


def open_unpaired(directory: str, split: str, wanted: Wanted) -> Source:
    """Open two domains: folders testA and testB if the split is "test" and both exist, else trainA and trainB.

    Raises `UserError` as `open_folder`.
    """
    name, root = f"unpaired:{directory}", expanded("--data", directory)
    has_test = all(os.path.isdir(os.path.join(root, folder)) for folder in ("testA", "testB"))
    prefix = "test" if split == "test" and has_test else "train"
    listings = {domain: image_files(f"--data={name}", root, prefix + domain) for domain in "AB"}
    streams: Streams = {domain: (list(listing),) for domain, listing in listings.items()}
    files = ImageFiles(name, partial(os.path.join, root), streams)
    return _opened(files, listings["A"] | listings["B"], wanted)


def _opened(files: ImageFiles, sizes: FileSizes, wanted: Wanted) -> Source:
    if "images" not in files.streams and (wanted.max_classes or wanted.max_images_per_class):
        raise UserError(f"--data={files.name} has no classes: remove --max_classes and --max_images_per_class.")
    seen = _sample(files, wanted.image_size)
    size = wanted.image_size or _one_size(files.name, seen)
    channels = wanted.channels or (1 if all(picture.grey for picture in seen) else 3)
    shapes = wanted.shapes(size, channels, 2 if "pairs" in files.streams else 1)
    streams = {stream: len(paths[0]) for stream, paths in files.streams.items()}
    fingerprint = _fingerprint(files, sizes, (*shapes[0], wanted.margin_pixels, wanted.fit))
    source = FileSource(files.name, streams, *shapes, fingerprint, faults=files.faults, files=files, fit=wanted.fit)
    source.num_files = sum(len(paths) for lists in files.streams.values() for paths in lists)
    return source


def _sample(files: ImageFiles, size: tuple[int, int] | None) -> list[Seen]:
    most = MOST_SAMPLED // sum(len(lists) for lists in files.streams.values())
    examples = []
    for stream, (paths, *_) in files.streams.items():
        number = min(len(paths), most)
        examples += [(stream, place * len(paths) // number) for place in range(number)]

    def look(example: tuple[str, int]) -> list[Seen]:
        pictures, path = files.pictures(*example, size), files.paths(*example)[0]
        mismatch = files.mismatch(*example, pictures)
        if mismatch:
            raise UserError(f"--data={files.name}: {path} is {mismatch}: both must have one size.")
        return [Seen(path, (picture.height, picture.width), picture.mode == "L") for picture in pictures]

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        seen = [picture for found in pool.map(look, examples) for picture in found]
    num_files = sum(len(files.streams[stream]) for stream, _ in examples)
    refuse_faults(files.name, dict(sorted(files.faults.items())), num_files)
    return seen


def _one_size(name: str, seen: list[Seen]) -> tuple[int, int]:
    paths = {picture.size: picture.path for picture in reversed(seen)}
    if len(paths) > 1:
        some = " and ".join(f"{height}x{width} ({paths[height, width]})" for height, width in sorted(paths)[:2])
        raise UserError(f"--data={name} holds images of several sizes, such as {some}: give --image_size=HxW.")
    return next(iter(paths))


def _fingerprint(files: ImageFiles, sizes: FileSizes, settings: tuple[object, ...]) -> str:
    digest = hashlib.sha256(repr((files.name.partition(":")[0], list(files.streams), settings)).encode())
    for paths in chain.from_iterable(files.streams.values()):
        for path in paths:
            digest.update(os.fsencode(f"{path}\0{sizes[path]}\0"))
    return digest.hexdigest()
