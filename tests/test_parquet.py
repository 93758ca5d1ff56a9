"""Parquet files and data sets of Hugging Face: the same images as the equal folder; a sentence for what is wrong."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import picture_files
import pytest
import small_runs

from distgan.data.base import Source, Wanted
from distgan.data.pipeline import make_shares
from distgan.data.sources import kind_of, open_source
from distgan.errors import UserError
from distgan.replicas.base import Shard

datasets = pytest.importorskip("datasets", reason="pip install 'distgan[hf]'")
import pyarrow as pa  # noqa: E402
from pyarrow import parquet  # noqa: E402

NUMBER = 40
CLASSES = ("ant", "bee", "wasp")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures in class folders; the order of their names is the order of their numbers."""
    flat = picture_files.write_folder(tmp_path / "flat", NUMBER)
    for number in range(NUMBER):
        path = tmp_path / "tree" / CLASSES[number * 3 // NUMBER] / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        (flat / f"{number:05d}.png").rename(path)
    return tmp_path / "tree"


def columns_of(tree: Path) -> dict[str, list[Any]]:
    paths = sorted(tree.rglob("*.png"))
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    return {"image": images, "label": [path.parent.name for path in paths]}


def write(path: Path, columns: dict[str, list[Any]], first: int = 0, end: int | None = None) -> str:
    """Write rows `first` to `end` in small row groups."""
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns)[first:end], path, row_group_size=7)
    return f"parquet:{path}"


