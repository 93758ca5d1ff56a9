"""Data sets of tensorflow-datasets, an optional package."""

import hashlib
from typing import Any

import numpy as np

from distgan.data.base import Source, Wanted
from distgan.data.images import all_fitted
from distgan.errors import UserError, first_line, sentence_of


class TfdsSource(Source):
    """The images of a data set with random access; the first opening downloads and prepares missing data."""

    def __init__(self, name: str, examples: Any, wanted: Wanted) -> None:
        """Read from `examples`, a sequence of features with an "image", uint8 `[height, width, channels]`."""
        first = examples[0]["image"]
        channels = wanted.channels or (1 if first.shape[2] == 1 else 3)
        fingerprint = hashlib.sha256(repr((name, len(examples), wanted)).encode()).hexdigest()
        shapes = wanted.shapes(first.shape[:2], channels)
        super().__init__(f"tfds:{name}", {"images": len(examples)}, *shapes, fingerprint)
        self._examples, self._fit = examples, wanted.fit

    def read(self, stream: str, examples: np.ndarray) -> np.ndarray:
        """Decode and return examples, uint8 `[n, *example_shape]`."""
        try:
            found = self._examples.__getitems__([int(number) for number in examples])
        except OSError as error:
            self.failure = f"--data={self.name} can't be read: {sentence_of(error)}"
            raise
        return all_fitted([one["image"] for one in found], self.example_shape, self._fit)


def open_tfds(name: str, split: str, wanted: Wanted) -> Source:
    """Open a data set by its name in tensorflow-datasets, such as "cifar10".

    Raises `UserError` if tensorflow-datasets is missing or has no such images.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        needed = "pip install tensorflow-datasets array-record"
        raise UserError(f"--data=tfds:{name} needs tensorflow-datasets ({error}): run `{needed}`.") from None
    try:
        info = tensorflow_datasets.builder(name).info
        examples = tensorflow_datasets.data_source(name, split=split if split in info.splits else "train")
    except Exception as error:  # the library raises errors of many types, some its own
        raise UserError(
            f"--data=tfds:{name} can't be opened for random access ({first_line(error).rstrip('.')}): prepare it with "
            "file_format=array_record."
        ) from None
    image = dict(info.features).get("image")
    if image is None or image.np_dtype != np.uint8 or len(image.shape) != 3:
        raise UserError(f"--data=tfds:{name} has no feature `image` of whole numbers from 0 to 255.")
    if wanted.max_classes or wanted.max_images_per_class:
        raise UserError(f"--data=tfds:{name} takes no --max_classes or --max_images_per_class: remove them.")
    if None in image.shape[:2] and wanted.image_size is None:
        raise UserError(f"--data=tfds:{name} holds images of several sizes: give --image_size=HxW.")
    return TfdsSource(name, examples, wanted)
