"""Images and labels in .npz files."""

import zipfile
from pathlib import Path

import numpy as np
import psutil

from distgan.data.arrays import LabelledImages, checked
from distgan.errors import UserError, first_line, in_short
from distgan.paths import expanded

PIXELS_KEYS, LABELS_KEYS = ("images", "arr_0", "pixels"), ("labels", "arr_1")


def open_npz(path: str, with_labels: bool = True) -> LabelledImages:
    """Read images, uint8 `[number, height, width]` or `[..., channels]`, and labels if there are any, of an .npz file.

    They are the first there is of the arrays `PIXELS_KEYS` and `LABELS_KEYS`. Raises `UserError` if they are invalid.
    """
    file = Path(expanded("An .npz file", path))
    writing = f"numpy.savez({file.name!r}, images=PIXELS)"
    if not file.is_file():
        raise UserError(f"{path} does not exist, or is not a file: give an .npz file with an array `images`.")
    if not zipfile.is_zipfile(file):
        raise UserError(f"{path} is not an .npz file: write it with {writing}.")
    try:
        with zipfile.ZipFile(file) as archive:
            bytes_of_all = sum(entry.file_size for entry in archive.infolist())
        if 2 * bytes_of_all > psutil.virtual_memory().available:
            raise UserError(f"{path} needs {bytes_of_all:,} bytes, more than is free: give fewer or smaller images.")
        with np.load(file, allow_pickle=False) as stored:
            pixels, labels = (
                next((np.asarray(stored[key]) for key in keys if key in stored), None)
                for keys in (PIXELS_KEYS, LABELS_KEYS if with_labels else ())
            )
            if pixels is None:
                named = " or ".join(PIXELS_KEYS)
                raise UserError(f"{path} holds {in_short(list(stored))}, and no {named}: use {writing}.")
    except UserError:
        raise
    except Exception as error:  # zipfile and NumPy raise errors of many types
        raise UserError(f"{path} can't be read as an .npz file of images ({first_line(error)}).") from None
    return checked(f"npz:{path}", path, pixels, f"{path}: its array of labels", labels)
