"""The quality of generated samples, measured while a run trains or afterwards."""

import time
from collections.abc import Callable

import numpy as np

from distgan.data.base import Shape, Wanted
from distgan.data.pipeline import to_pixels
from distgan.gans.base import GAN
from distgan.metrics import features as feature_networks
from distgan.metrics.quality import Read, find_features, judge
from distgan.metrics.reference import reference_for
from distgan.replicas.base import Replicas

OF_SHOWN, OF_RAW = "quality", "quality_raw"  # prefixes of scores: of the weights that make the samples, and raw weights


class Evaluator:
    """An evaluator of images against a data set; all processes share the work, and receive the same scores."""

    def __init__(
        self,
        replicas: Replicas,
        data: str,
        wanted: Wanted,
        image_shape: Shape,
        *,
        num_images: int,
        features: str | None,
        say: Callable[[str], None],
    ) -> None:
        """Compute the statistics of the real images, which takes a while if they are not cached yet.

        As many real images are used as generated images are measured, or all if there are fewer. `say` takes a line
        before each long computation. Raises `UserError` if the data or the feature network is not available.
        """
        self._replicas, self._num_images, self._data, self._say = replicas, num_images, data, say
        chosen = replicas.agree(feature_networks.choose(features, data, image_shape))  # as machines may differ
        self._network = replicas.together(lambda: feature_networks.load(chosen))
        self._reference = reference_for(
            data, wanted.of_shape(image_shape), self._network, num_images, replicas, say=say
        )

    def facts(self) -> dict[str, str | int]:
        """Return the settings of the measurement by name; compare scores only if these are equal."""
        real = int(self._reference.real.features.number)
        return {
            "num_images": self._num_images,
            "num_real_images": real,
            "data": self._data,
            "features": self._network.name,
        }

    def scores(self, gan: GAN, seed: int) -> dict[str, float]:
        """Return the scores of a GAN's samples by name: of the EMA if it is kept, and of the raw weights."""
        started = time.perf_counter()
        twice = ", of the EMA and of the raw weights" if gan.averages else ""
        self._say(f"measuring {self._num_images:,} samples{twice}")

        def scores_of(group: str, averaged: bool) -> dict[str, float]:
            def read(first: int, count: int) -> np.ndarray:
                return to_pixels(gan.generate(count, seed, first, averaged)).numpy()

            scores = self.scores_of(read, self._num_images, self._asked(gan, seed))
            return {f"{group}/{name}": value for name, value in scores.items()}

        scores = scores_of(OF_SHOWN, averaged=True) | (scores_of(OF_RAW, averaged=False) if gan.averages else {})
        return scores | {f"{OF_SHOWN}/seconds": time.perf_counter() - started}

    def _asked(self, gan: GAN, seed: int) -> np.ndarray | None:
        """Return the class requested for each image, as the classifier numbers it; None if it has other classes."""
        asked, names = gan.classes_of(self._num_images, seed), gan.class_names
        if asked is not None and self._network.name == "digits":  # whose classes are the labels of MNIST
            return np.array(names, np.int64)[asked] if all(map(str.isdecimal, names)) else None
        return asked if len(names) == self._network.num_classes else None

    def scores_of(self, read: Read, count: int, asked: np.ndarray | None = None) -> dict[str, float]:
        """Return the scores of `count` images by name; `asked` are the classes requested for them, if any."""
        generated = find_features(read, count, self._network, self._replicas, asked)
        return judge(generated, self._reference, self._replicas, conditional=asked is not None)
