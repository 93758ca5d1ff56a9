"""The code blocks of the documents, the commands that those of bash are made of, and how these are made quick."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import limits

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "WORKSPACE.md", *sorted((ROOT / "docs").glob("*.md")))
NOT_RUN = "<!-- not run"
_BLOCK = re.compile(rf"^(?:{NOT_RUN}(.*)-->\n)?```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)

# Bash itself reads a block, where it finds no program: it writes down what it would have called.
_RECORDER = """
set -eu
PATH=/nowhere
command_not_found_handle() { printf '%s\\0' "$#" "$@"; }
source() { command_not_found_handle source "$@"; }
"""

# What makes a run of each recipe quick: flags behind those of a command, which win, and in code the recipe's defaults.
QUICK: dict[str, dict[str, Any]] = {
    "mnist": {"filters": 4, "batch_size": 16, "max_images_per_class": 1},
    "mnist_large": {"filters": 4, "batch_size": 16, "max_images_per_class": 1},
    "mnist_best": {"filters": 4, "batch_size": 16, "max_images_per_class": 20, "evaluate_num_images": 100},
    "mlp": {"batch_size": 4, "max_images_per_class": 1},
    "dcgan": {"filters": 4, "max_images_per_class": 1},
    "dcgan64": {"filters": 4, "generator_filters": 4, "batch_size": 8, "max_images_per_class": 1},
    "faces": {"filters": 4, "generator_filters": 4, "max_images_per_class": 1},
    "pix2pix": {"filters": 4, "depth": 4, "num_samples": 2},
    "cyclegan": {"filters": 2, "residual_blocks": 1, "num_samples": 2},
}


class Block(NamedTuple):
    """What stands between two fences: where, in which language, and behind "not run", if that stands above it."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page."""
    text = page.read_text()
    return [
        Block(str(page.relative_to(ROOT)), text.count("\n", 0, found.start(3)), found[2], found[3], found[1])
        for found in _BLOCK.finditer(text)
    ]


def commands(text: str) -> list[list[str]]:
    """The commands of a block of bash, each as its words."""
    paths = re.findall(r"^\S*/\S*|(?<=&& )\S*/\S*", text, re.MULTILINE)
    recorders = [f'function {path} {{ command_not_found_handle {path} "$@"; }}' for path in paths]
    answer = limits.run(["bash", "--norc", "-c", "\n".join([_RECORDER, *recorders, text])], cwd="/")
    assert not answer.returncode, answer.stderr
    words = iter(answer.stdout.split("\0")[:-1])
    return [[next(words) for _ in range(int(number))] for number in words]


def quick(words: list[str]) -> list[str]:
    """A command of `python -m`, with flags behind its own that make it quick."""
    program, flags = words[2], words[3:]
    if program == "distgan.evaluate":
        return [*words, "--num_images=100"]
    if program == "distgan.project":
        return [*words, "--steps=1"]
    if program != "distgan.train":
        return words
    length = {} if any(flag.startswith("--epochs=") for flag in flags) else {"steps": 1}
    return [*words, *(f"--{name}={value}" for name, value in (QUICK[_preset(flags)] | length).items())]


def _preset(flags: list[str]) -> str:
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)
    stored = json.loads((ROOT / given["config"]).read_text()) if "config" in given else {}
    return str(given.get("preset") or stored.get("preset") or "mnist")
