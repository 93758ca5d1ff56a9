"""Paths as users name them: on this machine, files with an end; and where caches are kept."""

import errno
import os
import stat
from pathlib import Path

from distgan.errors import UserError


def check_local(flag: str, path: str) -> None:
    """Raise `UserError` naming the flag if a path is an address such as gs://bucket/name."""
    if "://" in path:
        raise UserError(
            f"--{flag}={path} must be on this machine: mount the bucket, as by gcsfuse, and give that path, or copy it."
        )


def local(flag: str, path: str | os.PathLike[str]) -> Path:
    """Replace a leading ~ of a path. Raises `UserError` naming the flag where it is not a path of this machine."""
    text = os.fspath(path)
    check_local(flag, text)
    return Path(text).expanduser()


def check_regular(path: str | Path) -> None:
    """Raise `OSError` where a path is no file with an end, as a pipe or a device may have none."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "no file with an end", str(path))


def cache_directory() -> Path:
    """Return where what can be made again is kept on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distgan"
