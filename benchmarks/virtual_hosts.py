#!/usr/bin/env python3
"""Makes several hosts of this machine, to try a launch over a network without having one.

    sudo env "PATH=$PATH" benchmarks/virtual_hosts.py horovodrun -np 4 -H host1:2,host2:2 python -m distgan.train
    sudo benchmarks/virtual_hosts.py --hosts=3 --gbits=1 --delay_ms=1 bash

Runs a command on host1. Each host has a name, an address (host1 is 10.77.0.1), processes and sshd of its own, in Linux
namespaces, and a cable to a switch; the processor, the memory and the files are this machine's. Nothing of it is seen
from outside, nothing of this machine's network is touched, and when the command ends all of it is gone, but for an
empty ~/.ssh where root had none. Needs Linux, root, and of the distribution iproute2, util-linux, openssh-server and
-client; --delay_ms a kernel with netem.
"""

import argparse
import contextlib
import functools
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SSHD = "/usr/sbin/sshd"  # it starts itself anew for each guest, so it asks for its whole path
READY_SECONDS = 10.0


class HostsError(RuntimeError):
    """The hosts can't be made here; one sentence that says why."""


class VirtualHosts:
    """Hosts with names, a switch that joins them, and what happens to their cables."""

    def __init__(self, count: int, directory: Path) -> None:
        """Prepare `count` hosts whose keys and settings go into `directory`. Raises `HostsError` where it can't be."""
        self.names = [f"host{number}" for number in range(1, count + 1)]
        self._addresses = {name: f"10.77.0.{number}" for number, name in enumerate(self.names, 1)}
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._pids: dict[str, int] = {}
        missing = why_not()
        if missing:
            raise HostsError(missing)

    def on(self, host: str, *command: str) -> list[str]:
        """The command that runs `command` on a host."""
        inside = [f"--target={self._pids[host]}", "--net", "--uts", "--mount", "--pid", f"--wd={os.getcwd()}"]
        return ["nsenter", *inside, "--", *command]

    def cut(self, host: str) -> None:
        """Pull the cable out of a host: what is sent to it or by it is lost, and nobody is told."""
        self._on_switch("ip", "link", "set", host, "down")

    def mend(self, host: str) -> None:
        """Put the cable back."""
        self._on_switch("ip", "link", "set", host, "up")

    def slow(self, gbits: float | None, delay_ms: float | None = None) -> None:
        """Make all cables carry so many Gbit/s each way, and take so long. Raises `HostsError` where tc can't."""
        for host in self.names:  # what leaves a host waits in it; what comes to one, in the switch
            for at, interface in ((host, "eth0"), ("switch", host)):
                with contextlib.suppress(HostsError):  # it may be as fast as it was made
                    self._run(*self.on(at, "tc", "qdisc", "del", "dev", interface, "root"))
                parent = ["root", "handle", "1:"]
                add = ["tc", "qdisc", "add", "dev", interface]
                if gbits:
                    burst = max(2**18, gbits * 1e9 / 8 / 250)  # bytes: what passes between two ticks of a slow clock
                    rate = ["rate", f"{gbits * 1e9:.0f}bit", "burst", f"{burst:.0f}", "latency", "100ms"]
                    self._run(*self.on(at, *add, *parent, "tbf", *rate))
                    parent = ["parent", "1:1"]
                if delay_ms:
                    delay = ["delay", f"{delay_ms / 2:.3f}ms", "limit", "100000"]
                    self._run(*self.on(at, *add, *parent, "netem", *delay))

    def __enter__(self) -> "VirtualHosts":
        """Make them. Raises `HostsError` where something refuses."""
        try:
            self._write_settings()
            self._start("switch", "ip link set lo up; ip link add bridge type bridge; ip link set bridge up")
            for name in self.names:
                self._start(name, self._host(name), then=f"exec {SSHD} -D -e -f {self._directory}/sshd_config")
                pid = str(self._pids[name])
                self._on_switch("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid)
                self._on_switch("ip", "link", "set", name, "master", "bridge", "up")
                self._run(*self.on(name, "ip", "address", "add", f"{self._addresses[name]}/24", "dev", "eth0"))
                self._run(*self.on(name, "ip", "link", "set", "eth0", "up"))
            for name in self.names:
                self._wait_for(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes of the hosts; all else goes with them."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def _write_settings(self) -> None:
        directory = self._directory
        directory.chmod(0o755)
        ssh = directory / "ssh"
        ssh.mkdir(mode=0o700)
        self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / "id_ed25519"))
        shutil.copy(ssh / "id_ed25519.pub", ssh / "authorized_keys")
        (ssh / "config").write_text("StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n")
        (directory / "sshd_config").write_text(
            f"HostKey {ssh}/id_ed25519\nAuthorizedKeysFile {ssh}/authorized_keys\nPidFile none\nStrictModes no\n"
            "UsePAM no\nPermitRootLogin prohibit-password\nMaxStartups 100\nLogLevel ERROR\n"
        )
        lines = [f"{address} {name}" for name, address in self._addresses.items()]
        (directory / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def _host(self, name: str) -> str:
        home, at = Path(pwd.getpwuid(0).pw_dir), self._directory
        (home / ".ssh").mkdir(mode=0o700, exist_ok=True)  # only covered up, in the hosts' own mounts
        return (
            f"hostname {name}; ip link set lo up; mount --bind {at}/ssh {home}/.ssh; "
            f"mount --bind {at}/hosts /etc/hosts; mount -t tmpfs tmpfs /run; mkdir -m 755 /run/sshd"
        )

    def _start(self, name: str, first: str, then: str = "exec sleep infinity") -> None:
        """A host's first process, with whose end all others of it end; returns when `first` is done."""
        ready = self._directory / f"{name}.ready"
        command = ["unshare", "--net", "--uts", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child",
                   "sh", "-c", f"set -e; {first}; touch {ready}; {then}"]  # fmt: skip
        with (self._directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes[name] = process
        self._until(ready.exists, name)
        self._pids[name] = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())

    def _wait_for(self, name: str) -> None:
        command = self.on(self.names[0], "ssh", "-o", "ConnectTimeout=5", name, "true")
        self._until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, name)

    def _until(self, is_so: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not is_so():
            if self._processes[name].poll() is not None or time.monotonic() > deadline:
                said = (self._directory / f"{name}.log").read_text().strip().splitlines()
                raise HostsError(f"{name} does not start: {said[-1] if said else 'it says nothing'}")
            time.sleep(0.02)

    def _on_switch(self, *command: str) -> None:
        self._run("nsenter", f"--target={self._pids['switch']}", "--net", "--", *command)

    @staticmethod
    def _run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HostsError(f"`{shlex.join(command)}` fails: {done.stderr.strip()}")


def why_not() -> str:
    """Why no hosts can be made here; empty where they can."""
    if os.geteuid() != 0:
        return "Only root can make virtual hosts."
    commands = ("ip", "tc", "nsenter", "unshare", "ssh", "ssh-keygen", SSHD)
    missing = [command for command in commands if not shutil.which(command)]
    needs = f"Virtual hosts need {', '.join(missing)}: install iproute2, util-linux and openssh-server."
    return needs if missing else ""


@contextlib.contextmanager
def virtual_hosts(count: int) -> Iterator[VirtualHosts]:
    """So many hosts, until the context is left."""
    with (
        tempfile.TemporaryDirectory(prefix="virtual-hosts-") as directory,
        VirtualHosts(count, Path(directory)) as hosts,
    ):
        yield hosts


def _terminate_child(pid: int) -> None:
    """Of nsenter's, which hands nothing on."""
    with contextlib.suppress(OSError):  # where both have ended
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)


def _run_on_host1(command: list[str]) -> int:
    """Run a command, which also gets the SIGTERM that this process gets; its exit status."""
    signals = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # one that comes as it starts waits until it can be handed on
    unblock = functools.partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, signals)
    process = subprocess.Popen(command, preexec_fn=unblock)  # noqa: PLW1509 (there is one thread)
    signal.signal(signal.SIGTERM, lambda *_: _terminate_child(process.pid))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    return process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--gbits", type=float, help="of each cable, each way; else what the kernel manages")
    parser.add_argument("--delay_ms", type=float, help="from a host to another")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command or not 1 <= given.hosts <= 250:
        parser.error("give a command to run on host1, and 1 to 250 hosts")
    signal.signal(signal.SIGINT, lambda *_: None)  # the command gets it too, and may want to save
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with virtual_hosts(given.hosts) as hosts:
            hosts.slow(given.gbits, given.delay_ms)
            return _run_on_host1(hosts.on("host1", *given.command))
    except HostsError as error:
        print(f"virtual_hosts: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
