"""Data at addresses that TensorFlow reads, such as gs://bucket/name; and the same questions asked of this machine."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from distgan.paths import is_address

_CODES = {"NotFoundError": errno.ENOENT, "PermissionDeniedError": errno.EACCES, "UnauthenticatedError": errno.EACCES}


def read(path: str) -> bytes:
    """Read a remote file. Raises `OSError`."""
    with _as_system_errors(path), _gfile().GFile(path, "rb") as file:
        return bytes(file.read())


def is_directory(path: str) -> bool:
    """Whether there is a directory; of a remote one, whether something is in it."""
    return bool(_gfile().isdir(path)) if is_address(path) else os.path.isdir(path)


def walk(root: str) -> Iterator[tuple[str, int]]:
    """The files under a remote directory, relative to it, with their sizes. Raises `OSError`."""
    with _as_system_errors(root):
        _gfile().stat(root)  # which says why it can't, as isdir does not
        for folder, _, names in _gfile().walk(root):
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                yield path[len(root) :].strip("/"), _gfile().stat(path).length


def copy_here(root: str, directory: Path, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Copy the files under a remote directory whose names are wanted. Raises `OSError`."""
    for name, _ in walk(root):
        if wanted(name) and ".." not in PurePosixPath(name).parts:  # as an object may be named that lies nowhere
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(read(f"{root.rstrip('/')}/{name}"))


@contextlib.contextmanager
def _as_system_errors(path: str) -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        words = str(error.message).partition("\n")[0][:200]
        raise OSError(_CODES.get(type(error).__name__, errno.EIO), words, path) from None


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile
