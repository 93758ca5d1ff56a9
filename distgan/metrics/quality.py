"""How good generated images are: measured by all processes together, each on its share, with the same result on any
number of them."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from distgan.data.order import fair_range
from distgan.metrics import classes, neighbours
from distgan.metrics.classes import Sightings
from distgan.metrics.features import FeatureNetwork
from distgan.metrics.moments import Moments, frechet_distance
from distgan.replicas.base import Replicas

AT_ONCE = 500  # images: processes share work in such parts, so that each part is computed alike on any of them
MOST_POINTS = 10_000  # whose features are kept, to be compared point by point

Read = Callable[[int, int], np.ndarray]  # of images by (first, count), uint8 [count, height, width, channels]


class Seen(NamedTuple):
    """What a network has seen in images: features `[n, width]` of the first MOST_POINTS; moments and classes of all."""

    points: np.ndarray
    moments: Moments
    sightings: Sightings


class Reference(NamedTuple):
    """The real images to compare with.

    truth: what was seen in those that generated ones ought to be like; radii: squared radii `[n, 2]` of its points.
    others: features of further real images, such as were learnt from.
    nearest: the mean distance of the truth's points to the nearest of these; floor: their Frechet distance.
    share: which part of all images learnt from these are, so which part of copies is found among them.
    """

    truth: Seen
    radii: np.ndarray
    others: np.ndarray
    nearest: float
    floor: float
    share: float


def look(read: Read, count: int, network: FeatureNetwork, replicas: Replicas, asked: np.ndarray | None = None) -> Seen:
    """Show `count` images to a network, each process its share; waits for all, and returns the same on all.

    `asked` are the classes `[count]` that they were to be of, if any.
    """
    points = np.zeros((min(count, MOST_POINTS), network.width), np.float32)
    moments, sightings = Moments.of_nothing(network.width), Sightings.of_nothing(network.num_classes)
    for first, number in _own_parts(count, replicas):
        features, probabilities = network.read(read(first, number))
        points[first : first + number] = features[: max(0, len(points) - first)]
        moments, sightings = (
            moments.and_of(features),
            sightings.and_of(probabilities, None if asked is None else asked[first : first + number]),
        )
    summed = iter(replicas.sum([points, *moments, *sightings]))
    return Seen(next(summed), Moments(*islice(summed, len(moments))), Sightings(*summed))


def refer(truth: Seen, others: Seen, num_learnt: int, replicas: Replicas) -> Reference:
    """What `truth` is to be compared with, `others` being real images that are not among it, of so many learnt from."""
    radii = _by_rows(lambda rows: neighbours.radii(rows, truth.points), truth.points, replicas)
    nearest = _by_rows(lambda rows: neighbours.nearest(rows, others.points), truth.points, replicas)
    floor = frechet_distance(others.moments, truth.moments)
    return Reference(truth, radii, others.points, float(nearest.mean()), floor, len(others.points) / num_learnt)


def judge(seen: Seen, reference: Reference, replicas: Replicas, conditional: bool = False) -> dict[str, float]:
    """The scores of generated images, by name; waits for all processes, and returns the same on all."""
    truth, fakes = reference.truth, seen.points
    scores = {
        "frechet_distance": frechet_distance(seen.moments, truth.moments),
        "frechet_floor": reference.floor,
        "kernel_distance": kernel_distance(fakes, truth.points, replicas),
        **manifold_scores(fakes, reference, replicas),
    }
    nearest = _by_rows(lambda rows: neighbours.nearest(rows, reference.others), fakes, replicas)
    scores["nearest_neighbour_ratio"] = float(nearest.mean()) / reference.nearest
    scores["nearest_neighbour_floor"] = 1 - reference.share
    if len(seen.sightings.sums):
        scores["classifier_score"] = classes.classifier_score(seen.sightings)
        scores["classifier_score_of_real"] = classes.classifier_score(truth.sightings)
        scores |= classes.class_scores(seen.sightings)
        if conditional:
            scores["share_as_asked"] = float(seen.sightings.as_asked / seen.sightings.number)
    return scores


def manifold_scores(fakes: np.ndarray, reference: Reference, replicas: Replicas) -> dict[str, float]:
    """Precision, recall, density and coverage of fakes `[n, width]`."""
    reals = reference.truth.points
    radii = _by_rows(lambda rows: neighbours.radii(rows, fakes), fakes, replicas)
    counts = neighbours.Near.of_nothing(len(reals))
    for first, number in _own_parts(len(fakes), replicas):
        part = slice(first, first + number)
        counts = counts.and_of(neighbours.near(fakes[part], radii[part], reals, reference.radii))
    return neighbours.manifold_scores(neighbours.Near(*replicas.sum(list(counts))), len(fakes))


def kernel_distance(fakes: np.ndarray, reals: np.ndarray, replicas: Replicas) -> float:
    """The unbiased kernel distance of two sets of features, `[n, width]` and `[m, width]`."""
    pairs = (fakes, fakes), (reals, reals), (fakes, reals)
    own = [
        sum(neighbours.kernel_sum(rows[first : first + number], points)
            for first, number in _own_parts(len(rows), replicas))
        for rows, points in pairs
    ]  # fmt: skip
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
