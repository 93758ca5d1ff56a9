"""Images in zip and tar files, which are read where they are: nothing is unpacked to disk."""

import errno
import glob
import hashlib
import io
import json
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import numpy as np

from distgan.data.arrays import checked_labels
from distgan.data.base import TOO_LARGE, Source, Wanted
from distgan.data.folders import open_images
from distgan.data.images import EXTENSIONS, BadImageError
from distgan.data.trees import LOOKED_FOR, is_left_out, top_folder
from distgan.errors import UserError, first_line, sentence_of
from distgan.paths import check_regular, expanded

MAX_BYTES = 2**28  # of a file in an archive, packed or not: more than 67 megapixels in RGB
MAX_LISTING_BYTES = 2**26  # of dataset.json: its lists take many times as much memory
LARGEST_OFFSET = 2**62  # in a file, in bytes
MOST_OPEN = 256  # archives that are kept open: a process may open no more than 1,024 files on many systems
LABELS_FILE = "dataset.json"  # of StyleGAN and EDM: {"labels": [[path, label], ...]}, or null for labels
CLASS_EXTENSION, MOST_DIGITS = ".cls", 16  # of WebDataset
LOCAL_HEADER = struct.Struct("<4s22xHH")  # before a file in a zip file: signature, lengths of the name and extra field
UNPACKERS = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"(\xb5/\xfd": "unzstd"}


class Entry(NamedTuple):
    """A file in an archive.

    offset: of the file's bytes; in a zip file, whose entries have a `crc`, of the header before them.
    packed_bytes, size_bytes: the length in the archive, and unpacked.
    label: the class; "" for none, and None if it is the top folder.
    """

    archive: str
    offset: int
    packed_bytes: int
    size_bytes: int
    crc: int | None = None
    deflated: bool = False
    label: int | str | None = None


Entries = dict[str, Entry]  # path -> where it is


class _File(io.FileIO):
    """A file that is closed when nothing uses it any more."""

    def __del__(self) -> None:
        self.close()


class Archives:
    """Files in archives; several threads may read at once."""

    def __init__(self) -> None:
        """Begin without archives; each is opened when it is first read."""
        self._sizes: dict[str, int] = {}
        self._opened = lru_cache(MOST_OPEN)(self._open)

    def _open(self, archive: str) -> _File:
        file = _File(archive)
        size = os.fstat(file.fileno()).st_size
        if self._sizes.setdefault(archive, size) != size:
            raise OSError(errno.ESTALE, "it was changed while it was read", archive)
        return file

    def read(self, entry: Entry) -> bytes:
        """Return a file's bytes. Raises `BadImageError` if they are not whole, `OSError` if the system can't read."""
        most = max(entry.packed_bytes, entry.size_bytes)
        if most > MAX_BYTES:
            raise BadImageError(f"{TOO_LARGE}: it has {most:,} bytes")
        try:
            content = self._packed(entry)
            if entry.deflated:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.size_bytes + 1)
        except MemoryError as error:
            raise BadImageError(f"{TOO_LARGE} for the memory") from error
        except (zlib.error, struct.error) as error:
            raise BadImageError("damaged") from error
        except OSError as error:
            raise OSError(error.errno, error.strerror, entry.archive) from error
        if len(content) != entry.size_bytes or entry.crc not in (None, zlib.crc32(content)):
            raise BadImageError("truncated" if len(content) < entry.size_bytes else "damaged")
        return content

    def _packed(self, entry: Entry) -> bytes:
        file, offset = self._opened(entry.archive), entry.offset  # `file` stays open as long as it has a name
        if entry.crc is not None:
            signature, *lengths = LOCAL_HEADER.unpack(os.pread(file.fileno(), LOCAL_HEADER.size, offset))
            if signature != b"PK\3\4":
                raise BadImageError("damaged")
            offset += LOCAL_HEADER.size + sum(lengths)
        return os.pread(file.fileno(), entry.packed_bytes, offset)


