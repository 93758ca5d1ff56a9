"""Runs commands and code, as they come by standard input, each in a fork of this process, which has loaded TensorFlow.

Each line asks for one, in JSON, and is answered by a line with the exit status.
"""

import contextlib
import json
import os
import runpy
import sys
from typing import Any

import documents
import keras  # noqa: F401
import matplotlib.backends.backend_agg  # noqa: F401
import matplotlib.figure  # noqa: F401
import tensorflow as tf  # noqa: F401

import distgan.run
import distgan.serving  # noqa: F401
from distgan import program
from distgan.presets import PRESETS

with contextlib.suppress(ImportError):
    import horovod.tensorflow  # noqa: F401


def main() -> None:
    """Answer until there is nothing more to read; in each fork, become what was asked for."""
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _become(asked)
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(asked: dict[str, Any]) -> None:
    """Run a command of `python -m` or code, in a directory, with all it says going to a file."""
    with open(asked["said"], "wb") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    os.chdir(asked["directory"])
    sys.path[0] = asked["directory"]
    if "code" in asked:
        for preset, settings in documents.QUICK.items():
            PRESETS[preset] |= settings
        exec(compile(asked["code"], asked["name"], "exec"), {"__name__": "__main__"})
        return
    words = asked["words"]
    if asked["up_to_tensorflow"]:
        program.import_tensorflow = lambda: sys.exit(0)
    if words[0] == "horovodrun":
        from horovod.runner import launch

        sys.argv = words
        words = launch.parse_args().command
    sys.argv = words[2:]
    runpy.run_module(words[2], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
