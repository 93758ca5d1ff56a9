"""The Frechet distance between sets of features, from moments that are summed over batches and processes."""

from typing import NamedTuple, Self, TypeVar

import numpy as np

Sums = TypeVar("Sums", bound=tuple[np.ndarray, ...])


def add(one: Sums, other: Sums) -> Sums:
    """Add two tuples of sums, entry by entry."""
    return type(one)(*map(np.add, one, other))


class FeatureStatistics(NamedTuple):
    """Sums over features `[n, width]`: n, sums `[width]` and sums of products `[width, width]`, in float64."""

    number: np.ndarray
    sums: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Self:
        """Sum up features `[n, width]`; n may be 0."""
        wide = features.astype(np.float64)
        return cls(np.array(float(len(wide))), wide.sum(0), wide.T @ wide)

    @property
    def mean(self) -> np.ndarray:
        """The mean, `[width]`."""
        return self.sums / self.number

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, `[width, width]`."""
        return (self.products - np.outer(self.sums, self.mean)) / (self.number - 1)


def frechet_distance(one: FeatureStatistics, other: FeatureStatistics) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017, eq. 6).

    The trace of (C1 C2)^(1/2) is the sum of the square roots of the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2).
    """
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other.covariance @ root), 0))
    shift = one.mean - other.mean
    return float(shift @ shift + np.trace(one.covariance) + np.trace(other.covariance) - 2 * roots.sum())