def as_of_the_hub(columns: dict[str, list[Any]]) -> Any:
    """The columns with the types of images and of classes."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES)))
    return datasets.Dataset.from_dict(columns, features=features)


def opened(data: str, split: str = "train", **wanted: Any) -> Source:
    return open_source(data, split, Wanted(**wanted))


def everything(source: Source) -> np.ndarray:
    return source.read("images", np.arange(source.streams["images"]))


def assert_equal(ours: Source, folder: Source) -> None:
    np.testing.assert_array_equal(everything(ours), everything(folder), strict=True)
    np.testing.assert_array_equal(ours.labels, folder.labels, strict=True)
    assert (ours.class_names, ours.num_files) == (folder.class_names, folder.num_files)
    assert (ours.image_shape, ours.example_shape) == (folder.image_shape, folder.example_shape)


def refusal(data: str, **wanted: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(data, **wanted)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and f"--data={data}" in sentence
    return sentence


class TestTheEqualFolder:
    def test_gives_the_same_images_and_classes_as_one_file_and_several(self, tree: Path, tmp_path: Path) -> None:
        columns = columns_of(tree)
        one = write(tmp_path / "one file[1].parquet", columns)
        for shard in range(3):
            write(tmp_path / "shards" / f"train-0000{shard}-of-00003.parquet", columns, 15 * shard, 15 * shard + 15)
        for data in (
            one,
            f"parquet:{tmp_path}/shards/*.parquet",
            f"parquet:{tmp_path}/shards",
            f"hf:{tmp_path}/shards",
        ):
            for wanted in (
                {},
                {"max_classes": 2, "max_images_per_class": 2},
                {"image_size": (8, 8), "margin_pixels": 2},
            ):
                assert_equal(opened(data, **wanted), opened(f"folder:{tree}", **wanted))

    def test_gives_the_same_as_a_directory_of_save_to_disk(self, tree: Path, tmp_path: Path) -> None:
        made = as_of_the_hub(columns_of(tree))
        made.save_to_disk(tmp_path / "one")
        datasets.DatasetDict(train=made, validation=made.select([5, 4])).save_to_disk(tmp_path / "splits")
        for name in ("one", "splits"):
            assert_equal(opened(f"hf:{tmp_path}/{name}"), opened(f"folder:{tree}"))
        held_out = opened(f"hf:{tmp_path}/splits", split="test")
        np.testing.assert_array_equal(everything(held_out), everything(opened(f"folder:{tree}"))[[5, 4]])

    def test_gives_the_same_if_the_column_holds_bytes_or_paths(self, tree: Path, tmp_path: Path) -> None:
        columns = columns_of(tree)
        contents = [image["bytes"] for image in columns["image"]]
        assert_equal(opened(write(tmp_path / "x.parquet", columns | {"image": contents})), opened(f"folder:{tree}"))
        assert_equal(opened(f"hf:{tree}"), opened(f"folder:{tree}"))  # whose rows are paths

    def test_trains_to_the_same_weights(self, tree: Path, tmp_path: Path) -> None:
        settings = {"image_size": "28x28", "channels": 1, "steps": 3}
        for name, data in (("ours", write(tmp_path / "x.parquet", columns_of(tree))), ("folder", f"folder:{tree}")):
            small_runs.train(tmp_path / name, data=data, **settings)
        ours, theirs = (small_runs.state(tmp_path / name, 3) for name in ("ours", "folder"))
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def test_two_shares_together_are_the_whole_batch(tree: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "x.parquet", columns_of(tree))

    def pixels(rank: int, size: int) -> np.ndarray:
        settings = {"batch_size": 10, "seed": 1, "first_position": 30, "image_phases": 1}
        shares = make_shares(Shard(rank, 1, size), opened(data), **settings)
        return np.stack([next(shares)["pixels"]["images"].numpy() for _ in range(5)])

    np.testing.assert_array_equal(np.concatenate([pixels(0, 2), pixels(1, 2)], axis=1), pixels(0, 1))


def test_the_fingerprint_changes_with_the_images_and_labels_and_not_with_the_place(tree: Path, tmp_path: Path) -> None:
    columns = columns_of(tree)
    first, second = (opened(write(tmp_path / name, columns)).fingerprint for name in ("x.parquet", "y.parquet"))
    fewer = opened(write(tmp_path / "x.parquet", columns, end=-1)).fingerprint
    labels = opened(write(tmp_path / "z.parquet", columns | {"label": columns["label"][::-1]})).fingerprint
    assert first == second and len({first, fewer, labels}) == 3


class TestColumns:
    def test_of_images_are_chosen_by_name_if_there_are_several(self, tree: Path, tmp_path: Path) -> None:
        columns = columns_of(tree)
        two = {"mask": columns["image"][::-1], "img": columns["image"]}
        assert_equal(
            opened(write(tmp_path / "x.parquet", columns | {"image": [1] * NUMBER} | two)), opened(f"folder:{tree}")
        )
        said = "has the columns mask, picture, of which mask, picture may hold image files: name the column of images"
        assert said in refusal(write(tmp_path / "y.parquet", {"mask": two["mask"], "picture": two["img"]}))
        assert "of which nothing may hold" in refusal(write(tmp_path / "z.parquet", {"label": columns["label"]}))

    @pytest.mark.parametrize(
        ("labels", "classes"),
        [([10, 2], ("2", "10")), (["b", "a"], ("a", "b")), ([7, -1], ()), ([-1, None], ()), ([0.5, 1.0], ())],
    )
    def test_of_labels_hold_whole_numbers_or_texts(
        self, tree: Path, tmp_path: Path, labels: list[Any], classes: tuple[str, ...]
    ) -> None:
        source = opened(write(tmp_path / "x.parquet", {"picture": columns_of(tree)["image"][:2], "label": labels}))
        assert source.class_names == classes
        assert bool(source.notes) == (not classes)

    def test_of_too_large_labels_are_refused(self, tree: Path, tmp_path: Path) -> None:
        columns = {"image": columns_of(tree)["image"][:2], "label": [1, 2**40]}
        assert "the column label holds the label 1099511627776" in refusal(write(tmp_path / "x.parquet", columns))


class TestBadData:
    def test_images_are_reported_and_replaced(self, tree: Path, tmp_path: Path) -> None:
        columns = {name: rows * 8 for name, rows in columns_of(tree).items()}
        columns["image"][7] = {"bytes": picture_files.BROKEN, "path": "7.png"}
        columns["image"][9] = {"bytes": None, "path": None}
        columns["image"][300] = None
        source = opened(write(tmp_path / "x.parquet", columns))
        assert source.faults == {"row 007": "not an image", "row 009": "empty", "row 300": "empty"}
        np.testing.assert_array_equal(*source.read("images", np.array([7, 8])))
        columns["image"][1] = columns["image"][7]
        assert "4 of 320 files are not images" in refusal(write(tmp_path / "y.parquet", columns))

    def test_files_are_refused_wherever_they_are_cut(self, tree: Path, tmp_path: Path) -> None:
        data = write(tmp_path / "x.parquet", columns_of(tree))
        whole = (tmp_path / "x.parquet").read_bytes()
        for size in (0, 4, len(whole) // 2, len(whole) - 1):
            (tmp_path / "x.parquet").write_bytes(whole[:size])
            assert "can't be opened" in refusal(data)
        (tmp_path / "x.parquet").write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
        assert "can't be opened" in refusal(data)

    def test_what_is_not_there_is_refused(self, tree: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "empty").mkdir()
        assert "not a regular file" in refusal(f"parquet:{tmp_path}/fifo")
        assert "No such file" in refusal(f"parquet:{tmp_path}/nothing-*.parquet")
        assert "doesn't contain any data files" in refusal(f"parquet:{tmp_path}/empty")
        assert "doesn't contain any data files" in refusal(f"hf:{tmp_path}/empty")
        assert "Couldn't reach 'someone/something' on the Hub" in refusal("hf:someone/something")
        columns = columns_of(tree)
        assert "can't be opened" in refusal(write(tmp_path / "x.parquet", columns, end=0))
        datasets.DatasetDict(full=as_of_the_hub(columns)).save_to_disk(tmp_path / "full")
        assert "has the splits full (" in refusal(f"hf:{tmp_path}/full")
        (tmp_path / "full" / "full" / "data-00000-of-00001.arrow").write_bytes(b"cut")
        assert "can't be opened" in refusal(f"hf:{tmp_path}/full")

    def test_a_file_without_its_kind_is_recognised(self) -> None:
        with pytest.raises(UserError, match=r"For the images in it give --data=parquet:x\.parquet\.$"):
            kind_of("x.parquet")


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "distgan[hf]" in refusal("hf:cifar10")
