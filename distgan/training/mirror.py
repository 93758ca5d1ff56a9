"""A run directory on a remote file system, such as gs://bucket/runs/mnist.

The run works in a copy on this machine, where files can be appended to and renamed, and brings what is new to the
remote directory with every checkpoint. What is remote is what counts: a run that starts begins by fetching it.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from distgan import files
from distgan.training.checkpoint import MANIFEST_FILE

CONFIG_FILE = "config.json"

Stamp = tuple[int, int]  # size in bytes, and when it was written, in ns


class Mirror:
    """A remote directory and its copy on this machine."""

    def __init__(self, address: str, path: Path) -> None:
        """Prepare to keep `path` and `address` alike; nothing is read or written yet."""
        self._address, self._path = address.rstrip("/"), path
        self._pushed: dict[str, Stamp] = {}

    def fetch(self) -> None:
        """Make the copy what the remote directory is, unless it is ahead of that after a push that failed.

        Raises `OSError`.
        """
        remote = {name for name, _ in files.walk(self._address) if not _is_passing(name)}
        if self._is_ahead_of(remote):
            self._pushed = dict.fromkeys(remote, (-1, -1))  # so that the next push makes all of it alike
            return
        for entry in self._path.iterdir():
            if not _is_passing(entry.name):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        files.copy_here(self._address, self._path, lambda name: name in remote)
        self._pushed = self._stamps()

    def _is_ahead_of(self, remote: set[str]) -> bool:
        """Whether the copy is of the same run, and has a newer checkpoint."""
        config = self._path / CONFIG_FILE
        if CONFIG_FILE not in remote or not config.exists():
            return False
        is_same = config.read_bytes() == files.read(f"{self._address}/{CONFIG_FILE}")
        return is_same and _newest(self._stamps()) > _newest(remote)

    def push(self) -> None:
        """Bring what has changed to the remote directory. Raises `OSError`.

        A checkpoint's manifest comes after its arrays and goes before them, so it stands for a whole one.
        """
        now = self._stamps()
        changed = [name for name, stamp in now.items() if self._pushed.get(name) != stamp]
        for name in sorted(changed, key=lambda name: name.endswith(MANIFEST_FILE)):
            files.write(f"{self._address}/{name}", (self._path / name).read_bytes())
            self._pushed[name] = now[name]
        for name in sorted(self._pushed.keys() - now.keys(), key=lambda name: not name.endswith(MANIFEST_FILE)):
            files.remove(f"{self._address}/{name}")
            del self._pushed[name]

    def _stamps(self) -> dict[str, Stamp]:
        found = {}
        for path in self._path.rglob("*"):
            name = path.relative_to(self._path).as_posix()
            if path.is_file() and not _is_passing(name):
                status = path.stat()
                found[name] = (status.st_size, status.st_mtime_ns)
        return found


@contextlib.contextmanager
def fetched(run_dir: str | Path) -> Iterator[Path]:
    """A run's directory to read from: itself, or a passing copy of a remote one. Raises `OSError`."""
    if not files.is_remote(run_dir):
        yield Path(run_dir).expanduser()
        return
    with tempfile.TemporaryDirectory() as directory:
        files.copy_here(
            str(run_dir),
            Path(directory),
            lambda name: name.startswith((CONFIG_FILE, "checkpoints/step_", "best/step_")),
        )
        yield Path(directory)


def _newest(names: Iterable[str]) -> str:
    """The newest checkpoint that has its manifest; empty where there is none."""
    return max((name for name in names if name.endswith(f"/{MANIFEST_FILE}")), default="")


def _is_passing(name: str) -> bool:
    """Whether a file says something of this moment only."""
    return any(part.startswith((".", "lock.json")) for part in name.split("/"))
