"""Paths that users give, which must be local and, to read, regular files; and the cache directory."""

import errno
import os
import stat
from pathlib import Path

from distgan.errors import UserError


def check_local(flag: str, path: str) -> None:
    """Raise `UserError` naming the flag if a path is an address such as gs://bucket/name."""
    if "://" in path:
        raise UserError(f"--{flag}={path} must be a local path: mount the bucket, e.g. with gcsfuse, or copy it.")


def local(flag: str, path: str | os.PathLike[str]) -> Path:
    """Expand a leading ~ of a path. Raises `UserError` naming the flag if it is not a path of this machine."""
    text = os.fspath(path)
    check_local(flag, text)
    return Path(text).expanduser()


def check_regular(path: str | Path) -> None:
    """Raise `OSError` if a path is not a regular file; a pipe or a device may have no end."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def cache_directory() -> Path:
    """Return the directory on this machine for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distgan"
