"""An image file's picture: decoded by Pillow to grey or RGB, and fitted to a size."""

import os
import warnings
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from distgan.data.base import Shape
from distgan.paths import check_regular

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")  # in capitals too
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
MAX_PIXELS = 2**26
BACKGROUND = "white"

# `open_picture` has a limit of its own; what Pillow warns of besides is no matter of the user's.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImageError(Exception):
    """A file is no image that can be used; says why in a few words."""


def open_picture(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Image.Image:
    """Decode an image file, upright and on white, in mode "L" or "RGB".

    size: the (height, width) it is to be fitted to: a JPEG file much larger is decoded to a smaller picture.

    Raises `BadImageError` where it is not there, is no whole image, or would have more than `MAX_PIXELS`, and `OSError`
    where the system can't read it, which says nothing of the image.
    """
    path = os.fspath(path)
    try:
        check_regular(path)
        with Image.open(path, formats=FORMATS) as image:
            _check_size(image)
            if size:
                image.draft(None, (2 * max(size), 2 * max(size)))
            image.load()
            with suppress(Exception):  # broken EXIF leaves a picture as it lies
                ImageOps.exif_transpose(image, in_place=True)
            return _opaque(image)
    except BadImageError:
        raise
    except OSError as error:
        if error.errno is None or isinstance(error, FileNotFoundError | IsADirectoryError):
            raise BadImageError(_reason(path, error)) from error
        raise
    except Exception as error:  # there is little that Pillow does not raise
        raise BadImageError(_reason(path, error)) from error


def fitted(image: Image.Image, shape: Shape, fit: str) -> np.ndarray:
    """A picture's pixels, uint8 `shape`, in grey or RGB, by "resize" of all or "crop" of its middle."""
    height, width, channels = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        cubic = Image.Resampling.BICUBIC
        if fit == "crop":
            image = ImageOps.fit(image, (width, height), cubic)
        else:
            image = image.resize((width, height), cubic, reducing_gap=3.0)
    return np.asarray(image).reshape(shape)


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImageError(f"would unpack to {height}x{width} pixels")
    if width * height == 0:
        raise BadImageError("has no pixels")


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip and not scale
        return Image.fromarray(((np.asarray(image, np.uint32) + 128) // 257).astype(np.uint8))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    return image.convert(mode)


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image" if os.path.getsize(path) else "empty"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "too large for the memory"
    return "truncated" if "truncated" in str(error) else "damaged"
