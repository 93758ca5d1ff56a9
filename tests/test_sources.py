"""--data names a data set; what is wrong with one is said in a sentence with the file's name."""

import gzip
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_idx

from distgan.data.arrays import MNIST_DIRECTORY, LabelledImages, open_idx, open_mnist
from distgan.data.base import Wanted
from distgan.data.sources import SOURCES, kind_of, open_source
from distgan.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
LABELS = np.array([3, 0, 1, 2, 0, 3], np.uint8)


def write_pair(directory: Path, pixels: np.ndarray = PIXELS, labels: np.ndarray | None = LABELS) -> None:
    write_idx(directory / "train-images-idx3-ubyte", pixels)
    if labels is not None:
        write_idx(directory / "train-labels-idx1-ubyte", labels)


def refusal(function: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


class TestEmbeddedMnist:
    @pytest.mark.parametrize(
        ("split", "num_examples", "first_labels", "mean"),
        [("train", 60_000, [5, 0, 4, 1, 9], 33.318421), ("test", 10_000, [7, 2, 1, 0, 4], 33.791224)],
    )
    def test_is_the_real_one(self, split: str, num_examples: int, first_labels: list[int], mean: float) -> None:
        source = open_mnist(split)
        assert source.name == "mnist"
        assert source.pixels.shape == (num_examples, 28, 28, 1)
        assert source.labels is not None
        assert source.pixels.dtype == np.uint8 and source.labels.dtype == np.int32
        assert source.labels[:5].tolist() == first_labels
        assert source.pixels.mean() == pytest.approx(mean, abs=1e-6)

    @pytest.mark.parametrize(
        ("name", "sha256"),
        [  # of the unpacked files, as they are known everywhere
            ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ],
    )
    def test_files_hold_the_canonical_bytes_and_are_listed(self, name: str, sha256: str) -> None:
        with gzip.open(MNIST_DIRECTORY / f"{name}.gz") as file:
            assert hashlib.sha256(file.read()).hexdigest() == sha256
        assert f"  {name}.gz\n" in (MNIST_DIRECTORY / "SHA256SUMS").read_text()

    @pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
    def test_sums_are_in_the_format_of_sha256sum(self) -> None:
        command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        checked = subprocess.run(command, cwd=MNIST_DIRECTORY, capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and checked.stdout.count(": OK") == 4

    def test_a_damaged_file_is_refused_by_name(self, tmp_path: Path) -> None:
        copy = shutil.copytree(MNIST_DIRECTORY, tmp_path / "mnist")
        path = copy / "t10k-labels-idx1-ubyte.gz"
        contents = bytearray(path.read_bytes())
        contents[2000] ^= 1
        path.write_bytes(contents)
        assert str(path) in refusal(open_mnist, "test", copy)

    def test_a_missing_file_is_refused_by_name(self, tmp_path: Path) -> None:
        copy = shutil.copytree(MNIST_DIRECTORY, tmp_path / "mnist")
        (copy / "train-images-idx3-ubyte.gz").unlink()
        assert "train-images-idx3-ubyte.gz" in refusal(open_mnist, "train", copy)


class TestNames:
    @pytest.mark.parametrize("data", ["mnist", "idx:data", "idx:/data/kmnist", "idx:C:/data"])
    def test_known_names_pass_without_a_look_at_any_file(self, data: str) -> None:
        kind_of(data)

    @pytest.mark.parametrize("data", ["", "MNIST", "cifar10", "tfds:", ":", "/data/kmnist", "idx", "idx:", "mnist:28"])
    @pytest.mark.parametrize("function", [kind_of, lambda data: open_source(data, "train", Wanted())])
    def test_any_other_name_is_refused_with_those_allowed(self, function: Callable[..., object], data: str) -> None:
        sentence = refusal(function, data)
        assert sentence == (
            f"--data={data} names no data set: it may be one of mnist, mnist-colours, mnist-edges, mnist-domains, "
            "emoji, emoji-styles, emoji-domains, idx:DIR, folder:DIR, zip:FILE, tar:FILES, npz:FILE, "
            "parquet:FILES, pairs:DIR, unpaired:DIR, hf:NAME, tfds:NAME."
        )

    def test_a_folder_without_its_kind_is_recognised(self, tmp_path: Path) -> None:
        assert refusal(kind_of, str(tmp_path)).endswith(f"give --data=folder:{tmp_path}.")

    def test_every_kind_of_source_is_listed_under_the_word_it_begins_with(self) -> None:
        assert all(kind.spelling.partition(":")[0] == name for name, kind in SOURCES.items())

    def test_checking_a_name_does_not_import_tensorflow(self) -> None:
        program = (
            "import sys; from distgan.data.sources import kind_of; kind_of('mnist'); print('tensorflow' in sys.modules)"
        )
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert ran.stdout == "False\n", ran.stderr


class TestIdxDirectory:
    def test_images_and_labels_come_back_as_written(self, tmp_path: Path) -> None:
        write_pair(tmp_path)
        source = open_idx(str(tmp_path))
        assert source.name == f"idx:{tmp_path}"
        np.testing.assert_array_equal(source.pixels, PIXELS[..., np.newaxis], strict=True)
        np.testing.assert_array_equal(source.labels, LABELS.astype(np.int32), strict=True)

    def test_labels_are_optional(self, tmp_path: Path) -> None:
        write_pair(tmp_path, labels=None)
        assert open_idx(str(tmp_path)).labels is None

    def test_images_may_have_channels(self, tmp_path: Path) -> None:
        colours = np.random.default_rng(1).integers(0, 256, (3, 8, 9, 3), np.uint8)
        write_idx(tmp_path / "train-images-idx4-ubyte.gz", colours)
        source = open_idx(str(tmp_path))
        np.testing.assert_array_equal(source.pixels, colours, strict=True)

    @pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32"])
    def test_labels_of_any_whole_type_become_int32(self, tmp_path: Path, dtype: str) -> None:
        write_pair(tmp_path, labels=LABELS.astype(dtype))
        np.testing.assert_array_equal(open_idx(str(tmp_path)).labels, LABELS.astype(np.int32), strict=True)

    @pytest.mark.parametrize("packed", ["", ".gz"])
    @pytest.mark.parametrize(
        ("split", "images", "labels"),
        [
            ("train", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
            ("train", "train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
            ("test", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
            ("test", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
            ("train", "emnist-letters-train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte"),
            ("test", "emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte"),
        ],
    )
    def test_the_usual_names_are_found_among_others(
        self, tmp_path: Path, split: str, images: str, labels: str, packed: str
    ) -> None:
        other = {"train": "t10k", "test": "train"}[split]
        write_idx(tmp_path / f"{other}-images-idx3-ubyte", PIXELS[:2])
        write_idx(tmp_path / f"{other}-labels-idx1-ubyte", LABELS[:2])
        (tmp_path / "README.md").write_text("Not images.")
        (tmp_path / f"._{images}{packed}").write_text("What a Mac leaves behind.")
        write_idx(tmp_path / f"{images}{packed}", PIXELS)
        write_idx(tmp_path / f"{labels}{packed}", LABELS)
        source = open_idx(str(tmp_path), split)
        np.testing.assert_array_equal(source.pixels[..., 0], PIXELS)
        np.testing.assert_array_equal(source.labels, LABELS)

    def test_a_file_beside_its_own_gzip_counts_once(self, tmp_path: Path) -> None:
        write_pair(tmp_path)
        write_idx(tmp_path / "train-images-idx3-ubyte.gz", PIXELS)
        write_idx(tmp_path / "train-labels-idx1-ubyte.gz", LABELS)
        assert len(open_idx(str(tmp_path)).pixels) == 6

    def test_a_tilde_is_the_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        write_pair(tmp_path)
        source = open_idx("~")
        assert source.name == "idx:~"
        assert len(source.pixels) == 6


class TestRefusals:
    def test_a_missing_directory_is_refused(self, tmp_path: Path) -> None:
        sentence = refusal(open_idx, f"{tmp_path}/nowhere")
        assert f"--data=idx:{tmp_path}/nowhere" in sentence and "No such file" in sentence

    def test_a_home_directory_of_nobody_is_refused(self) -> None:
        assert "home directory in ~nobody-of-this-name/data" in refusal(open_idx, "~nobody-of-this-name/data")

    def test_a_file_where_a_directory_belongs_is_refused(self, tmp_path: Path) -> None:
        write_pair(tmp_path)
        sentence = refusal(open_idx, f"{tmp_path}/train-images-idx3-ubyte")
        assert "Not a directory" in sentence

    def test_an_empty_directory_is_refused(self, tmp_path: Path) -> None:
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path} holds no images of the train split" in sentence
        assert "train-images-idx3-ubyte.gz" in sentence and "found nothing" in sentence

    def test_a_directory_without_the_split_lists_what_it_has(self, tmp_path: Path) -> None:
        write_pair(tmp_path)
        sentence = refusal(open_idx, str(tmp_path), "test")
        assert "no images of the test split" in sentence and "t10k-images-idx3-ubyte" in sentence
        assert "found train-images-idx3-ubyte, train-labels-idx1-ubyte." in sentence

    def test_a_long_listing_is_cut(self, tmp_path: Path) -> None:
        for number in range(100):
            (tmp_path / f"photo{number:02d}.png").touch()
        sentence = refusal(open_idx, str(tmp_path))
        assert "photo11.png and 88 more." in sentence

    @pytest.mark.parametrize("kind", ["images", "labels"])
    def test_several_files_for_one_place_are_listed(self, tmp_path: Path, kind: str) -> None:
        write_pair(tmp_path)
        second = f"emnist-digits-train-{kind}-idx3-ubyte.gz"
        write_idx(tmp_path / second, PIXELS)
        sentence = refusal(open_idx, str(tmp_path))
        assert f"several files of {kind}" in sentence and "keep one of" in sentence
        assert second in sentence and f"train-{kind}-idx" in sentence.replace(second, "")

    @pytest.mark.parametrize("shape", [(6,), (6, 20), (6, 1, 1, 5, 4)], ids=str)
    def test_an_array_without_the_rank_of_images_is_refused(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        write_pair(tmp_path, pixels=np.zeros(shape, np.uint8))
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path}/train-images-idx3-ubyte has shape {list(shape)}" in sentence
        assert "images are [number, height, width]" in sentence

    def test_images_where_labels_belong_are_refused(self, tmp_path: Path) -> None:
        write_pair(tmp_path, labels=PIXELS)
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path}/train-labels-idx1-ubyte has shape [6, 5, 4]" in sentence
        assert "labels must be [number]" in sentence

    @pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32", "float64"])
    def test_images_that_are_not_uint8_are_refused(self, tmp_path: Path, dtype: str) -> None:
        write_pair(tmp_path, pixels=np.zeros((6, 5, 4), dtype))
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path}/train-images-idx3-ubyte holds {dtype} values" in sentence

    def test_labels_that_are_not_whole_numbers_are_refused(self, tmp_path: Path) -> None:
        write_pair(tmp_path, labels=LABELS.astype(np.float32))
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path}/train-labels-idx1-ubyte holds float32 values" in sentence

    def test_labels_below_zero_are_refused(self, tmp_path: Path) -> None:
        write_pair(tmp_path, labels=np.array([0, 1, -1, 2, 0, 3], np.int16))
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path}/train-labels-idx1-ubyte holds the label -1" in sentence

    @pytest.mark.parametrize("num_labels", [0, 5, 7])
    def test_another_number_of_labels_than_of_images_is_refused(self, tmp_path: Path, num_labels: int) -> None:
        write_pair(tmp_path, labels=np.zeros(num_labels, np.uint8))
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path}/train-labels-idx1-ubyte holds {num_labels} labels" in sentence
        assert "train-images-idx3-ubyte 6 images" in sentence

    @pytest.mark.parametrize("shape", [(0, 28, 28), (6, 0, 28), (6, 28, 28, 0)], ids=str)
    def test_a_file_of_no_images_is_refused(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        write_pair(tmp_path, pixels=np.zeros(shape, np.uint8))
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path}/train-images-idx3-ubyte holds no images" in sentence
        assert str(list(shape)) in sentence

    @pytest.mark.parametrize("shape", [(6, 3, 28), (6, 28, 3), (6, 1, 28, 28)], ids=str)
    def test_images_lower_or_narrower_than_four_pixels_are_refused(
        self, tmp_path: Path, shape: tuple[int, ...]
    ) -> None:
        write_pair(tmp_path, pixels=np.zeros(shape, np.uint8))
        sentence = refusal(open_idx, str(tmp_path))
        assert f"{tmp_path}/train-images-idx3-ubyte holds images too small" in sentence
        assert str(list(shape)) in sentence and "at least 4" in sentence

    @pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
    def test_a_truncated_file_is_refused_by_name(self, tmp_path: Path, name: str) -> None:
        write_pair(tmp_path)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
        assert f"{tmp_path / name} is truncated" in refusal(open_idx, str(tmp_path))


