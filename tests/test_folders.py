"""Folders of image files: each format's pixels; bad files named, counted and replaced; pairs and domains found."""

import os
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from distgan.data import folders
from distgan.data.base import Source, Wanted
from distgan.data.folders import open_folder, open_pairs, open_unpaired
from distgan.data.images import BadImageError, fitted, open_picture
from distgan.data.sources import open_source
from distgan.errors import UserError

Opener = Callable[[str, str, Wanted], Source]

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def write(path: Path, value: int | tuple[int, int, int] = 0, size: tuple[int, int] = (6, 8), **options: Any) -> None:
    """Write a picture of one value, grey or RGB, of (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    Image.new("L" if isinstance(value, int) else "RGB", (width, height), value).save(path, **options)


def write_many(directory: Path, number: int, **options: Any) -> None:
    for value in range(number):
        write(directory / f"{value:03}.png", value, **options)


def png(width: int, height: int, compressed: bytes = b"") -> bytes:
    """A PNG file's bytes, with any header and any pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", compressed), (b"IEND", b"")]
    packed = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def write_bad(directory: Path) -> dict[str, str]:
    """Write four files that are no images; give what is to be said of each."""
    (directory / "empty.png").touch()
    (directory / "text.png").write_text("This is no image.")
    (directory / "vast.png").write_bytes(png(60000, 60000, zlib.compress(b"\0" * 1000)))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(directory / "cut.jpg")
    os.truncate(directory / "cut.jpg", 3000)
    return {
        "empty.png": "empty",
        "text.png": "not an image",
        "vast.png": "too large: it has 60000x60000 pixels",
        "cut.jpg": "truncated",
    }


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(open_picture(path))


def refusal(open_kind: Opener, directory: Path, split: str = "train", **wanted: Any) -> str:
    with pytest.raises(UserError) as caught:
        open_kind(str(directory), split, Wanted(**wanted))
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def first_values(source: Source, stream: str = "images") -> Any:
    """All examples' upper left values, in the order of their numbers."""
    return source.read(stream, np.arange(source.streams[stream]))[:, 0, 0].squeeze().tolist()


