"""Start the processes of a job, here or on several hosts, and start it again if one of them fails.

python -m distgan.launch -n 4 -- distgan train --preset=mlp
python -m distgan.launch -H node1:4,node2:4 --restarts=3 -- distgan.train --run_dir=/shared/runs/mnist

After -- comes a Python module with its flags, or any command. It needs Python, and ssh for other hosts; torchrun needs
PyTorch, horovodrun a compiler that builds Horovod, and mpirun MPI. Each process gets torchrun's variables (RANK,
WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT), and DISTGAN_JOB, a new text at each start.
"""

import contextlib
import importlib.util
import json
import math
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO

from absl import flags

from distgan import launch_agent, program
from distgan.errors import UserError
from distgan.launch_agent import FORWARDED, STOPPING, tell

_PROCESSES = flags.DEFINE_integer("num_processes", None, "Default: all of --hosts.", lower_bound=1, short_name="n")
_HOSTS = flags.DEFINE_list("hosts", None, "Hosts and their numbers of processes: node1:4,node2:4.", short_name="H")
_RESTARTS = flags.DEFINE_integer("restarts", 0, "How often a job that failed is started again.", lower_bound=0)
_GRACE_SECONDS = flags.DEFINE_integer(
    "grace_seconds", 60, "Time to save, after SIGTERM or Ctrl-C, until processes are killed.", 0, upper_bound=10**6
)
FINAL = (2, 3, 5, 126, 127, 130)  # no restart after wrong input, NaN, differing replicas, no such command, Ctrl-C
HERE = ("localhost", "127.0.0.1", socket.gethostname())
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=12")
CONNECT_AT_ONCE = 8  # sshd refuses more than ten that have not logged in
AGAIN_SECONDS = 1.0  # until a second Ctrl-C counts, as some programs pass on one twice
OUTPUT_SECONDS = 5.0  # to read the last output of a process, which others may hold open
_LINE = re.compile(rb"(?<=\n)|(?<=\r)(?!\n|\Z)")  # \r ends a line too, of a progress display
_Agent = subprocess.Popen[bytes]
_Events = queue.SimpleQueue[Any]  # signals that this process got, and ranks that have ended with their exit statuses

_output = threading.Lock()


def main(words: list[str]) -> int:
    """Run the job, and return the exit status of the process that failed first, or 0."""
    command, hosts, name = _command(words), _hosts(_PROCESSES.value, _HOSTS.value or []), uuid.uuid4().hex
    events: _Events = queue.SimpleQueue()
    for restart in range(_RESTARTS.value + 1):
        running = _start(command, hosts, f"{name}-{restart}", events)
        status, starts_again = _wait(running, hosts, events, restart)
        if not starts_again:
            break
    return status


def _command(words: list[str]) -> list[str]:
    """Return the command of each process. Raises `UserError`."""
    if not words:
        raise UserError("The command is missing: give it after --, e.g. -- distgan train --preset=mlp.")
    name = words[0]
    if name != "distgan" and shutil.which(name):  # that one need not be on the PATH of other hosts
        return words
    sys.path.insert(0, "")  # as for python -m
    with contextlib.suppress(ImportError, ValueError):  # not the name of a module
        if not name.endswith(".py") and importlib.util.find_spec(name):  # it imports what is before the last dot
            return [sys.executable, "-m", *words]
    raise UserError(f"{name} is neither a command nor a module: give one after --, e.g. distgan train or python FILE.")


def _hosts(number: int | None, texts: list[str]) -> list[str]:
    """Return the host of each rank, from -n and -H. Raises `UserError`."""
    slots: dict[str, int] = {}
    for text in texts:
        found = re.fullmatch(r"((?:\w[\w.-]*@)?\w[\w.-]*)(?::([1-9]\d{0,3}))?", text, re.ASCII)
        if not found or found[1] in slots:
            raise UserError(f"-H has '{text}': give each host once, with its processes, e.g. node1:4,node2:4.")
        slots[found[1]] = int(found[2] or 1)
    if not slots:
        if number is None:
            raise UserError("-n is missing: give the number of processes, e.g. -n 4.")
        return [HERE[0]] * number
    hosts = [host for host, count in slots.items() for _ in range(count)]
    if number and number > len(hosts):
        raise UserError(f"-n {number} is more than the {len(hosts)} processes of -H: lower -n, or raise those of -H.")
    hosts = hosts[:number]
    if not set(hosts) <= set(HERE):
        if not shutil.which("ssh"):
            raise UserError("-H needs ssh, which is not installed: install it, or name only this host.")
        if hosts[0] in HERE[:2]:
            raise UserError(f"-H begins with {hosts[0]}, to which other hosts can't connect: give this host's name.")
    return hosts


