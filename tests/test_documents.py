"""The commands and the code in the documents do what is said there."""

import os
import re
import shutil
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
from documents import NOT_RUN, PAGES, ROOT, Block
from forks import Forks
from PIL import Image

from distgan.data.order import Draws

BIN = Path(sys.executable).parent
BLOCKS = [block for page in PAGES for block in documents.blocks(page)]


def _with(phrase: str) -> Block:
    """The first block that has a phrase in it."""
    return next(block for block in BLOCKS if phrase in block.text)


USE_IT, PICTURES = _with("source .venv"), _with("COMMON=")
YOUR_GAN, TRAIN_IT = _with("class WassersteinGAN"), _with("import wgan\n")
QUICK = "README.md"  # the page that is tried without the slow tests
RUN = [
    block if block.page == QUICK and block != PICTURES else pytest.param(block, marks=pytest.mark.slow)
    for block in BLOCKS
    if block.language in ("bash", "python") and block.not_run is None and block != YOUR_GAN  # test_add_a_gan.py runs it
]

# The runs that other blocks take for granted, and which block makes them; make train's is made by MAKE_TRAIN.
MADE_BY = {f"runs/{name}": USE_IT for name in ("mnist", "small", "conditional", "pix2pix", "cyclegan")}
MADE_BY["runs/wgan"], MADE_BY["runs/first"] = TRAIN_IT, _with("--epochs=2 --run_dir=runs/first")
MAKE_TRAIN = ["python", "-m", "distgan.train", "--config=launch/mnist-quick.json", "--evaluate_every=never"]
EXTRAS = {"onnxruntime": "onnx", "ai_edge_litert": "litert", "safetensors": "safetensors"}  # by a package
PAINTINGS = "numpy.zeros((1, 256, 256, 3), 'uint8')"
BEFORE = {  # what the text above a block says of what is there already, by a phrase of the block
    "number_format=": "import wgan",
    "distgan.DCGAN(": "import distgan",
    "translate(paintings,": f"import numpy; paintings = {PAINTINGS}",
    "translate_BtoA(pixels_of_paintings)": f"import numpy; pixels_of_paintings = {PAINTINGS}",
}


