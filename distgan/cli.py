"""The command `distgan`, which runs the programs of this package by name.

distgan train --preset=mlp      # the same as python -m distgan.train --preset=mlp
"""

import difflib
import importlib
import os
import runpy
import subprocess
import sys
from typing import Never

from absl import flags

from distgan import __version__, program
from distgan.errors import UserError

PROGRAMS = {  # modules of this package
    "train": "Train a GAN, in one process or in many, or resume a run.",
    "sample": "Generate images by a run, or translate images.",
    "evaluate": "Measure the samples of a run, or any images, against real ones.",
    "project": "Find the latents of a picture.",
    "export": "Write a generator for other programs, or as a web page.",
    "sweep": "Train with each of several settings, and compare the runs.",
    "compare": "Draw several runs on one page.",
    "doctor": "Tell what this machine has to train with, and what it lacks.",
    "launch": "Start the processes of a job, here or on several hosts.",
}
OTHERS = {
    "build-horovod": "Build Horovod for the TensorFlow of this environment, and install it.",
    "completion": "Print a script for bash or zsh that completes commands and flags.",
}
BEFORE = {"bash": "", "zsh": "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"}
COMPLETION = """_distgan() {{
    local offered=
    case $COMP_CWORD:${{COMP_WORDS[1]}} in
        1:*) offered="{commands}" ;;
{cases}
    esac
    COMPREPLY=($(compgen -W "$offered" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _distgan distgan
"""


def main() -> Never:
    """Run the program or other command that the first word names, with the words after it, and exit."""
    if sys.argv[1:] and sys.argv[1] in PROGRAMS:
        runpy.run_module(f"distgan.{sys.argv.pop(1)}", run_name="__main__", alter_sys=True)
    sys.argv.insert(1, "--")  # what follows is not for absl
    program.run_on(_run)


def _run(words: list[str]) -> int:
    """Run a command that is no program, and return the exit status. Raises `UserError`."""
    match words:
        case [] | ["--help" | "-h" | "help"]:
            print("Usage: distgan COMMAND ...\n", *(f"  {name:15}{line}" for name, line in (PROGRAMS | OTHERS).items()),
                  "\ndistgan COMMAND --help lists the flags of a command.", sep="\n")  # fmt: skip
        case ["--version"]:
            print(f"distgan {__version__}")
        case ["completion", "bash" | "zsh" as shell]:
            cases = "\n".join(f'        *:{name}) offered="{_flags(name)}" ;;' for name in PROGRAMS)
            print(BEFORE[shell] + COMPLETION.format(commands=" ".join(PROGRAMS | OTHERS), cases=cases), end="")
        case ["completion", *_]:
            raise UserError("The name of a shell is missing: give bash or zsh.")
        case ["build-horovod"] if sys.platform == "linux":
            script = f"{os.path.dirname(__file__)}/horovod_build/install.sh"
            return subprocess.call(["/usr/bin/env", "bash", script, sys.executable])
        case ["build-horovod", *_]:
            raise UserError("build-horovod takes no flags and needs Linux; distgan launch needs no Horovod.")
        case [name, *_]:
            near = difflib.get_close_matches(name, PROGRAMS | OTHERS, 1)
            raise UserError(f"{name} is not a command: {f'did you mean {near[0]}?' if near else 'see distgan --help.'}")
    return 0


def _flags(name: str) -> str:
    """Return the flags that a program defines, and forget them, as other programs have some of the same names."""
    before = set(flags.FLAGS)
    importlib.import_module(f"distgan.{name}")
    found = sorted(set(flags.FLAGS) - before)
    flags.FLAGS.remove_flag_values(found)
    return " ".join(f"--{flag}" for flag in found if len(flag) > 1)