def open_zip(file: str, split: str, wanted: Wanted) -> Source:
    """Open a zip file of a folder of images, or in the format of StyleGAN and EDM; the same for each split.

    Classes are the labels in dataset.json if it is there (https://github.com/NVlabs/edm), else the top folders.
    Raises `UserError` as `open_folder`, and if the file, an entry of it or dataset.json is invalid.
    """
    name, archives = f"zip:{file}", Archives()
    entries = _listed(name, expanded("--data", file), _zip_entries)
    around = _folder_around(entries)
    listing = entries.get(around + LABELS_FILE)
    pictures = {path: entry for path, entry in entries.items() if not path.endswith(LABELS_FILE)}
    if listing:
        what = f"--data={name}: {around}{LABELS_FILE}"
        if listing.size_bytes > MAX_LISTING_BYTES:
            raise UserError(f"{what} has {listing.size_bytes:,} bytes, and at most {MAX_LISTING_BYTES:,} are read.")
        try:
            labels = _labels_of(what, json.loads(archives.read(listing)))
        except UserError:
            raise
        except Exception as error:  # damaged, not UTF-8, not JSON, nested too deeply
            raise UserError(f"{what} can't be read as JSON ({first_line(error)}): make the file again.") from error
        if labels is not None:
            pictures = _labelled(what, pictures, {around + path: label for path, label in labels.items()})
    return _opened(name, archives, pictures, wanted)


def open_tar(files: str, split: str, wanted: Wanted) -> Source:
    """Open images in uncompressed tar files, such as the shards of a WebDataset; the same for each split.

    files: a path, or a pattern of the shell. Classes are the numbers in .cls files if each image has one, else the top
    folders. Raises `UserError` as `open_folder`, and if a file or a class is invalid.
    """
    name, path = f"tar:{files}", expanded("--data", files)
    shards = [path] if os.path.lexists(path) else sorted(glob.glob(path))
    if not shards:
        raise UserError(f"--data={name}: no file has this name: give a tar file, or a pattern such as 'shards/*.tar'.")
    entries: Entries = {}
    for number, shard in enumerate(shards, 1):
        for member, entry in _listed(name, shard, _tar_entries).items():
            entries[f"{member} of shard {number}" if member in entries else member] = entry
    labels = [entry.label for entry in entries.values() if entry.label is not None]
    checked_labels(f"--data={name}", np.array(labels, np.int64))
    if len(labels) < len(entries):
        entries = {path: entry._replace(label=None) for path, entry in entries.items()}
    source = _opened(name, Archives(), entries, wanted)
    if 0 < len(labels) < len(entries):
        source.notes += (f"{CLASS_EXTENSION} files are not used: {len(entries) - len(labels)} images have none",)
    return source


def _opened(name: str, archives: Archives, entries: Entries, wanted: Wanted) -> Source:
    if not entries:
        raise UserError(f"--data={name} holds no {LOOKED_FOR}: give a file that does.")
    around = _folder_around(entries)

    def class_of(path: str) -> int | str:
        label = entries[path].label
        return top_folder(path.removeprefix(around)) if label is None else label

    sizes = {path: entries[path].size_bytes for path in sorted(entries)}
    source = open_images(name, lambda path: archives.read(entries[path]), sizes, wanted, class_of)
    hash_classes(source)
    return source


def hash_classes(source: Source) -> None:
    """Make the fingerprint depend on the classes, for a source whose paths do not name them."""
    if source.labels is not None:
        classes = repr((source.fingerprint, source.class_names)).encode() + source.labels.astype("<i4").tobytes()
        source.fingerprint = hashlib.sha256(classes).hexdigest()


def _folder_around(entries: Entries) -> str:
    """Return the one folder that holds all files, with a slash; "" if there is none."""
    tops = {top_folder(path) for path in entries}
    return f"{tops.pop()}/" if len(tops) == 1 and "" not in tops else ""


def _listed(name: str, file: str, entries_of: Callable[[str], Entries]) -> Entries:
    try:
        check_regular(file)
        return entries_of(file)
    except OSError as error:
        raise UserError(f"--data={name}: {sentence_of(error)}") from error
    except UserError as error:
        raise UserError(f"--data={name}: {file} {error}") from None
    except Exception as error:  # zipfile and tarfile raise errors of many types
        raise UserError(
            f"--data={name}: {file} is truncated or damaged ({first_line(error)}): make it again."
        ) from None


