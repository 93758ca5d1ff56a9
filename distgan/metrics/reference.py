"""The real images that generated images are compared with, and a cache of their features."""

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distgan import paths
from distgan.data.base import Source, Wanted
from distgan.data.order import examples_at
from distgan.data.sources import open_source
from distgan.errors import UserError
from distgan.metrics.classes import ClassStatistics
from distgan.metrics.features import FeatureNetwork
from distgan.metrics.moments import FeatureStatistics
from distgan.metrics.quality import Features, Read, Reference, find_features, make_reference
from distgan.replicas.base import Replicas
from distgan.store import atomic

FEWEST_IMAGES = 100  # for a comparison point by point
FEWEST_HELD_OUT = 2000  # the smallest test split that is used as the real images


def reference_for(
    data: str,
    wanted: Wanted,
    network: FeatureNetwork,
    count: int,
    replicas: Replicas,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Reference:
    """Return a data set's reference, with at most `count` images a set; processes share the work and return the same.

    The real images are the test split, and the training images are from the training split. If the test split has fewer
    than FEWEST_HELD_OUT images, each set is half of the training split. Raises `UserError` if data cannot be read or is
    too small.
    """
    real, training, num_trained_on = replicas.together(lambda: _two_sets(data, wanted))
    key = "/".join([network.fingerprint, str(count), *(fingerprint for _, _, fingerprint in (real, training))])
    file = Path("features", f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz")
    path = paths.cache_directory() / file if replicas.is_chief else file
    arrays = _from_chief(_cached(path) if replicas.is_chief else None, replicas)
    if arrays is None:
        say(f"measuring the real images by the {network.name} features, once for all runs")
        found = (find_features(read, min(count, size), network, replicas) for read, size, _ in (real, training))
        arrays = _as_arrays(make_reference(next(found), next(found), num_trained_on, replicas))
        if replicas.is_chief:
            _store(path, arrays)
    return _as_reference(arrays)


_Set = tuple[Read, int, str]  # (first, count) -> images; the number of images; a fingerprint


def _two_sets(data: str, wanted: Wanted) -> tuple[_Set, _Set, int]:
    """Return the real images, the training images, and the number of images in the training split."""
    train, test = (open_source(data, split, wanted) for split in ("train", "test"))
    (available,) = train.streams.values()
    if test.fingerprint != train.fingerprint and sum(test.streams.values()) >= FEWEST_HELD_OUT:
        return _part(test, 0, sum(test.streams.values())), _part(train, 0, available), available
    if available < 2 * FEWEST_IMAGES:
        raise UserError(f"--data={data} has {available} images: evaluation needs at least {2 * FEWEST_IMAGES}.")
    return _part(train, 0, available // 2), _part(train, available // 2, available - available // 2), available


def _part(source: Source, start: int, length: int) -> _Set:
    """Return a part of a data set's images in a shuffled order, because files are often sorted by class."""
    ((stream, available),) = source.streams.items()

    def read(first: int, count: int) -> np.ndarray:
        positions = np.arange(start + first, start + first + count)
        return source.read(stream, examples_at(positions, available, 0, "reference").numpy())

    return read, length, f"{source.fingerprint} {start} {length}"


# The names of the fields, so that a file with the fields of another version is not used.
_NAMES = (
    "points",
    *(f"features_{name}" for name in FeatureStatistics._fields),
    *(f"classes_{name}" for name in ClassStatistics._fields),
    *Reference._fields[1:],
)


def _cached(path: Path) -> dict[str, np.ndarray] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):  # computed again if unreadable
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        if str(arrays.pop("sha256")) == _sha256(arrays) and set(arrays) == set(_NAMES):
            return arrays
    return None


def _store(path: Path, arrays: dict[str, np.ndarray]) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays, sha256=np.array(_sha256(arrays)))  # type: ignore[arg-type]
    with contextlib.suppress(OSError):  # a failure to write the cache must not end the run
        atomic.write(path, content.getvalue())


def _sha256(arrays: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))).hexdigest()


def _from_chief(arrays: dict[str, np.ndarray] | None, replicas: Replicas) -> dict[str, np.ndarray] | None:
    """Return the chief's arrays on all processes."""
    kinds = replicas.agree({name: (array.shape, array.dtype.str) for name, array in arrays.items()} if arrays else None)
    if kinds is None:
        return None
    own = arrays or {name: np.zeros(shape, dtype) for name, (shape, dtype) in kinds.items()}
    return dict(zip(kinds, replicas.sum([own[name] for name in kinds]), strict=True))


def _as_arrays(reference: Reference) -> dict[str, np.ndarray]:
    real = reference.real
    parts: list[Any] = [real.points, *real.features, *real.classes, *reference[1:]]
    return dict(zip(_NAMES, map(np.asarray, parts), strict=True))


def _as_reference(arrays: dict[str, np.ndarray]) -> Reference:
    points, *parts = (arrays[name] for name in _NAMES)
    features, classes = FeatureStatistics(*parts[:3]), ClassStatistics(*parts[3:8])
    radii, training, *numbers = parts[8:]
    return Reference(Features(points, features, classes), radii, training, *map(float, numbers))
