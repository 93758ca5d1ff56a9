"""What each preset's GAN is and wants."""

import io
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_runs
import tensorflow as tf

import distgan
from distgan.config import Config
from distgan.data.order import Draws
from distgan.data.pipeline import Augmentation, Batch
from distgan.errors import UserError
from distgan.gans import losses
from distgan.gans.base import GAN, make_gan
from distgan.gans.cyclegan import ImageBuffer, exchanges
from distgan.replicas.base import Replicas
from distgan.training import loop

RGB = (256, 256, 3)
PARAMETERS = [
    ("mnist", (28, 28, 1), {}, {"generator": 2_305_472, "discriminator": 212_865}),
    ("mnist_large", (28, 28, 1), {}, {"generator": 2_305_472, "discriminator": 212_865}),
    ("mnist_best", (28, 28, 1), {}, {"generator": 365_248, "discriminator": 67_873}),
    ("mlp", (28, 28, 1), {}, {"generator": 1_489_936, "discriminator": 533_505}),
    ("pix2pix", RGB, {"data": "pairs:x"}, {"generator": 54_414_979, "discriminator": 2_768_641}),
    ("cyclegan", RGB, {"data": "unpaired:x"}, {
        "generator_AtoB": 11_378_179, "generator_BtoA": 11_378_179,
        "discriminator_A": 2_764_737, "discriminator_B": 2_764_737,
    }),
]  # fmt: skip
SMALL_PIX2PIX: dict[str, Any] = {"preset": "pix2pix", "data": "mnist-edges", "image_size": "32x32", "filters": 4}


def _gan(preset: str, image_shape: tuple[int, int, int], **settings: Any) -> GAN:
    config = Config(preset=preset, **settings)
    return make_gan(config, image_shape, list, tuple("0123456789"))


