"""Colour images and pairs of images that need no other data: computed from the embedded MNIST, digit by digit."""

import colorsys
import hashlib
from collections.abc import Callable

import numpy as np

from distgan.data.arrays import LabelledImages, open_mnist
from distgan.data.base import Source, Wanted
from distgan.data.images import all_fitted
from distgan.errors import UserError

SIDE_PIXELS = 32  # a digit of 28 pixels and its black edges
BRIGHTEST_TEXTURE = 0.4  # as a fraction of the intensity of digits
STRIPE_PIXELS, STRIPE_HUE = 8, 0.65
CLASS_COLOURS = np.array([colorsys.hsv_to_rgb(label / 10, 1 if label % 2 else 0.6, 1) for label in range(10)])


class _Derived(Source):
    """A source whose examples are computed from digits when they are read."""

    def __init__(self, name: str, wanted: Wanted, streams: dict[str, int], images: int, make: "_Make") -> None:
        """Set `streams`; `make(stream, examples)` returns 32x32 pictures, `images` of them along the channels."""
        if wanted.channels not in (None, 3):
            raise UserError(f"--data={name} has 3 channels: remove --channels={wanted.channels}.")
        fingerprint = hashlib.sha256(repr((name, streams, wanted)).encode()).hexdigest()
        super().__init__(name, streams, *wanted.shapes((SIDE_PIXELS, SIDE_PIXELS), 3, images), fingerprint)
        self._make, self._fit = make, wanted.fit

    def read(self, stream: str, examples: np.ndarray) -> np.ndarray:
        """Compute and return examples, uint8 `[n, *example_shape]`."""
        pixels = np.rint(self._make(stream, examples) * 255).astype(np.uint8)
        parts = np.split(pixels, pixels.shape[3] // 3, axis=3)
        return np.concatenate([all_fitted(part, (*self.example_shape[:2], 3), self._fit) for part in parts], axis=3)


_Make = Callable[[str, np.ndarray], np.ndarray]


def open_edges(split: str, wanted: Wanted) -> Source:
    """Return pairs of a digit's outline, white on black, and the digit in the colour of its class."""
    digits = open_mnist(split).within_caps(wanted)

    def make(_: str, examples: np.ndarray) -> np.ndarray:
        intensity = _intensity(digits, examples)
        colours = CLASS_COLOURS[digits.labels[examples]][:, None, None, :]  # type: ignore[index]
        return np.concatenate([np.repeat(_outline(intensity), 3, axis=3), intensity * colours], axis=3)

    return _Derived("mnist-edges", wanted, {"pairs": len(digits.pixels)}, 2, make)


def open_domains(split: str, wanted: Wanted) -> Source:
    """Return digits of two domains, no digit in both: A is white on black, B is coloured on stripes."""
    digits = open_mnist(split).within_caps(wanted)

    def make(stream: str, examples: np.ndarray) -> np.ndarray:
        if stream == "A":
            return np.repeat(_intensity(digits, 2 * examples), 3, axis=3)
        return _on_texture(_intensity(digits, 2 * examples + 1))

    num_digits = len(digits.pixels)
    return _Derived("mnist-domains", wanted, {"A": -(-num_digits // 2), "B": num_digits // 2}, 1, make)


def open_colours(split: str, wanted: Wanted) -> Source:
    """Return digits on black, each in a colour that depends on its example number, in one stream "images"."""
    digits = open_mnist(split).within_caps(wanted)

    def make(_: str, examples: np.ndarray) -> np.ndarray:
        hues = np.array([np.random.default_rng([int(example), 2]).random() for example in examples])
        return _intensity(digits, examples) * _rainbow(hues)[:, None, None]

    source = _Derived("mnist-colours", wanted, {"images": len(digits.pixels)}, 1, make)
    if digits.labels is not None:
        source.set_classes(digits.labels)
    return source


def _intensity(digits: LabelledImages, examples: np.ndarray) -> np.ndarray:
    """Return digits in the middle of 32x32 pixels, `[n, 32, 32, 1]` in [0, 1]."""
    edge = (SIDE_PIXELS - digits.pixels.shape[1]) // 2
    return np.pad(digits.pixels[examples] / 255.0, ((0, 0), (edge, edge), (edge, edge), (0, 0)))


def _outline(intensity: np.ndarray) -> np.ndarray:
    """Return a mask of the digit pixels that touch the background, `[n, height, width, 1]` of 0 and 1."""
    inside = intensity > 0.5
    surrounded = inside.copy()
    for shift, axis in ((1, 1), (-1, 1), (1, 2), (-1, 2)):
        surrounded &= np.roll(inside, shift, axis)
    return (inside & ~surrounded).astype(np.float64)


def _on_texture(intensity: np.ndarray) -> np.ndarray:
    """Return digits over dark stripes; a pixel's colour depends only on its position in the image.

    Random colours would not be visible in A: a CycleGAN would hide them in its images of A to reconstruct B.
    """
    rows, columns = np.mgrid[:SIDE_PIXELS, :SIDE_PIXELS]
    stripes = 0.6 + 0.4 * np.sin((rows + columns) * 2 * np.pi / STRIPE_PIXELS)
    ground = BRIGHTEST_TEXTURE * stripes[..., None] * _rainbow(np.array(STRIPE_HUE))
    digit = _rainbow((columns - rows + SIDE_PIXELS) / (4 * SIDE_PIXELS))
    return intensity * digit + (1 - intensity) * ground


def _rainbow(hue: np.ndarray) -> np.ndarray:
    """Return bright colours, `[..., 3]` in [0, 1], of hues in [0, 1)."""
    return np.clip(np.abs((hue[..., None] + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1, 0, 1)
