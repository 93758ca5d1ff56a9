"""A run directory and data that are not on this machine: TensorFlow's ram:// stands for gs://, s3:// and their like."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_runs
import tensorflow as tf
from PIL import Image

import distgan
from distgan import files
from distgan.config import Config
from distgan.data.base import Wanted
from distgan.data.sources import open_source
from distgan.errors import UserError
from distgan.training import lock
from distgan.training.mirror import Mirror

SETTINGS = {"steps": 6, "checkpoint_every_steps": 2, "sample_every_steps": 3}


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty remote directory; copies are made in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield f"ram://{tmp_path.name}"
    if files.is_directory(f"ram://{tmp_path.name}"):
        tf.io.gfile.rmtree(f"ram://{tmp_path.name}")


def _train(run_dir: str, **settings: object) -> str:
    return small_runs.train(run_dir, **SETTINGS | settings)  # type: ignore[arg-type]


def _names(address: str) -> set[str]:
    return {name for name, _ in files.walk(address)}


def _digest(address: str, step: int) -> str:
    return str(json.loads(files.read(f"{address}/checkpoints/step_{step:09d}/manifest.json"))["state_digest"])


@pytest.mark.slow
def test_a_run_elsewhere_is_the_run_it_would_be_here_and_goes_on(address: str, tmp_path: Path) -> None:
    _train(str(tmp_path / "here"))
    said = _train(address, steps=4)
    assert f"run directory {address}" in said
    assert f"checkpoint   {address}/checkpoints/step_000000004" in said
    shutil.rmtree(tmp_path / "cache")  # as on another machine
    said = _train(address)
    assert "goes on from step 4" in said
    assert _digest(address, 6) == small_runs.digest(tmp_path / "here", 6)
    passing = {name for name in _names(address) if name.startswith("lock") or "/." in name}
    assert not passing
    here = {path.relative_to(tmp_path / "here").as_posix() for path in (tmp_path / "here").rglob("*") if path.is_file()}
    ours = {name for name in here if "events.out" not in name and not name.startswith((".", "lock"))}
    assert ours <= _names(address)
    assert len(files.read(f"{address}/metrics.jsonl").splitlines()) == SETTINGS["steps"]


@pytest.mark.slow
def test_a_run_elsewhere_can_be_loaded_and_started_from(address: str, tmp_path: Path) -> None:
    _train(str(tmp_path / "here"))
    _train(address)
    expected = distgan.load(tmp_path / "here").generate(3, seed=1)
    np.testing.assert_array_equal(distgan.load(address).generate(3, seed=1), expected)
    assert f"starts from the weights of {address}" in _train(str(tmp_path / "next"), init_from=address, steps=1)


@pytest.mark.slow
def test_what_could_not_be_brought_there_is_gone_on_from(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = Mirror.push

    def fails_at_step_4(self: Mirror) -> None:
        if (self._path / "checkpoints" / "step_000000004").exists():
            raise OSError(5, "Input/output error", address)
        push(self)

    monkeypatch.setattr(Mirror, "push", fails_at_step_4)
    with pytest.raises(UserError, match=r"The checkpoint of step 4 is in .* and can't be brought to ram://"):
        _train(address)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "goes on from step 4" in _train(address)
    _train(str(tmp_path / "here"))
    assert _digest(address, 6) == small_runs.digest(tmp_path / "here", 6)


def test_a_run_that_was_removed_there_starts_anew(address: str) -> None:
    _train(address, steps=4)
    tf.io.gfile.rmtree(address)
    assert "goes on from" not in _train(address, steps=2)


def test_old_checkpoints_go_there_too(address: str) -> None:
    _train(address, keep_checkpoints=2)
    assert {name.split("/")[1] for name in _names(address) if name.startswith("checkpoints/")} == {
        "step_000000004", "step_000000006"
    }  # fmt: skip


@pytest.mark.slow
def test_what_a_cut_connection_left_half_is_not_taken(address: str, tmp_path: Path) -> None:
    _train(address, steps=4)
    files.remove(f"{address}/checkpoints/step_000000004/manifest.json")  # which comes last
    shutil.rmtree(tmp_path / "cache")
    said = _train(address)
    assert "checkpoint step_000000004 is damaged" in said
    assert "goes on from step 2" in said
    _train(str(tmp_path / "here"))
    assert _digest(address, 6) == small_runs.digest(tmp_path / "here", 6)


def test_a_file_that_did_not_change_is_not_sent_again(address: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "a").write_text("1")
    (copy / "b").write_text("2")
    mirror = Mirror(address, copy)
    mirror.push()
    files.write(f"{address}/a", b"marked")
    (copy / "b").write_text("three")
    mirror.push()
    assert (files.read(f"{address}/a"), files.read(f"{address}/b")) == (b"marked", b"three")


def test_two_runs_elsewhere_do_not_meet(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = lock.RemoteLock(address), lock.RemoteLock(address)
    first.acquire()
    with pytest.raises(UserError, match=f"{address} is in use by process"):
        second.acquire()
    first.release()
    second.acquire()
    with pytest.raises(UserError, match="was taken over by another run"):
        first.check()
    second.check()
    second.release()


def test_an_owner_on_another_machine_is_watched_for_signs_of_life(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "DEAD_AFTER_SECONDS", 3.0)
    monkeypatch.setattr(lock, "WATCH_SECONDS", 0.05)
    owner = {"host": "far", "pid": 7, "started": "1", "machine": "another"}
    stopped = threading.Event()

    def beat() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            files.write(f"{address}/lock.json", json.dumps(owner | {"beat": number}).encode())
            time.sleep(0.05)

    heart = threading.Thread(target=beat)
    heart.start()
    time.sleep(0.2)
    try:
        with pytest.raises(UserError, match="in use by process 7 on far"):
            lock.RemoteLock(address).acquire()
    finally:
        stopped.set()
        heart.join()
    taken = lock.RemoteLock(address)
    taken.acquire()
    taken.release()


def test_pictures_elsewhere_are_the_same_data(address: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "pictures" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
        files.write(f"{address}/class{number % 2}/{number}.png", path.read_bytes())
    files.write(f"{address}/.hidden/no.png", b"")
    here = open_source(f"folder:{tmp_path}/pictures", "train", Wanted())
    there = open_source(f"folder:{address}", "train", Wanted())
    assert there.fingerprint == here.fingerprint
    numbers = np.arange(6)
    np.testing.assert_array_equal(there.read("images", numbers), here.read("images", numbers))


def test_idx_files_elsewhere_are_read(address: str) -> None:
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in (2, 16, 16))
    files.write(f"{address}/train-images-idx3-ubyte", header + bytes(range(256)) * 2)
    assert open_source(f"idx:{address}", "train", Wanted()).streams == {"images": 2}


@pytest.mark.parametrize("data", ["folder:ram://nowhere", "idx:ram://nowhere", "folder:nothing://knows/this"])
def test_data_that_is_not_there_is_said(data: str) -> None:
    with pytest.raises(UserError, match=r"cannot be (listed|read)"):
        open_source(data, "train", Wanted())


def test_an_address_of_no_known_kind_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"nothing://knows/this/lock\.json: "):
        _train("nothing://knows/this")
    assert Config(run_dir="nothing://knows/this").directory.is_relative_to(tmp_path)


def test_a_connection_that_breaks_at_the_end_costs_no_checkpoint(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    push = Mirror.push

    def breaks_in_the_end(self: Mirror) -> None:
        if (self._path / "progress.gif").exists():
            raise OSError(5, "Input/output error", f"{address}/progress.gif")
        push(self)

    monkeypatch.setattr(Mirror, "push", breaks_in_the_end)
    said = _train(address)
    assert f"only: {address}/progress.gif: Input/output error." in said
    assert f"checkpoints/step_{SETTINGS['steps']:09d}/manifest.json" in _names(address)
