"""The quality of generated images. All processes measure together, each on its share of the images; the result does not
depend on the number of processes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from distgan.data.order import fair_range
from distgan.metrics import classes, neighbours
from distgan.metrics.classes import ClassStatistics
from distgan.metrics.features import FeatureNetwork
from distgan.metrics.moments import FeatureStatistics, add, frechet_distance
from distgan.replicas.base import Replicas

AT_ONCE = 500  # images in a part; whole parts make the results independent of the number of processes
MOST_POINTS = 10_000  # the most images whose features are kept for comparison point by point

Read = Callable[[int, int], np.ndarray]  # (first, count) -> images, uint8 [count, height, width, channels]


class Features(NamedTuple):
    """A network's results for images: features `[n, width]` of the first MOST_POINTS, and statistics of all images."""

    points: np.ndarray
    features: FeatureStatistics
    classes: ClassStatistics


class Reference(NamedTuple):
    """The features of the real images to compare with.

    real: the features of held-out images; radii: squared radii `[n, 2]` of its points.
    training: features `[m, width]` of training images.
    nearest: the mean distance of real points to their nearest training point; floor: the Frechet distance of the sets.
    share: the fraction of all training images that is in `training`, so the fraction of copies that it can detect.
    """

    real: Features
    radii: np.ndarray
    training: np.ndarray
    nearest: float
    floor: float
    share: float


def find_features(
    read: Read, count: int, network: FeatureNetwork, replicas: Replicas, asked: np.ndarray | None = None
) -> Features:
    """Run a network on `count` images, each process on its share; wait for all, and return the same on all.

    `asked` are the requested classes `[count]` of the images, if any.
    """
    points = np.zeros((min(count, MOST_POINTS), network.width), np.float32)
    features = FeatureStatistics.of(np.zeros((0, network.width)))
    of_classes = ClassStatistics.of(np.zeros((0, network.num_classes)))
    for part in _own_parts(count, replicas):
        rows, probabilities = network.read(read(part.start, part.stop - part.start))
        points[part] = rows[: max(0, len(points) - part.start)]
        features = add(features, FeatureStatistics.of(rows))
        of_classes = add(of_classes, ClassStatistics.of(probabilities, None if asked is None else asked[part]))
    points, *sums = replicas.sum([points, *features, *of_classes])
    return Features(points, FeatureStatistics(*sums[: len(features)]), ClassStatistics(*sums[len(features) :]))


def make_reference(real: Features, training: Features, num_trained_on: int, replicas: Replicas) -> Reference:
    """Make the reference from `real` images, and from some (`training`) of the `num_trained_on` training images."""
    radii = _by_rows(lambda rows: neighbours.radii(rows, real.points), real.points, replicas)
    nearest = _by_rows(lambda rows: neighbours.nearest(rows, training.points), real.points, replicas)
    floor = frechet_distance(training.features, real.features)
    share = len(training.points) / num_trained_on
    return Reference(real, radii, training.points, float(nearest.mean()), floor, share)


def judge(generated: Features, reference: Reference, replicas: Replicas, conditional: bool = False) -> dict[str, float]:
    """Return the scores of generated images by name; wait for all processes, and return the same on all."""
    real, points = reference.real, generated.points
    scores = {
        "frechet_distance": frechet_distance(generated.features, real.features),
        "frechet_floor": reference.floor,
        "kernel_distance": kernel_distance(points, real.points, replicas),
        **manifold_scores(points, reference, replicas),
    }
    nearest = _by_rows(lambda rows: neighbours.nearest(rows, reference.training), points, replicas)
    scores["nearest_neighbour_ratio"] = float(nearest.mean()) / reference.nearest
    scores["nearest_neighbour_floor"] = 1 - reference.share
    of_classes = generated.classes
    if len(of_classes.sums):
        scores["classifier_score"] = classes.classifier_score(of_classes)
        scores["classifier_score_of_real"] = classes.classifier_score(real.classes)
        scores |= classes.class_scores(of_classes)
        if conditional:
            scores["class_accuracy"] = float(of_classes.as_asked / of_classes.number)
    return scores


def manifold_scores(fakes: np.ndarray, reference: Reference, replicas: Replicas) -> dict[str, float]:
    """Return the precision, recall, density and coverage of generated features `[n, width]`.

    Improved precision and recall are of Kynkäänniemi et al. 2019, eq. 1, 2, the others of Naeem et al. 2020.
    """
    radii = _by_rows(lambda rows: neighbours.radii(rows, fakes), fakes, replicas)
    counts = neighbours.near(fakes[:0], radii[:0], reference.real.points, reference.radii)
    for part in _own_parts(len(fakes), replicas):
        counts = add(counts, neighbours.near(fakes[part], radii[part], reference.real.points, reference.radii))
    counts = neighbours.Near(*replicas.sum(list(counts)))
    return {
        "precision": float(counts.in_real_balls / len(fakes)),
        "recall": float((counts.in_fake_balls > 0).mean()),
        "density": float(counts.memberships / (neighbours.BALLS_OF_DENSITY * len(fakes))),
        "coverage": float((counts.has_fake > 0).mean()),
    }


def kernel_distance(fakes: np.ndarray, reals: np.ndarray, replicas: Replicas) -> float:
    """Return the unbiased squared MMD (Binkowski et al. 2018, section 4) of features `[n, width]` and `[m, width]`.

    Its mean is 0 for sets of one distribution.
    """

    def own_sum(rows: np.ndarray, points: np.ndarray) -> float:
        return sum(neighbours.kernel_sum(rows[part], points) for part in _own_parts(len(rows), replicas))

    own = own_sum(fakes, fakes), own_sum(reals, reals), own_sum(fakes, reals)
    of_fakes, of_reals, across = replicas.sum([np.array(own, np.float64)])[0].tolist()
    n, m = len(fakes), len(reals)
    within = (of_fakes - neighbours.kernel_diagonal(fakes)) / (n * (n - 1))
    within += (of_reals - neighbours.kernel_diagonal(reals)) / (m * (m - 1))
    return within - 2 * across / (n * m)


def _own_parts(count: int, replicas: Replicas) -> Iterator[slice]:
    """Yield this process's parts of `count` rows."""
    first, number = fair_range(-(-count // AT_ONCE), replicas.size, replicas.rank)
    for part in range(first, first + number):
        yield slice(part * AT_ONCE, min((part + 1) * AT_ONCE, count))


def _by_rows(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, replicas: Replicas) -> np.ndarray:
    """Apply a function of some rows to all rows, each process to its share; return the result for all rows."""
    whole = np.zeros((len(rows), *function(rows[:1]).shape[1:]))
    for part in _own_parts(len(rows), replicas):
        whole[part] = function(rows[part])
    return replicas.sum([whole])[0]