class TestFingerprint:
    def test_is_the_same_for_the_same_data_by_another_name_and_packing(self, tmp_path: Path) -> None:
        plain, packed = tmp_path / "plain", tmp_path / "packed"
        plain.mkdir()
        packed.mkdir()
        write_pair(plain)
        write_idx(packed / "train-images.idx3-ubyte.gz", PIXELS)
        write_idx(packed / "train-labels.idx1-ubyte.gz", LABELS.astype(np.int32))
        first, second = open_idx(str(plain)), open_idx(str(packed))
        assert first.fingerprint == second.fingerprint

    def test_differs_with_any_pixel_label_shape_or_the_lack_of_labels(self) -> None:
        pixels, labels = PIXELS[..., np.newaxis], LABELS.astype(np.int32)
        another_pixel, another_label = pixels.copy(), labels.copy()
        another_pixel[-1, -1, -1, -1] ^= 1
        another_label[-1] += 1
        prints = [
            LabelledImages("idx:x", *arrays).fingerprint
            for arrays in [
                (pixels, labels),
                (pixels, None),
                (another_pixel, labels),
                (pixels, another_label),
                (pixels.reshape(6, 4, 5, 1), labels),
                (pixels.reshape(6, 5, 2, 2), labels),
            ]
        ]
        assert len(set(prints)) == len(prints)

    def test_does_not_depend_on_the_layout_in_memory(self) -> None:
        pixels = PIXELS[..., np.newaxis]
        columns_first = np.asfortranarray(pixels)
        assert not columns_first.flags.c_contiguous
        assert (
            LabelledImages("idx:x", columns_first, None).fingerprint
            == LabelledImages("idx:x", pixels, None).fingerprint
        )

    def test_of_mnist_never_changes_or_checkpoints_would_be_refused(self) -> None:
        assert open_mnist().fingerprint == "2a9bac7d365be67de4ee2bde1b2e99976435fa84c8fa83c150b04c268c859699"
        assert open_mnist("test").fingerprint == "8e4f653f4234f022331f8194d2a1ca62e34862ca6c2f74856b0097c7a397840d"


