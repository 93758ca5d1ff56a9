"""Paths that users give, which must be local and, to read, regular files; the cache directory; embedded files."""

import errno
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from distgan.errors import UserError


def check_local(flag: str, path: str) -> None:
    """Raise `UserError` naming the flag if a path is an address such as gs://bucket/name."""
    if "\0" in path:
        raise UserError(f"--{flag}={path!r} contains a null character: give another path.")
    if "://" in path:
        raise UserError(f"--{flag}={path} must be a local path: mount the bucket, e.g. with gcsfuse, or copy it.")


def local(flag: str, path: str | os.PathLike[str]) -> Path:
    """Return the path that a flag gives. Raises `UserError` naming the flag if it is not a path of this machine."""
    text = os.fspath(path)
    check_local(flag, text)
    return Path(expanded(f"--{flag}", text))


def expanded(what: str, path: str) -> str:
    """Expand a leading ~ of a path. Raises `UserError`, which begins with `what`, if that home is not known."""
    found = os.path.expanduser(path)
    if found.startswith("~"):
        raise UserError(f"{what}: the home directory in {path} is not known here, give the whole path.")
    return found


def check_regular(path: str | Path) -> None:
    """Raise `OSError` if a path is not a regular file; a pipe or a device may have no end."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def cache_directory() -> Path:
    """Return the directory for files that can be made again; if no home directory is known, a temporary one."""
    directory = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if directory.startswith("~"):
        directory = os.path.join(tempfile.gettempdir(), f"cache-{os.getuid()}")
        print(f"warning: no home directory is known: caches are in {directory}. See XDG_CACHE_HOME.", file=sys.stderr)
    return Path(directory) / "distgan"


def embedded(path: Path, sha256: str, what: str = "") -> bytes:
    """Return a file that is part of distgan; `what` says of what. Raises `UserError` if it is missing or damaged."""
    file = f"{path}{what}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): reinstall distgan.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{file} is damaged: its SHA-256 is not {sha256}: reinstall distgan.")
    return content
