"""Emoji in three styles, colour pictures of 64x64 pixels that are part of distgan: classes, pairs and unpaired domains.

They are colour data with free licences and no download: 3,139 emoji, each in the styles of Fluent Emoji Flat (MIT),
Noto Emoji (Apache-2.0) and Twemoji (CC BY 4.0). benchmarks/draw_emoji.py draws them from npm packages, and
emoji/ATTRIBUTION.md has the licences. One emoji in two styles is a pair, so the target of a translation is known.

About half of the emoji are variants of others in another skin tone, and look much like them. An emoji and its variants
are therefore in one split and in one domain, both chosen by a hash of the emoji's name.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distgan.data.arrays import LabelledImages
from distgan.data.base import Source, Wanted
from distgan.data.images import all_fitted
from distgan.paths import embedded

FILE = Path(__file__).with_suffix("") / "emoji.npz"
FILE_SHA256 = "758a4bdbcc6755f1914a34aedb1cba0534e27beb52a27935b31fd48c2f7f23a7"
SIDE_PIXELS = 64
STYLES = ("fluent", "noto", "twemoji")
FROM_STYLE, TO_STYLE = "twemoji", "noto"  # of pairs
DOMAIN_STYLES = {"A": "fluent", "B": "noto"}
ONE_HELD_OUT_OF = 10  # families, on average


@dataclass(frozen=True, eq=False)
class Emoji:
    """Emoji of one split, each a row of all arrays.

    names, categories, bases: text `[number]`, such as "thumbs-up-dark-skin-tone", "People & Body" and "thumbs-up".
    pixels: by style, uint8 `[number, 64, 64, 3]`, on white.
    """

    names: np.ndarray
    categories: np.ndarray
    bases: np.ndarray
    pixels: dict[str, np.ndarray]


def read(split: str, styles: tuple[str, ...] = STYLES, file: Path = FILE) -> Emoji:
    """Read the emoji of a split, "train" or "test", in some styles, which takes 0.3 seconds for each style.

    Raises `UserError` if the file is missing or its SHA-256 is not FILE_SHA256.
    """
    with np.load(io.BytesIO(embedded(file, FILE_SHA256)), allow_pickle=False) as stored:
        held_out = np.array([_number(base) % ONE_HELD_OUT_OF == 0 for base in stored["base"]])
        rows = held_out == (split == "test")
        names, categories, bases = (stored[name][rows] for name in ("name", "category", "base"))
        return Emoji(names, categories, bases, {style: stored[style][rows] for style in styles})


def domain_of(base: str) -> str:
    """Return the domain, "A" or "B", of an emoji and its variants by the name of the plain one."""
    return "AB"[_number(base) // ONE_HELD_OUT_OF % 2]


def open_images(split: str, wanted: Wanted) -> Source:
    """Return each emoji in each style, in one stream "images"; the classes are the categories."""
    emoji = read(split)
    pixels = np.stack([emoji.pixels[style] for style in STYLES], axis=1).reshape(-1, SIDE_PIXELS, SIDE_PIXELS, 3)
    images = LabelledImages("emoji", pixels, _labels(emoji).repeat(len(STYLES))).within_caps(wanted)
    source = _source("emoji", split, wanted, {"images": images})
    source.set_classes(np.unique(emoji.categories)[images.labels])
    return source


def open_styles(split: str, wanted: Wanted) -> Source:
    """Return pairs of the same emoji in two styles: Twemoji, and Noto."""
    emoji = read(split, (FROM_STYLE, TO_STYLE))
    pixels = np.concatenate([emoji.pixels[FROM_STYLE], emoji.pixels[TO_STYLE]], axis=3)
    images = LabelledImages("emoji-styles", pixels, _labels(emoji)).within_caps(wanted)
    return _source("emoji-styles", split, wanted, {"pairs": images})


def open_domains(split: str, wanted: Wanted) -> Source:
    """Return emoji of two domains, no emoji or variant of it in both: A is Fluent, B is Noto."""
    emoji = read(split, tuple(DOMAIN_STYLES.values()))
    domains = np.array([domain_of(base) for base in emoji.bases])
    labels, streams = _labels(emoji), {}
    for domain, style in DOMAIN_STYLES.items():
        rows = domains == domain
        images = LabelledImages("emoji-domains", emoji.pixels[style][rows], labels[rows])
        streams[domain] = images.within_caps(wanted)
    return _source("emoji-domains", split, wanted, streams)


def _number(base: str) -> int:
    """Return a number of 64 bits, by which some emoji of each category are held out: both splits have all classes."""
    return int.from_bytes(hashlib.sha256(base.encode()).digest()[:8])


def _labels(emoji: Emoji) -> np.ndarray:
    return np.unique(emoji.categories, return_inverse=True)[1]


def _source(name: str, split: str, wanted: Wanted, streams: dict[str, LabelledImages]) -> Source:
    """Return a source of pictures in memory, in the format of `wanted`; an example of "pairs" is two pictures."""
    pictures = 2 if "pairs" in streams else 1
    image_shape, shape = wanted.shapes((SIDE_PIXELS, SIDE_PIXELS), wanted.channels or 3, pictures)
    arrays = {}
    for stream, images in streams.items():
        parts = np.split(images.pixels, pictures, axis=3)
        fitted = [all_fitted(part, (*shape[:2], image_shape[2]), wanted.fit) for part in parts]
        arrays[stream] = np.concatenate(fitted, axis=3)
    numbers = {stream: len(array) for stream, array in arrays.items()}
    fingerprint = hashlib.sha256(repr((FILE_SHA256, name, split, wanted)).encode()).hexdigest()
    return Source(name, numbers, image_shape, shape, fingerprint, arrays)
