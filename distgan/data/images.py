"""Image files: decoded by Pillow to grey or RGB, and fitted to a size."""

import errno
import io
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from distgan.data.base import TOO_LARGE, Shape
from distgan.paths import check_regular
from distgan.pictures import to_pillow

EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".webp")  # upper case is accepted too
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
MAX_PIXELS = 2**26
BACKGROUND = "white"
OF_THE_FILE = (None, errno.ENOENT, errno.EISDIR, errno.ELOOP)  # errors by which the file is no image

# `open_picture` has its own limit; users cannot act on the other warnings of Pillow.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImageError(Exception):
    """An error for a file that is not a usable image; the message gives the reason in a few words."""


def open_picture(file: str | Path | bytes, size: tuple[int, int] | None = None) -> Image.Image:
    """Decode an image file, or the bytes of one, upright and on a white background, in mode "L" or "RGB".

    size: the (height, width) of the final image: a much larger JPEG file is decoded to a smaller picture.

    Raises `BadImageError` if the file is missing, is not a complete image or has more than `MAX_PIXELS` pixels. Raises
    `OSError` if the system cannot read the file; the image itself may be valid.
    """
    try:
        if not isinstance(file, bytes):
            check_regular(file)
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS) as image:
            if size:
                image.draft(None, (2 * max(size), 2 * max(size)))
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadImageError(f"{TOO_LARGE}: it has {height}x{width} pixels")
            if width * height == 0:
                raise BadImageError("has no pixels")
            image.load()
            with suppress(Exception):  # with broken EXIF data a picture is not rotated
                ImageOps.exif_transpose(image, in_place=True)
            return _opaque(image)
    except BadImageError:
        raise
    except Exception as error:  # Pillow raises errors of many types
        if isinstance(error, OSError) and error.errno not in OF_THE_FILE:
            raise
        raise BadImageError(_reason(file, error)) from error


def fitted(image: Image.Image, shape: Shape, fit: str) -> np.ndarray:
    """Return a picture's pixels, uint8 `shape`, grey or RGB; `fit` is "resize", or "crop" (scale and centre-crop)."""
    height, width, channels = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        cubic = Image.Resampling.BICUBIC
        if fit == "crop":
            image = ImageOps.fit(image, (width, height), cubic)
        else:
            image = image.resize((width, height), cubic, reducing_gap=3.0)
    return np.asarray(image).reshape(shape)


def all_fitted(pictures: Sequence[np.ndarray] | np.ndarray, shape: Shape, fit: str) -> np.ndarray:
    """Return pictures, uint8 `[height, width, channels]`, as one array `[n, *shape]`, each as by `fitted`."""
    if isinstance(pictures, np.ndarray) and pictures.shape[1:] == shape:
        return pictures
    return np.stack([fitted(to_pillow(picture), shape, fit) for picture in pictures])


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit values, which Pillow would clip instead of scale
        return Image.fromarray(((np.asarray(image, np.uint32) + 128) // 257).astype(np.uint8))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    return image.convert(mode)


def _reason(file: str | Path | bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image" if (len(file) if isinstance(file, bytes) else os.path.getsize(file)) else "empty"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return f"{TOO_LARGE} for the memory"
    return "truncated" if "truncated" in str(error) else "damaged"