class TestAPicture:
    def test_of_16_bits_is_scaled_and_not_clipped(self, tmp_path: Path) -> None:
        values = np.array([[0, 257, 300, 32768, 65278, 65535]], np.uint16)
        Image.fromarray(values).save(tmp_path / "a.png")
        assert pixels_of(tmp_path / "a.png").tolist() == [[0, 1, 1, 128, 254, 255]]

    @pytest.mark.parametrize(("mode", "expected"), [("RGBA", [[*WHITE], [10, 10, 10]]), ("LA", [255, 10])])
    def test_that_is_transparent_is_laid_on_white(self, tmp_path: Path, mode: str, expected: list[Any]) -> None:
        image = Image.new(mode, (2, 1))  # transparent black
        image.putpixel((1, 0), (*[10] * (len(mode) - 1), 255))
        image.save(tmp_path / "a.png")
        assert pixels_of(tmp_path / "a.png")[0].tolist() == expected

    def test_that_is_half_transparent_is_mixed_with_white(self, tmp_path: Path) -> None:
        Image.new("RGBA", (1, 1), (0, 100, 255, 51)).save(tmp_path / "a.webp", lossless=True, exact=True)
        assert pixels_of(tmp_path / "a.webp").tolist() == [[[204, 224, 255]]]

    @pytest.mark.parametrize("extension", ["png", "gif"])
    def test_with_a_palette_has_its_colours_and_white_for_its_transparent_one(
        self, tmp_path: Path, extension: str
    ) -> None:
        image = Image.new("P", (3, 1))
        image.putpalette([*RED, *BLUE, 0, 255, 0])
        image.putdata([0, 1, 2])
        image.save(tmp_path / f"a.{extension}")
        assert pixels_of(tmp_path / f"a.{extension}")[0].tolist() == [[*RED], [*BLUE], [0, 255, 0]]
        image.save(tmp_path / f"b.{extension}", transparency=1)
        assert pixels_of(tmp_path / f"b.{extension}")[0].tolist() == [[*RED], [*WHITE], [0, 255, 0]]

    def test_of_one_bit_is_black_and_white(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "a.png")
        assert pixels_of(tmp_path / "a.png").tolist() == [[255, 0, 255]]

    def test_in_cmyk_becomes_rgb(self, tmp_path: Path) -> None:
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
        np.testing.assert_allclose(pixels_of(tmp_path / "a.jpg")[4, 4].astype(int), RED, atol=3)

    def test_of_several_is_the_first(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        assert pixels_of(tmp_path / "a.gif")[0, 0].tolist() == [*RED]

    @pytest.mark.parametrize("name", ["a.png", "a.BMP", "a.webp", "a.gif", "a.JPEG", "a.jpg"])
    def test_may_be_in_any_of_the_formats_and_in_another_than_its_name_says(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / name, RED)
        os.rename(tmp_path / name, tmp_path / "b.png")
        np.testing.assert_allclose(pixels_of(tmp_path / "b.png")[3, 3].astype(int), RED, atol=3)

    @pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
    def test_is_upright_as_its_camera_says(self, tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
        image = Image.new("L", (48, 32))
        image.paste(255, (0, 0, 24, 16))
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / "a.jpg", exif=exif)
        upright = open_picture(tmp_path / "a.jpg").convert("L")
        assert upright.size == ((48, 32) if orientation in (1, 3) else (32, 48))
        quarters = np.asarray(upright.resize((2, 2), Image.Resampling.BOX))
        assert divmod(int(quarters.argmax()), 2) == corner

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # pytest undoes the filter of images.py
    def test_with_broken_exif_is_as_it_lies(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jpg", 100, exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x01\x02\x03")
        assert pixels_of(tmp_path / "a.jpg").shape == (6, 8)

    def test_that_is_large_is_decoded_to_a_smaller_one(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jpg", 100, (400, 800))
        assert open_picture(tmp_path / "a.jpg", (50, 50)).size == (200, 100)
        assert open_picture(tmp_path / "a.jpg", (400, 800)).size == (800, 400)

    def test_that_is_bad_is_refused_with_the_reason_and_no_warning(self, tmp_path: Path) -> None:
        for name, reason in write_bad(tmp_path).items():
            with warnings.catch_warnings(), pytest.raises(BadImageError) as caught:
                warnings.simplefilter("error")
                open_picture(tmp_path / name)
            assert str(caught.value) == reason

    @pytest.mark.parametrize("side", [8193, 9000, 12000, 20000])
    def test_that_is_vast_is_refused_by_its_header_alone(self, tmp_path: Path, side: int) -> None:
        (tmp_path / "a.png").write_bytes(png(side, side))
        with warnings.catch_warnings(), pytest.raises(BadImageError, match=f"{side}x{side}"):
            warnings.simplefilter("error")
            open_picture(tmp_path / "a.png")

    @pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "gif", "webp"])
    def test_that_is_cut_or_overwritten_anywhere_is_decoded_or_bad_and_nothing_else(
        self, tmp_path: Path, extension: str
    ) -> None:
        rng, path = np.random.default_rng(0), tmp_path / f"a.{extension}"
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
        whole = path.read_bytes()
        for _ in range(150):
            hostile = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for place in rng.integers(0, min(len(hostile), 100), 3):
                hostile[place] = rng.integers(0, 256)
            path.write_bytes(hostile)
            try:
                assert open_picture(path).mode in ("L", "RGB")
            except BadImageError as error:
                assert str(error)

    def test_that_cannot_be_read_is_bad(self, tmp_path: Path) -> None:
        with pytest.raises(BadImageError, match="No such file"):
            open_picture(tmp_path / "a.png")

    def test_of_the_size_wanted_stays_as_it_is(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
        for fit in ("resize", "crop"):
            np.testing.assert_array_equal(fitted(Image.fromarray(pixels), pixels.shape, fit), pixels, strict=True)

    def test_is_resized_whole_or_cropped_to_its_middle(self) -> None:
        pixels = np.zeros((20, 60), np.uint8)
        pixels[:, 20:40] = 255
        image = Image.fromarray(pixels)
        assert fitted(image, (10, 10, 1), "crop").min() > 200
        resized = fitted(image, (10, 12, 1), "resize")
        assert resized.shape == (10, 12, 1) and resized[5, [1, 6, 10], 0].tolist() == [0, 255, 0]
        assert fitted(image, (30, 9, 1), "crop").shape == (30, 9, 1)

    def test_is_made_grey_or_coloured(self) -> None:
        assert fitted(Image.new("RGB", (4, 4), RED), (4, 4, 1), "crop").shape == (4, 4, 1)
        assert fitted(Image.new("L", (4, 4), 9), (2, 3, 3), "resize").tolist() == [[[9, 9, 9]] * 3] * 2


class TestAFolder:
    def test_is_a_tree_of_images_sorted_by_path(self, tmp_path: Path) -> None:
        for value, name in enumerate(["a.PNG", "b/a.png", "b/c/d.bmp", "b.png"]):
            write(tmp_path / name, value)
        source = open_folder(str(tmp_path), "train", Wanted())
        assert source.name == f"folder:{tmp_path}"
        assert source.streams == {"images": 4} and source.num_files == 4
        assert source.image_shape == source.example_shape == (6, 8, 1)
        assert first_values(source) == [0, 3, 1, 2]
        pixels = source.read("images", np.array([3, 0]))
        assert pixels.dtype == np.uint8 and pixels.shape == (2, 6, 8, 1) and source.faults == {}

    def test_leaves_hidden_and_other_files_out(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", 1)
        for name in ("._a.png", ".b/c.png", "__MACOSX/a.png", "labels.csv", "a.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("no image")
        os.mkfifo(tmp_path / "b.png")
        assert open_folder(str(tmp_path), "train", Wanted()).streams == {"images": 1}

    def test_follows_links_but_never_in_a_circle(self, tmp_path: Path) -> None:
        write(tmp_path / "away/a.png", 1)
        write(tmp_path / "data/b/b.png", 2)
        (tmp_path / "data/a").symlink_to(tmp_path / "away")
        (tmp_path / "data/b/up").symlink_to(tmp_path / "data")
        (tmp_path / "data/c.png").symlink_to(tmp_path / "away/a.png")
        assert first_values(open_folder(str(tmp_path / "data"), "train", Wanted())) == [1, 2, 1]

    def test_counts_a_link_to_nothing_as_a_bad_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").symlink_to(tmp_path / "nothing")
        assert "a.png (No such file or directory)" in refusal(open_folder, tmp_path)

    def test_may_be_in_the_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "cats/a.png")
        monkeypatch.setenv("HOME", str(tmp_path))
        source = open_folder("~/cats", "test", Wanted())
        assert source.name == "folder:~/cats" and source.streams == {"images": 1}

    @pytest.mark.parametrize("name", ["missing", "empty"])
    def test_without_images_is_refused_with_what_is_looked_for(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty").mkdir()
        for open_kind in (open_folder, open_pairs):
            sentence = refusal(open_kind, tmp_path / name)
            assert str(tmp_path / name) in sentence and ".jpeg, .jpg, .png" in sentence

    def test_of_grey_images_alone_is_grey(self, tmp_path: Path) -> None:
        write_many(tmp_path, 3)
        assert open_folder(str(tmp_path), "train", Wanted()).image_shape == (6, 8, 1)
        assert open_folder(str(tmp_path), "train", Wanted(channels=3)).image_shape == (6, 8, 3)
        write(tmp_path / "b.png", (9, 9, 9))
        source = open_folder(str(tmp_path), "train", Wanted())
        assert source.image_shape == (6, 8, 3) and first_values(source)[3] == [9, 9, 9]
        assert open_folder(str(tmp_path), "train", Wanted(channels=1)).read("images", np.arange(4)).shape[3] == 1

    def test_of_several_sizes_needs_one_to_be_given(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", 1, (6, 8))
        write(tmp_path / "b.png", 2, (8, 6))
        sentence = refusal(open_folder, tmp_path)
        assert "6x8 (a.png)" in sentence and "8x6 (b.png)" in sentence and "--image_size=HxW" in sentence
        source = open_folder(str(tmp_path), "train", Wanted(image_size=(4, 10)))
        assert source.image_shape == (4, 10, 1) and first_values(source) == [1, 2]

    def test_adds_the_margin_to_examples_alone(self, tmp_path: Path) -> None:
        write_many(tmp_path, 2)
        source = open_folder(str(tmp_path), "train", Wanted(margin_pixels=3))
        assert source.image_shape == (6, 8, 1) and source.example_shape == (9, 11, 1)
        assert source.read("images", np.arange(2)).shape == (2, 9, 11, 1)

    def test_crops_where_that_is_wanted(self, tmp_path: Path) -> None:
        pixels = np.zeros((20, 60), np.uint8)
        pixels[:, 20:40] = 255
        Image.fromarray(pixels).save(tmp_path / "a.png")
        resized, cropped = (
            open_folder(str(tmp_path), "train", Wanted((10, 10), fit=fit)) for fit in ("resize", "crop")
        )
        assert resized.read("images", np.arange(1)).min() == 0
        assert cropped.read("images", np.arange(1)).min() > 200


class TestClasses:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> str:
        for value, name in enumerate(["a/2", "a/1", "b/x/1", "b/x/2", "b/3", "c/1", "0"]):
            write(tmp_path / f"{name}.png", value)
        return str(tmp_path)

    @pytest.mark.parametrize(
        ("classes", "images", "values"),
        [
            (None, None, [6, 1, 0, 4, 2, 3, 5]),
            (1, None, [1, 0]),
            (2, 2, [1, 0, 4, 2]),
            (3, 1, [1, 4, 5]),
            (None, 1, [6, 1, 4, 5]),
        ],
    )
    def test_are_the_top_folders_of_which_the_first_may_be_taken(
        self, tree: str, classes: int | None, images: int | None, values: list[int]
    ) -> None:
        wanted = Wanted(max_classes=classes, max_images_per_class=images)
        source = open_folder(tree, "train", wanted)
        assert first_values(source) == values and source.num_files == len(values)

    def test_are_one_where_there_are_no_folders(self, tmp_path: Path) -> None:
        write_many(tmp_path, 5)
        assert first_values(open_folder(str(tmp_path), "train", Wanted(max_classes=1, max_images_per_class=2))) == [
            0,
            1,
        ]


@pytest.fixture
def sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve files, three of which, in a row around the end, go bad once the folder is open."""
    monkeypatch.setattr(folders, "MOST_SAMPLED", 2)
    write_many(tmp_path, 12)
    (tmp_path / "005.png").write_text("no image")
    return tmp_path


class TestBadFiles:
    def test_are_refused_with_the_list_if_more_than_one_in_a_hundred(self, tmp_path: Path) -> None:
        write_many(tmp_path, 200)
        bad = write_bad(tmp_path)
        sentence = refusal(open_folder, tmp_path)
        assert "3 of 204 files" in sentence and str(tmp_path) in sentence
        assert all((f"{name} ({reason})" in sentence) != (name == "vast.png") for name, reason in bad.items())

    def test_are_else_known_from_the_start_and_replaced_by_the_next_good_one(self, tmp_path: Path) -> None:
        write_many(tmp_path, 199)
        (tmp_path / "100.png").write_text("")
        (tmp_path / "zzz.png").write_text("no image")
        source = open_folder(str(tmp_path), "train", Wanted())
        assert source.faults == {"100.png": "empty", "zzz.png": "not an image"}
        assert source.streams == {"images": 200} and source.num_files == 200
        assert first_values(source)[99:102] == [99, 101, 101] and first_values(source)[199] == 0

    def test_are_found_when_read_where_the_sample_missed_them(self, sparse: Path) -> None:
        sources = [open_folder(str(sparse), "train", Wanted()) for _ in range(2)]
        assert all(source.faults == {} for source in sources)
        for name in ("011.png", "000.png"):
            (sparse / name).write_bytes(b"")
        np.testing.assert_array_equal(
            sources[0].read("images", np.arange(12)), sources[1].read("images", np.arange(12)[::-1])[::-1]
        )
        assert first_values(sources[0]) == [1, 1, 2, 3, 4, 6, 6, 7, 8, 9, 10, 1]
        assert sources[0].faults == sources[1].faults
        assert sources[0].faults == {"000.png": "empty", "005.png": "not an image", "011.png": "empty"}

    def test_are_decoded_once(self, sparse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = open_folder(str(sparse), "train", Wanted())
        source.read("images", np.array([5]))
        write(sparse / "005.png", 77)
        assert source.read("images", np.array([5])).max() == 6

    def test_cannot_be_all_there_is(self, sparse: Path) -> None:
        source = open_folder(str(sparse), "train", Wanted())
        for path in sparse.iterdir():
            path.write_text("")
        with pytest.raises(UserError, match="12 images in a row can't be read"):
            source.read("images", np.array([3]))


class TestDecodedPixels:
    """Kept of a small data set; the first epoch reads its examples in two parts."""

    @staticmethod
    def read_all(source: Source) -> dict[str, list[np.ndarray]]:
        halves = {stream: np.array_split(np.arange(number)[::-1], 2) for stream, number in source.streams.items()}
        return {stream: [source.read(stream, part) for part in parts] for stream, parts in halves.items()}

    @pytest.mark.parametrize("kind", ["folder", "pairs", "unpaired"])
    def test_are_all_that_the_second_epoch_reads(self, tmp_path: Path, kind: str) -> None:
        folder = {"folder": ("a",), "pairs": ("A", "B"), "unpaired": ("trainA", "trainB")}[kind]
        for number, name in enumerate(folder):
            write_many(tmp_path / kind / name, 11 if kind == "pairs" else 11 - number)
        source = open_source(f"{kind}:{tmp_path / kind}", "train", Wanted(image_size=(5, 4), margin_pixels=2))
        first = self.read_all(source)
        shutil.rmtree(tmp_path / kind)
        for stream, parts in self.read_all(source).items():
            for part, before in zip(parts, first[stream], strict=True):
                np.testing.assert_array_equal(part, before, strict=True)
            np.testing.assert_array_equal(source.read(stream, np.array([3, 0, 3])), parts[1][[1, 4, 1]], strict=True)

    def test_are_only_of_what_was_read(self, tmp_path: Path) -> None:
        write_many(tmp_path, 4)
        source = open_folder(str(tmp_path), "train", Wanted())
        source.read("images", np.array([2]))
        write(tmp_path / "002.png", 77)
        write(tmp_path / "003.png", 77)
        assert source.read("images", np.arange(4))[:, 0, 0, 0].tolist() == [0, 1, 2, 77]
        assert source.read("images", np.arange(4)).flags.owndata

    @pytest.mark.parametrize("limit", ["MOST_KEPT_BYTES", "memory"])
    def test_are_not_kept_of_a_large_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
        write_many(tmp_path, 10)
        for most, value in ((10 * 6 * 8, 3), (10 * 6 * 8 - 1, 77)):
            write(tmp_path / "003.png", 3)
            if limit == "memory":
                free = folders.MOST_KEPT_PART * most
                monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
            else:
                monkeypatch.setattr(folders, limit, most)
            source = open_folder(str(tmp_path), "train", Wanted())
            self.read_all(source)
            write(tmp_path / "003.png", 77)
            assert first_values(source)[3] == value

    def test_of_a_bad_file_are_those_of_the_next_good_one_in_each_epoch(self, sparse: Path) -> None:
        source = open_folder(str(sparse), "train", Wanted())
        epochs = [first_values(source)]
        write(sparse / "005.png", 77)
        assert [*epochs, first_values(source)] == [[0, 1, 2, 3, 4, 6, 6, 7, 8, 9, 10, 11]] * 2
        assert source.faults == {"005.png": "not an image"}

    def test_are_not_kept_of_a_read_that_failed(self, sparse: Path) -> None:
        source = open_folder(str(sparse), "train", Wanted())
        (sparse / "003.png").rename(sparse / "away")
        (sparse / "003.png").symlink_to(sparse / ("x" * 300))  # for which the system has an error of its own
        with pytest.raises(UserError, match="File name too long"):
            source.read("images", np.arange(12))
        (sparse / "away").replace(sparse / "003.png")
        assert first_values(source) == [0, 1, 2, 3, 4, 6, 6, 7, 8, 9, 10, 11]

    def test_are_right_for_many_readers_at_once(self, tmp_path: Path) -> None:
        write_many(tmp_path, 120)
        source = open_folder(str(tmp_path), "train", Wanted())

        def reads_its_own(seed: int) -> bool:
            examples = np.random.default_rng(seed).permutation(120)
            parts = examples.reshape(8, 15)
            return all((source.read("images", part) == part[:, None, None, None]).all() for part in parts)

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(reads_its_own, range(24)))


class TestPairs:
    def test_are_the_left_and_right_halves_of_files(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (16, 6), RED)
        image.paste(BLUE, (8, 0, 16, 6))
        image.save(tmp_path / "a.png")
        source = open_pairs(str(tmp_path), "train", Wanted(margin_pixels=2))
        assert source.name == f"pairs:{tmp_path}" and source.streams == {"pairs": 1} and source.num_files == 1
        assert source.image_shape == (6, 8, 3) and source.example_shape == (8, 10, 6)
        example = source.read("pairs", np.array([0]))[0]
        assert example.shape == (8, 10, 6) and (example == [*RED, *BLUE]).all()

    def test_have_no_halves_where_the_width_is_odd(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", 1, (6, 9))
        assert "a.png (not two halves: 6x9 has an odd width)" in refusal(open_pairs, tmp_path)

    @pytest.mark.parametrize("layout", ["{}A", "{}/A", "A/{}"])
    def test_are_files_of_one_stem_in_two_folders_in_any_layout(self, tmp_path: Path, layout: str) -> None:
        for value, split in enumerate(["train", "val"]):
            a = tmp_path / layout.format(split)
            b = a.parent / f"{a.name[:-1]}B" if a.name.endswith("A") else tmp_path / "B" / split
            write(a / "x/1.png", 10 + value)
            write(b / "x/1.bmp", 20 + value)
            write(a / "2.png", 30 + value)
            write(b / "2.webp", 40 + value, lossless=True)
        train, test = (open_pairs(str(tmp_path), split, Wanted(channels=1)) for split in ("train", "test"))
        assert train.streams == {"pairs": 2} and train.num_files == 4
        assert first_values(train, "pairs") == [[30, 40], [10, 20]]
        assert first_values(test, "pairs") == [[31, 41], [11, 21]]

    def test_without_splits_are_the_same_for_all(self, tmp_path: Path) -> None:
        write(tmp_path / "A/1.png", 1)
        write(tmp_path / "B/1.png", 2)
        for split in ("train", "test"):
            assert first_values(open_pairs(str(tmp_path), split, Wanted()), "pairs") == [1, 2]

    @pytest.mark.parametrize(
        ("there", "train", "test"),
        [(["train", "val", "test"], 0, 2), (["train", "val"], 0, 1), (["train"], 0, 0), (["."], 0, 0)],
    )
    def test_of_halves_have_splits_too(self, tmp_path: Path, there: list[str], train: int, test: int) -> None:
        for value, folder in enumerate(there):
            write(tmp_path / folder / "1.png", value)
        for split, value in (("train", train), ("test", test)):
            assert first_values(open_pairs(str(tmp_path), split, Wanted()), "pairs") == [value, value]

    def test_that_lack_a_file_are_named(self, tmp_path: Path) -> None:
        write_many(tmp_path / "A", 3)
        write(tmp_path / "B/001.png")
        sentence = refusal(open_pairs, tmp_path)
        assert "A/000.png has no file of the same name in B" in sentence and "1 more" in sentence
        write(tmp_path / "B/000.png")
        write(tmp_path / "B/002.png")
        write(tmp_path / "B/009.png")
        sentence = refusal(open_pairs, tmp_path)
        assert "B/009.png has no file of the same name in A" in sentence and "more" not in sentence

    def test_that_lack_a_folder_are_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "trainA/1.png")
        assert f"{tmp_path}/trainB is missing" in refusal(open_pairs, tmp_path)

    def test_of_three_files_are_refused(self, tmp_path: Path) -> None:
        for name in ("A/1.png", "A/1.bmp", "B/1.png"):
            write(tmp_path / name)
        assert "A/1.bmp and A/1.png" in refusal(open_pairs, tmp_path)

    def test_of_two_sizes_are_refused_with_both_names(self, tmp_path: Path) -> None:
        write(tmp_path / "A/1.jpg", 1, (600, 800))
        write(tmp_path / "B/1.png", 1, (600, 802))
        for image_size in (None, (6, 8)):
            sentence = refusal(open_pairs, tmp_path, image_size=image_size)
            assert "A/1.jpg is 600x800, and B/1.png is 600x802" in sentence

    def test_of_two_sizes_are_replaced_where_the_sample_missed_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folders, "MOST_SAMPLED", 4)
        for folder in "AB":
            write_many(tmp_path / folder, 4)
        write(tmp_path / "B/001.png", 1, (6, 10))
        (tmp_path / "B/003.png").write_text("no image")
        source = open_pairs(str(tmp_path), "train", Wanted())
        assert first_values(source, "pairs") == [[0, 0], [2, 2], [2, 2], [0, 0]]
        assert source.faults == {"A/001.png": "6x8, and B/001.png is 6x10", "B/003.png": "not an image"}

    def test_are_grey_only_if_both_sides_are(self, tmp_path: Path) -> None:
        write(tmp_path / "A/1.png", 1)
        write(tmp_path / "B/1.png", RED)
        source = open_pairs(str(tmp_path), "train", Wanted())
        assert source.image_shape == (6, 8, 3)
        assert source.read("pairs", np.array([0]))[0, 0, 0].tolist() == [1, 1, 1, *RED]


class TestTwoDomains:
    @pytest.fixture
    def horses(self, tmp_path: Path) -> Path:
        write_many(tmp_path / "trainA/x", 3)
        write_many(tmp_path / "trainB", 2)
        return tmp_path

    def test_are_two_streams_of_unequal_length(self, horses: Path) -> None:
        source = open_unpaired(str(horses), "train", Wanted())
        assert source.name == f"unpaired:{horses}" and source.streams == {"A": 3, "B": 2} and source.num_files == 5
        assert first_values(source, "A") == [0, 1, 2] and first_values(source, "B") == [0, 1]
        assert source.image_shape == source.example_shape == (6, 8, 1)

    def test_have_a_test_split_if_both_folders_are_there(self, horses: Path) -> None:
        write(horses / "testA/1.png", 7)
        assert open_unpaired(str(horses), "test", Wanted()).streams == {"A": 3, "B": 2}
        write(horses / "testB/1.png", 8)
        source = open_unpaired(str(horses), "test", Wanted())
        assert first_values(source, "A") == 7 and first_values(source, "B") == 8
        assert open_unpaired(str(horses), "train", Wanted()).streams == {"A": 3, "B": 2}

    def test_must_both_hold_images(self, horses: Path) -> None:
        for path in (horses / "trainB").iterdir():
            path.unlink()
        assert f"{horses}/trainB" in refusal(open_unpaired, horses)
        (horses / "trainB").rmdir()
        assert f"{horses}/trainB" in refusal(open_unpaired, horses)

    def test_name_a_bad_file_with_its_folder(self, horses: Path) -> None:
        (horses / "trainB/000.png").write_text("")
        assert "trainB/000.png (empty)" in refusal(open_unpaired, horses)


class TestTheFingerprint:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        write_many(tmp_path / "data", 3)
        return tmp_path / "data"

    def of(self, tree: Path, **wanted: Any) -> str:
        return open_folder(str(tree), "train", Wanted(**wanted)).fingerprint

    def test_is_that_of_the_data_wherever_it_lies(self, tree: Path) -> None:
        before = self.of(tree)
        moved = tree.rename(tree.parent / "moved")
        assert self.of(moved) == before == self.of(moved, image_size=(6, 8), channels=1)

    def test_changes_with_each_setting(self, tree: Path) -> None:
        settings: list[dict[str, Any]] = [{}, {"image_size": (8, 6)}, {"margin_pixels": 1}, {"fit": "crop"}]
        settings += [{"channels": 3}, {"max_images_per_class": 2}]
        assert len({self.of(tree, **wanted) for wanted in settings}) == len(settings)

    def test_changes_with_a_files_name_and_length(self, tree: Path) -> None:
        found = {self.of(tree)}
        (tree / "000.png").rename(tree / "0.png")
        found.add(self.of(tree))
        with (tree / "0.png").open("ab") as file:
            file.write(b"more")
        found.add(self.of(tree))
        assert len(found) == 3


def test_no_tensorflow_is_imported() -> None:
    program = "import sys, distgan.data.folders; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout == "False\n", ran.stderr