def _count(network: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize(
    ("preset", "image_shape", "settings", "expected"), PARAMETERS, ids=[row[0] for row in PARAMETERS]
)
def test_networks_have_their_numbers_of_parameters(
    preset: str, image_shape: tuple[int, int, int], settings: dict[str, Any], expected: dict[str, int]
) -> None:
    networks = _gan(preset, image_shape, **settings).networks
    assert {name: _count(network) for name, network in networks.items()} == expected


def test_networks_are_called_by_their_names() -> None:
    for preset, image_shape in (("pix2pix", (32, 32, 3)), ("cyclegan", (32, 32, 3))):
        networks = _gan(preset, image_shape, data="folder:x", filters=2).networks
        assert [network.name for network in networks.values()] == list(networks)


@pytest.mark.parametrize("normalization", ["sync", "instance", "none"])
def test_the_single_pixel_of_a_u_net_tells_images_apart(normalization: str) -> None:
    gan = _gan("pix2pix", (32, 32, 3), data="folder:x", filters=4, normalization=normalization)
    generator = gan.networks["generator"]
    inner = keras.Model(generator.inputs[0], generator.get_layer("down_5_activation").output)
    assert inner.output_shape[1:3] == (1, 1)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    one, other = (inner(images[number : number + 1], training=True) for number in range(2))
    assert not np.array_equal(one, other)


def test_cyclegan_has_six_residual_blocks_below_256_pixels() -> None:
    assert _count(_gan("cyclegan", (128, 128, 3), data="unpaired:x").networks["generator_AtoB"]) == 7_837_699


def test_dcgan64_and_faces_have_the_papers_shapes() -> None:
    for preset, size, first, last in (
        ("dcgan64", 64, (4, 4, 1024), (32, 32, 128)),
        ("faces", 32, (4, 4, 128), (16, 16, 32)),
    ):
        networks = _gan(preset, (size, size, 3), data="folder:x").networks
        shapes = [layer.output.shape[1:] for layer in networks["generator"].layers if layer.name.endswith("_norm")]
        assert (shapes[0], shapes[-1]) == (first, last)
        kernels = [layer.kernel.shape for layer in networks["discriminator"].layers if hasattr(layer, "kernel")]
        width = {"dcgan64": 64, "faces": 32}[preset]
        assert [kernel[-1] for kernel in kernels[:-1]] == [width * 2**stage for stage in range(len(kernels) - 1)]


@pytest.mark.parametrize("image_shape", [(150, 150, 3), (40, 31, 1), (9, 64, 3)])
def test_dcgan_makes_images_of_any_size(image_shape: tuple[int, int, int]) -> None:
    networks = _gan("dcgan", image_shape, data="folder:x", filters=2, latent_dim=3, stride=3).networks
    images = networks["generator"](tf.zeros([2, 3]))
    assert tuple(images.shape) == (2, *image_shape)
    assert tuple(networks["discriminator"](images).shape) == (2, 1)


def test_players_move_as_the_recipes_say() -> None:
    joint, d, g = ("generator", "discriminator"), ("discriminator",), ("generator",)
    expected = {"mnist": (joint,), "mlp": (d, g), "faces": (d, g, g), "dcgan64": (d, g)}
    for preset, phases in expected.items():
        gan = _gan(preset, (32, 32, 3), data="folder:x")
        assert gan.phases == phases
        assert gan.image_phases == tuple("discriminator" in phase for phase in phases)


def test_a_smoothed_label_is_the_cross_entropy_to_it() -> None:
    real, fake = np.array([[2.0], [-1.0]]), np.array([[0.5], [-3.0]])
    of_real, of_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    expected = -(0.9 * np.log(of_real) + 0.1 * np.log(1 - of_real) + np.log(1 - of_fake))[:, 0]
    assert np.allclose(losses.discriminator_loss(tf.constant(real), tf.constant(fake), 0.9), expected)


def test_least_squares_and_l1_are_means_over_patches() -> None:
    real, fake = np.array([[[1.0], [3.0]]]), np.array([[[0.5], [-1.5]]])
    of_discriminator = losses.least_squares_discriminator_loss(tf.constant(real), tf.constant(fake))
    assert np.allclose(of_discriminator, [(0 + 4 + 0.25 + 2.25) / 2])
    assert np.allclose(losses.least_squares_generator_loss(tf.constant(fake)), [(0.25 + 6.25) / 2])
    assert np.allclose(losses.l1(tf.constant(real), tf.constant(fake)), [(0.5 + 4.5) / 2])


def _exchanged_one_by_one(kept: list[int], new: range, swaps: list[bool], slots: list[int], size: int) -> list[int]:
    """The history as the paper's authors write it; changes `kept`."""
    shown = []
    for fake, swap, slot in zip(new, swaps, slots, strict=True):
        if len(kept) < size:
            kept.append(fake)
            shown.append(fake)
        elif swap:
            shown.append(kept[slot])
            kept[slot] = fake
        else:
            shown.append(fake)
    return shown


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_history_exchanges_as_one_fake_after_the_other_would(batch_size: int) -> None:
    size, random = 5, np.random.default_rng(batch_size)
    kept: list[int] = []
    line = np.full(size, -1)
    filled = tf.constant(0, tf.int64)
    for step in range(12):
        new = range(step * batch_size, (step + 1) * batch_size)
        swaps, slots = random.random(batch_size) < 0.5, random.integers(0, size, batch_size)
        expected = _exchanged_one_by_one(kept, new, swaps.tolist(), slots.tolist(), size)
        places, shown, filled = exchanges(filled, tf.constant(swaps), tf.constant(slots), size)
        line = np.concatenate([line, np.array(new)])
        assert line[shown.numpy()].tolist() == expected
        line = line[places.numpy()]
        assert line[: len(kept)].tolist() == kept
    assert int(filled) == size


def test_replicas_hand_in_their_rows_and_get_their_own() -> None:
    fakes = tf.reshape(tf.range(7, dtype=tf.float32), [7, 1, 1, 1])
    whole = ImageBuffer("A", 5, (1, 1, 1), list)
    half = ImageBuffer("A", 5, (1, 1, 1), lambda tensors: [fakes])
    for step in range(4):
        shown = whole.exchange(fakes, Batch({}, Draws("run", step, 0, 7), 7)).numpy()
        mine = half.exchange(fakes[3:5], Batch({}, Draws("run", step, tf.constant(3, tf.int64), 2), 7)).numpy()
        assert np.array_equal(mine, shown[3:5])
        assert np.array_equal(whole.images, half.images)


@pytest.mark.slow
def test_pix2pix_translates_with_dropout_by_each_image_s_own_statistics(tmp_path: Path) -> None:
    loop.train(
        Config(**SMALL_PIX2PIX, batch_size=4, steps=2, jitter_pixels=0, precision="float32", run_dir=str(tmp_path)),
        Replicas(), io.StringIO(),
    )  # fmt: skip
    run = distgan.load(tmp_path)
    moving = [v for v in run.networks["generator"].variables if "moving" in v.path]
    before = [v.numpy() for v in moving]
    assert moving
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    together = run.translate(pixels)
    assert np.array_equal(run.translate(pixels[3:], first=3), together[3:])  # whatever batch it comes in
    assert not np.array_equal(run.translate(pixels[3:], first=0), together[3:])  # other numbers, other dropout
    assert not np.array_equal(run.translate(pixels, seed=1), together)
    for variable, value in zip(moving, before, strict=True):
        variable.assign(value + 5)
    assert np.array_equal(run.translate(pixels), together)  # they are not used
    assert all(np.array_equal(variable, value + 5) for variable, value in zip(moving, before, strict=True))


def test_a_direction_that_was_not_learnt_is_refused(tmp_path: Path) -> None:
    small_runs.train(tmp_path / "noise", steps=1)
    run = distgan.load(tmp_path / "noise")
    with pytest.raises(UserError, match="translates no images"):
        run.translate(np.zeros((1, 28, 28, 1), np.uint8))
    gan = _gan("pix2pix", (32, 32, 3), data="pairs:x", filters=4, direction="BtoA")
    run = distgan.Run(run.config, gan, 0, (32, 32, 3))
    with pytest.raises(UserError, match="The run translates BtoA, not AtoB"):
        run.translate(np.zeros((1, 32, 32, 3), np.uint8), "AtoB")
    with pytest.raises(UserError, match="does not generate images from noise"):
        run.generate(1)


def test_pix2pix_learns_the_direction_it_is_given() -> None:
    pairs = tf.concat([tf.zeros([1, 32, 32, 3]), tf.ones([1, 32, 32, 3])], 3)
    for direction, (left, right) in (("AtoB", (0, 1)), ("BtoA", (1, 0))):
        gan = _gan("pix2pix", (32, 32, 3), data="pairs:x", filters=4, direction=direction)
        picture = gan.preview(1, 0, {"pairs": pairs}).numpy()
        assert picture.shape == (1, 32, 96, 3)
        assert (picture[:, :, :32] == left).all()
        assert (picture[:, :, 64:] == right).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_cyclegan_shows_as_many_pictures_as_are_asked_for(count: int) -> None:
    gan = _gan("cyclegan", (32, 32, 3), data="unpaired:x", filters=4, residual_blocks=1)
    pictures = gan.preview(count, 0, {"A": tf.zeros([2, 32, 32, 3]), "B": tf.ones([2, 32, 32, 3])}).numpy()
    assert pictures.shape == (count, 32, 96, 3)
    assert pictures[:, 0, 0, 0].tolist() == {1: [0], 2: [0, 1], 3: [0, 0, 1]}[count]


@pytest.mark.parametrize(("preset", "size"), [("pix2pix", "30x32"), ("pix2pix", "16x16"), ("cyclegan", "34x34")])
def test_a_size_that_does_not_suit_the_networks_is_refused(preset: str, size: str, tmp_path: Path) -> None:
    data = {"pix2pix": "mnist-edges", "cyclegan": "mnist-domains"}[preset]
    config = Config(
        preset=preset, data=data, image_size=size, run_dir=str(tmp_path), depth=None if preset == "cyclegan" else 4
    )
    with pytest.raises(UserError, match=rf"--image_size={size} does not suit the networks"):
        loop.train(config, Replicas(), io.StringIO())


@pytest.mark.parametrize(
    ("preset", "data", "sentence"),
    [
        ("pix2pix", "mnist", "needs pairs, but --data=mnist has images"),
        ("mnist", "mnist-domains", "needs images, but --data=mnist-domains has two domains, A and B"),
    ],
)
def test_data_of_another_kind_is_refused(preset: str, data: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        loop.train(
            Config(preset=preset, data=data, image_size="32x32", run_dir=str(tmp_path)), Replicas(), io.StringIO()
        )


def test_crops_and_mirrors_belong_to_positions() -> None:
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (40, 9, 9, 3), np.uint8))
    augment = Augmentation(6, 8, mirror=True)
    whole = augment(pixels, Draws("images", 3, 0, 40)).numpy()
    assert np.array_equal(augment(pixels[10:15], Draws("images", 3, 10, 5)), whole[10:15])
    found = set()
    for picture, cut in zip(pixels.numpy(), whole, strict=True):
        places = [
            (top, left, step)
            for top in range(4) for left in range(2) for step in (1, -1)
            if np.array_equal(picture[top : top + 6, left : left + 8][:, ::step], cut)
        ]  # fmt: skip
        found.update(places)
        assert len(places) == 1
    assert len(found) > 10  # of 16


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [pytest.param("constant", [1, 1, 1, 1, 1, 1], marks=pytest.mark.slow), ("linear", [1, 1, 1, 0.75, 0.5, 0.25]),
     pytest.param("cosine", [1, 1, 1, 0.853553, 0.5, 0.146447], marks=pytest.mark.slow)],
)  # fmt: skip
def test_learning_rates_follow_their_schedule_through_a_restart(
    schedule: str, expected: list[float], tmp_path: Path
) -> None:
    epoch = 16 / 60000  # of a step
    settings = {
        "learning_rate_schedule": schedule, "constant_epochs": 2 * epoch, "decay_epochs": 4 * epoch,
        "generator_learning_rate": 0.1,
    }  # fmt: skip
    for steps in (3, 6):
        small_runs.train(tmp_path, steps=steps, **settings)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = [line["learning_rate/generator"] for line in lines]  # that of the next step
    expected = [*expected[1:], 1.0 if schedule == "constant" else 0.0]
    assert np.allclose(logged, 0.1 * np.array(expected), atol=1e-6)


def test_a_run_goes_on_no_longer_than_its_learning_rates(tmp_path: Path) -> None:
    settings = {"learning_rate_schedule": "linear", "constant_epochs": 0.0, "decay_epochs": 6 * 16 / 60000}
    small_runs.train(tmp_path, steps=2, **settings)
    with pytest.raises(UserError, match="--steps=8 is too long: learning rates are zero"):
        small_runs.train(tmp_path, steps=8, **settings)
