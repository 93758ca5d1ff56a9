"""The embedded emoji: one emoji in several styles, and no emoji's variant in another split or domain."""

from pathlib import Path

import numpy as np
import pytest
import small_runs

from distgan.data import emoji
from distgan.data.base import Wanted
from distgan.data.sources import open_source
from distgan.errors import UserError

CATEGORIES = (
    "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion",
    "Symbols", "Travel & Places",
)  # fmt: skip


@pytest.fixture(scope="module")
def held_out() -> emoji.Emoji:
    return emoji.read("test")


@pytest.fixture(scope="module")
def texts() -> dict[str, emoji.Emoji]:
    """The emoji of both splits, without pictures."""
    return {split: emoji.read(split, ()) for split in ("train", "test")}


def test_splits_hold_each_emoji_once_and_no_variant_of_an_emoji_of_the_other(texts: dict[str, emoji.Emoji]) -> None:
    train, test = texts["train"], texts["test"]
    assert (len(train.names), len(test.names)) == (2789, 350)
    assert len({*train.names, *test.names}) == 3139
    assert (len(set(train.bases)), len(set(test.bases))) == (1424, 170)
    assert not set(train.bases) & set(test.bases)
    assert {"thumbs-up", "thumbs-up-dark-skin-tone"} <= set(train.names[train.bases == "thumbs-up"])


def test_both_splits_have_all_categories_so_that_a_class_has_one_number(texts: dict[str, emoji.Emoji]) -> None:
    for split in texts.values():
        assert tuple(np.unique(split.categories)) == CATEGORIES


def test_every_emoji_is_there_in_each_style_and_no_picture_is_blank(held_out: emoji.Emoji) -> None:
    assert set(held_out.pixels) == {"fluent", "noto", "twemoji"}
    for pixels in held_out.pixels.values():
        assert pixels.shape == (350, 64, 64, 3) and pixels.dtype == np.uint8
        assert ((pixels < 250).any(3).mean((1, 2)) > 0.04).all()
        assert np.median(pixels[:, 0, 0]) == 255  # on white, which some pictures cover
    assert not np.array_equal(held_out.pixels["noto"], held_out.pixels["twemoji"])


def test_images_are_all_styles_in_classes(held_out: emoji.Emoji) -> None:
    source = open_source("emoji", "test", Wanted())
    assert source.streams == {"images": 1050} and source.image_shape == source.example_shape == (64, 64, 3)
    assert source.class_names == CATEGORIES and source.labels is not None
    images = source.read("images", np.arange(1050))
    for place, style in enumerate(emoji.STYLES):
        assert np.array_equal(images[place::3], held_out.pixels[style])
        assert [CATEGORIES[label] for label in source.labels[place::3]] == held_out.categories.tolist()


def test_pairs_are_one_emoji_in_two_styles(held_out: emoji.Emoji) -> None:
    source = open_source("emoji-styles", "test", Wanted())
    assert source.streams == {"pairs": 350} and source.example_shape == (64, 64, 6)
    a, b = np.split(source.read("pairs", np.arange(350)), 2, axis=3)
    assert np.array_equal(a, held_out.pixels["twemoji"]) and np.array_equal(b, held_out.pixels["noto"])


def test_domains_share_no_emoji_and_no_variant(held_out: emoji.Emoji, texts: dict[str, emoji.Emoji]) -> None:
    source = open_source("emoji-domains", "test", Wanted())
    assert source.streams == {"A": 170, "B": 180}
    domains = np.array([emoji.domain_of(base) for base in held_out.bases])
    assert np.array_equal(source.read("A", np.arange(170)), held_out.pixels["fluent"][domains == "A"])
    assert np.array_equal(source.read("B", np.arange(180)), held_out.pixels["noto"][domains == "B"])
    assert [sum(emoji.domain_of(base) == domain for base in texts["train"].bases) for domain in "AB"] == [1367, 1422]


@pytest.mark.parametrize(("data", "pictures"), [("emoji", 1), ("emoji-styles", 2), ("emoji-domains", 1)])
def test_examples_come_in_any_size_with_margins_and_in_grey(data: str, pictures: int) -> None:
    source = open_source(
        data, "test", Wanted((32, 24), margin_pixels=4, fit="crop", channels=1, max_images_per_class=3)
    )
    assert (source.image_shape, source.example_shape) == ((32, 24, 1), (36, 28, pictures))
    for stream, number in source.streams.items():
        assert source.arrays[stream].shape == (number, 36, 28, pictures) and source.arrays[stream].dtype == np.uint8


def test_classes_and_images_of_a_class_may_be_fewer() -> None:
    wanted = Wanted(max_classes=2, max_images_per_class=4)
    source = open_source("emoji", "test", wanted)
    assert source.streams == {"images": 8} and source.class_names == CATEGORIES[:2]
    assert open_source("emoji-styles", "test", wanted).streams == {"pairs": 8}


def test_fingerprints_are_of_the_data_the_split_and_the_size() -> None:
    few, small = Wanted(max_images_per_class=2), Wanted((32, 32), max_images_per_class=2)
    calls = [("emoji-styles", "test", few), ("emoji-styles", "train", few), ("emoji-domains", "test", few),
             ("emoji-styles", "test", small), ("emoji-styles", "test", few)]  # fmt: skip
    first, *others, again = (open_source(*call).fingerprint for call in calls)
    assert first == again and len({first, *others}) == 4


@pytest.mark.parametrize("damage", ["flipped", "short", "missing"])
def test_a_damaged_file_is_refused_by_name_in_a_sentence(tmp_path: Path, damage: str) -> None:
    content = bytearray(emoji.FILE.read_bytes())
    content[len(content) // 2] ^= 1
    file = tmp_path / "emoji.npz"
    if damage != "missing":
        file.write_bytes(content[: len(content) // 2] if damage == "short" else content)
    with pytest.raises(UserError) as caught:
        emoji.read("test", file=file)
    sentence = str(caught.value)
    assert sentence.startswith(str(file)) and sentence.endswith(": reinstall distgan.") and "\n" not in sentence


def test_the_file_is_small_and_its_licences_are_beside_it() -> None:
    assert emoji.FILE.stat().st_size < 12e6
    assert (emoji.FILE.parent / "SHA256SUMS").read_text() == f"{emoji.FILE_SHA256}  emoji.npz\n"
    said = (emoji.FILE.parent / "ATTRIBUTION.md").read_text()
    for fact in (
        "Microsoft",
        "MIT License",
        "Google",
        "Apache License 2.0",
        "Twitter",
        "CC BY 4.0",
        "What was changed",
    ):
        assert fact in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "data", "settings"),
    [("dcgan", "emoji", {"generator_filters": 4}), ("pix2pix", "emoji-styles", {"latent_dim": None, "depth": 4})],
)
def test_a_gan_learns_from_it(preset: str, data: str, settings: dict[str, object], tmp_path: Path) -> None:
    small = {"batch_size": 4, "max_images_per_class": 2, "num_samples": 4, "steps": 1, "jitter_pixels": 0}
    small_runs.train(tmp_path, preset=preset, data=data, image_size="32x32", **small | settings)
    assert small_runs.checkpoints(tmp_path) == [1]
