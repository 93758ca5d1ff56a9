"""Logs on disk, which are appended to record by record, and cut where a resumed run goes on."""

import itertools
import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

Steps = Iterator[tuple[int, int]]  # (step, end in bytes) of each whole record of a log


def append(path: Path, record: bytes) -> None:
    """Add the whole record or, where the disk is full, nothing of it."""
    with open(path, "ab", buffering=0) as file:
        end = file.tell()
        try:
            while record:
                record = record[file.write(record) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def cut(path: Path, steps: Callable[[BinaryIO], Steps], first_new: int) -> None:
    """Cut a log at its first record of a step from `first_new` on, or at a half-written one.

    One system call shortens the file, which asks for no space and is done or not done.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        kept = itertools.takewhile(lambda record: record[0] < first_new, steps(file))
        end = max((end for _, end in kept), default=0)
    if end < path.stat().st_size:
        os.truncate(path, end)


def steps_of_lines(file: BinaryIO) -> Steps:
    """The records of a metrics.jsonl."""
    for line in file:
        if line.endswith(b"\n"):
            yield _step_of_line(line), file.tell()


def _step_of_line(line: bytes) -> int:
    """The step of a line of metrics.jsonl; a line that says none is as old as can be."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return -1


def steps_of_events(file: BinaryIO) -> Steps:
    """The records of a file of TensorBoard, in the TFRecord format; it leaves the bodies' checksums to TensorBoard."""
    while len(header := file.read(12)) == 12:
        length, checksum = struct.unpack("<QI", header)
        if checksum != masked_crc32c(header[:8]):
            return
        body = file.read(length + 4)
        if len(body) < length + 4:
            return
        with suppress(DecodeError):
            yield Event.FromString(body[:-4]).step, file.tell()
