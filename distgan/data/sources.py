"""Data sets by their --data names, without an import of TensorFlow, so that a flag check stays quick."""

import os
from collections.abc import Callable
from typing import NamedTuple

from distgan import paths
from distgan.data import archives, arrays, derived, emoji, folders, npz, parquet, tfds
from distgan.data.base import Source, Wanted
from distgan.errors import UserError


class SourceKind(NamedTuple):
    """A kind of data set: its --data spelling, streams, and open function (text after the colon, split, wanted)."""

    spelling: str
    streams: tuple[str, ...]
    open: Callable[[str, str, Wanted], Source]


OF_PATHS = ("folder", "zip", "tar", "npz", "parquet")  # kinds that are recognised by a path
IMAGES, PAIRS, DOMAINS = ("images",), ("pairs",), ("A", "B")
SOURCES = {
    "mnist": SourceKind("mnist", IMAGES, lambda _, split, wanted: arrays.open_mnist(split).source(wanted)),
    "mnist-colours": SourceKind("mnist-colours", IMAGES, lambda _, split, wanted: derived.open_colours(split, wanted)),
    "mnist-edges": SourceKind("mnist-edges", PAIRS, lambda _, split, wanted: derived.open_edges(split, wanted)),
    "mnist-domains": SourceKind("mnist-domains", DOMAINS, lambda _, split, wanted: derived.open_domains(split, wanted)),
    "emoji": SourceKind("emoji", IMAGES, lambda _, split, wanted: emoji.open_images(split, wanted)),
    "emoji-styles": SourceKind("emoji-styles", PAIRS, lambda _, split, wanted: emoji.open_styles(split, wanted)),
    "emoji-domains": SourceKind("emoji-domains", DOMAINS, lambda _, split, wanted: emoji.open_domains(split, wanted)),
    "idx": SourceKind("idx:DIR", IMAGES, lambda rest, split, wanted: arrays.open_idx(rest, split).source(wanted)),
    "folder": SourceKind("folder:DIR", IMAGES, folders.open_folder),
    "zip": SourceKind("zip:FILE", IMAGES, archives.open_zip),
    "tar": SourceKind("tar:FILES", IMAGES, archives.open_tar),
    "npz": SourceKind("npz:FILE", IMAGES, lambda rest, _, wanted: npz.open_npz(rest).source(wanted)),
    "parquet": SourceKind("parquet:FILES", IMAGES, parquet.open_parquet),
    "pairs": SourceKind("pairs:DIR", PAIRS, folders.open_pairs),
    "unpaired": SourceKind("unpaired:DIR", DOMAINS, folders.open_unpaired),
    "hf": SourceKind("hf:NAME", IMAGES, parquet.open_hub),
    "tfds": SourceKind("tfds:NAME", IMAGES, tfds.open_tfds),
}


def open_source(data: str, split: str, wanted: Wanted) -> Source:
    """Open the data set that --data names; `split` is "train" or "test" (held-out images, if the data has them).

    Raises `UserError` if `data` names no data set (see `kind_of`), or the data set is invalid or empty.
    """
    source = kind_of(data).open(data.partition(":")[2], split, wanted)
    empty = [stream for stream, number in source.streams.items() if not number]
    if empty:
        raise UserError(f"--data={data} has no {' and no '.join(empty)} left: raise --max_images_per_class.")
    return source


def kind_of(data: str) -> SourceKind:
    """Return the kind of data set that --data names, without access to any file.

    Raises `UserError` if the kind is unknown, or if the text after the colon is missing or not needed.
    """
    scheme, _, rest = data.partition(":")
    kind = SOURCES.get(scheme)
    if kind is None or (":" in kind.spelling) != bool(rest):
        allowed = ", ".join(known.spelling for known in SOURCES.values())
        scheme = "folder" if os.path.isdir(data) else os.path.splitext(data)[1][1:]
        meant = f" For the images in it give --data={scheme}:{data}." if scheme in OF_PATHS else ""
        raise UserError(f"--data={data} names no data set: it may be one of {allowed}.{meant}")
    paths.check_local("data", data)
    return kind
