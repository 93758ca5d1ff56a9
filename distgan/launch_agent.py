"""The launcher's part beside each process: start it, pass signals on to it, and end it if the launcher ends.

`distgan.launch` runs this file on the host of the process, without the package, which takes longer to import. It prints
a free port, then reads a line of JSON (the command, its environment, the time to save) and lines with numbers of
signals. The end of the input means that the launcher, or the connection to it, is lost.
"""

import contextlib
import ctypes
import functools
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FORWARDED = (*STOPPING, signal.SIGUSR1)
_PR_SET_PDEATHSIG = 1


def tell(agent: subprocess.Popen[bytes], line: str) -> None:
    """Write a line to an agent, unless it has ended."""
    assert agent.stdin
    with contextlib.suppress(BrokenPipeError):
        agent.stdin.write(f"{line}\n".encode())
        agent.stdin.flush()


def main() -> int:
    """Run the command, and return its exit status, or 128 and the number of the signal that ended it."""
    for number in FORWARDED:  # some schedulers send them to all processes: this one stays until the command ends
        signal.signal(number, lambda *_: None)
    with socket.create_server(("", 0)) as server:
        print(server.getsockname()[1], flush=True)
    task = sys.stdin.readline()
    if not task:
        return 0
    command, shared, own, grace_seconds = json.loads(task)
    environment = shared | os.environ | own  # what this host sets itself, such as HOME, is kept
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "start_new_session": True}
    if sys.platform == "linux":  # elsewhere a process whose agent is killed goes on
        options["preexec_fn"] = functools.partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        process = subprocess.Popen(command, env=environment, **options)
    except OSError as error:
        print(f"distgan: {command[0]} can't be started: {error.strerror}.", file=sys.stderr, flush=True)
        return 127  # as a shell's
    threading.Thread(target=_pass_on, args=(process, grace_seconds), daemon=True).start()
    status = process.wait()
    _kill(process)  # what it has started and left
    return status if status >= 0 else 128 - status


def _pass_on(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Pass signals on to a process, and kill its group if it has not ended some time after one that stops it."""
    for line in itertools.chain(sys.stdin, [str(int(signal.SIGTERM))]):
        if int(line) == signal.SIGKILL:
            _kill(process)
        process.send_signal(int(line))
        if int(line) in STOPPING:
            threading.Timer(grace_seconds, _kill_late, [process, grace_seconds]).start()


def _kill_late(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    try:
        print(f"distgan: killed, as it has not ended in {grace_seconds:g} seconds.", file=sys.stderr, flush=True)
    finally:  # even if the launcher has ended
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # none is left; on macOS: none but a zombie
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    os._exit(main())  # without waiting for the thread, which reads on
