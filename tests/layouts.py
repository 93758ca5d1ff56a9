"""The ways to run that must all give the same run, and how a test starts them."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import forks
import limits

HOROVODRUN = shutil.which("horovodrun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
NO_HOROVOD = "Horovod is not installed here"


def has_mpi() -> bool:
    """Whether Horovod can be started by MPI."""
    command = [str(HOROVODRUN), "--check-build"]
    return bool(HOROVODRUN) and "[X] MPI" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


class Layout(NamedTuple):
    """Processes, and flags, that share one run."""

    backend: str
    replicas: int

    def __str__(self) -> str:
        return f"{self.backend}-{self.replicas}"

    @property
    def processes(self) -> int:
        return self.replicas if self.backend in ("horovod", "multiworker") else 1

    @property
    def flags(self) -> list[str]:
        return [f"--virtual_devices={self.replicas}"] if self.backend == "mirrored" else []


SINGLE = Layout("single", 1)
LAYOUTS = [
    *(Layout("horovod", count) for count in (2, 3, 4)),
    *(Layout("mirrored", count) for count in (2, 4)),
    Layout("multiworker", 2),
]


def start(layout: Layout, *arguments: str, **popen: Any) -> list[subprocess.Popen[str]]:
    """Start `python <arguments>` in a layout: one process, or as many as `multiworker` needs; output is collected."""
    command = [sys.executable, *arguments, f"--backend={layout.backend}", *layout.flags]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True} | popen
    if layout.backend == "horovod":
        command = [str(HOROVODRUN), "-np", str(layout.replicas), *command]
    if layout.backend != "multiworker":
        return [subprocess.Popen(command, env=environment, **options)]
    workers = [f"localhost:{port}" for port in free_ports(layout.replicas)]
    return [
        subprocess.Popen(command, env=environment | {"TF_CONFIG": tf_config(workers, index)}, **options)
        for index in range(layout.replicas)
    ]


def run(layout: Layout, *arguments: str) -> tuple[int, str]:
    """Run `python <arguments>` in a layout to its end; returns the worst exit status and all output."""
    if layout == SINGLE and arguments[0] == "-m":
        done = forks.run([sys.executable, *arguments, "--backend=single"], as_one=True)
        return abs(done.returncode), done.stdout
    processes = start(layout, *arguments)
    outputs = [limits.output_of(process) for process in processes]
    return max(abs(process.returncode) for process in processes), "\n".join(outputs)


def tf_config(workers: list[str], index: int) -> str:
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
