"""Data sets, by the name that --data gives them; without TensorFlow, so that a flag check stays quick."""

from collections.abc import Callable
from typing import NamedTuple

from distgan.data import arrays, derived, folders, tfds
from distgan.data.base import Source, Wanted
from distgan.errors import UserError


class SourceKind(NamedTuple):
    """How --data spells a kind of data set, its streams, and what opens it: (what follows the colon, split, wanted)."""

    spelling: str
    streams: tuple[str, ...]
    open: Callable[[str, str, Wanted], Source]


IMAGES, PAIRS, DOMAINS = ("images",), ("pairs",), ("A", "B")


SOURCES = {
    "mnist": SourceKind("mnist", IMAGES, lambda _, split, wanted: arrays.open_mnist(split).source(wanted)),
    "mnist-colours": SourceKind("mnist-colours", IMAGES, lambda _, split, wanted: derived.open_colours(split, wanted)),
    "mnist-edges": SourceKind("mnist-edges", PAIRS, lambda _, split, wanted: derived.open_edges(split, wanted)),
    "mnist-domains": SourceKind("mnist-domains", DOMAINS, lambda _, split, wanted: derived.open_domains(split, wanted)),
    "idx": SourceKind("idx:DIR", IMAGES, lambda rest, split, wanted: arrays.open_idx(rest, split).source(wanted)),
    "folder": SourceKind("folder:DIR", IMAGES, folders.open_folder),
    "pairs": SourceKind("pairs:DIR", PAIRS, folders.open_pairs),
    "unpaired": SourceKind("unpaired:DIR", DOMAINS, folders.open_unpaired),
    "tfds": SourceKind("tfds:NAME", IMAGES, tfds.open_tfds),
}


def open_source(data: str, split: str, wanted: Wanted) -> Source:
    """Open the data set that --data names; `split` is "train" or "test", which means held out where there is one.

    Raises `UserError` where `data` names no data set (see `check_name`), or the data set is unsound.
    """
    check_name(data)
    scheme, _, rest = data.partition(":")
    source = SOURCES[scheme].open(rest, split, wanted)
    empty = [stream for stream, number in source.streams.items() if not number]
    if empty:
        raise UserError(f"--data={data} has no {' and no '.join(empty)} left: take more with --max_images_per_class.")
    return source


def streams_of(data: str) -> tuple[str, ...]:
    """The streams of the data set that --data names: ("images",), ("pairs",) or ("A", "B")."""
    return SOURCES[data.partition(":")[0]].streams


def check_name(data: str) -> None:
    """Check how `data` is spelled, and look at no file.

    Raises `UserError` where the kind of data set is unknown, or what follows the colon is missing or needless.
    """
    scheme, _, rest = data.partition(":")
    if scheme not in SOURCES or (":" in SOURCES[scheme].spelling) != bool(rest):
        allowed = ", ".join(kind.spelling for kind in SOURCES.values())
        raise UserError(f"--data={data} names no data set: it may be one of {allowed}.")
