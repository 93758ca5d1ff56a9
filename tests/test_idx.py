"""An IDX file is read as it was written, or refused in one sentence."""

import gzip
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from idx_files import CODES, idx_bytes

from distgan.data.idx import read_idx
from distgan.errors import UserError


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_idx(path)
    sentence = str(caught.value)
    assert str(path) in sentence and sentence.endswith(".") and "\n" not in sentence
    return sentence


def write(tmp_path: Path, contents: bytes) -> Path:
    path = tmp_path / "some-idx3-ubyte"
    path.write_bytes(contents)
    return path


ARRAY = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
WHOLE = idx_bytes(ARRAY)
HEADER_BYTES = 4 + 4 * 3


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (4, 3, 2), (2, 3, 4, 3), (0, 28, 28)], ids=str)
@pytest.mark.parametrize("dtype", CODES)
def test_every_type_and_rank_comes_back_as_written(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], pack: Callable[[bytes], bytes]
) -> None:
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    written = np.frombuffer(np.random.default_rng(0).bytes(num_bytes), dtype).reshape(shape)
    read = read_idx(write(tmp_path, pack(idx_bytes(written))))
    assert read.dtype == np.dtype(dtype) and read.dtype.isnative
    np.testing.assert_array_equal(read, written, strict=True)


def test_the_last_dimension_runs_fastest_and_values_are_big_endian(tmp_path: Path) -> None:
    contents = bytes.fromhex("00 00 0b 02  00000002 00000003  0001 0002 0003 0100 0200 ffff")
    assert read_idx(write(tmp_path, contents)).tolist() == [[1, 2, 3], [256, 512, -1]]


def test_gzip_is_told_by_the_contents_and_not_by_the_name(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.gz", tmp_path / "packed"
    plain.write_bytes(WHOLE)
    packed.write_bytes(gzip.compress(WHOLE, mtime=0))
    np.testing.assert_array_equal(read_idx(plain), ARRAY, strict=True)
    np.testing.assert_array_equal(read_idx(str(packed)), ARRAY, strict=True)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "train-images-idx3-ubyte")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize("contents", [b"", gzip.compress(b"", mtime=0)], ids=["plain", "gzipped"])
def test_an_empty_file_is_refused(tmp_path: Path, contents: bytes) -> None:
    assert "is empty" in refusal(write(tmp_path, contents))


@pytest.mark.parametrize(
    "contents",
    [
        b"<!DOCTYPE html>",  # what a dead mirror serves
        b"PK\x03\x04zipped",
        b"\x00\x00\x00\x00" * 10,  # what a full disk leaves
        b"\x00\x00\x0a\x01" + WHOLE[4:],  # no such type
        b"\x00\x01" + WHOLE[2:],
        b"\x00\x00\x08\xff" + b"\x00" * 2000,  # a rank beyond NumPy's
        b"\x00\x00\x08",
        gzip.compress(b"not numbers", mtime=0),
    ],
)
def test_what_is_not_idx_is_refused_with_its_first_bytes(tmp_path: Path, contents: bytes) -> None:
    first = gzip.decompress(contents) if contents[:2] == b"\x1f\x8b" else contents
    sentence = refusal(write(tmp_path, contents))
    assert "is not an IDX file" in sentence and first[:4].hex(" ") in sentence


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("missing", [1, 30, 60])
def test_a_truncated_file_is_refused_with_what_it_has_and_should_have(
    tmp_path: Path, missing: int, pack: Callable[[bytes], bytes]
) -> None:
    sentence = refusal(write(tmp_path, pack(WHOLE[:-missing])))
    assert "is truncated" in sentence
    assert "60 bytes" in sentence and f"and {60 - missing} follow" in sentence


@pytest.mark.parametrize("length", [4, 5, HEADER_BYTES - 1])
def test_a_header_cut_short_is_refused_with_its_length(tmp_path: Path, length: int) -> None:
    sentence = refusal(write(tmp_path, WHOLE[:length]))
    assert f"it ends in its header, after {length} bytes." in sentence


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_file_longer_than_its_header_says_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    sentence = refusal(write(tmp_path, pack(WHOLE + b"\n")))
    assert "is too long" in sentence and "60 bytes" in sentence and "more follow" in sentence


def damaged(position: int) -> bytes:
    packed = bytearray(gzip.compress(WHOLE, mtime=0))
    packed[position] ^= 0xFF
    return bytes(packed)


@pytest.mark.parametrize(
    "contents",
    [
        gzip.compress(WHOLE, mtime=0)[:-12],  # a download cut off
        gzip.compress(WHOLE, mtime=0)[:5],
        damaged(position=-6),  # the checksum at its end
        damaged(position=10),  # the deflated stream
        damaged(position=2),  # the method
        gzip.compress(WHOLE, mtime=0) + b"trailing",
    ],
    ids=["cut", "cut in header", "checksum", "stream", "method", "trailing bytes"],
)
def test_a_broken_gzip_file_is_refused(tmp_path: Path, contents: bytes) -> None:
    assert "is a broken gzip file" in refusal(write(tmp_path, contents))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_header_that_calls_for_terabytes_is_refused_without_taking_them(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    contents = struct.pack(">BBBB3I", 0, 0, 0x08, 3, 60000, 28000, 28000) + bytes(60)
    sentence = refusal(write(tmp_path, pack(contents)))
    assert f"{60000 * 28000 * 28000} bytes" in sentence and "60 follow" in sentence


@pytest.mark.parametrize("first", [0, 1, 2**32 - 1])
def test_a_header_that_no_memory_could_hold_is_refused(tmp_path: Path, first: int) -> None:
    contents = struct.pack(">BBBB3I", 0, 0, 0x08, 3, first, 2**32 - 1, 2**32 - 1) + bytes(60)
    sentence = refusal(write(tmp_path, contents))
    assert "invalid header" in sentence and "4294967295" in sentence
