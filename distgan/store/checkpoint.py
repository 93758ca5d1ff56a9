"""Checkpoints that are complete or absent: each is a directory, with a manifest that proves that it is complete."""

import errno
import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distgan.errors import UserError
from distgan.paths import check_regular
from distgan.store import atomic

STATE_FILE, MANIFEST_FILE = "state.npz", "manifest.json"
OWN_SHA256 = "manifest_sha256"  # of the manifest's other entries; older manifests have none
MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # errors of a checkpoint that lacks a file
# The entries that every manifest has, and their types in JSON.
FACTS = {"step": int, "images_shown": int, "data": str, "image_shape": list, "precision": str}


def save(directory: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], keep: int) -> Path:
    """Write a checkpoint of `facts["step"]` into `directory`, atomically, and keep the `keep` newest up to it.

    Raises `OSError`, with nothing lost, if it can't be written.
    """
    final = directory / f"step_{facts['step']:09d}"
    with atomic.replaced(final, durable=True) as unfinished:
        unfinished.mkdir()
        np.savez(unfinished / STATE_FILE, **arrays)  # type: ignore[arg-type]
        _write_manifest(unfinished, {**facts, "files": {STATE_FILE: _sha256(unfinished / STATE_FILE)}})
    for old in [path for path in _checkpoints(directory) if path.name <= final.name][:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def keep_as_only(checkpoint: Path, directory: Path, facts: Mapping[str, Any]) -> None:
    """Replace the checkpoints in `directory` by a link to `checkpoint`, with more facts; needs no extra disk space.

    Raises `OSError`, with nothing lost, if it can't be written.
    """
    manifest = json.loads((checkpoint / MANIFEST_FILE).read_text()) | facts
    with atomic.replaced(directory / checkpoint.name, durable=True) as unfinished:
        unfinished.mkdir()
        try:
            os.link(checkpoint / STATE_FILE, unfinished / STATE_FILE)
        except OSError:  # a file system without hard links
            shutil.copyfile(checkpoint / STATE_FILE, unfinished / STATE_FILE)
        _write_manifest(unfinished, manifest)
    for other in _checkpoints(directory):
        if other.name != checkpoint.name:
            shutil.rmtree(other, ignore_errors=True)


def _write_manifest(checkpoint: Path, manifest: Mapping[str, Any]) -> None:
    manifest = dict(manifest) | {OWN_SHA256: _sha256_of_entries(manifest)}
    (checkpoint / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")


def _sha256_of_entries(manifest: Mapping[str, Any]) -> str:
    entries = {name: value for name, value in manifest.items() if name != OWN_SHA256}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


class Checkpoint(NamedTuple):
    """The arrays and the manifest of an intact checkpoint, and the newer damaged checkpoints with the reasons."""

    arrays: dict[str, np.ndarray]
    manifest: dict[str, Any]
    damaged: dict[Path, str]


def load_newest(directory: Path) -> Checkpoint | None:
    """Return the newest intact checkpoint; None if there has never been one.

    Raises `UserError` if all are damaged, `OSError` if one can't be read, which does not count as damage.
    """
    damaged: dict[Path, str] = {}
    for path in reversed(_checkpoints(directory)):
        try:
            return Checkpoint(*_load(path), damaged)
        except Exception as error:  # json, zipfile and NumPy may raise almost any exception
            if isinstance(error, OSError) and not isinstance(error, MISSING):
                raise
            damaged[path] = str(error)
    if damaged:
        raise UserError(
            f"No usable checkpoint is left in {directory} "
            f"({'; '.join(f'{path.name}: {why}' for path, why in damaged.items())}): "
            "choose another --run_dir, or move these elsewhere to start from the beginning."
        )
    return None


def put_aside(damaged: Path) -> Path:
    """Rename a damaged checkpoint, so that it is not loaded again; returns its new path."""
    aside = damaged.with_name(f"damaged-{damaged.name}")
    shutil.rmtree(aside, ignore_errors=True)
    return damaged.rename(aside)


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    for name in (MANIFEST_FILE, STATE_FILE):
        check_regular(path / name)
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    files_named = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files_named, dict) or files_named.keys() != {STATE_FILE}:
        raise ValueError(f"{MANIFEST_FILE} must list {STATE_FILE} and no other file")
    if manifest.pop(OWN_SHA256, None) not in (None, _sha256_of_entries(manifest)):
        raise ValueError(f"{MANIFEST_FILE} does not have its own SHA-256")
    for name, kind in FACTS.items():
        if type(manifest.get(name)) is not kind:
            raise ValueError(f"{MANIFEST_FILE} has no {name}")
    if not all(type(side) is int and side > 0 for side in manifest["image_shape"]):
        raise ValueError(f"{MANIFEST_FILE} has no image_shape")
    if _sha256(path / STATE_FILE) != files_named[STATE_FILE]:
        raise ValueError(f"the SHA-256 of {STATE_FILE} is not that of the manifest")
    try:
        with zipfile.ZipFile(path / STATE_FILE) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError(f"{STATE_FILE} is compressed, so it was not written by distgan")
        with np.load(path / STATE_FILE, allow_pickle=False) as stored:
            return dict(stored.items()), manifest
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ValueError(f"{STATE_FILE} refers to data outside of the file") from None


def fact(path: Path, name: str, default: Any) -> Any:
    """Return an entry of a checkpoint's manifest, of the default's type; the default if it can't be read."""
    try:
        return type(default)(json.loads((path / MANIFEST_FILE).read_text())[name])
    except (OSError, ValueError, KeyError, TypeError):
        return default


def newest_path(directory: Path) -> Path | None:
    """Return the path of the newest checkpoint, unverified; None if there is none."""
    return next(reversed(_checkpoints(directory)), None)


def _checkpoints(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("step_*") if re.fullmatch(r"step_\d{9,}", path.name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the SHA-256 of each variable's name, data type, shape and bytes."""
    return {
        name: hashlib.sha256(f"{name} {value.dtype} {value.shape} ".encode() + value.tobytes()).hexdigest()
        for name, value in arrays.items()
    }


def state_digest(of_variables: Mapping[str, str]) -> str:
    """Return one SHA-256 of the whole state, from those of its variables, in their order."""
    return hashlib.sha256("\n".join(of_variables.values()).encode()).hexdigest()
