"""Pictures: pixels, grids, files, films."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import DTypeLike
from PIL import Image, ImageSequence

from distgan import pictures
from distgan.data.pipeline import to_pixels
from distgan.store import atomic

CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def samples(number: int, channels: int, height: int = 28, width: int = 28) -> np.ndarray:
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (number, height, width, channels), dtype=np.uint8)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def frames_of(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """All frames of a GIF as RGB, with their durations in milliseconds."""
    with Image.open(path) as film:
        for frame in ImageSequence.Iterator(film):
            yield np.asarray(frame.convert("RGB")), frame.info["duration"]


def squeeze(picture: np.ndarray) -> np.ndarray:
    return picture[:, :, 0] if picture.shape[-1] == 1 else picture


@pytest.mark.parametrize("value, pixel", [(-1, 0), (0, 128), (1, 255), (-3, 0), (1.7, 255), (np.nan, 0), (np.inf, 255)])
def test_an_image_value_becomes_the_nearest_pixel_value(value: float, pixel: int) -> None:
    assert to_pixels(np.full((1, 2, 2, 1), value, np.float32)).numpy().tolist() == [[[[pixel]] * 2] * 2]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_all_256_pixel_values_survive_the_way_to_images_and_back(dtype: DTypeLike) -> None:
    levels = np.arange(256, dtype=np.uint8)
    pixels = to_pixels((levels / 127.5 - 1).astype(dtype)).numpy()
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, levels)


@CHANNELS
def test_a_grid_of_sixteen_is_four_by_four_filled_row_after_row(channels: int) -> None:
    pixels = samples(16, channels)
    picture = pictures.grid(pixels)
    assert picture.shape == (118, 118, channels)
    for index in range(16):
        top, left = 30 * (index // 4), 30 * (index % 4)
        np.testing.assert_array_equal(picture[top : top + 28, left : left + 28], pixels[index])


@pytest.mark.parametrize("number, rows, columns", [(1, 1, 1), (2, 1, 2), (3, 2, 2), (5, 2, 3), (8, 3, 3), (12, 3, 4)])
def test_a_grid_is_near_square(number: int, rows: int, columns: int) -> None:
    picture = pictures.grid(samples(number, 3, height=10, width=20))
    assert picture.shape == (12 * rows - 2, 22 * columns - 2, 3)


def test_the_gaps_and_the_empty_cells_of_a_grid_are_white() -> None:
    picture = pictures.grid(np.zeros((3, 10, 10, 1), np.uint8))
    assert np.all(picture[10:12] == 255)
    assert np.all(picture[:, 10:12] == 255)
    assert np.all(picture[12:, 12:] == 255)
    assert np.count_nonzero(picture == 0) == 3 * 10 * 10


@CHANNELS
def test_a_small_picture_is_saved_enlarged_by_whole_pixels(tmp_path: Path, channels: int) -> None:
    picture = pictures.grid(samples(16, channels))
    pictures.save_png(tmp_path / "grid.png", picture)
    saved = read(tmp_path / "grid.png")
    assert saved.shape[:2] == (472, 472)
    np.testing.assert_array_equal(saved, squeeze(picture.repeat(4, 0).repeat(4, 1)))


def test_a_large_picture_is_saved_in_its_own_size(tmp_path: Path) -> None:
    picture = samples(1, 3, height=600, width=900)[0]
    pictures.save_png(tmp_path / "large.png", picture)
    np.testing.assert_array_equal(read(tmp_path / "large.png"), picture)


def test_a_file_that_cannot_be_written_keeps_its_old_content_and_leaves_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            atomic.write(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("channels, error", [(1, 0), (3, 12)])
def test_a_gif_shows_every_frame_and_holds_the_last_one(tmp_path: Path, channels: int, error: float) -> None:
    ramps = np.linspace(0, 1, 5)[:, None, None, None] * np.linspace(0, 255, 40)[:, None]
    frames = np.broadcast_to(ramps, (5, 30, 40, 1)).repeat(channels, -1).astype(np.uint8)
    pictures.save_gif(tmp_path / "film.gif", frames, 200)
    shown, milliseconds = zip(*frames_of(tmp_path / "film.gif"), strict=True)
    assert milliseconds == (200, 200, 200, 200, 1500)
    for frame, original in zip(shown, frames, strict=True):
        expected = np.broadcast_to(pictures.enlarge(original), frame.shape).astype(int)
        assert np.abs(frame - expected).mean() <= error
    with Image.open(tmp_path / "film.gif") as film:
        assert film.info["loop"] == 0


def test_a_film_of_one_picture_is_a_gif_too(tmp_path: Path) -> None:
    pictures.save_gif(tmp_path / "film.gif", samples(1, 3), 100)
    assert len(list(frames_of(tmp_path / "film.gif"))) == 1


def save_epoch(directory: Path, epoch: int, level: int, size: int = 500) -> None:
    name = f"image_at_epoch_{epoch:04d}.png"
    pictures.save_png(directory / name, np.full((size, size, 1), level, np.uint8))


def levels_of(path: Path) -> list[int]:
    return [int(frame[0, 0, 0]) for frame, _ in frames_of(path)]


def test_the_film_of_a_run_goes_by_epoch_and_not_by_name(tmp_path: Path) -> None:
    for epoch, level in [(10000, 40), (2, 10), (9999, 30), (10, 20)]:
        save_epoch(tmp_path, epoch, level)
    (tmp_path / "image_at_epoch_best.png").write_bytes(b"somebody's own")
    pictures.progress_gif(tmp_path, tmp_path / "progress.gif")
    assert levels_of(tmp_path / "progress.gif") == [10, 20, 30, 40]


def test_the_film_of_a_run_leaves_out_pictures_of_another_size(tmp_path: Path) -> None:
    save_epoch(tmp_path, 1, 10, size=600)
    save_epoch(tmp_path, 2, 20)
    save_epoch(tmp_path, 3, 30)
    pictures.progress_gif(tmp_path, tmp_path / "progress.gif")
    assert levels_of(tmp_path / "progress.gif") == [20, 30]


def test_the_film_of_a_long_run_is_thinned_but_keeps_both_ends(tmp_path: Path) -> None:
    for epoch in range(250):
        save_epoch(tmp_path, epoch, epoch, size=260)
    pictures.progress_gif(tmp_path, tmp_path / "progress.gif")
    levels = levels_of(tmp_path / "progress.gif")
    assert len(levels) == 120
    assert (levels[0], levels[-1]) == (0, 249)
    assert levels == sorted(levels)


def test_a_run_without_pictures_has_no_film(tmp_path: Path) -> None:
    pictures.progress_gif(tmp_path / "samples", tmp_path / "progress.gif")
    assert list(tmp_path.iterdir()) == []


@CHANNELS
def test_samples_are_written_as_a_grid(tmp_path: Path, channels: int) -> None:
    pixels = samples(4, channels)
    pictures.write_samples(str(tmp_path / "new" / "grid.png"), pixels)
    expected = squeeze(pictures.enlarge(pictures.grid(pixels)))
    np.testing.assert_array_equal(read(tmp_path / "new" / "grid.png"), expected)


@CHANNELS
def test_samples_are_written_as_an_array(tmp_path: Path, channels: int) -> None:
    pixels = samples(4, channels)
    pictures.write_samples(tmp_path / "new" / "samples.npz", pixels)
    with np.load(tmp_path / "new" / "samples.npz") as file:
        assert file.files == ["pixels"]
        assert file["pixels"].dtype == np.uint8
        np.testing.assert_array_equal(file["pixels"], pixels)


@CHANNELS
def test_samples_are_written_as_a_directory_of_pictures_in_their_own_size(tmp_path: Path, channels: int) -> None:
    pixels = samples(11, channels)
    pictures.write_samples(tmp_path / "new" / "samples", pixels)
    files = sorted((tmp_path / "new" / "samples").iterdir())
    assert [file.name for file in files] == [f"{index:05d}.png" for index in range(11)]
    for file, picture in zip(files, pixels, strict=True):
        np.testing.assert_array_equal(read(file), squeeze(picture))
