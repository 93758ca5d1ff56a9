"""What a data set is to the pipeline: named streams of examples, all of one shape."""

from dataclasses import dataclass, field, replace

import numpy as np

from distgan.errors import UserError

Shape = tuple[int, int, int]  # of an image: height, width, channels
MOST_FAULTS = 0.01  # of a data set's files may be no images


@dataclass(frozen=True)
class Wanted:
    """How images are wanted of a data set.

    image_size: (height, width) in pixels; None where they are all of one size and are to stay so.
    margin_pixels: by how much examples are to be higher and wider than that, for random crops.
    fit: what is done to a picture of another size: "resize" it, or "crop" the middle of what covers the size.
    channels: 1 (grey) or 3 (RGB); None for what the data has.
    max_classes, max_images_per_class: how many folders of a tree, or labels, to take, and how many images of each; None
      for all.
    """

    image_size: tuple[int, int] | None = None
    margin_pixels: int = 0
    fit: str = "resize"
    channels: int | None = None
    max_classes: int | None = None
    max_images_per_class: int | None = None

    def of_shape(self, image_shape: Shape) -> "Wanted":
        """The same of images of a shape, without margins."""
        height, width, channels = image_shape
        return replace(self, image_size=(height, width), margin_pixels=0, channels=channels)


@dataclass(eq=False)
class Source:
    """A data set.

    name: the --data value that opens it.
    streams: how many examples each stream has: {"images": n}; {"pairs": n}; {"A": n, "B": m} for two domains.
    image_shape: an image's (height, width, channels).
    example_shape: what `read` gives: margins included, and in "pairs" A's channels before B's.
    fingerprint: equal for equal data, in hex.
    arrays: of a data set that is held in memory, all examples by stream; else empty.
    labels: the class of each example of the one stream, int32 `[num_examples]` from 0 up; None where there are none.
    faults: the files found to be no images, each with the reason; it grows as they are read.
    num_files: how many files those are part of.
    failure: why `read` has raised an error, a sentence.
    """

    name: str
    streams: dict[str, int]
    image_shape: Shape
    example_shape: Shape
    fingerprint: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    faults: dict[str, str] = field(default_factory=dict)
    num_files: int = 0
    failure: str | None = None

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 where examples have none."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def read(self, stream: str, examples: np.ndarray) -> np.ndarray:
        """Examples of a stream by number, uint8 `[n, *example_shape]`; several threads may call it at once.

        In the place of one whose file is no image stands the next good one, and its file becomes one of `faults`.
        """
        return self.arrays[stream][examples]


def refuse_faults(name: str, faults: dict[str, str], num_files: int) -> None:
    """Raise `UserError`, with the list, where more than one file in a hundred is no image."""
    if len(faults) > MOST_FAULTS * num_files:
        listed = "; ".join(f"{path} ({reason})" for path, reason in list(faults.items())[:20])
        more = f"; and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise UserError(
            f"--data={name}: {len(faults)} of {num_files} files are no images, which is more than "
            f"{MOST_FAULTS:.0%}: remove or mend {listed}{more}."
        )