def _add(entries: Entries, name: str, entry: Entry, names: tuple[str, ...] = EXTENSIONS) -> None:
    """Add a file if its name is one of `names` and not hidden; a first slash is removed, ".." is part of the name."""
    path = "/".join(part for part in name.split("/") if part not in ("", "."))
    if name.lower().endswith(names) and not _is_hidden(name):
        if path in entries:
            raise UserError(f"holds two files named {path}: remove one of them.")
        entries[path] = entry


def _is_hidden(name: str) -> bool:
    return any(part not in (".", "..") and is_left_out(part) for part in name.split("/"))


def _zip_entries(file: str) -> Entries:
    entries: Entries = {}
    with zipfile.ZipFile(file) as archive:
        files = [info for info in archive.infolist() if not stat.S_ISLNK(info.external_attr >> 16)]
    for info in files:
        name = info.filename.replace("\\", "/") if info.create_system == 0 else info.filename  # 0: made on Windows
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        entry = Entry(file, info.header_offset, info.compress_size, info.file_size, info.CRC, deflated)
        before = len(entries)
        _add(entries, name, entry, (*EXTENSIONS, LABELS_FILE))
        if len(entries) > before and info.flag_bits & 1:
            raise UserError(f"holds {name}, which is encrypted: make the file without a password.")
        if len(entries) > before and info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(
                f"holds {name}, compressed by method {info.compress_type}: make the file with zip -0 or zip -6."
            )
        if not 0 <= entry.offset <= LARGEST_OFFSET:
            raise ValueError(f"{name} has an impossible offset")
    return entries


def _labels_of(what: str, content: object) -> dict[str, int] | None:
    """Return the labels of a dataset.json by path; {} if there are none, None if it is in another format."""
    if not isinstance(content, dict) or "labels" not in content:
        return None
    pairs = content["labels"] or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and [*map(type, pair)] == [str, int] for pair in pairs
    ):
        raise UserError(f'{what} must hold {{"labels": [[path, whole number], ...]}}, or null for labels.')
    checked_labels(what, np.array([label for _, label in pairs], np.int64))
    return dict(pairs)


def _labelled(what: str, entries: Entries, labels: dict[str, int]) -> Entries:
    for some, others, lack in ((labels, entries, "is not in the file"), (entries, labels, "has no label")):
        missing = [path for path in some if path not in others]
        if missing and labels:
            raise UserError(f"{what}: {missing[0]} {lack} ({len(missing)} of {len(some)}): make the file again.")
    return {path: entry._replace(label=labels.get(path, "")) for path, entry in entries.items()}


def _tar_entries(file: str) -> Entries:
    entries: Entries = {}
    classes: dict[str, int] = {}
    with open(file, "rb") as stream:
        start = stream.read(8)
        for magic, unpacker in UNPACKERS.items():
            if start.startswith(magic):
                raise UserError(f"is compressed, so that single files can't be read: unpack it with {unpacker}.")
        stream.seek(0)
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                if not member.isreg() or member.issparse():
                    continue
                _add(entries, member.name, Entry(file, member.offset_data, member.size, member.size))
                if member.name.endswith(CLASS_EXTENSION) and not _is_hidden(member.name):
                    text = _bytes_at(stream, member.offset_data, min(member.size, MOST_DIGITS))
                    if not text.strip().isdigit():
                        raise UserError(f"holds {member.name} with {text!r}: it must be a whole number.")
                    sample = _sample_of(member.name)
                    if classes.setdefault(sample, int(text)) != int(text):
                        raise UserError(f"has two classes of {sample}: names must differ before their first dot.")
            if any(_bytes_at(stream, archive.offset, tarfile.BLOCKSIZE)):  # where `tarfile` stops without an error
                raise ValueError(f"no file begins at byte {archive.offset}")
    return {path: entry._replace(label=classes.get(_sample_of(path))) for path, entry in entries.items()}


class _Header(tarfile.TarInfo):
    """A header of a file in a tar file; in some versions of `tarfile`, a negative size has no end (CVE-2025-8194)."""

    def _block(self, count: int) -> int:
        if not 0 <= count < LARGEST_OFFSET:
            raise tarfile.ReadError("a file in it has an impossible size")
        return super()._block(count)  # type: ignore[misc]


def _bytes_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def _sample_of(name: str) -> str:
    """Return what the files of a sample have in common: the name up to the first dot after the folders."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    return folder + slash + file.partition(".")[0]
