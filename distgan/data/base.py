"""The interface of data sets to the pipeline: named streams of examples, all of one shape."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from distgan.errors import UserError

Shape = tuple[int, int, int]  # of an image: (height, width, channels)
TOO_LARGE = "too large"  # the beginning of the reason why a valid image is left out
MOST_FAULTS = 0.01  # largest tolerated fraction of files that are not valid images


@dataclass(frozen=True)
class Wanted:
    """The requested format and number of a data set's images.

    image_size: (height, width) in pixels; None if all images have one size, which is kept.
    margin_pixels: the pixels by which examples are higher and wider than `image_size`, for random crops.
    fit: the change to a picture of another size: "resize" it, or "crop", which means scale and centre-crop.
    channels: 1 (grey) or 3 (RGB); None to keep the channels of the data.
    max_classes, max_images_per_class: the largest number of classes (folders of a tree, or labels) to take, and of
      images of each class; None for all.
    by_class: True to leave out the images of a tree that have no class, beside class folders.
    """

    image_size: tuple[int, int] | None = None
    margin_pixels: int = 0
    fit: str = "resize"
    channels: int | None = None
    max_classes: int | None = None
    max_images_per_class: int | None = None
    by_class: bool = False

    def of_shape(self, image_shape: Shape) -> "Wanted":
        """Return the same request for images of a given shape, without margins."""
        height, width, channels = image_shape
        return replace(self, image_size=(height, width), margin_pixels=0, channels=channels)

    def shapes(self, size: tuple[int, int], channels: int, pictures: int = 1) -> tuple[Shape, Shape]:
        """Return `image_shape` and `example_shape` of a source of images of `size`, with `pictures` in an example."""
        height, width = self.image_size or size
        margin = self.margin_pixels
        return (height, width, channels), (height + margin, width + margin, channels * pictures)


@dataclass(eq=False)
class Source:
    """A data set.

    name: the --data value that opens it.
    streams: the number of examples of each stream: {"images": n}; {"pairs": n}; {"A": n, "B": m} for two domains.
    image_shape: an image's (height, width, channels).
    example_shape: the shape that `read` returns: with margins, and in "pairs" with A's channels before B's.
    fingerprint: a hash in hex, equal for equal data.
    arrays: all examples by stream if the data set is held in memory; else empty.
    labels: the class of each example of the one stream, int32 `[num_examples]` from 0 up; None if there are no classes.
    class_names: the label or the folder of each class; empty if there are no classes.
    faults: the files that are not valid images, each with the reason; reading adds to it.
    num_files: the total number of files.
    notes: sentences about the data for the user.
    failure: the reason for the error that `read` raised, as a sentence; None without an error.
    """

    name: str
    streams: dict[str, int]
    image_shape: Shape
    example_shape: Shape
    fingerprint: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    faults: dict[str, str] = field(default_factory=dict)
    num_files: int = 0
    notes: tuple[str, ...] = ()
    failure: str | None = None

    def set_classes(self, values: Sequence[str | int] | np.ndarray) -> None:
        """Make a class of each value that occurs, in sorted order; `values` are one for each example."""
        names, labels = np.unique(values, return_inverse=True)
        self.class_names, self.labels = tuple(map(str, names)), labels.astype(np.int32)

    def read(self, stream: str, examples: np.ndarray) -> np.ndarray:
        """Return examples of a stream by number, uint8 `[n, *example_shape]`; several threads may call it at once.

        If a file is not a valid image, the next valid example replaces its example, and `faults` records the file.
        """
        return self.arrays[stream][examples]


def refuse_faults(name: str, faults: dict[str, str], num_files: int) -> None:
    """Raise `UserError`, with a list of the files, if more than 1% are damaged; images that are too large are not."""
    faults = {path: reason for path, reason in faults.items() if not reason.startswith(TOO_LARGE)}
    if len(faults) > MOST_FAULTS * num_files:
        listed = "; ".join(f"{path} ({reason})" for path, reason in list(faults.items())[:20])
        more = f"; and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise UserError(
            f"--data={name}: {len(faults)} of {num_files} files are not images, and at most "
            f"{MOST_FAULTS:.0%} may be damaged: remove or repair {listed}{more}."
        )
