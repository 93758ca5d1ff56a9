"""How good generated images are: measured by all processes together, each on its share, with the same result on any
number of them."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from distgan.data.order import fair_range
from distgan.metrics import classes, neighbours
from distgan.metrics.classes import ClassStatistics
from distgan.metrics.features import FeatureNetwork
from distgan.metrics.moments import FeatureStatistics, add, frechet_distance
from distgan.replicas.base import Replicas

AT_ONCE = 500  # images: processes share work in such parts, so that each part is computed alike on any of them
MOST_POINTS = 10_000  # whose features are kept, to be compared point by point

Read = Callable[[int, int], np.ndarray]  # of images by (first, count), uint8 [count, height, width, channels]


class Features(NamedTuple):
    """What a network finds in images: features `[n, width]` of the first MOST_POINTS, and statistics of all images."""

    points: np.ndarray
    features: FeatureStatistics
    classes: ClassStatistics


class Reference(NamedTuple):
    """The real images to compare with.

    real: what was found in held-out images; radii: squared radii `[n, 2]` of its points.
    training: features `[m, width]` of images that were trained on.
    nearest: the mean distance of the real points to the nearest of these; floor: their Frechet distance.
    share: which part of all images trained on these are, so which part of copies is found among them.
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
    """Show `count` images to a network, each process its share; waits for all, and returns the same on all.

    `asked` are the classes `[count]` that they were to be of, if any.
    """
    points = np.zeros((min(count, MOST_POINTS), network.width), np.float32)
    features = FeatureStatistics.of(np.zeros((0, network.width)))
    of_classes = ClassStatistics.of(np.zeros((0, network.num_classes)))
    for first, number in _own_parts(count, replicas):
        rows, probabilities = network.read(read(first, number))
        points[first : first + number] = rows[: max(0, len(points) - first)]
        features = add(features, FeatureStatistics.of(rows))
        wanted = None if asked is None else asked[first : first + number]
        of_classes = add(of_classes, ClassStatistics.of(probabilities, wanted))
    summed = iter(replicas.sum([points, *features, *of_classes]))
    return Features(next(summed), FeatureStatistics(*islice(summed, len(features))), ClassStatistics(*summed))


def make_reference(real: Features, training: Features, num_trained_on: int, replicas: Replicas) -> Reference:
    """Prepare to compare with `real` images, and with some of the `num_trained_on` images that were trained on."""
    radii = _by_rows(lambda rows: neighbours.radii(rows, real.points), real.points, replicas)
    nearest = _by_rows(lambda rows: neighbours.nearest(rows, training.points), real.points, replicas)
    floor = frechet_distance(training.features, real.features)
    share = len(training.points) / num_trained_on
    return Reference(real, radii, training.points, float(nearest.mean()), floor, share)


def judge(generated: Features, reference: Reference, replicas: Replicas, conditional: bool = False) -> dict[str, float]:
    """The scores of generated images, by name; waits for all processes, and returns the same on all."""
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
    """Precision, recall, density and coverage of fakes `[n, width]`."""
    reals = reference.real.points
    radii = _by_rows(lambda rows: neighbours.radii(rows, fakes), fakes, replicas)
    counts = neighbours.near(fakes[:0], radii[:0], reals, reference.radii)
    for first, number in _own_parts(len(fakes), replicas):
        part = slice(first, first + number)
        counts = add(counts, neighbours.near(fakes[part], radii[part], reals, reference.radii))
    return neighbours.manifold_scores(neighbours.Near(*replicas.sum(list(counts))), len(fakes))


def kernel_distance(fakes: np.ndarray, reals: np.ndarray, replicas: Replicas) -> float:
    """The unbiased kernel distance of two sets of features, `[n, width]` and `[m, width]`."""
    pairs = (fakes, fakes), (reals, reals), (fakes, reals)
    own = [
        sum(
            neighbours.kernel_sum(rows[first : first + number], points)
            for first, number in _own_parts(len(rows), replicas)
        )
        for rows, points in pairs
    ]
    of_fakes, of_reals, across = replicas.sum([np.array(own, np.float64)])[0].tolist()
    within = of_fakes - neighbours.kernel_diagonal(fakes), of_reals - neighbours.kernel_diagonal(reals)
    return neighbours.kernel_distance(within, across, (len(fakes), len(reals)))


def _own_parts(count: int, replicas: Replicas) -> Iterator[tuple[int, int]]:
    """This process's parts of `range(count)`, as (first, number)."""
    first, number = fair_range(-(-count // AT_ONCE), replicas.size, replicas.rank)
    for part in range(first, first + number):
        yield part * AT_ONCE, min(AT_ONCE, count - part * AT_ONCE)


def _by_rows(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, replicas: Replicas) -> np.ndarray:
    """What a function of a few rows gives for all of them, each process computing its share."""
    parts = {first: function(rows[first : first + number]) for first, number in _own_parts(len(rows), replicas)}
    shape = function(rows[:1]).shape[1:] if not parts else next(iter(parts.values())).shape[1:]
    whole = np.zeros((len(rows), *shape))
    for first, part in parts.items():
        whole[first : first + len(part)] = part
    return replicas.sum([whole])[0]
