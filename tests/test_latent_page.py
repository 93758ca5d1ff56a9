"""The page of latents computes in a browser what Keras does, and its controls do what they say."""

import base64
import io
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import preset_program
import pytest
from browser import CHROMIUM, NO_CHROMIUM, Browser
from PIL import Image

from distgan import latent_page
from distgan.errors import UserError
from distgan.gans.base import make_gan
from distgan.nets import convolutions
from distgan.run import Run
from distgan.training import precision

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
NOWHERE = Path("nowhere")
SETTINGS: dict[str, dict[str, Any]] = {
    "mnist": {},
    "mnist_best": {"conditional": True},
    "mlp": {"noise": "uniform"},
    "dcgan": {"data": "mnist-colours"},
    "dcgan64": {"normalization": "none"},
    "r3gan": {"image_size": "14x18"},
}
DRAWN = """new Promise((then) => {
  const look = () => (views.every((view) => view.isDrawn) ? then(true) : setTimeout(look, 5));
  look();
})"""
SHOWN = "document.getElementById('picture').toDataURL()"


def _run(preset: str) -> Run:
    """A run with small networks, whose weights are random numbers that float16 has."""
    config = preset_program.config(preset, NOWHERE, NOWHERE, **SETTINGS[preset] | {"precision": "float32"})
    shape = (*(config.height_and_width or (28, 28)), 1 if preset.startswith("m") else 3)
    classes = ["cat", "<b>dog</b>", "owl"] if config.gan.uses_classes else []
    with precision.policy("float32"), convolutions.way("direct"):
        gan = make_gan(config, shape, list, classes)
    numbers = np.random.default_rng(0)
    for variable in gan.shown("generator").variables:
        is_kernel, is_positive = len(variable.shape) > 1, variable.name in ("gamma", "moving_variance")
        scale = 2 / math.prod(variable.shape[:-1]) ** 0.5 if is_kernel else 0.5
        variable.assign((is_positive + scale * numbers.uniform(-1, 1, variable.shape)).astype(np.float16))
    return Run(config, gan, 400, shape)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def _open(browser: Browser, run: Run, directory: Path) -> Path:
    page = directory / "latents.html"
    latent_page.write(run, "a <i>run</i>", page)
    browser.open(page)
    browser.evaluate(DRAWN)
    return page


def _computed(browser: Browser, latents: list[float], class_number: int = 0) -> list[float]:
    asked = f"compute({[float(number) for number in latents]}, {class_number})"
    return list(browser.evaluate(f"{asked}.then((image) => Array.from(image))"))


