"""How good the samples of a run are, measured while it trains or afterwards."""

import dataclasses
import time

import numpy as np

from distgan import pictures
from distgan.config import Config
from distgan.data.base import Shape, Wanted
from distgan.gans.base import GAN
from distgan.metrics.features import network_for
from distgan.metrics.quality import judge, look
from distgan.metrics.reference import reference_for
from distgan.replicas.base import Replicas

OF_SHOWN, OF_RAW = "quality", "quality_raw"  # begin the names of scores: of what makes the samples, and of raw weights


class Evaluator:
    """Measures the samples of a GAN against the data that it learns from; all processes share the work."""

    def __init__(self, config: Config, gan: GAN, image_shape: Shape, wanted: Wanted, replicas: Replicas) -> None:
        """Look at the real images first, which takes a while where no earlier run has. Raises `UserError`."""
        self._config, self._gan, self._replicas = config, gan, replicas
        height, width, channels = image_shape
        wanted = dataclasses.replace(wanted, image_size=(height, width), margin_pixels=0, channels=channels)
        data, count = str(config.data), config.evaluate_num_images
        self._network = replicas.together(lambda: network_for(config.features, data, image_shape))
        self._reference = reference_for(data, wanted, self._network, count, replicas)

    def scores(self) -> dict[str, float]:
        """Scores by name, the same on all processes: of the running average where it is kept, and of raw weights."""
        started = time.perf_counter()
        scores = self._scores(OF_SHOWN, averaged=True)
        if self._gan.averages:
            scores |= self._scores(OF_RAW, averaged=False)
        return scores | {f"{OF_SHOWN}/seconds": time.perf_counter() - started}

    def _scores(self, group: str, averaged: bool) -> dict[str, float]:
        def read(first: int, count: int) -> np.ndarray:
            images = self._gan.generate(count, self._config.seed, first, averaged)
            return pictures.to_pixels(images.numpy())

        seen = look(read, self._config.evaluate_num_images, self._network, self._replicas)
        return {f"{group}/{name}": value for name, value in judge(seen, self._reference, self._replicas).items()}
