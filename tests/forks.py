"""Runs programs in forks of a process that has loaded TensorFlow, which is most of what a short one takes."""

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import limits
import supervisor

PROGRAM = Path(__file__).parent / "fork_program.py"


class Forks:
    """A process that has loaded TensorFlow, whose forks do what it is asked."""

    def __init__(self, **environment: str) -> None:
        """Start it, with variables besides those that there are."""
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"} | environment,
        )  # fmt: skip

    def close(self) -> None:
        """End it."""
        self.process.communicate(timeout=limits.LIMIT_SECONDS)

    def ask(self, **asked: Any) -> int:
        """Have a fork do what fork_program.py understands; its exit status."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        assert select.select([self.process.stdout], [], [], limits.LIMIT_SECONDS)[0], f"no end of {asked}"
        return int(self.process.stdout.readline())


_forks: list[Forks] = []  # one, from the first call on


def run(command: list[str], as_one: bool = False, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `PYTHON -m ...` to its end as `limits.run` does, but in a fork; both its outputs may be caught as one."""
    if not _forks:
        _forks.append(Forks())
        atexit.register(_forks[0].close)
        supervisor.SPARED.add(_forks[0].process.pid)
    with tempfile.TemporaryDirectory() as directory:
        said, complained = Path(directory, "stdout"), Path(directory, "stderr")
        apart = {} if as_one else {"complained": str(complained)}
        status = _forks[0].ask(
            words=command, directory=os.getcwd(), said=str(said), environment=dict(os.environ) | environment, **apart
        )
        return subprocess.CompletedProcess(command, status, said.read_text(), "" if as_one else complained.read_text())
