"""Runs commands and code, as they come by standard input, each in a fork of this process, which has loaded TensorFlow.

Each line asks for one, in JSON, and is answered by a line with the exit status:

directory: to be in; said, complained: files for the two outputs, the same if there is one
words: a command of `python -m`; up_to_tensorflow: whether it is to end, well, where it would load TensorFlow
code, page, defaults: or code, the name of its file, and settings to put into presets
environment: the variables, if not those of this process; makes_few_steps: whether to train without tracing
"""

import contextlib
import gc
import json
import os
import runpy
import sys
import traceback
from typing import Any, NoReturn

import keras  # noqa: F401
import tensorflow as tf

import distgan.run
import distgan.serving  # noqa: F401
from distgan import program
from distgan.config.presets import PRESETS

with contextlib.suppress(ImportError):
    import horovod.tensorflow  # noqa: F401


def main() -> None:
    """Answer until there is nothing more to read."""
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _become(asked)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(asked: dict[str, Any]) -> NoReturn:
    """Do what was asked for, in its directory, with all that is said going to files, and exit."""
    with open(os.devnull, "rb") as nothing, open(asked["said"], "wb") as said:
        os.dup2(nothing.fileno(), 0)
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    if "complained" in asked:
        with open(asked["complained"], "wb") as complained:
            os.dup2(complained.fileno(), 2)
        program.import_tensorflow()  # it hides what the first look for GPUs says
    if "environment" in asked:
        os.environ.clear()
        os.environ.update(asked["environment"])
    os.chdir(asked["directory"])
    sys.path[0] = asked["directory"]
    status: Any = 0
    if asked.get("makes_few_steps"):
        tf.config.run_functions_eagerly(True)  # to trace one takes longer than to make it
    try:
        if "code" in asked:
            _execute(asked["code"], asked["page"], asked["defaults"])
        else:
            _call(asked["words"], asked.get("up_to_tensorflow", False))
    except SystemExit as error:
        status = error.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # to tear down an interpreter with TensorFlow takes a second


def _execute(code: str, page: str, defaults: dict[str, dict[str, Any]]) -> None:
    for preset, settings in defaults.items():
        PRESETS[preset] |= settings
    exec(compile(code, page, "exec"), {"__name__": "__main__"})


def _call(words: list[str], up_to_tensorflow: bool) -> None:
    """Run a command of `python -m`, or until it would load TensorFlow: then it has checked what it was given."""
    if words[0] == "horovodrun":
        from horovod.runner import launch

        sys.argv = words
        words = launch.parse_args().command
    if up_to_tensorflow:
        program.import_tensorflow = lambda: sys.exit(0)
    sys.argv = words[2:]
    runpy.run_module(words[2], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
