"""The data of the steps: a share of the global batch for each step, and the files that are not images."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from distgan.config import Config
from distgan.data import pipeline
from distgan.data.base import Source, Wanted, refuse_faults
from distgan.data.sources import kind_of, open_source
from distgan.errors import UserError
from distgan.replicas.base import Replicas


def images_wanted(config: Config) -> Wanted:
    """Return the requested format and number of a run's training images."""
    return Wanted(
        config.height_and_width,
        config.jitter_pixels,
        config.fit,
        config.channels,
        config.max_classes,
        config.max_images_per_class,
        config.gan.uses_classes,
    )


def open_data(config: Config, replicas: Replicas) -> Source:
    """Open the data. Raises `UserError` if it does not fit the GAN, or is not the same on all processes."""
    expected, streams = config.gan.streams, kind_of(str(config.data)).streams
    if expected != streams:
        raise UserError(
            f"--architecture={config.architecture} needs {_words(expected)}, but --data={config.data} has "
            f"{_words(streams)}: choose other data, or another preset."
        )
    source = replicas.together(lambda: open_source(str(config.data), "train", images_wanted(config)))
    differs = source.fingerprint != replicas.agree(source.fingerprint)
    if replicas.sum([np.array([differs], np.int32)])[0].any():
        raise UserError(f"--data={config.data} is not the same data for all processes: copy it to all machines.")
    if config.gan.uses_classes and not source.class_names:
        raise UserError(f"--conditional needs classes, and --data={config.data} has none: give --conditional=false.")
    return source


def _words(streams: tuple[str, ...]) -> str:
    return "two domains, A and B" if len(streams) > 1 else streams[0]


def held_out_images(config: Config, source: Source) -> dict[str, tf.Tensor]:
    """Return the held-out images for previews, by stream, in the shape of the training source's images."""
    held_out = open_source(str(config.data), "test", images_wanted(config).of_shape(source.image_shape))
    return {
        stream: pipeline.to_images(held_out.read(stream, np.arange(min(config.num_samples, number))))
        for stream, number in held_out.streams.items()
    }


class Feed:
    """This process's shares of the global batches, from a position in the data onwards.

    Attributes:
        resident: the data set in memory, on the devices, if it is held there; seconds: the time spent waiting for the
            share of the last call.
    """

    def __init__(
        self, config: Config, replicas: Replicas, source: Source, *, position: int, image_phases: int, most: int
    ) -> None:
        """Start at `position`, the number of real images shown; `image_phases` phases of a step show real images.

        A share is of one step or, with a `most` above 1, of up to so many steps.
        """
        self._replicas, self._source = replicas, source
        self.resident = pipeline.hold(source, replicas.place, with_labels=config.gan.uses_classes)
        self.seconds = 0.0
        self._take = replicas.batches(
            lambda shard: pipeline.make_shares(
                shard,
                source,
                batch_size=config.batch_size,
                seed=config.seed,
                first_position=position,
                image_phases=image_phases,
            ),
            most,
        )
        self._bad_files: dict[str, str] = {}  # reported on all processes, each with the reason
        self._announced: set[str] = set()

    def next(self, steps: int = 1) -> Any:
        """Return the share of the next steps, see `Replicas.batches`. Raises `UserError` if it can't be read."""
        started = time.perf_counter()
        try:
            share = self._take(steps)
        except tf.errors.OpError:
            if self._source.failure is None:
                raise
            raise UserError(self._source.failure) from None
        self.seconds = time.perf_counter() - started
        return share

    def has_new_bad_files(self) -> bool:
        """Return whether this process has found files that are not images and that were not reported before."""
        found = set(self._source.faults) - self._announced
        self._announced |= found
        return bool(found - set(self._bad_files))

    def report_bad_files(self, warn: Callable[[list[str]], None]) -> None:
        """Report the new bad files of all processes. Raises `UserError`, on all processes, if there are too many."""
        for faults in self._replicas.gather(dict(self._source.faults)):
            for path, reason in faults.items():
                if path not in self._bad_files:
                    self._bad_files[path] = reason
                    warn([f"{path} is left out: {reason} ({len(self._bad_files)} so far)"])
        refuse_faults(self._source.name, self._bad_files, self._source.num_files)
