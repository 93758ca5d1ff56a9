"""Files of this machine, and those on what else TensorFlow reads by an address, such as gs://bucket/name or ram://name."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

_CODES = {"NotFoundError": errno.ENOENT, "PermissionDeniedError": errno.EACCES, "UnauthenticatedError": errno.EACCES}


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address such as gs://bucket/name."""
    return "://" in str(path)


def read(path: str) -> bytes:
    """The bytes of a file. Raises `OSError`."""
    if not is_remote(path):
        return Path(path).read_bytes()
    with _as_system_errors(path), _gfile().GFile(path, "rb") as file:
        return bytes(file.read())


def check_regular(path: str | Path) -> None:
    """Raise `OSError` where a path of this machine is no file with an end, as a pipe or a device may have none."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "no file with an end", str(path))


def free_bytes() -> int:
    """How much memory could be taken now."""
    return int(psutil.virtual_memory().available)


def write(path: str, content: bytes) -> None:
    """Write a remote file, and the directories above it; one that is there is replaced at once. Raises `OSError`."""
    gfile = _gfile()
    with _as_system_errors(path):
        gfile.makedirs(path.rpartition("/")[0])
        replaces = gfile.exists(path)
        folder, _, name = path.rpartition("/")
        target = f"{folder}/.new-{name}" if replaces else path
        with gfile.GFile(target, "wb") as file:
            file.write(content)
        if replaces:
            gfile.rename(target, path, overwrite=True)


def remove(path: str) -> None:
    """Remove a remote file, if it is there. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError), _as_system_errors(path):
        _gfile().remove(path)


def is_directory(path: str) -> bool:
    """Whether there is a directory; of a remote one, whether something is in it."""
    return bool(_gfile().isdir(path)) if is_remote(path) else os.path.isdir(path)


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


def cache_directory() -> Path:
    """Where what can be made again is kept on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distgan"


def local_copy(address: str) -> Path:
    """The directory of this machine in which a run at a remote address works."""
    name = address.rstrip("/").rpartition("/")[2]
    return cache_directory() / "runs" / f"{name}-{hashlib.sha256(address.rstrip('/').encode()).hexdigest()[:12]}"


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
