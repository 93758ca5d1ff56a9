"""How good samples are, measured while a run trains or afterwards."""

import time

import numpy as np

from distgan.data.base import Shape, Wanted
from distgan.data.pipeline import to_pixels
from distgan.gans.base import GAN
from distgan.metrics.features import network_for
from distgan.metrics.quality import Read, find_features, judge
from distgan.metrics.reference import reference_for
from distgan.replicas.base import Replicas

OF_SHOWN, OF_RAW = "quality", "quality_raw"  # begin the names of scores: of what makes the samples, and of raw weights


class Evaluator:
    """Measures images by a data set; all processes share the work, and learn the same scores."""

    def __init__(
        self,
        replicas: Replicas,
        data: str,
        wanted: Wanted,
        image_shape: Shape,
        *,
        num_images: int,
        features: str | None,
    ) -> None:
        """Look at the real images, which takes a while where that has not been done before.

        As many are looked at as are measured, or as there are. Raises `UserError` where the data or the network that
        gives the features can't be had.
        """
        self._replicas, self._num_images, self._data = replicas, num_images, data
        self._network = replicas.together(lambda: network_for(features, data, image_shape))
        self._reference = reference_for(data, wanted.of_shape(image_shape), self._network, num_images, replicas)

    def facts(self) -> dict[str, str | int]:
        """What is measured by what, by name; scores are to be compared where these are equal."""
        return {"num_images": self._num_images, "data": self._data, "features": self._network.name}

    def scores(self, gan: GAN, seed: int) -> dict[str, float]:
        """Scores of a GAN's samples by name: of the running average where it is kept, and of raw weights."""
        started = time.perf_counter()

        def scores_of(group: str, averaged: bool) -> dict[str, float]:
            def read(first: int, count: int) -> np.ndarray:
                return to_pixels(gan.generate(count, seed, first, averaged)).numpy()

            scores = self.scores_of(read, self._num_images, gan.classes_of(self._num_images, seed))
            return {f"{group}/{name}": value for name, value in scores.items()}

        scores = scores_of(OF_SHOWN, averaged=True) | (scores_of(OF_RAW, averaged=False) if gan.averages else {})
        return scores | {f"{OF_SHOWN}/seconds": time.perf_counter() - started}

    def scores_of(self, read: Read, count: int, asked: np.ndarray | None = None) -> dict[str, float]:
        """Scores of `count` images by name; `asked` are the classes that they were to be of, if any."""
        generated = find_features(read, count, self._network, self._replicas, asked)
        return judge(generated, self._reference, self._replicas, conditional=asked is not None)
