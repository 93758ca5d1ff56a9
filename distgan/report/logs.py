"""Logs on disk: a run appends records, and a resumed run first cuts off the records after its checkpoint."""

import io
import itertools
import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter

Steps = Iterator[tuple[int, int]]  # (step, end in bytes) of each complete record of a log


def record_of(event: Event) -> bytes:
    """Return an event, at the present time, as a record of a TensorBoard file."""
    event.wall_time = time.time()
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def append(path: Path, record: bytes) -> None:
    """Append the complete record; if the disk is full, append nothing and raise `OSError`."""
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
    """Cut a log at its first record of step `first_new` or later, or at an incomplete record.

    One system call shortens the file: it is atomic and needs no disk space.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        kept = itertools.takewhile(lambda record: record[0] < first_new, steps(file))
        end = max((end for _, end in kept), default=0)
    if end < path.stat().st_size:
        os.truncate(path, end)


def steps_of_lines(file: BinaryIO) -> Steps:
    """Yield the step and the end of each record of a metrics.jsonl; a line without a step is before all steps."""
    for line in file:
        step = -1
        with suppress(ValueError, TypeError, KeyError, OverflowError):
            step = int(json.loads(line)["step"])
        if line.endswith(b"\n"):
            yield step, file.tell()


def steps_of_events(file: BinaryIO) -> Steps:
    """Yield the step and end of each record of a TensorBoard file (TFRecord); does not check the bodies' checksums."""
    while len(header := file.read(12)) == 12:
        length, checksum = struct.unpack("<QI", header)
        if checksum != masked_crc32c(header[:8]):
            return
        body = file.read(length + 4)
        if len(body) < length + 4:
            return
        with suppress(DecodeError):
            yield Event.FromString(body[:-4]).step, file.tell()
