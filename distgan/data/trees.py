"""Trees of image files: lists of the files, sorted into classes and pairs; no file is opened.

Paths are relative to the data set's directory and sorted by code point, so that all machines number files equally.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence

from distgan.data.base import Wanted
from distgan.data.images import EXTENSIONS
from distgan.errors import UserError

LOOKED_FOR = f"images ({', '.join(EXTENSIONS)})"
SPLITS = {"train": ("train", ""), "test": ("test", "val", "train", "")}  # folders, in order of preference
OF_SYSTEMS = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")

FileSizes = dict[str, int]  # path -> size in bytes
ClassOf = Callable[[str], str | int]  # path -> folder or label; "" for none


def image_files(what: str, root: str, top: str) -> FileSizes:
    """Return the sizes of the images under a folder of a root by path. Raises `UserError`, which begins with `what`."""
    sizes: FileSizes = {}
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(top, ())]
    try:
        while waiting:
            folder, above = waiting.pop()
            status = os.stat(os.path.join(root, folder))
            here = (status.st_dev, status.st_ino)
            if here not in above:  # else it was reached by a link to a folder that contains the link
                waiting += [(path, (*above, here)) for path in _scan(root, folder, sizes)]
    except OSError as error:
        problem = f"{os.path.normpath(error.filename)} cannot be listed ({error.strerror})"
        raise UserError(f"{what}: {problem}: give a directory of {LOOKED_FOR}.") from error
    if not sizes:
        raise UserError(f"{what}: {os.path.join(root, top)} holds no {LOOKED_FOR}: give a directory that does.")
    return dict(sorted(sizes.items()))


def _scan(root: str, folder: str, sizes: FileSizes) -> list[str]:
    folders = []
    with os.scandir(os.path.join(root, folder)) as entries:
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if is_left_out(entry.name):
                continue
            is_broken = entry.is_symlink() and not os.path.exists(entry.path)  # or leads to itself; decoding reports it
            if not is_broken and entry.is_dir():
                folders.append(path)
            elif entry.name.lower().endswith(EXTENSIONS) and (entry.is_symlink() or entry.is_file()):
                sizes[path] = entry.stat(follow_symlinks=not is_broken and entry.is_file()).st_size
    return folders


def is_left_out(name: str) -> bool:
    """Return whether a file or folder is hidden or an operating system's own."""
    return name.startswith(".") or name in OF_SYSTEMS


def first_of_classes(paths: list[str], wanted: Wanted, class_of: ClassOf) -> list[str]:
    """Return the files of at most `max_classes` classes, and of each at most `max_images_per_class`."""
    classes: dict[str | int, list[str]] = defaultdict(list)
    for path in paths:
        classes[class_of(path)].append(path)
    if wanted.by_class and len(classes) > 1:
        classes.pop("", None)
    # Files beside class folders have the class "", which comes after all others.
    chosen = sorted(classes, key=lambda name: (name == "", name))[: wanted.max_classes]
    return sorted(path for name in chosen for path in classes[name][: wanted.max_images_per_class])


def top_folder(path: str) -> str:
    """Return the first folder of a path within a tree, which is a class; empty for a file beside the folders."""
    return path.rpartition("/")[0].partition("/")[0]


def pair_folders(what: str, root: str, split: str) -> tuple[str, ...]:
    """Return a split's folders A and B, or the one whose files are pairs. Raises `UserError` if only A or B exists."""
    for folder in SPLITS[split]:
        for layout in (f"{folder}@", os.path.join(folder, "@"), os.path.join("@", folder)):
            both = (layout.replace("@", "A"), layout.replace("@", "B"))
            missing = [one for one in both if not os.path.isdir(os.path.join(root, one))]
            if not missing:
                return both
            if len(missing) == 1:
                raise UserError(f"{what}: {os.path.join(root, missing[0])} is missing: pairs take both folders.")
        if os.path.isdir(os.path.join(root, folder)):
            return (folder,)
    return ("",)


def matched(what: str, folders: Sequence[str], listings: list[FileSizes]) -> tuple[list[str], ...]:
    """Match the files of two folders by their names; return two equally long lists.

    Raises `UserError` if a file has no counterpart, or two files of a folder have one name.
    """
    by_stem = [_by_stem(what, folder, listing) for folder, listing in zip(folders, listings, strict=True)]
    in_a, in_b = by_stem
    lone = sorted(in_a.keys() ^ in_b.keys())
    if lone:
        path, other = (in_a[lone[0]], folders[1]) if lone[0] in in_a else (in_b[lone[0]], folders[0])
        more = f" ({len(lone) - 1} more files have none)" if len(lone) > 1 else ""
        raise UserError(f"{what}: {path} has no file of the same name in {other}{more}: add one there, or remove it.")
    return tuple([stems[stem] for stem in sorted(in_a)] for stems in by_stem)


def _by_stem(what: str, folder: str, listing: FileSizes) -> dict[str, str]:
    stems: dict[str, str] = {}
    for path in listing:
        known = stems.setdefault(os.path.splitext(path[len(folder) :])[0], path)
        if known != path:
            raise UserError(f"{what}: {known} and {path} differ only in the extension: remove one of them.")
    return stems
