"""Does every preset come to the same bits as at another commit? For changes that are to change nothing.

    python benchmarks/digests.py --against=main            # five minutes

Trains each preset for --steps steps in small, in float32 on one process, by this working tree and by the other commit,
and prints the state's digest of both. The exit status is 1 where they differ.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import launching
import record
from gpu_check import SHARED, SMALL

EARLIER: dict[str, dict[str, Any]] = {  # settings of today, as versions had them whose Config does not know these
    "sample_every": {"sample_every_steps": 1000000}
}


def main() -> None:
    given = _arguments()
    if given.answer_to:
        given.answer_to.write_text(json.dumps(_digests(given)))
        return
    here = _ask(launching.ROOT, given)
    with _worktree(given.against) as other:
        there = _ask(other, given)
    rows = [[preset, digest[:12], there[preset][:12], "same" if digest == there[preset] else "DIFFERENT"]
            for preset, digest in here.items()]  # fmt: skip
    launching.print_table(["preset", "here", given.against, ""], rows)
    print(record.write("digests", vars(given), {"here": here, "there": there}))
    sys.exit(here != there)


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--against", default="main", help="a commit, a branch or a tag")
    parser.add_argument("--presets", default=",".join(SMALL))
    parser.add_argument("--steps", type=int, default=20)
    return parser.parse_args()


@contextlib.contextmanager
def _worktree(commit: str) -> Any:
    """Yield a directory that holds the files of a commit."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        git = ["git", "-C", str(launching.ROOT), "worktree"]
        if subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=False).returncode:
            sys.exit(f"--against={commit} can't be checked out, as git says above: name a commit, a branch or a tag.")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _ask(tree: Path, given: argparse.Namespace) -> dict[str, str]:
    """The digests by preset, computed by the package in a directory."""
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory) / "answer.json"
        words = [f"--answer_to={answer}", f"--presets={given.presets}", f"--steps={given.steps}"]
        environment = os.environ | {"PYTHONPATH": str(tree), "CUDA_VISIBLE_DEVICES": "-1"}
        subprocess.run([sys.executable, __file__, *words], check=True, env=environment, cwd=tree)
        return dict(json.loads(answer.read_text()))


def _digests(given: argparse.Namespace) -> dict[str, str]:
    from distgan import run
    from distgan.config import Config

    found = {}
    for preset in given.presets.split(","):
        settings = SHARED | SMALL[preset] | {"steps": given.steps, "precision": "float32"}
        if not hasattr(Config, "values"):
            for name in settings.keys() & EARLIER:
                del settings[name]
                settings |= EARLIER[name]
        with tempfile.TemporaryDirectory() as run_dir:
            run.train(Config(preset=preset, run_dir=run_dir, **settings), io.StringIO())
            (manifest,) = Path(run_dir, "checkpoints").glob(f"step_{given.steps:09d}/manifest.json")
            found[preset] = json.loads(manifest.read_text())["state_digest"]
        print(f"{preset} {found[preset][:12]}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
