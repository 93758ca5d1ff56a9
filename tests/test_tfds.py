"""--data=tfds:NAME reads data sets of tensorflow-datasets; CI installs it, a set-up of one's own need not."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgan.data.base import Wanted
from distgan.data.sources import open_source
from distgan.errors import UserError

Features = Callable[[Any], dict[str, Any]]  # of the module tfds.features


def refusal(data: str, wanted: Wanted) -> str:
    with pytest.raises(UserError) as caught:
        open_source(data, "train", wanted)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where tensorflow-datasets looks for data sets; it reads the variable when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("tensorflow_datasets")
        patch.setenv("TFDS_DATA_DIR", str(path))
        yield path


def prepare(
    directory: Path, called: str, features: Features, examples: list[dict[str, Any]], file_format: str = "array_record"
) -> None:
    """Write a data set of a split "train"."""
    pytest.importorskip("tensorflow_datasets", reason="pip install 'distgan[tfds]'")
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():  # it is found by its files, as others are

        class Made(tfds.core.GeneratorBasedBuilder):
            name = called
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> Any:
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features(tfds.features)))

            def _split_generators(self, _: object) -> dict[str, Any]:
                return {"train": self._generate_examples()}

            def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
                yield from enumerate(examples)

    Made(data_dir=directory, file_format=file_format).download_and_prepare()


def images(features: Any) -> dict[str, Any]:
    return {"image": features.Image(shape=(None, None, 3))}


EXAMPLES = [{"image": np.full((8, 6 + number, 3), 10 * number, np.uint8)} for number in range(4)]


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    sentence = refusal("tfds:cifar10", Wanted())
    assert "--data=tfds:cifar10 needs tensorflow-datasets" in sentence and "pip install" in sentence


def test_images_come_as_wanted(directory: Path) -> None:
    prepare(directory, "wanted", images, EXAMPLES)
    source = open_source("tfds:wanted", "train", Wanted(image_size=(5, 4), margin_pixels=1, channels=1))
    assert (source.streams, source.image_shape, source.example_shape) == ({"images": 4}, (5, 4, 1), (6, 5, 1))
    read = source.read("images", np.arange(4))
    assert read.shape == (4, 6, 5, 1) and read.dtype == np.uint8
    assert sorted(read[:, 0, 0, 0].tolist()) == [0, 10, 20, 30]  # in the order that it was shuffled to when prepared
    assert np.array_equal(source.read("images", np.array([2, 0])), read[[2, 0]])


def test_what_gives_no_images_of_a_size_is_refused(directory: Path) -> None:
    prepare(directory, "sizes", images, EXAMPLES)
    assert "several sizes: give --image_size" in refusal("tfds:sizes", Wanted())
    assert "remove them" in refusal("tfds:sizes", Wanted(image_size=(5, 4), max_classes=2))


def test_a_data_set_without_images_is_refused(directory: Path) -> None:
    prepare(directory, "texts", lambda features: {"text": features.Text()}, [{"text": "a"}])
    assert "has no feature `image`" in refusal("tfds:texts", Wanted())


def test_a_data_set_without_random_access_is_refused(directory: Path) -> None:
    prepare(directory, "records", images, EXAMPLES, file_format="tfrecord")
    assert "prepare it with file_format=array_record" in refusal("tfds:records", Wanted(image_size=(5, 4)))
