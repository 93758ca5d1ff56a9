"""The IDX file format of MNIST and similar data sets: one array of numbers in one file.

Two zero bytes, a type code, the number of dimensions; then the dimensions as big-endian uint32; then the
values, big-endian, last dimension fastest (http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import math
import struct
import sys
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil

from distgan.errors import UserError
from distgan.paths import check_regular

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_RANK = 32
PART_BYTES = 2**26
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, gzipped or not (detected from its first bytes, not from its name).

    Returns an array of the header's shape and type in native byte order; it may be read-only. Raises `UserError`,
    which names `path`, if the file is missing, unreadable, empty, a broken gzip file, not IDX, or shorter or longer
    than its header states.
    """
    path = Path(path)
    try:
        check_regular(path)
        with path.open("rb") as file:
            is_gzip = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if not is_gzip:
                return _read_array(file, path)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read_array(unpacked, path)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path} is a broken gzip file ({error}); fetch it again.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


def _read_array(stream: BinaryIO | gzip.GzipFile, path: Path) -> np.ndarray:
    dtype, shape = _read_header(stream, path)
    expected_bytes = math.prod(shape) * dtype.itemsize
    values = _read_up_to(stream, expected_bytes + 1, path)
    if len(values) != expected_bytes:
        follow = f"{len(values)} follow" if len(values) < expected_bytes else "more follow"
        raise UserError(
            f"{path} is {'truncated' if len(values) < expected_bytes else 'too long'}: its header calls for "
            f"{expected_bytes} bytes of values ({dtype.name} {list(shape)}), and {follow} it."
        )
    array = np.frombuffer(values, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_up_to(stream: BinaryIO | gzip.GzipFile, most_bytes: int, path: Path) -> bytes:
    """Read in parts, so that a wrong header allocates no memory; raise `UserError` if the memory is too small."""
    parts, have_bytes = [], 0
    while have_bytes < most_bytes and (part := stream.read(min(PART_BYTES, most_bytes - have_bytes))):
        parts.append(part)
        have_bytes += len(part)
        if have_bytes > psutil.virtual_memory().available:
            raise UserError(f"{path} does not fit in memory: it was read up to {have_bytes} bytes.")
    return b"".join(parts)


def _read_header(stream: BinaryIO | gzip.GzipFile, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if not magic:
        raise UserError(f"{path} is empty.")
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] > MAX_RANK:
        raise UserError(
            f"{path} is not an IDX file: it begins with the bytes {magic.hex(' ')}. An IDX file begins with 00 00, "
            f"a type code ({', '.join(f'{code:02x}' for code in DTYPES)}) and the rank."
        )
    rank = magic[3]
    dimensions = stream.read(4 * rank)
    if len(dimensions) < 4 * rank:
        raise UserError(f"{path} is truncated: it ends in its header, after {4 + len(dimensions)} bytes.")
    shape = struct.unpack(f">{rank}I", dimensions)
    dtype = np.dtype(DTYPES[magic[2]])
    # NumPy counts a dimension of 0 as 1 here, so it refuses some shapes that hold no values.
    if math.prod(dimension or 1 for dimension in shape) * dtype.itemsize > sys.maxsize:
        raise UserError(f"{path} has an invalid header: {dtype.name} {list(shape)}, too large. Download it again.")
    return dtype, shape
