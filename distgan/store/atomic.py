"""Atomic writes: a file or a directory appears complete, or the previous one stays."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write a file, and create the directories above it. Raises an `OSError` that names `path`."""
    with replaced(path) as unfinished:
        unfinished.write_bytes(content)


@contextlib.contextmanager
def replaced(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path to write a file or a directory to, which replaces the one at `path` when the context ends.

    With `durable`, it is flushed to the disk by then. If the context ends with an error, `path` is unchanged. Raises
    an `OSError` that names `path`.
    """
    unfinished = path.parent / f".unfinished-{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(unfinished)  # left by a process that was killed
        yield unfinished
        if durable:
            for written in (*unfinished.rglob("*"), unfinished):
                _flush(written)
        _put(unfinished, path)
        if durable:
            _flush(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            remove(unfinished)


def _put(unfinished: Path, path: Path) -> None:
    if path.is_dir() and unfinished.is_file():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not path.is_dir():
        os.replace(unfinished, path)
        return
    old = path.with_name(f".old-{path.name}")  # a directory can't be replaced in one call
    remove(old)
    os.replace(path, old)
    os.replace(unfinished, path)
    remove(old)


def remove(path: Path) -> None:
    """Remove a file, or a directory with all its contents, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # as of FUSE and SMB mounts
            raise
    finally:
        os.close(descriptor)