class TestAsWanted:
    def test_images_come_as_they_are_if_nothing_is_wanted(self, tmp_path: Path) -> None:
        write_pair(tmp_path)
        source = open_source(f"idx:{tmp_path}", "train", Wanted())
        assert source.streams == {"images": 6}
        assert source.image_shape == source.example_shape == (5, 4, 1)
        np.testing.assert_array_equal(source.read("images", np.array([4, 1])), PIXELS[[4, 1]][..., np.newaxis])

    def test_images_are_brought_to_a_size_and_channels_with_a_margin(self, tmp_path: Path) -> None:
        write_pair(tmp_path)
        source = open_source(f"idx:{tmp_path}", "train", Wanted(image_size=(10, 12), margin_pixels=2, channels=3))
        assert (source.image_shape, source.example_shape) == ((10, 12, 3), (12, 14, 3))
        pixels = source.read("images", np.arange(6))
        assert pixels.shape == (6, 12, 14, 3)
        np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])

    def test_no_more_classes_and_images_are_taken_than_wanted(self, tmp_path: Path) -> None:
        write_pair(tmp_path)  # with the labels 3, 0, 1, 2, 0, 3
        source = open_source(f"idx:{tmp_path}", "train", Wanted(max_classes=2, max_images_per_class=1))
        np.testing.assert_array_equal(source.arrays["images"][..., 0], PIXELS[[1, 2]])

    def test_images_of_odd_channels_are_refused(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "train-images-idx4-ubyte", np.zeros((2, 8, 8, 5), np.uint8))
        sentence = refusal(open_source, f"idx:{tmp_path}", "train", Wanted())
        assert "holds images of 5 channels" in sentence


@pytest.mark.parametrize("data", ["folder:gs://bucket/photos", "idx:s3://bucket/digits"])
def test_data_at_an_address_is_refused(data: str) -> None:
    assert "must be a local path: mount the bucket" in refusal(kind_of, data)
