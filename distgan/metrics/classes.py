"""Scores from a classifier's probabilities: its certainty, and how the images are spread over the classes."""

from typing import NamedTuple, Self

import numpy as np

MOST_SHARES = 20  # the largest number of classes for which each class's share is listed
MISSING = 0.1  # as a fraction of an equal share: a class with a smaller share does not count as covered


class ClassStatistics(NamedTuple):
    """Sums over probabilities `[n, classes]`: n, the sums of p and of p log p, and the counts of the likeliest class.

    as_asked: the number of images whose likeliest class is the requested class.
    """

    number: np.ndarray
    sums: np.ndarray
    negative_entropies: np.ndarray
    likeliest: np.ndarray
    as_asked: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, asked: np.ndarray | None = None) -> Self:
        """Sum up probabilities `[n, classes]` of images; n may be 0, and `asked` `[n]` are the requested classes."""
        wide = probabilities.astype(np.float64)
        num_classes = wide.shape[1]
        likeliest = wide.argmax(1) if num_classes else np.zeros(0, np.int64)
        return cls(
            np.array(float(len(wide))),
            wide.sum(0),
            _negative_entropies(wide).sum(),
            np.bincount(likeliest, minlength=num_classes).astype(np.float64),
            np.array(0.0 if asked is None else float((likeliest == asked).sum())),
        )


def classifier_score(found: ClassStatistics) -> float:
    """Return exp(E KL(p(y|x) || p(y))) (the Inception score of Salimans et al. 2016), over all images at once."""
    overall = _negative_entropies(found.sums / found.number)
    return float(np.exp(found.negative_entropies / found.number - overall))


def class_scores(found: ClassStatistics) -> dict[str, float]:
    """Return scores of the distribution of the images over the predicted classes; entropies are in nats."""
    shares, num_classes = found.likeliest / found.number, len(found.likeliest)
    entropy = 0.0 - float(_negative_entropies(shares))  # never -0.0
    scores = {
        "modes": float((shares >= MISSING / num_classes).sum()),
        "entropy": entropy,
        "kl_to_uniform": float(np.log(num_classes)) - entropy,
    }
    listed = enumerate(shares.tolist()) if num_classes <= MOST_SHARES else ()
    return scores | {f"share_of_{number}": share for number, share in listed}


def _negative_entropies(probabilities: np.ndarray) -> np.ndarray:
    """Return sums of p log p over the last axis, with 0 log 0 = 0."""
    logarithms = np.log(np.where(probabilities > 0, probabilities, 1))
    return np.asarray((probabilities * logarithms).sum(-1))
