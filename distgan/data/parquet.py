"""Images in Parquet files and in data sets of Hugging Face, by the optional package `datasets`.

It writes them to an Arrow file in its cache once, which processes map into memory: a picture is copied when it is
decoded. In a Parquet file a picture can only be read together with all others of its row group.
"""

import glob
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from distgan.data.archives import hash_classes
from distgan.data.arrays import checked_labels
from distgan.data.base import Source, Wanted
from distgan.data.folders import open_images
from distgan.errors import UserError, first_line, in_short
from distgan.paths import check_regular, expanded

IMAGES, LABELS = ("image", "img", "images"), ("label", "labels", "fine_label")  # columns
SPLITS = {"train": ("train",), "test": ("test", "validation", "train")}  # in order of preference


def open_parquet(files: str, split: str, wanted: Wanted) -> Source:
    """Open the images in Parquet files, and their labels if there are any.

    files: a file or a pattern of the shell, the same for each split; or a directory, in which the names of files and
    folders give the splits, as on the hub. Raises `UserError` as `open_folder`, and if a file or a label is invalid.
    """
    path = expanded("--data", files)

    def load(library: Any) -> Any:
        if os.path.isdir(path):
            return library.load_dataset("parquet", data_dir=path)
        found = sorted(glob.glob(path)) if glob.glob(path) and not os.path.lexists(path) else [path]
        for file in found:
            check_regular(file)
        return library.load_dataset("parquet", data_files=[glob.escape(file) for file in found])

    return _opened(f"parquet:{files}", load, split, wanted)


def open_hub(data: str, split: str, wanted: Wanted) -> Source:
    """Open a data set by its name on the hub, by a directory in the hub's layout, or by one of `save_to_disk`.

    Raises `UserError` as `open_parquet`, and if the data set can't be downloaded and is not in the cache.
    """
    path = expanded("--data", data)
    saved = any(os.path.isfile(os.path.join(path, file)) for file in ("dataset_dict.json", "state.json"))
    read = "load_from_disk" if saved else "load_dataset"
    return _opened(f"hf:{data}", lambda library: getattr(library, read)(path), split, wanted)


def _opened(name: str, load: Callable[[Any], Any], split: str, wanted: Wanted) -> Source:
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # its errors are part of our sentence
    try:
        import datasets
    except ImportError as error:
        raise UserError(f'--data={name} needs datasets ({error}): run `pip install "distgan[hf]"`.') from None
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else it reports each opening, of local files too, to the hub
    datasets.logging.set_verbosity(logging.CRITICAL)  # which its import has changed
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        splits = load(datasets)
    except Exception as error:  # the library raises errors of many types, some its own
        reason = first_line(error.__cause__ or error).rstrip(".")  # type: ignore[arg-type]
        raise UserError(f"--data={name} can't be opened ({reason}): give files or a data set that can.") from None
    if isinstance(splits, datasets.Dataset):
        splits = {"train": splits}
    chosen = [splits[one] for one in SPLITS[split] if one in splits and len(splits[one])]
    if not chosen:
        named = in_short([f"{one} ({len(rows)} rows)" for one, rows in splits.items()])
        raise UserError(f"--data={name} has the splits {named}: one must be named train, and have rows.")
    return _source(name, chosen[0], wanted)


def _source(name: str, rows: Any, wanted: Wanted) -> Source:
    from pyarrow import compute, types

    column = rows.data.column(_image_column(name, rows))
    content = compute.struct_field(column, "bytes") if types.is_struct(column.type) else column
    sizes = compute.fill_null(compute.binary_length(content), 0).to_pylist()  # from offsets: no picture is read
    labels, missing = _labels(name, rows)
    paths = [f"row {row:0{len(str(len(sizes)))}}" for row in range(len(sizes))]  # in this order when sorted

    def file_of(path: str) -> str | bytes:
        value = column[int(path[4:])].as_py() or b""
        return value if isinstance(value, bytes) else value["bytes"] or value.get("path") or b""

    def class_of(path: str) -> str | int:
        return labels[int(path[4:])] if labels else ""

    source = open_images(name, file_of, dict(zip(paths, sizes, strict=True)), wanted, class_of)
    hash_classes(source)
    if missing:
        source.notes += (f"labels are not used: {missing} images have none",)
    return source


def _image_column(name: str, rows: Any) -> str:
    """Return the column of files' bytes, or of structures with a field `bytes`, as datasets' type `Image` is."""
    files = r"(large_)?binary|struct<(.*, )?bytes: (large_)?binary.*"
    found = [field.name for field in rows.data.schema if re.fullmatch(files, str(field.type))]
    named = found if len(found) == 1 else [column for column in IMAGES if column in found]
    if named:
        return named[0]
    raise UserError(
        f"--data={name} has the columns {in_short(rows.column_names)}, of which {in_short(found)} may hold image "
        f"files: name the column of images {' or '.join(IMAGES)}."
    )


def _labels(name: str, rows: Any) -> tuple[list[Any], int]:
    """Return the class of each row, a text or a whole number, and 0; or [] and the number of rows without a class."""
    column = next((column for column in LABELS if column in rows.column_names), None)
    values = rows.data.column(column).to_pylist() if column else []
    known = [value for value in values if isinstance(value, str) or (isinstance(value, int) and value >= 0)]
    if not column or len(known) < len(values):
        return [], len(values) - len(known)
    if isinstance(known[0], str):
        return known, 0
    names = dict(enumerate(getattr(rows.features[column], "names", None) or ()))
    labels = checked_labels(f"--data={name}: the column {column}", np.array(known))
    return [names.get(label, label) for label in labels.tolist()], 0
