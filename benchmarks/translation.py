"""How well do the small Pix2Pix and CycleGAN learn the tasks made of MNIST and of emoji?

    python benchmarks/translation.py [--task=mnist-edges] [--task=emoji-styles]   # of all, an hour on 2 cores
    python benchmarks/translation.py --judged=20 --flags="--steps=2"        # a minute, which tells nothing of quality

Trains launch/TASK.json as it stands, one process, and judges it on images that it has not seen:

mnist-edges    the L1 distance of translations to their targets, over that of the untouched outlines; and how often the
               colour of a translation is the one of its class
mnist-domains  how often a classifier, trained here to tell the two domains apart, takes a translation for one of the
               other domain; and how often the digit classifier still reads the same digit
emoji-styles   the L1 and feature distances of translations, Twemoji to Noto, to their targets; beside them those of
               the untouched inputs, and of the training target whose input is nearest
emoji-domains  the same, Fluent to Noto and back, where the targets are not in the training data; the nearest is the
               nearest training image of the other domain

Prints a table and writes results/translation-*_*.json, a file a task.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import record

import distgan
from distgan.config import load_config
from distgan.data import derived, emoji
from distgan.data.arrays import open_mnist
from distgan.data.base import Source, Wanted
from distgan.metrics import features
from distgan.metrics.digits import read_digits
from distgan.nets.classifier import classifier

LAUNCH = Path(__file__).parent.parent / "launch"
LEARNT_A_JUDGED = 3  # images of each domain that the domain classifier learns from, a translation that it judges
AT_ONCE = 100


def main() -> None:
    given = _arguments()
    for task in given.task or JUDGES:
        path = LAUNCH / f"{task}.json"
        directory = load_config(path).directory
        if directory.exists():
            sys.exit(f"{directory} is there already: remove it, as the training is timed.")
        command = [sys.executable, "-m", "distgan.train", f"--config={path}", *shlex.split(given.flags)]
        started = time.monotonic()
        subprocess.run(command, check=True)
        minutes = (time.monotonic() - started) / 60
        run = distgan.load(directory)
        measured = {"minutes": minutes} | JUDGES[task](run, given.judged)
        for name, value in measured.items():
            print(f"{task:14} {name:45} {value:.3f}")
        print(record.write(f"translation-{task}", run.config.values() | {"judged": given.judged}, measured))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", choices=JUDGES, help="all, if not given")
    parser.add_argument("--judged", type=int, default=2000, help="translations of each kind")
    parser.add_argument("--flags", default="", help="of distgan.train, besides what the file says")
    return parser.parse_args()


def judge_edges(run: "distgan.Run", judged: int) -> dict[str, float]:
    """L1 and colours of the translations of held-out outlines."""
    source = derived.open_edges("test", Wanted(image_size=run.image_shape[:2]))
    examples = np.arange(judged)
    inputs, targets = np.split(source.read("pairs", examples), 2, axis=3)
    outputs = run.translate(inputs, "AtoB")
    labels = _labels()[examples]
    return {
        "L1 over the identity's": _distance(outputs, targets) / _distance(inputs, targets),
        "right colours": float((_colours(outputs) == labels).mean()),
        "right colours of the targets": float((_colours(targets) == labels).mean()),
        "digits read": float((read_digits(_images(outputs)) == labels).mean()),
    }


def judge_domains(run: "distgan.Run", judged: int) -> dict[str, float]:
    """Whether translations are of the other domain, and of the same digit."""
    wanted = Wanted(image_size=run.image_shape[:2])
    judge = _domain_classifier(derived.open_domains("train", wanted), LEARNT_A_JUDGED * judged)
    source = derived.open_domains("test", wanted)
    examples = np.arange(judged)
    a, b = (source.read(stream, examples) for stream in "AB")
    labels_a, labels_b = _labels()[2 * examples], _labels()[2 * examples + 1]
    as_b, as_a = run.translate(a, "AtoB"), run.translate(b, "BtoA")
    return {
        "A to B accepted": float(_is_b(judge, as_b).mean()),
        "B to A accepted": float(1 - _is_b(judge, as_a).mean()),
        "real B and A accepted": float((_is_b(judge, b).mean() + 1 - _is_b(judge, a).mean()) / 2),
        "A to B, the same digit": float((read_digits(_foreground(as_b)) == labels_a).mean()),
        "B to A, the same digit": float((read_digits(_images(as_a)) == labels_b).mean()),
        "real B read": float((read_digits(_foreground(b)) == labels_b).mean()),
    }


def judge_styles(run: "distgan.Run", judged: int) -> dict[str, float]:
    """The distances of translations to held-out emoji to their targets, beside those of trivial answers."""
    held_out, known = _emoji(run, "test", judged), _emoji(run, "train", judged)
    inputs = held_out[emoji.FROM_STYLE]
    nearest = known[emoji.TO_STYLE][_nearest(inputs, known[emoji.FROM_STYLE])]
    return _to_targets("AtoB", run.translate(inputs, "AtoB"), inputs, nearest, held_out[emoji.TO_STYLE])


def judge_emoji_domains(run: "distgan.Run", judged: int) -> dict[str, float]:
    """The same of two domains, in both directions."""
    held_out = _emoji(run, "test", judged)
    measured: dict[str, float] = {}
    source = emoji.open_domains("train", Wanted(image_size=run.image_shape[:2]))
    for direction, one, other in (("AtoB", "A", "B"), ("BtoA", "B", "A")):
        inputs, targets = (held_out[emoji.DOMAIN_STYLES[domain]] for domain in (one, other))
        known = source.read(other, np.arange(source.streams[other]))
        nearest = known[_nearest(inputs, known)]
        measured |= _to_targets(direction, run.translate(inputs, direction), inputs, nearest, targets)
    return measured


def _emoji(run: "distgan.Run", split: str, most: int) -> dict[str, np.ndarray]:
    """The same emoji in each style, of the run's size."""
    source = emoji.open_images(split, Wanted(image_size=run.image_shape[:2]))
    number = min(most if split == "test" else sys.maxsize, source.streams["images"] // len(emoji.STYLES))
    pixels = source.read("images", np.arange(number * len(emoji.STYLES)))
    return {style: pixels[place :: len(emoji.STYLES)] for place, style in enumerate(emoji.STYLES)}


def _nearest(pixels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The number of the known image that is nearest to each by L1."""
    return np.array([np.abs(known.astype(np.int16) - one).mean((1, 2, 3)).argmin() for one in pixels])


def _to_targets(
    direction: str, translated: np.ndarray, unchanged: np.ndarray, nearest: np.ndarray, targets: np.ndarray
) -> dict[str, float]:
    """The mean L1, of levels 0 to 1, and distances of imagenet features, of three answers to their targets."""
    read = features.load("imagenet").read
    measured: dict[str, float] = {}
    wanted = read(targets)[0]
    for name, pixels in {"translations": translated, "inputs": unchanged, "nearest": nearest}.items():
        measured[f"{direction}, L1 of {name}"] = _distance(pixels, targets) / 255
        apart = np.linalg.norm(read(pixels)[0] - wanted, axis=1)
        measured[f"{direction}, feature distance of {name}"] = float(apart.mean())
    return measured


JUDGES: dict[str, Any] = {
    "mnist-edges": judge_edges,
    "mnist-domains": judge_domains,
    "emoji-styles": judge_styles,
    "emoji-domains": judge_emoji_domains,
}


def _labels() -> np.ndarray:
    labels = open_mnist("test").labels
    assert labels is not None
    return labels


def _images(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 127.5 - 1


def _foreground(pixels: np.ndarray) -> np.ndarray:
    """Digits without the texture behind them, which is darker than they are, as images."""
    brightness = pixels.max(3, keepdims=True) / 255.0
    return (np.clip((brightness - derived.BRIGHTEST_TEXTURE) / (1 - derived.BRIGHTEST_TEXTURE), 0, 1) * 2 - 1).astype(
        np.float32
    )


def _distance(pixels: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(pixels.astype(float) - others).mean())


def _colours(pixels: np.ndarray) -> np.ndarray:
    """The class whose colour is nearest to the mean of an image's bright pixels."""
    levels = pixels / 255.0
    bright = (levels.max(3, keepdims=True) > 0.5).astype(float)
    means = (levels * bright).sum((1, 2)) / np.maximum(bright.sum((1, 2)), 1)
    means /= np.maximum(means.max(1, keepdims=True), 1e-3)
    return np.abs(means[:, None] - derived.CLASS_COLOURS[None]).sum(2).argmin(1)


def _domain_classifier(source: Source, learnt: int) -> keras.Model:
    """A network that tells A (0) from B (1), by so many images of each."""
    keras.utils.set_random_seed(0)
    model = classifier(source.image_shape, 2, seed=0)
    pixels = np.concatenate([source.read(stream, np.arange(learnt)) for stream in "AB"])
    labels = np.repeat([0, 1], learnt)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    model.fit(_images(pixels), labels, batch_size=100, epochs=1, verbose=0)
    return model


def _is_b(judge: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return judge.predict(_images(pixels), batch_size=AT_ONCE, verbose=0).argmax(1) == 1


if __name__ == "__main__":
    main()
