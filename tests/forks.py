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
        if not select.select([self.process.stdout], [], [], limits.LIMIT_SECONDS)[0]:
            self.process.kill()  # or the next one that asks would get this answer
            raise AssertionError(f"no end of {asked}")
        return int(self.process.stdout.readline())


_forks: list[Forks] = []  # one, from the first call on; the last that was started


def run(
    command: list[str], environment: dict[str, str] | None = None, as_one: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run `PYTHON -m ...` to its end as `limits.run` does, but in a fork.

    `environment` holds variables besides those that there are. Both outputs may be caught as one.
    """
    if not _forks or _forks[-1].process.poll() is not None:
        _forks.append(Forks())
        atexit.register(_forks[-1].close)
        supervisor.SPARED.add(_forks[-1].process.pid)
    with tempfile.TemporaryDirectory() as directory:
        said, complained = Path(directory, "stdout"), Path(directory, "stderr")
        apart = {} if as_one else {"complained": str(complained)}
        status = _forks[-1].ask(
            words=command,
            directory=os.getcwd(),
            said=str(said),
            environment=dict(os.environ) | (environment or {}),
            **apart,
        )
        return subprocess.CompletedProcess(command, status, said.read_text(), "" if as_one else complained.read_text())
