"""The code blocks of the documents, the commands that those of bash are made of, and how these are made quick."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import limits

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "WORKSPACE.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE, NOT_RUN = "```", "<!-- not run"
_BLOCK = re.compile(rf"^(?:{NOT_RUN}(.*)-->\n)?{FENCE}(.*)\n((?:.*\n)*?){FENCE}$", re.MULTILINE)

# Bash reads a block where there is no program: it writes down what it would have called.
_WRITES = "{ printf '%s\\0' \"$#\" WORD \"$@\"; }"
_RECORDER = """
set -eu
PATH=/nowhere
command_not_found_handle() { printf '%s\\0' "$#" "$@"; }
source() { command_not_found_handle source "$@"; }
"""

# What makes a run of each recipe quick: these are its defaults in code, and flags behind those of a command.
QUICK: dict[str, dict[str, Any]] = {
    "mnist": {"filters": 4, "batch_size": 16, "max_images_per_class": 10},
    "mnist_large": {"filters": 4, "batch_size": 16},
    "mnist_best": {"filters": 4, "batch_size": 16, "evaluate_num_images": 100},
    "mlp": {},
    "dcgan": {"filters": 4},
    "dcgan64": {"filters": 4, "generator_filters": 4, "batch_size": 8},
    "faces": {"filters": 4, "generator_filters": 4},
    "pix2pix": {"filters": 4, "depth": 4},
    "cyclegan": {"filters": 4, "residual_blocks": 1},
}
MOST_STEPS = 2


class Block(NamedTuple):
    """What stands between two fences: where, in which language, and why it is not run, if it is marked so."""

    page: str
    line: int
    language: str
    text: str
    why_not_run: str | None

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
    script = "\n".join([_RECORDER, *recorders, text])
    answer = limits.run(["bash", "--norc", "-c", script], cwd="/")
    assert not answer.returncode, answer.stderr
    words, found = iter(answer.stdout.split("\0")[:-1]), []
    for number in words:
        found.append([next(words) for _ in range(int(number))])
    return found


def quick(words: list[str]) -> list[str]:
    """A command of a program of ours, with flags behind its own that make it quick."""
    program, flags = words[2], words[3:]
    if program == "distgan.evaluate":
        return [*words, "--num_images=100"]
    if program != "distgan.train":
        return words
    length = {} if any(flag.startswith("--epochs=") for flag in flags) else {"steps": MOST_STEPS}
    return [*words, *(f"--{name}={value}" for name, value in (QUICK[_preset(flags)] | length).items())]


def _preset(flags: list[str]) -> str:
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)
    stored = json.loads((ROOT / given["config"]).read_text()) if "config" in given else {}
    return str(given.get("preset") or stored.get("preset") or "mnist")