class Reader:
    """Does what blocks say, each in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        """Lay out what a reader has: the clone, and images of all kinds."""
        self._directory, self._has = directory, directory / "has"
        self._done: dict[Block, Path] = {}
        _lay_out(self._has)
        self._forks = Forks(XDG_CACHE_HOME=str(directory / "cache"))

    def close(self) -> None:
        """End the process that runs what blocks say."""
        self._forks.close()

    def follow(self, block: Block) -> Path:
        """Do what a block says, where all is that it takes for granted; returns that directory."""
        if block not in self._done:
            directory = self._directory / f"{Path(block.page).stem}-{block.line}"
            assert not directory.exists(), f"{block} has failed"
            shutil.copytree(self._has, directory, symlinks=True)
            self._provide(block, directory)
            if block.language == "python":
                before = [code for phrase, code in BEFORE.items() if phrase in block.text]
                lines_above = "\n" * (block.line - len(before))
                code = "\n".join([*before, lines_above + block.text])
                few = block != TRAIN_IT
                self._fork(directory, code=code, page=block.page, defaults=documents.QUICK, makes_few_steps=few)
            else:
                for words in documents.commands(block.text):
                    self._call(words, directory)
            self._done[block] = directory
        return self._done[block]

    def _provide(self, block: Block, directory: Path) -> None:
        """Put the runs that a block names where it looks for them, exported if it loads that."""
        for name in dict.fromkeys(re.findall(r"runs/[\w-]+", block.text)):
            if name == "runs/mnist-quick":
                shutil.copytree(self._after_make_train() / name, directory / name)
            elif MADE_BY.get(name, block) != block:
                shutil.copytree(self.follow(MADE_BY[name]) / name, directory / name)
        (directory / "wgan.py").write_text(YOUR_GAN.text)
        for run_dir, kind in re.findall(r'\("(runs/[\w-]+)/export/(saved_model|generator\.\w+)', block.text):
            name = {"saved_model": "saved_model", "generator.tflite": "litert"}.get(kind, kind.partition(".")[2])
            self._call(["python", "-m", "distgan.export", f"--run_dir={run_dir}", f"--format={name}"], directory)

    def _after_make_train(self) -> Path:
        directory = self._directory / "make-train"
        if not directory.exists():
            shutil.copytree(self._has, directory, symlinks=True)
            self._call(MAKE_TRAIN, directory)
        return directory

    def _call(self, words: list[str], directory: Path) -> None:
        """Run a command; of one that other tests run, or that takes more than this machine, see that it is well-formed.

        Raises `AssertionError` where it is not, fails, or writes no output where it was told to.
        """
        for path in words[1:]:
            assert not path.startswith("launch/") or (directory / path).exists(), path
        if words[0] == "distgan":  # test_cli.py: it is the same
            words = ["python", "-m", f"distgan.{words[1]}", *words[2:]]
        match words:
            case ["python", "-m", name, *flags]:
                up_to_tensorflow = name == "distgan.doctor"
                self._fork(directory, words=documents.quick(words), up_to_tensorflow=up_to_tensorflow)
                outputs = [flag.removeprefix("--output=") for flag in flags if flag.startswith("--output=")]
                assert up_to_tensorflow or all((directory / output).exists() for output in outputs), outputs
            case ["horovodrun", *_] if layouts.HOROVODRUN:
                self._fork(directory, words=words, up_to_tensorflow=True)
            case ["horovodrun" | "srun", *_]:
                self._fork(directory, words=words[words.index("python") :], up_to_tensorflow=True)
            case ["tensorboard", *flags]:
                words = ["python", "-m", "tensorboard.main", *flags, "--inspect"]
                self._fork(directory, words=words, up_to_tensorflow=False)
            case [".venv/bin/python", "-m", "pytest", *_]:
                self._fork(directory, words=[*words, "--collect-only", "--noconftest"], up_to_tensorflow=False)
            case [".venv/bin/ruff" | ".venv/bin/mypy" as path, *rest]:
                answer = limits.run([BIN / Path(path).name, *rest, "--help"])
                assert not answer.returncode, answer.stderr
            case ["make", *_]:
                answer = limits.run([*words, "--dry-run", "--no-print-directory"], cwd=directory)
                assert not answer.returncode, answer.stderr
                assert os.access(directory / answer.stdout.split()[0], os.X_OK), answer.stdout
            case ["source", path]:
                assert (BIN / Path(path).name).exists()
            case _:
                raise AssertionError(
                    f"nothing is known of {words}: say here how it is run, or above its block why it is not"
                )

    def _fork(self, directory: Path, **asked: Any) -> None:
        """Have a command or code run by the process that has loaded TensorFlow."""
        said = directory / "said.txt"
        status = self._forks.ask(**{"directory": str(directory), "said": str(said), "makes_few_steps": True} | asked)
        assert status == 0, f"status {status} of {asked.get('words')}: {said.read_text()[-5000:]}"


def _lay_out(directory: Path) -> None:
    directory.mkdir()
    for name in ("launch", "benchmarks", "docs", "tests", "Makefile", "pyproject.toml"):
        (directory / name).symlink_to(ROOT / name)
    picture_files.write_folder(directory / "photos" / "flowers", 1)
    shutil.make_archive(str(directory / "photos"), "zip", directory, "photos")
    picture_files.write_folder(directory / "facades", 2)
    picture_files.write_folder(directory / "horse2zebra" / "trainA", 2)
    picture_files.write_folder(directory / "horse2zebra" / "trainB", 2)
    picture_files.write_folder(directory / "FOLDER_OR_NPZ", 100)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 28, 28, 1), np.uint8)
    np.savez(directory / "all.npz", pixels=pixels)
    Image.fromarray(pixels[0, :, :, 0]).save(directory / "photo.jpg")
    (directory / "DIR").mkdir()
    for split in ("train", "t10k"):
        idx_files.write_idx(directory / "DIR" / f"{split}-images-idx3-ubyte", pixels[..., 0])
        idx_files.write_idx(directory / "DIR" / f"{split}-labels-idx1-ubyte", np.arange(100, dtype=np.uint8) % 10)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("reader"))
    yield reader
    reader.close()


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_does_what_it_says(block: Block, reader: Reader) -> None:
    for package, extra in EXTRAS.items():
        if f"import {package}" in block.text or f"from {package}" in block.text:
            pytest.importorskip(package, reason=f"pip install 'distgan[{extra}]'")
    reader.follow(block)


WRONG = [
    ("bash", "python -m distgan.train --presets=mlp", "Unknown command line flag 'presets'"),
    ("bash", "python -m distgan.train --preset=mlp --filters=4", "--filters is not used by --architecture=mlp"),
    ("bash", "python -m distgan.sample --run_dir=runs/none", "runs/none"),
    ("bash", "python -m distgan.doctors", "No module named distgan.doctors"),
    ("bash", "distgan doctors", "No module named distgan.doctors"),
    ("bash", "horovodrun -np 4 python -m distgan.train --epochs=0", "--epochs=0 is refused"),
    ("bash", "horovodrun --host-discovery-script launch/host.sh python -m distgan.train", "launch/host.sh"),
    ("bash", "make training", "No rule to make target 'training'"),
    ("bash", ".venv/bin/ruff formats", "unrecognized subcommand 'formats'"),
    ("bash", "gcloud auth login", "nothing is known of"),
    ("bash", "echo 'python", "unexpected EOF"),
    ("python", "import distgan\ndistgan.load_run('runs/mine')", "no attribute 'load_run'"),
]


@pytest.mark.parametrize(("number", "language", "text", "why"), [(number, *row) for number, row in enumerate(WRONG)])
def test_a_block_that_is_wrong_is_found(number: int, language: str, text: str, why: str, reader: Reader) -> None:
    with pytest.raises(AssertionError, match=re.escape(why)):
        reader.follow(Block("wrong.md", number, language, text + "\n"))


@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_horovodrun_itself_looks_at_its_options(reader: Reader) -> None:
    with pytest.raises(AssertionError, match="invalid int value: 'four'"):
        reader.follow(Block("wrong.md", len(WRONG), "bash", "horovodrun -np four python -m distgan.train\n"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_names_its_language_and_says_why_it_is_not_run(page: Path) -> None:
    text, found = page.read_text(), documents.blocks(page)
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) == 2 * len(found)
    assert {block.language for block in found} <= {"bash", "json", "python", "text"}
    marks = [block.not_run for block in found if block.not_run is not None]
    assert text.count(NOT_RUN) == len(marks)
    assert all(re.fullmatch(r": \w.* ", mark) for mark in marks), marks


def test_a_gan_is_offered_the_random_numbers_that_there_are() -> None:
    rule = re.search(r"`batch.draws.of\(name\)`: (.*?);", (ROOT / YOUR_GAN.page).read_text())
    assert rule and set(re.findall(r"`\.(\w+)`", rule[1])) == {
        name for name in vars(Draws) if not name.startswith("_") and name != "of"
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert "://" in link or target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(page: Path) -> set[str]:
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))
