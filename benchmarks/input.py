"""How many batches a second does each source give, and how many does training take?

    python benchmarks/input.py                                                        # about 15 minutes
    python benchmarks/input.py --rounds=1 --seconds=0.5 --steps=2 --sources=mnist,folder     # a minute or two
    python benchmarks/input.py --sources=folder --training_rate=2000                  # trains nothing

Each source is drained by itself on one core, to images that are ready for the networks: order, reading and decoding,
cropping and mirroring as its preset has them. Files are decoded each time, as if they were many. Beside it,
in turn, the same preset trains on the source on one core, unless --training_rate says how fast. Files are JPEGs, smooth
with some noise, made in a temporary folder, and so in the page cache. Prints a table and writes results/input_*.json.
"""

import argparse
import importlib.util
import itertools
import json
import os
import shlex
import shutil
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import launching
import numpy as np
import record
from launching import Layout

# What trains on each source, as config settings; DIR is a folder of files made here.
SOURCES: dict[str, dict[str, Any]] = {
    "mnist": {"preset": "mnist", "data": "mnist"},
    "mnist-colours": {"preset": "mnist", "data": "mnist-colours"},
    "mnist-edges": {"preset": "pix2pix", "data": "mnist-edges", "image_size": "32x32", "batch_size": 16},
    "mnist-domains": {"preset": "cyclegan", "data": "mnist-domains", "image_size": "32x32", "batch_size": 8},
    "idx": {"preset": "mnist", "data": "idx:DIR/idx"},
    "folder": {"preset": "dcgan64", "data": "folder:DIR/folder"},
    "zip": {"preset": "dcgan64", "data": "zip:DIR/folder.zip"},
    "tar": {"preset": "dcgan64", "data": "tar:DIR/folder.tar"},
    "parquet": {"preset": "dcgan64", "data": "parquet:DIR/folder.parquet"},
    "pairs": {"preset": "pix2pix", "data": "pairs:DIR/pairs"},
    "unpaired": {"preset": "cyclegan", "data": "unpaired:DIR/unpaired"},
}


def main() -> None:
    given = _arguments()
    if given.answer_to:
        given.answer_to.write_text(json.dumps(drain(shlex.split(given.flags), given.seconds)))
        return
    sources = given.sources.split(",")
    with tempfile.TemporaryDirectory() as directory:
        _make_files(Path(directory), given.files, sources)
        flags = {
            source: [flag.replace("DIR", directory) for flag in launching.as_flags(SOURCES[source])]
            + shlex.split(given.flags)
            for source in sources
        }
        cases = list(itertools.product(sources, ["drained", *([] if given.training_rate else ["trained"])]))
        found = launching.in_turn(cases, given.rounds, lambda case: _measure(case[1], flags[case[0]], given))
    rows = [_row(source, found, given) for source in sources]
    launching.print_table(["source", "trains", "batches/s", "images/s", "training, images/s", "input over training"], (
        [row["source"], row["settings"], launching.spread(row["batches_per_second"], ",.1f"),
         launching.spread(row["images_per_second"], ",.4g"), launching.spread(row["training"], ",.4g"),
         launching.spread(row["ratios"], ",.1f")] for row in rows
    ))  # fmt: skip
    print(record.write("input", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="to drain a source in a round, after as many to warm up"
    )
    parser.add_argument("--steps", type=int, default=5, help=f"to train, after {launching.WARM_UP_STEPS} to warm up")
    parser.add_argument("--files", type=int, default=512, help="of each folder")
    found = [source for source in SOURCES if source != "parquet" or importlib.util.find_spec("datasets")]
    parser.add_argument("--sources", default=",".join(found), help="parquet needs the extra hf of distgan")
    parser.add_argument("--training_rate", type=float, help="images a second; measured if not given")
    parser.add_argument("--flags", default="", help="of distgan.train, for all")
    return parser.parse_args()


def _make_files(directory: Path, count: int, sources: list[str]) -> None:
    for source, preset in (("folder", "dcgan64"), ("pairs", "pix2pix"), ("unpaired", "cyclegan")):
        launching.make_data(preset, directory / source, count)
    for form in ("zip", "tar"):
        shutil.make_archive(str(directory / "folder"), form, directory / "folder")
    if "parquet" in sources:
        _make_parquet(directory)
    (directory / "idx").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28), np.uint8)
    header = struct.pack(">2xBB3I", 0x08, 3, *pixels.shape)
    (directory / "idx" / "train-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    (directory / "idx" / "t10k-images-idx3-ubyte").write_bytes(header + pixels.tobytes())


def _make_parquet(directory: Path) -> None:
    from pyarrow import parquet, table

    images = [path.read_bytes() for path in sorted((directory / "folder").rglob("*.jpg"))]
    os.environ["HF_DATASETS_CACHE"] = str(directory / "cache")
    parquet.write_table(table({"image": images}), directory / "folder.parquet")


def _measure(what: str, flags: list[str], given: argparse.Namespace) -> Any:
    if what == "trained":
        return launching.train(Layout("single"), flags, given.steps)
    arguments = [f"--flags={shlex.join(flags)}", f"--seconds={given.seconds}"]
    return launching.ask(Layout("single"), __file__, *arguments)


def drain(flags: list[str], seconds: float) -> tuple[float, float]:
    """Batches and images a second that a source gives, made ready for the networks as in a step."""
    import tensorflow as tf

    from distgan.data import folders, pipeline
    from distgan.replicas.connect import connect
    from distgan.training.feed import open_data
    from distgan.training.trainer import Trainer

    folders.MOST_KEPT_BYTES = 0
    config = launching.config_of(flags)
    replicas = connect(config)
    source = open_data(config, replicas)
    trainer = Trainer(config, replicas, source)
    feed = trainer.feed

    @trainer.replicas.compile
    def images_of(resident: Any, share: Any, step: tf.Tensor) -> list[Any]:
        return [
            pipeline.make_batch(
                share, resident, number, pipeline.Augmentation(*source.image_shape[:2], config.mirror),
                example_shape=source.example_shape, name=str(number), step=step, size=config.batch_size,
            ).images
            for number in range(sum(trainer.gan.image_phases))
        ]  # fmt: skip

    for _ in range(2):  # to warm up, and to be timed
        started, count = time.perf_counter(), 0
        while time.perf_counter() < started + seconds:
            images_of(feed.resident, feed.next(), tf.constant(count, tf.int64))
            count += 1
        taken = time.perf_counter() - started
    return count / taken, count * config.batch_size / taken


def _row(source: str, found: dict[Any, list[Any]], given: argparse.Namespace) -> dict[str, Any]:
    batches, images = zip(*found[source, "drained"], strict=True)
    training = found.get((source, "trained"), [given.training_rate] * given.rounds)
    settings = SOURCES[source]
    return {
        "source": source,
        "settings": " ".join(str(value) for name, value in settings.items() if name != "data"),
        "batches_per_second": batches,
        "images_per_second": images,
        "training": training,
        "ratios": [ready / wanted for ready, wanted in zip(images, training, strict=True)],
    }


if __name__ == "__main__":
    main()
