"""Paths as users name them: what is an address, what is a file, and where caches are kept."""

import errno
import os
import stat
from pathlib import Path

from distgan.errors import UserError


def is_address(path: str | Path) -> bool:
    """Whether a path is an address such as gs://bucket/name."""
    return "://" in str(path)


def local(flag: str, path: str | os.PathLike[str]) -> Path:
    """Replace a leading ~ of a path. Raises `UserError` naming the flag where it is not a path of this machine."""
    text = os.fspath(path)
    if is_address(text):
        raise UserError(
            f"--{flag}={text} must be on this machine: mount the bucket, as by gcsfuse, and give that path, or copy it."
        )
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