def _connect(host: str) -> tuple[_Agent, int]:
    """Start an agent on a host, and return it with a port that is free there. Raises `UserError`."""
    command = [sys.executable, "-I", launch_agent.__file__]
    if host not in HERE:
        command = [*SSH, host, f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(command)}"]
    pipe = subprocess.PIPE
    try:
        agent = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except OSError as error:
        raise UserError(f"Too many processes to start ({error.strerror}): lower -n, or raise ulimit -n.") from None
    answer = agent.stdout.readline() if agent.stdout else b""
    if not answer.strip().isdigit():
        agent.kill()
        why = (answer + agent.communicate()[1]).decode(errors="replace").strip().rpartition("\n")[2] or "no answer"
        raise UserError(f"-H: no process can be started on {host} ({why}): it needs ssh without a password, "
                        "and the same directory and Python as here.")  # fmt: skip
    return agent, int(answer)


def _start(command: list[str], hosts: list[str], name: str, events: _Events) -> dict[int, _Agent]:
    """Start a process for each host, and return their agents by rank. Raises `UserError` if a host can't."""
    with ThreadPoolExecutor(CONNECT_AT_ONCE) as pool:
        agents, ports = zip(*pool.map(_connect, hosts), strict=True)
    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, lambda number, _: events.put(signal.Signals(number)))
    for rank, agent in enumerate(agents):
        own = _place(hosts, rank, ports[0]) | {"DISTGAN_JOB": name, "PATH": os.environ.get("PATH", os.defpath)}
        tell(agent, json.dumps([command, dict(os.environ), own, _GRACE_SECONDS.value]))
        threading.Thread(target=_follow, args=(rank, agent, events), daemon=True).start()
    return dict(enumerate(agents))


def _place(hosts: list[str], rank: int, port: int) -> dict[str, str]:
    """Return the variables that tell a process which of the job it is, and where rank 0 is."""
    numbers = {"RANK": rank, "WORLD_SIZE": len(hosts), "LOCAL_RANK": hosts[:rank].count(hosts[rank]),
               "LOCAL_WORLD_SIZE": hosts.count(hosts[rank]), "MASTER_PORT": port}  # fmt: skip
    address = "127.0.0.1" if set(hosts) <= set(HERE) else hosts[0].rpartition("@")[2]
    return {"MASTER_ADDR": address} | {variable: str(number) for variable, number in numbers.items()}


def _follow(rank: int, agent: _Agent, events: _Events) -> None:
    """Copy the output of a process, and report its end."""
    streams = ((agent.stdout, sys.stdout), (agent.stderr, sys.stderr))
    copies = [threading.Thread(target=_copy, args=(*pair, rank), daemon=True) for pair in streams]
    for copy in copies:
        copy.start()
    status = agent.wait()
    for copy in copies:
        copy.join(OUTPUT_SECONDS)
    events.put((rank, status if status >= 0 else 128 - status))


def _wait(running: dict[int, _Agent], hosts: list[str], events: _Events, restart: int) -> tuple[int, bool]:
    """Wait until all processes end; return the status of the first that failed, or 0, and whether to start again."""
    first, restarts, stopped_at = 0, False, math.inf
    while running:
        event = events.get()
        if isinstance(event, signal.Signals):
            is_second = event == signal.SIGINT and time.monotonic() > stopped_at + AGAIN_SECONDS
            if event in STOPPING:
                stopped_at, restarts = min(stopped_at, time.monotonic()), False
            _tell(running, signal.SIGKILL if is_second else event)
            continue
        rank, status = event
        del running[rank]
        if status and not first:
            first = status
            if stopped_at == math.inf:
                restarts = restart < _RESTARTS.value and status not in FINAL
                then = f" and started again (restart {restart + 1} of {_RESTARTS.value})" if restarts else ""
                name = {128 + number: f" ({number.name})" for number in signal.Signals}.get(status, "")
                what = f"rank {rank} on {hosts[rank]} ended with status {status}{name}"
                _print(sys.stderr, f"distgan: {what}: all processes are ended{then}.\n")
                _tell(running, signal.SIGTERM)
    return first, restarts


def _tell(running: dict[int, _Agent], number: signal.Signals) -> None:
    for agent in running.values():
        tell(agent, str(int(number)))


def _copy(source: Any, target: TextIO, rank: int) -> None:
    """Copy the lines of a process, each behind its rank."""
    prefix, rest = f"[{rank}] " + "\x1b[K" * target.isatty(), b""  # erases the rest of a terminal's line
    while chunk := source.read1():
        *lines, rest = _LINE.split(rest + chunk)
        _print(target, "".join(prefix + line.decode(errors="backslashreplace") for line in lines if line != b"\r"))
    if rest:
        _print(target, f"{prefix}{rest.decode(errors='backslashreplace')}\n")


def _print(target: TextIO, text: str) -> None:
    with _output:  # so that lines are not mixed
        target.write(text)
        target.flush()


if __name__ == "__main__":
    program.run_on(main, flags_first=True)
