"""Comparisons of feature sets point by point: by nearest neighbours, and by a kernel.

Each function takes some rows of one set and all of the other set, so that processes can share the work.
"""

from typing import NamedTuple

import numpy as np

BALLS_OF_PRECISION = 3  # k: a point's ball reaches to its k-th neighbour; Kynkäänniemi et al. 2019, section 2
BALLS_OF_DENSITY = 5  # k; Naeem et al. 2020, section 4


def squared_distances(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return squared Euclidean distances `[n, m]` of rows `[n, width]` to points `[m, width]`, in float64."""
    rows, points = rows.astype(np.float64), points.astype(np.float64)
    products = rows @ points.T
    return np.maximum((rows**2).sum(1)[:, None] + (points**2).sum(1) - 2 * products, 0)


def radii(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return squared radii `[n, 2]` of the balls around rows (part of the points): for precision, for density."""
    nearest = np.partition(squared_distances(rows, points), (BALLS_OF_PRECISION, BALLS_OF_DENSITY), axis=1)
    return nearest[:, [BALLS_OF_PRECISION, BALLS_OF_DENSITY]]


class Near(NamedTuple):
    """Counts of neighbours between some generated points and all real points.

    in_real_balls: the number of generated points in a ball of any real point, with the radii of precision.
    memberships: the number of pairs with the generated point in the real point's ball, with the radii of density.
    has_fake: for each real point, the number of generated points in its ball, with the radii of density.
    in_fake_balls: for each real point, the number of generated points whose ball holds it (radii of precision).
    """

    in_real_balls: np.ndarray
    memberships: np.ndarray
    has_fake: np.ndarray
    in_fake_balls: np.ndarray


def near(fakes: np.ndarray, fake_radii: np.ndarray, reals: np.ndarray, real_radii: np.ndarray) -> Near:
    """Count neighbours of generated `[n, width]` and all real `[m, width]` points, with the results of `radii`."""
    distances = squared_distances(fakes, reals)
    in_wide = distances <= real_radii[:, 1]
    return Near(
        (distances <= real_radii[:, 0]).any(1).sum(),
        in_wide.sum(),
        in_wide.sum(0),
        (distances <= fake_radii[:, :1]).sum(0),
    )


def nearest(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the distance of each row to the nearest of the points, `[n]`."""
    return np.sqrt(squared_distances(rows, points).min(1))


def kernel_sum(rows: np.ndarray, points: np.ndarray) -> float:
    """Return the sum over all pairs of (x.y / width + 1)^3, the kernel of Binkowski et al. 2018."""
    rows, points = rows.astype(np.float64), points.astype(np.float64)
    values = rows @ points.T / rows.shape[1] + 1
    return float(np.vdot(values * values, values))  # takes a third of the time of a power and a sum


def kernel_diagonal(rows: np.ndarray) -> float:
    """Return the sum of the kernel of each row with itself."""
    return float((((rows.astype(np.float64) ** 2).sum(1) / rows.shape[1] + 1) ** 3).sum())
