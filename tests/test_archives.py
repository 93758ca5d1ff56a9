"""Zip, tar and .npz files: the same images as from the equal folder; what is wrong with one is said in a sentence."""

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import picture_files
import pytest
import small_runs

from distgan.data import archives
from distgan.data.base import Source, Wanted
from distgan.data.sources import kind_of, open_source
from distgan.errors import UserError

NAMES = ("b/1.png", "a/10.png", "a/9.png", "a/deeper/1.png", "b/0.png", "c/\u00fc x.png")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Six pictures in three class folders, and what is no picture."""
    flat = picture_files.write_folder(tmp_path / "flat", len(NAMES))
    for number, name in enumerate(NAMES):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (flat / f"{number:05d}.png").rename(path)
    (tmp_path / "tree" / "a" / ".hidden.png").write_text("no picture")
    (tmp_path / "tree" / "notes.txt").write_text("no picture")
    return tmp_path / "tree"


def contents_of(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


def write_zip(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in reversed(contents):
            archive.writestr(name, contents[name])
    return f"zip:{path}"


def write_tar(path: Path, contents: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> str:
    with tarfile.open(path, "w", format=form) as archive:
        for name in reversed(contents):
            member = tarfile.TarInfo(name)
            member.size = len(contents[name])
            archive.addfile(member, io.BytesIO(contents[name]))
    return f"tar:{path}"


def everything(source: Source, stream: str = "images") -> np.ndarray:
    return source.read(stream, np.arange(source.streams[stream]))


def opened(data: str, **wanted: Any) -> Source:
    return open_source(data, "train", Wanted(**wanted))


def refusal(data: str) -> str:
    with pytest.raises(UserError) as caught:
        opened(data)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and f"--data={data}" in sentence
    return sentence


def classes(source: Source) -> tuple[tuple[str, ...], list[int] | None]:
    return source.class_names, None if source.labels is None else source.labels.tolist()


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], str]] = {
    "deflated zip": write_zip,
    "stored zip": lambda path, contents: write_zip(path, contents, zipfile.ZIP_STORED),
    "POSIX tar": write_tar,
    "GNU tar": lambda path, contents: write_tar(path, contents, tarfile.GNU_FORMAT),
}


class TestAnArchiveOfAFolder:
    @pytest.mark.parametrize("kind", WRITERS)
    @pytest.mark.parametrize("around", ["", "./", "photos/"])
    def test_gives_the_same_images_and_classes(self, tree: Path, tmp_path: Path, kind: str, around: str) -> None:
        data = WRITERS[kind](tmp_path / "x", {around + name: text for name, text in contents_of(tree).items()})
        for wanted in ({}, {"max_classes": 2, "max_images_per_class": 2}, {"image_size": (8, 8), "margin_pixels": 2}):
            of_folder, of_archive = opened(f"folder:{tree}", **wanted), opened(data, **wanted)
            np.testing.assert_array_equal(everything(of_archive), everything(of_folder), strict=True)
            assert classes(of_archive) == classes(of_folder)
            assert of_archive.num_files == of_folder.num_files

    @pytest.mark.parametrize("kind", WRITERS)
    def test_keeps_its_fingerprint_where_it_lies_and_loses_it_with_a_name(
        self, tree: Path, tmp_path: Path, kind: str
    ) -> None:
        contents = contents_of(tree)
        first, second = (opened(WRITERS[kind](tmp_path / name, contents)) for name in ("x", "y"))
        renamed = opened(WRITERS[kind](tmp_path / "z", contents | {"b/2.png": contents.pop("b/1.png")}))
        assert first.fingerprint == second.fingerprint != renamed.fingerprint

    def test_may_have_long_names(self, tree: Path, tmp_path: Path) -> None:
        picture = contents_of(tree)["a/9.png"]
        contents = {"d" * 90 + f"/{letter * 200}.png": picture for letter in "ab"} | {
            "e" * 120 + "/\u00fc.png": picture
        }
        for kind, write in WRITERS.items():
            source = opened(write(tmp_path / kind, contents))
            assert source.streams == {"images": 3} and source.class_names == ("d" * 90, "e" * 120)

    def test_takes_absolute_names_and_dots_as_names(self, tree: Path, tmp_path: Path) -> None:
        picture = contents_of(tree)["a/9.png"]
        for kind, write in WRITERS.items():
            before = sorted(tmp_path.rglob("*"))
            source = opened(write(tmp_path / kind, {"../../a.png": picture, "/etc/b.png": picture}))
            assert source.class_names == ("..", "etc") and len(everything(source)) == 2
            assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / kind])

    @pytest.mark.slow
    def test_trains_to_the_same_weights(self, tmp_path: Path) -> None:
        pictures = picture_files.write_folder(tmp_path / "pictures", 40, side_pixels=28)
        data = {"folder": f"folder:{pictures}", "zip": write_zip(tmp_path / "x.zip", contents_of(pictures))}
        for name, one in data.items():
            small_runs.train(tmp_path / name, data=one, channels=1, steps=4)
        ours, theirs = (small_runs.state(tmp_path / name, 4) for name in data)
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=name)

    def test_may_be_read_by_many_threads(self, tmp_path: Path) -> None:
        contents = contents_of(picture_files.write_folder(tmp_path / "pictures", 100))
        source = opened(write_zip(tmp_path / "x.zip", contents))
        expected, orders = everything(source), [np.random.default_rng(seed).permutation(100) for seed in range(16)]
        with ThreadPoolExecutor(16) as pool:
            for order, pixels in zip(orders, pool.map(lambda one: source.read("images", one), orders), strict=True):
                np.testing.assert_array_equal(pixels, expected[order])


class TestLabels:
    def test_of_dataset_json_are_classes_in_place_of_folders(self, tree: Path, tmp_path: Path) -> None:
        names = sorted(NAMES)
        labels = {"labels": [[name, label] for name, label in zip(names, [7, 0, 10, 7, 0, 0], strict=True)]}
        contents = contents_of(tree) | {"dataset.json": json.dumps(labels).encode()}
        source = opened(write_zip(tmp_path / "x.zip", contents))
        assert classes(source) == (("0", "7", "10"), [1, 0, 2, 1, 0, 0])
        np.testing.assert_array_equal(everything(source), everything(opened(f"folder:{tree}")))
        assert opened(f"zip:{tmp_path}/x.zip", max_classes=2, max_images_per_class=1).streams == {"images": 2}
        labels["labels"][0][1] = 10
        other = opened(write_zip(tmp_path / "y.zip", contents | {"dataset.json": json.dumps(labels).encode()}))
        assert other.fingerprint != source.fingerprint

    def test_may_be_null_and_then_there_are_no_classes(self, tree: Path, tmp_path: Path) -> None:
        for labels, expected in ({"labels": None}, ()), ({"of": "another program"}, ("a", "b", "c")):
            contents = contents_of(tree) | {"dataset.json": json.dumps(labels).encode()}
            assert opened(write_zip(tmp_path / "x.zip", contents)).class_names == expected

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "can't be read as JSON"),
            ("[" * 100_000, "can't be read as JSON"),
            ('{"labels": 3}', "must hold"),
            ('{"labels": [3]}', "must hold"),
            ('{"labels": [["a/9.png", "cat"]]}', "must hold"),
            ('{"labels": [["a/9.png", [0, 1]]]}', "must hold"),
            ('{"labels": [["a/9.png", true]]}', "must hold"),
            ('{"labels": [["a/9.png", -1]]}', "holds the label -1"),
            ('{"labels": [["a/9.png", 1e9]]}', "must hold"),
            ('{"labels": [["nothing.png", 1]]}', "nothing.png is not in the file"),
            ('{"labels": [["a/9.png", 1]]}', "a/10.png has no label (1 of 2)"),
        ],
    )
    def test_that_are_wrong_are_refused(self, tree: Path, tmp_path: Path, text: str, said: str) -> None:
        contents = {name: (tree / name).read_bytes() for name in ("a/9.png", "a/10.png")}
        sentence = refusal(write_zip(tmp_path / "x.zip", contents | {"dataset.json": text.encode()}))
        assert said in sentence and "dataset.json" in sentence

    def test_of_cls_files_are_classes_over_several_shards(self, tree: Path, tmp_path: Path) -> None:
        pictures = list(contents_of(tree).values())[1:5]
        for shard in (0, 1):
            contents: dict[str, bytes] = {}
            for number in (0, 1):
                contents[f"{shard}{number}.png"] = pictures[2 * shard + number]
                contents |= {f"{shard}{number}.cls": f"{9 - shard}\n".encode(), f"{shard}{number}.json": b"{}"}
            write_tar(tmp_path / f"shard-{shard}.tar", contents)
        source = opened(f"tar:{tmp_path}/shard-*.tar")
        assert classes(source) == (("8", "9"), [1, 1, 0, 0])
        assert len(everything(source)) == 4

    def test_of_cls_files_are_not_used_unless_all_images_have_one(self, tree: Path, tmp_path: Path) -> None:
        source = opened(write_tar(tmp_path / "x.tar", contents_of(tree) | {"a/9.cls": b"3"}))
        assert source.class_names == ("a", "b", "c") and "5 images have none" in source.notes[0]

    def test_of_hidden_cls_files_are_not_read(self, tree: Path, tmp_path: Path) -> None:
        contents = {"1.png": (tree / "a/9.png").read_bytes(), "1.cls": b"7", "._1.cls": b"\0\5\x16\7"}
        assert opened(write_tar(tmp_path / "x.tar", contents)).class_names == ()  # one class is none

    def test_of_one_sample_must_be_one(self, tree: Path, tmp_path: Path) -> None:
        contents = {"i.1.png": (tree / "a/9.png").read_bytes(), "i.1.cls": b"7", "i.2.cls": b"8"}
        assert "has two classes of i: names must differ" in refusal(write_tar(tmp_path / "x.tar", contents))

    def test_shards_may_repeat_names(self, tree: Path, tmp_path: Path) -> None:
        for shard in "ab":
            write_tar(tmp_path / f"{shard}.tar", {"0.png": (tree / "a/9.png").read_bytes(), "0.cls": b"0"})
        assert opened(f"tar:{tmp_path}/?.tar").streams == {"images": 2}


class TestArrays:
    @pytest.mark.parametrize(("pixels", "labels"), [("images", "labels"), ("arr_0", "arr_1"), ("pixels", "labels")])
    @pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 1), (4, 8, 8, 3)], ids=str)
    def test_are_images_and_labels(self, tmp_path: Path, pixels: str, labels: str, shape: tuple[int, ...]) -> None:
        values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        arrays: dict[str, Any] = {pixels: values, labels: np.array([5, 2, 5, 9])}
        np.savez_compressed(tmp_path / "x.npz", **arrays)
        source = opened(f"npz:{tmp_path}/x.npz")
        np.testing.assert_array_equal(everything(source), values.reshape(4, 8, 8, -1), strict=True)
        assert classes(source) == (("2", "5", "9"), [1, 0, 1, 2])

    @pytest.mark.parametrize(
        ("arrays", "said"),
        [
            ({"faces": np.zeros((4, 8, 8), np.uint8)}, "holds faces, and no images or arr_0 or pixels"),
            ({"images": np.zeros((4, 8, 8), np.float32)}, "holds float32 values"),
            ({"images": np.zeros((8, 8), np.uint8)}, "has shape [8, 8]"),
            ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, "too small"),
            ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(3, int)}, "holds 3 labels"),
            ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(4)}, "holds float64 values"),
            ({"images": np.array([{}, None])}, "allow_pickle=False"),
        ],
    )
    def test_that_are_wrong_are_refused(self, tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(UserError) as caught:
            opened(f"npz:{tmp_path}/x.npz")
        assert said in str(caught.value) and str(caught.value).endswith(".")


def _changed(path: Path, old: bytes, new: bytes) -> None:
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new))


class TestADamagedArchive:
    @pytest.mark.parametrize("kind", ["zip", "tar", "npz"])
    def test_is_refused_if_there_is_no_such_file(self, tmp_path: Path, kind: str) -> None:
        os.mkfifo(tmp_path / "fifo")
        for name in ("nothing", "fifo", "."):
            with pytest.raises(UserError, match=r"not a regular file|No such file|no file|Is a directory|not a file"):
                opened(f"{kind}:{tmp_path}/{name}")

    @pytest.mark.parametrize("kind", WRITERS)
    def test_is_refused_wherever_it_is_cut(self, tree: Path, tmp_path: Path, kind: str) -> None:
        data = WRITERS[kind](tmp_path / "x", {"1.png": (tree / "a/9.png").read_bytes()})
        whole = (tmp_path / "x").read_bytes()
        end = 1024 if data.startswith("tar") else 1
        for size in [*range(0, 1024, 100), 1024, 1500]:
            (tmp_path / "x").write_bytes(whole[: min(size, len(whole.rstrip(b"\0")) - end)])
            assert "truncated or damaged" in refusal(data)

    @pytest.mark.parametrize("kind", WRITERS)
    def test_without_pictures_is_refused(self, tmp_path: Path, kind: str) -> None:
        assert ".jpeg, .jpg, .png" in refusal(WRITERS[kind](tmp_path / "x", {"a.txt": b"", "b.png/x": b""}))

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_of_two_files_of_one_name_is_refused(self, tree: Path, tmp_path: Path) -> None:
        twice = {"a/1.png": b"", "a//1.png": b""}
        for write in WRITERS.values():
            assert "holds two files named a/1.png" in refusal(write(tmp_path / "x", twice))

    def test_that_is_encrypted_or_packed_in_another_way_is_refused(self, tree: Path, tmp_path: Path) -> None:
        path, contents = tmp_path / "x.zip", {"1.png": (tree / "a/9.png").read_bytes()}
        assert "compressed by method 14" in refusal(write_zip(path, contents, zipfile.ZIP_LZMA))
        data = write_zip(path, contents)
        _changed(path, b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0")
        assert "1.png, which is encrypted" in refusal(data)

    @pytest.mark.parametrize("form", ["gz", "bz2", "xz"])
    def test_that_is_a_compressed_tar_is_refused(self, tmp_path: Path, form: str) -> None:
        with tarfile.open(tmp_path / "x.tar", f"w:{form}"):  # type: ignore[call-overload]
            pass
        assert "is compressed" in refusal(f"tar:{tmp_path}/x.tar")

    def test_may_hold_links_and_sparse_files_which_are_ignored(self, tree: Path, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE):
                member = tarfile.TarInfo(f"{kind!r}.png")
                member.type, member.linkname = kind, "/etc/passwd"
                archive.addfile(member)
            archive.add(tree / "a/9.png", "1.png")
        assert opened(f"tar:{tmp_path}/x.tar").streams == {"images": 1}

    @pytest.mark.parametrize("size", [-512, -(2**40), 2**62])
    def test_with_an_impossible_size_is_refused_and_never_read_on(self, tmp_path: Path, size: int) -> None:
        member = tarfile.TarInfo("1.png")
        member.size = size
        (tmp_path / "x.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
        assert "a file in it has an impossible size" in refusal(f"tar:{tmp_path}/x.tar")

    def test_that_swells_is_not_unpacked(self, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        contents = {f"{number}.png": (tree / "a/9.png").read_bytes() for number in range(100)}
        data = write_zip(tmp_path / "x.zip", contents | {"bomb.png": bytes(0x123456)})
        monkeypatch.setattr(archives, "MAX_BYTES", 2**16)
        assert opened(data).faults == {"bomb.png": "too large: it has 1,193,046 bytes"}
        monkeypatch.undo()
        _changed(tmp_path / "x.zip", (0x123456).to_bytes(4, "little"), (100).to_bytes(4, "little"))
        assert opened(data).faults == {"bomb.png": "damaged"}

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_has_its_damaged_pictures_reported_and_replaced(self, tmp_path: Path, method: int) -> None:
        contents = contents_of(picture_files.write_folder(tmp_path / "pictures", 200, broken=(7,)))
        data = write_zip(tmp_path / "x.zip", contents | {"00150.png": contents["00150.png"] + b"<mark>"}, method)
        if method == zipfile.ZIP_STORED:
            _changed(tmp_path / "x.zip", b"<mark>", b"<Mark>")
        source = opened(data)
        damaged = {"00150.png": "damaged"} if method == zipfile.ZIP_STORED else {}
        assert source.faults == {"00007.png": "not an image"} | damaged
        np.testing.assert_array_equal(*source.read("images", np.array([7, 8])))


class TestAnArchiveThatChanges:
    def test_is_still_read_if_it_is_removed(self, tree: Path, tmp_path: Path) -> None:
        for write in (write_zip, write_tar):
            source = opened(write(tmp_path / "x", contents_of(tree)))
            before = everything(source)
            (tmp_path / "x").unlink()
            np.testing.assert_array_equal(everything(source), before)

    def test_ends_the_run_if_it_is_cut(self, tree: Path, tmp_path: Path) -> None:
        for write in (write_zip, write_tar):
            source = opened(write(tmp_path / "x", contents_of(tree)))
            os.truncate(tmp_path / "x", 0)
            with pytest.raises(UserError, match="6 images in a row can't be read"):
                everything(source)

    def test_ends_the_run_if_another_is_in_its_place_when_it_is_opened_again(
        self, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archives, "MOST_OPEN", 1)
        for name in "ab":
            write_tar(tmp_path / f"{name}.tar", {f"{name}.png": (tree / "a/9.png").read_bytes()})
        source = opened(f"tar:{tmp_path}/*.tar")
        for name in "ab":
            (tmp_path / f"{name}.tar").rename(tmp_path / "away")
            (tmp_path / f"{name}.tar").write_bytes(b"another")
        with pytest.raises(UserError, match="tar: it was changed while it was read"):
            everything(source)
        for name in "ab":
            (tmp_path / f"{name}.tar").unlink()
        with pytest.raises(UserError, match="tar: No such file"):
            everything(source)


@pytest.mark.parametrize("kind", ["zip", "tar", "npz"])
def test_an_archive_without_its_kind_is_recognised(kind: str) -> None:
    with pytest.raises(UserError, match=rf"For the images in it give --data={kind}:photos.{kind}\.$"):
        kind_of(f"photos.{kind}")


def test_a_compressed_file_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(gzip.compress(b"text"))
    assert "truncated or damaged (File is not a zip file)" in refusal(f"zip:{tmp_path}/x.zip")