@needs_chromium
@pytest.mark.parametrize("preset", SETTINGS)
def test_the_page_computes_what_keras_does_and_asks_nobody(preset: str, browser: Browser, tmp_path: Path) -> None:
    run = _run(preset)
    page = _open(browser, run, tmp_path)
    network, num_classes = run.gan.shown("generator"), run.gan.num_classes
    latents = np.random.default_rng(1).uniform(-2, 2, (2, network.input_shape[-1] - num_classes)).astype(np.float32)
    one_hot = np.eye(num_classes, dtype=np.float32)[[0, 2]] if num_classes else np.zeros((2, 0), np.float32)
    ours = network(np.concatenate([latents, one_hot], 1), training=False).numpy()
    assert ours.std() > 0.1
    theirs = [_computed(browser, list(row), 2 * number) for number, row in enumerate(latents)]
    np.testing.assert_allclose(theirs, ours.reshape(2, -1), rtol=0, atol=1e-4)
    requests = [request["request"]["url"] for request in browser.seen("Network.requestWillBeSent")]
    assert requests[0] == page.as_uri()
    assert all(url.startswith("blob:null/") for url in requests[1:]), requests
    assert browser.seen("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []
    assert browser.evaluate("document.getElementById('trouble').hidden")


@needs_chromium
def test_layers_of_a_gan_of_your_own_are_computed_too(browser: Browser, tmp_path: Path) -> None:
    run, noise = _run("mlp"), keras.Input((10,))
    x = keras.layers.Reshape((28, 28, 1))(keras.layers.Dense(784, activation="relu")(noise))
    y = keras.layers.Dense(1, activation="sigmoid")(x)
    x = keras.layers.Add()([x, y, keras.layers.ReLU(negative_slope=0.5, threshold=0.6)(y)])
    run.gan.averages["generator"] = network = keras.Model(noise, x)
    _open(browser, run, tmp_path)
    latents = np.random.default_rng(1).normal(size=(1, 10)).astype(np.float32)
    np.testing.assert_allclose(_computed(browser, list(latents[0])), network(latents).numpy().ravel(), atol=5e-3)


@needs_chromium
def test_sliders_classes_seeds_and_walks_change_the_picture(browser: Browser, tmp_path: Path) -> None:
    _open(browser, _run("mnist_best"), tmp_path)
    pictures = [browser.evaluate(SHOWN)]

    def after(action: str) -> str:
        browser.evaluate(action)
        browser.evaluate(DRAWN)
        pictures.append(browser.evaluate(SHOWN))
        return str(pictures[-1])

    slider = "const slider = sliders[0]; slider.value = -slider.value + 1; slider.dispatchEvent(new Event('input'));"
    after(f"{{ {slider} }}")
    moved = browser.evaluate("dot(facts.directions[0], shown.latents) - sliders[0].value")
    assert abs(moved) < 1e-5
    assert after("document.getElementById('reset').click()") == pictures[0]
    after("document.querySelector('[name=class][value=\"2\"]').click()")
    assert after("document.querySelector('[name=class][value=\"0\"]').click()") == pictures[0]
    after("document.getElementById('new').click()")
    seed = "byId('seed').value = 0; byId('seed').dispatchEvent(new Event('change'));"
    assert after(f"{{ {seed} }}") == pictures[0]
    after("document.querySelectorAll('.sheet button')[5].click()")
    walked = f"""new Promise((then) => {{
      const before = {SHOWN};
      byId('walk').click();
      const look = () => ({SHOWN} === before ? setTimeout(look, 5) : then(byId('walk').click()));
      look();
    }})"""
    after(walked)
    assert browser.evaluate("byId('walk').textContent") == "Walk"
    assert len(set(pictures)) == len(pictures) - 3


@needs_chromium
@pytest.mark.parametrize(
    ("preset", "deviation", "halfway"), [("mnist", 1, 3 / math.sqrt(2)), ("mlp", 1 / math.sqrt(3), 1.5)]
)
def test_latents_and_walks_are_those_of_normal_or_uniform_noise(
    preset: str, deviation: float, halfway: float, browser: Browser, tmp_path: Path
) -> None:
    _open(browser, _run(preset), tmp_path)
    latents = np.array(browser.evaluate("others.map((view) => Array.from(view.latents))"))
    assert abs(latents.std() / deviation - 1) < 4 / math.sqrt(2 * latents.size)
    assert abs(latents.mean()) < 4 * deviation / math.sqrt(latents.size)
    assert preset == "mnist" or np.abs(latents).max() <= 1
    circle = browser.evaluate("Array.from(between(Float32Array.of(3, 0), Float32Array.of(0, 3), 0.5))")
    np.testing.assert_allclose(circle, [halfway, halfway], rtol=1e-6)
    ends = browser.evaluate("[0, 1].map((part) => Array.from(between(others[0].latents, others[1].latents, part)))")
    np.testing.assert_allclose(ends, latents[:2], rtol=0, atol=1e-5)


@needs_chromium
def test_the_download_is_the_picture_enlarged(browser: Browser, tmp_path: Path) -> None:
    _open(browser, _run("r3gan"), tmp_path)
    browser.evaluate(
        "HTMLAnchorElement.prototype.click = function () { globalThis.saved = [this.download, this.href]; }"
    )
    browser.evaluate("byId('save').click()")
    name, address = browser.evaluate("saved")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        saved = np.asarray(image.convert("RGB"))
    assert name == "a <i>run</i>.png"
    assert saved.shape == (28 * 14, 28 * 18, 3)
    drawn = np.reshape(_computed(browser, browser.evaluate("Array.from(shown.latents)")), (14, 18, 3))
    pixels = np.round((drawn + 1) * 127.5)
    assert np.abs(saved[::28, ::28] - pixels).max() <= 1


@needs_chromium
@pytest.mark.parametrize("width", [1600, 390])
def test_all_controls_are_named_and_reached_by_keyboard_and_nothing_sticks_out(
    width: int, browser: Browser, tmp_path: Path
) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    _open(browser, _run("mnist_best"), tmp_path)
    assert browser.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert browser.evaluate("all('button, input').every((one) => one.tabIndex === 0 && !one.disabled)")
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in tree if node["role"]["value"] in ("button", "slider", "radio", "spinbutton")]
    assert len(controls) == 4 + 16 + 8 + 3 + 1
    names = {node["name"]["value"] for node in controls}
    assert {"Walk", "Reset", "Download PNG", "New pictures", "picture 1", "direction 8", "<b>dog</b>", "seed"} <= names
    assert "" not in names
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_a_layer_that_the_page_does_not_have_is_named(tmp_path: Path) -> None:
    run, noise = _run("mlp"), keras.Input((10,))
    dense = keras.layers.Dense(12)(noise)
    layers: list[tuple[Any, str]] = [
        (keras.layers.ELU(name="odd"), "odd \\(ELU\\)"),
        (keras.layers.ReLU(6.0, name="six"), "six \\(ReLU\\)"),
        (keras.layers.Activation("gelu", name="soft"), "soft \\(Activation\\)"),
        (keras.ops.sin, "sin \\(Sin\\)"),
    ]
    for layer, name in layers:
        run.gan.averages["generator"] = keras.Model(noise, layer(dense))
        with pytest.raises(UserError, match=f"A page can't compute the layer {name}: choose --format=saved_model"):
            latent_page.write(run, "run", tmp_path / "latents.html")
    run.gan.averages["generator"] = network = keras.Model(noise, dense)
    network.layers[1].kernel.assign(np.full((10, 12), 1e5))
    with pytest.raises(UserError, match="has weights too large for float16"):
        latent_page.write(run, "run", tmp_path / "latents.html")
    assert list(tmp_path.iterdir()) == []


def test_a_gan_without_latents_is_refused(tmp_path: Path) -> None:
    config = preset_program.config("pix2pix", NOWHERE, NOWHERE, precision="float32")
    run = Run(config, make_gan(config, (32, 32, 3), list, ()), 1, (32, 32, 3))
    with pytest.raises(UserError, match="A Pix2Pix has no latents: choose --format=saved_model or --format=keras"):
        latent_page.write(run, "run", tmp_path / "latents.html")


def test_the_page_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    run, page = _run("mnist_best"), tmp_path / "latents.html"
    latent_page.write(run, "first", page)
    latent_page.write(run, "second", page)
    text = page.read_text()
    assert "<h1>second</h1>" in text
    assert "mnist_best on mnist, step 400" in text
    assert "<b>dog</b>" not in text
    report = shutil.copy(page, tmp_path / "report.html")
    Path(report).write_text(text.replace('content="latents"', 'content="other"'))
    with pytest.raises(UserError, match="report\\.html exists and is not an export"):
        latent_page.write(run, "third", Path(report))
