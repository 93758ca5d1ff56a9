"""The commands and the code in the documents do what is said there."""

import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import documents
import idx_files
import layouts
import limits
import numpy as np
import picture_files
import pytest
from documents import FENCE, NOT_RUN, PAGES, ROOT, Block
from PIL import Image

PROGRAM = Path(__file__).parent / "document_program.py"
BIN = Path(sys.executable).parent
BLOCKS = [block for page in PAGES for block in documents.blocks(page)]
LANGUAGES = ("bash", "python", "text")
RUN = [block for block in BLOCKS if block.language != "text" and block.why_not_run is None]

# What blocks take for granted, and the one that makes it, by a phrase in it.
USE_IT = "source .venv/bin/activate"
MADE_BY = {
    **dict.fromkeys(("runs/mnist", "runs/small", "runs/conditional", "runs/pix2pix", "runs/cyclegan"), USE_IT),
    "runs/wgan": "import wgan\n",
}
MAKE_TRAIN = ["python", "-m", "distgan.train", "--config=launch/mnist-quick.json"]  # on one process
# What code goes on from, as the text above it says, by a phrase in it.
BEFORE = {
    "load_gan(": "import wgan",
    "distgan.DCGAN(": "import distgan",
    "translate(paintings": "import numpy; paintings = numpy.zeros((1, 256, 256, 3), 'uint8')",
    "pixels_of_paintings": "import numpy; pixels_of_paintings = numpy.zeros((1, 256, 256, 3), 'uint8')",
}


class Reader:
    """Does what blocks say, each in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        """Lay out what a reader has: the clone, and pictures of all kinds."""
        self._directory, self._has, self._done = directory, directory / "has", dict[Block, Path]()
        _lay_out(self._has)
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "XDG_CACHE_HOME": str(directory / "cache")},
        )  # fmt: skip

    def close(self) -> None:
        self._process.communicate(timeout=limits.LIMIT_SECONDS)

    def follow(self, block: Block) -> Path:
        """Do what a block says, with what it takes for granted; returns the directory where that was done."""
        if block not in self._done:
            directory = self._directory / f"{Path(block.page).stem}-{block.line}"
            shutil.copytree(self._has, directory, symlinks=True)
            self._provide(block, directory)
            if block.language == "python":
                self._execute(block, directory)
            else:
                for words in documents.commands(block.text):
                    self._call(words, directory)
            self._done[block] = directory
        return self._done[block]

    def _provide(self, block: Block, directory: Path) -> None:
        """Put the runs that a block names where it looks for them, exported if it loads that."""
        for name in dict.fromkeys(re.findall(r"runs/[\w-]+", block.text)):
            if name == "runs/mnist-quick":
                self._copy(name, self._quick(), directory)
            elif name in MADE_BY and MADE_BY[name] not in block.text:
                self._copy(name, self.follow(_with(MADE_BY[name])), directory)
        if "wgan" in block.text:
            (directory / "wgan.py").write_text(_with("class WassersteinGAN").text)
        for run_dir, what in re.findall(r"(runs/[\w-]+)/export/(saved_model|generator)", block.text):
            if block.language == "python":
                kind = "keras" if what == "generator" else what
                self._call(["python", "-m", "distgan.export", f"--run_dir={run_dir}", f"--format={kind}"], directory)

    def _quick(self) -> Path:
        directory = self._directory / "make-train"
        if not directory.exists():
            shutil.copytree(self._has, directory, symlinks=True)
            self._call(MAKE_TRAIN, directory)
        return directory

    def _copy(self, name: str, source: Path, directory: Path) -> None:
        shutil.copytree(source / name, directory / name)

    def _call(self, words: list[str], directory: Path) -> None:
        """Call a program as a command says, or see that it would take it."""
        match words:
            case ["source", path]:
                assert (BIN / Path(path).name).exists()
            case ["make", *_]:
                answer = limits.run([*words, "--dry-run"], cwd=directory)
                assert not answer.returncode, answer.stderr
                assert os.access(directory / answer.stdout.split()[-1], os.X_OK), answer.stdout
            case [".venv/bin/ruff" | ".venv/bin/mypy" as path, *rest]:
                answer = limits.run([BIN / Path(path).name, *rest, "--help"])
                assert not answer.returncode, answer.stderr
            case [".venv/bin/python", "-m", "pytest", *_]:
                self._fork(directory, words=[*words, "--noconftest"], up_to_tensorflow=False)
            case ["tensorboard", *flags]:
                self._fork(directory, words=["python", "-m", "tensorboard.main", *flags, "--inspect"], up_to_tensorflow=False)
            case ["horovodrun" | "srun" as launcher, *_]:
                has_parser = launcher == "horovodrun" and layouts.HOROVODRUN
                self._fork(directory, words=words if has_parser else words[words.index("python"):], up_to_tensorflow=True)
            case ["python", "-m", name, *flags]:
                up = name == "distgan.doctor" or any("gs://" in flag for flag in flags)
                self._fork(directory, words=documents.quick(words), up_to_tensorflow=up)
                if not up:
                    for flag in flags:
                        if flag.startswith("--output="): assert (directory / flag.removeprefix("--output=")).exists()
            case _:
                raise AssertionError(words)

    def _execute(self, block: Block, directory: Path) -> None:
        before = [code for phrase, code in BEFORE.items() if phrase in block.text]
        filler = "\n" * (block.line - len(before))
        self._fork(directory, code="\n".join([*before, filler + block.text]), name=block.page)

    def _fork(self, directory: Path, **asked: Any) -> None:
        import time
        t=time.time()
        said = directory / "said.txt"
        print(json.dumps({"directory": str(directory), "said": str(said)} | asked), file=self._process.stdin, flush=True)
        assert select.select([self._process.stdout], [], [], limits.LIMIT_SECONDS)[0], said.read_text()
        status = self._process.stdout.readline()
        print(f"{time.time()-t:.1f} {asked.get('words') or asked.get('name')}", file=open("/tmp/doc_times", "a"))
        assert status == "0\n", f"{asked}: {said.read_text()}"


def _with(phrase: str) -> Block:
    return next(block for block in BLOCKS if phrase in block.text)


def _lay_out(directory: Path) -> None:
    directory.mkdir()
    for name in ("launch", "tests", "Makefile", "pyproject.toml"):
        (directory / name).symlink_to(ROOT / name)
    picture_files.write_folder(directory / "photos" / "flowers", 2)
    for side in ("trainA", "trainB"):
        picture_files.write_folder(directory / "horse2zebra" / side, 2)
    picture_files.write_folder(directory / "facades", 2)
    picture_files.write_folder(directory / "FOLDER_OR_NPZ", 100)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 28, 28, 1), np.uint8)
    np.savez(directory / "all.npz", pixels=pixels)
    Image.fromarray(pixels[0, :, :, 0]).save(directory / "photo.jpg")
    (directory / "DIR").mkdir()
    for split in ("train", "t10k"):
        idx_files.write_idx(directory / "DIR" / f"{split}-images-idx3-ubyte", pixels[:, :, :, 0])
        idx_files.write_idx(directory / "DIR" / f"{split}-labels-idx1-ubyte", np.arange(100, dtype=np.uint8) % 10)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("reader"))
    yield reader
    reader.close()


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_does_what_it_says(block: Block, reader: Reader) -> None:
    reader.follow(block)
