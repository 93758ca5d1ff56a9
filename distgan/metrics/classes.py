"""What a classifier says of images: how sure it is, and of how many classes."""

from typing import NamedTuple, Self

import numpy as np

MOST_SHARES = 20  # classes, to list the share of each
MISSING = 0.1  # of the share that each class would have if all were equal: below, it does not count as covered


class ClassStatistics(NamedTuple):
    """Of probabilities `[n, classes]`: n, their sums, those of p log p, and how often each class was the likeliest.

    as_asked: how often the likeliest class was the one that was asked for.
    """

    number: np.ndarray
    sums: np.ndarray
    negative_entropies: np.ndarray
    likeliest: np.ndarray
    as_asked: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, asked: np.ndarray | None = None) -> Self:
        """Sum up probabilities `[n, classes]` of images; n may be 0, and `asked` `[n]` are the classes asked for."""
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
    """exp(E KL(p(y|x) || p(y))) (the Inception score of Salimans et al. 2016), over all images at once."""
    overall = _negative_entropies(found.sums / found.number)
    return float(np.exp(found.negative_entropies / found.number - overall))


def class_scores(found: ClassStatistics) -> dict[str, float]:
    """How images are spread over the classes that they are taken for; entropies are in nats."""
    shares, num_classes = found.likeliest / found.number, len(found.likeliest)
    entropy = float(-_negative_entropies(shares))
    scores = {
        "modes": float((shares >= MISSING / num_classes).sum()),
        "entropy": entropy,
        "kl_to_uniform": float(np.log(num_classes)) - entropy,
    }
    listed = enumerate(shares.tolist()) if num_classes <= MOST_SHARES else ()
    return scores | {f"share_of_{number}": share for number, share in listed}


def _negative_entropies(probabilities: np.ndarray) -> np.ndarray:
    """Sums of p log p over the last axis, where 0 log 0 is 0."""
    logarithms = np.log(np.where(probabilities > 0, probabilities, 1))
    return np.asarray((probabilities * logarithms).sum(-1))
