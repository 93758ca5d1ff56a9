"""Data at an address: TensorFlow's ram:// stands for gs:// and its like. Runs are on this machine."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import distgan
from distgan.config import Config
from distgan.data import remote
from distgan.data.base import Wanted
from distgan.data.sources import open_source
from distgan.errors import UserError


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """An empty remote directory."""
    yield f"ram://{tmp_path.name}"
    if remote.is_directory(f"ram://{tmp_path.name}"):
        tf.io.gfile.rmtree(f"ram://{tmp_path.name}")


def _write(path: str, content: bytes) -> None:
    tf.io.gfile.makedirs(path.rpartition("/")[0])
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(content)


def test_pictures_elsewhere_are_the_same_data(address: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "pictures" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
        _write(f"{address}/class{number % 2}/{number}.png", path.read_bytes())
    _write(f"{address}/.hidden/no.png", b"")
    here = open_source(f"folder:{tmp_path}/pictures", "train", Wanted())
    there = open_source(f"folder:{address}", "train", Wanted())
    assert there.fingerprint == here.fingerprint
    numbers = np.arange(6)
    np.testing.assert_array_equal(there.read("images", numbers), here.read("images", numbers))


def test_idx_files_elsewhere_are_read(address: str) -> None:
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in (2, 16, 16))
    _write(f"{address}/train-images-idx3-ubyte", header + bytes(range(256)) * 2)
    assert open_source(f"idx:{address}", "train", Wanted()).streams == {"images": 2}


@pytest.mark.parametrize("data", ["folder:ram://nowhere", "idx:ram://nowhere", "folder:nothing://knows/this"])
def test_data_that_is_not_there_is_said(data: str) -> None:
    with pytest.raises(UserError, match=r"cannot be (listed|read)"):
        open_source(data, "train", Wanted())


def test_a_run_directory_at_an_address_is_refused() -> None:
    sentence = "--run_dir=gs://bucket/runs must be on this machine: mount the bucket, as by gcsfuse"
    with pytest.raises(UserError, match=sentence):
        Config(run_dir="gs://bucket/runs")
    with pytest.raises(UserError, match=sentence):
        distgan.load("gs://bucket/runs")
