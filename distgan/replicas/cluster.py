"""The meeting of the processes that a launcher started, from which TensorFlow gets the address of each.

TensorFlow's `MultiWorkerMirroredStrategy` reads the addresses of all workers in TF_CONFIG. A launcher sets ranks, and
at most the host of rank 0. So rank 0 listens, the others report where their TensorFlow will listen, and get the list.

A report is a line: the job, the rank, the number of ranks, a port and a host. Rank 0 answers at once with the job, so
that no other program is taken for it, and at the end with `workers` and their addresses, `missing` and ranks, or
`refused` and a sentence.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import itertools
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from typing import NamedTuple

from distgan.errors import AloneError, UserError
from distgan.replicas import launcher, watchdog

PAUSE_SECONDS, ANSWER_SECONDS = 0.1, 5.0
CHIEF_FIRST_SECONDS = 2.0  # the others wait longer than rank 0, which knows who is missing
REPORT_BYTES, ANSWER_BYTES = 512, 2**22  # of a line, at most
NUM_PORTS, FIRST_PORT = 8, 20_000
THIS_HOST = "127.0.0.1"

# By launcher, the variables that all ranks of a job share, and other jobs do not. Not torchrun's number of restarts,
# which each host counts for itself, and with mpirun no MASTER_PORT, which only the ranks on its own host inherit.
_OF_JOB = {
    "HOROVOD_SIZE": ("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT"),
    "WORLD_SIZE": ("MASTER_PORT", "DISTGAN_JOB", "TORCHELASTIC_RUN_ID"),
    "OMPI_COMM_WORLD_SIZE": ("PMIX_NAMESPACE",),
    "PMI_SIZE": ("MASTER_PORT", "PMI_JOBID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"),
    "PET_NNODES": ("PET_MASTER_PORT",),
    "SLURM_STEP_NUM_TASKS": ("MASTER_PORT", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
}


@contextlib.contextmanager
def formed(timeout_seconds: float, environment: MutableMapping[str, str] = os.environ) -> Iterator[tuple[int, int]]:
    """Set TF_CONFIG, unless it is set, and yield this worker's index among those of its host, and their number.

    While the context lasts, on Linux, this process's port of TF_CONFIG is given to no other. Raises `UserError` if
    there is no launcher or its variables contradict each other, `AloneError` if the processes do not meet.
    """
    if place := launcher.worker_of_host(environment):
        yield place
        return
    launch = _Launch.of(environment)
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # gRPC sets it too, so it can listen there
        holder.bind(("", 0))
        meet = _report if launch.rank else _answer
        workers = asyncio.run(meet(launch, holder.getsockname()[1], timeout_seconds))
        task = {"type": "worker", "index": launch.rank}
        environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
        # Without it, gRPC connects through the proxy that the environment names.
        environment.setdefault("no_grpc_proxy", ",".join({worker.rpartition(":")[0] for worker in workers}))
        if os.uname().sysname != "Linux":  # on macOS nobody can listen at a port that another socket has
            holder.close()
        watchdog.starts()  # TensorFlow connects from now on, and has as much time again
        yield launcher.worker_of_host(environment) or (0, 1)


class _Launch(NamedTuple):
    """This process's rank, the number of ranks, where rank 0 may listen, and a word that names the job."""

    rank: int
    size: int
    host: str
    ports: range
    job: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "_Launch":
        """Read it from the variables of the launcher. Raises `UserError` if they are not enough."""
        rank, size = launcher.launched_rank(environment), launcher.launched_size(environment)
        if size < 2:
            raise UserError(
                "--backend=multiworker needs several processes: start them with torchrun, srun, mpirun or "
                "`python -m distgan.launch`, or set TF_CONFIG in each; see docs/launch.md."
            )
        if rank >= size:
            raise UserError(f"The launcher's variables give rank {rank} of {size}, counted from 0: correct them.")
        started_by = launcher.launched_by(environment)
        facts = {name: environment.get(name) for name in _OF_JOB.get(started_by, ())}
        digest = hashlib.sha256(repr((started_by, facts)).encode()).hexdigest()[:32]
        named = launcher.number(environment, "MASTER_PORT") if facts.get("MASTER_PORT") else 0
        first = min(named + 1 if named else FIRST_PORT + int(digest[:3], 16), 2**16 - NUM_PORTS)
        return cls(rank, size, _host_of_chief(environment), range(first, first + NUM_PORTS), f"distgan1.{digest}")


def _host_of_chief(environment: Mapping[str, str]) -> str:
    if launcher.is_on_one_host(environment):
        return THIS_HOST
    # mpirun starts its daemons as a step, which leaves out its own host.
    by_mpirun = launcher.launched_by(environment).startswith("OMPI")
    nodes = environment.get("SLURM_JOB_NODELIST" if by_mpirun else "SLURM_STEP_NODELIST", "")
    first = re.sub(r"\[(\w+)[^]]*\]", r"\1", nodes).partition(",")[0]  # node01 of node[01-03,07],x2
    host = environment.get("MASTER_ADDR") or environment.get("PET_MASTER_ADDR") or first
    if not host:
        raise UserError("Set MASTER_ADDR to the host of rank 0, for all ranks (`mpirun -x MASTER_ADDR=host`).")
    return host.strip("[]")


class _Chief:
    """Rank 0, to which the others report."""

    def __init__(self, launch: _Launch) -> None:
        self._launch = launch
        self._host = ""  # the address of this host for others
        self._writers: list[asyncio.StreamWriter] = []
        self.workers: dict[int, tuple[str, int]] = {}  # by rank, the host, if it is not this one, and the port
        self.all_are_here: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a report, and forget it if its process ends too soon. What is no report of this job is not answered."""
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(ANSWER_SECONDS):
                job, *numbers, host = (await reader.readline()).decode("ascii").split()
            rank, size, port = map(int, numbers)
            address = ipaddress.ip_address(host)
            if job != self._launch.job or self.all_are_here.done() or not 0 < port < 2**16:
                return
            reached = writer.get_extra_info("sockname")[0].removeprefix("::ffff:")
            is_here = address.is_loopback or host == reached
            self._host = reached if not is_here else self._host or reached
            self._writers.append(writer)
            writer.write(f"{job}\n".encode())
            self._add(rank, size, ("" if is_here else host, port))
            with contextlib.suppress(OSError):
                await reader.read(1)  # returns when the process has ended or has the answer
            if not self.all_are_here.done():
                self._writers.remove(writer)
                del self.workers[rank]

    def _add(self, rank: int, size: int, place: tuple[str, int]) -> None:
        advice = "start all with one launcher, and give each job its own MASTER_PORT."
        if size != self._launch.size:
            sizes = f"one of {size} processes, and rank 0 as one of {self._launch.size}"
            self.all_are_here.set_exception(UserError(f"Rank {rank} was started as {sizes}: {advice}"))
        elif rank in self.workers or not 0 < rank < size:
            self.all_are_here.set_exception(UserError(f"Two processes have rank {rank} of {size}: {advice}"))
        else:
            self.workers[rank] = place
            if len(self.workers) == size - 1:
                self.all_are_here.set_result(None)

    def addresses(self, own_port: int) -> list[str]:
        """Return the address of each rank."""
        places = [("", own_port), *(self.workers[rank] for rank in range(1, self._launch.size))]
        return [_joined(host or self._host, port) for host, port in places]

    async def tell(self, *words: object) -> None:
        """Send the last line to all who reported."""
        for writer in self._writers:
            writer.write(" ".join(map(str, words)).encode() + b"\n")
            writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"  # brackets around IPv6


async def _answer(launch: _Launch, own_port: int, timeout_seconds: float) -> list[str]:
    """Return the addresses of all ranks, as rank 0, and send them to the others."""
    chief = _Chief(launch)
    server = await _listen(launch, chief)
    try:
        async with asyncio.timeout(timeout_seconds):
            await chief.all_are_here
    except TimeoutError:
        missing = [rank for rank in range(1, launch.size) if rank not in chief.workers]
        await chief.tell("missing", *missing)
        raise AloneError.of_start(0, timeout_seconds, missing) from None
    except UserError as error:
        await chief.tell("refused", error)
        raise
    finally:
        server.close()
    addresses = chief.addresses(own_port)
    await chief.tell("workers", *addresses)
    return addresses


async def _listen(launch: _Launch, chief: _Chief) -> asyncio.Server:
    """Listen at the first candidate port that is free."""
    for port in launch.ports:
        with contextlib.suppress(OSError):
            host = THIS_HOST if launch.host == THIS_HOST else None  # None: all addresses, of IPv6 too
            return await asyncio.start_server(chief.receive, host, port, limit=REPORT_BYTES)
    raise UserError(f"Rank 0 finds no free port from {launch.ports[0]} to {launch.ports[-1]}: set another MASTER_PORT.")


async def _report(launch: _Launch, own_port: int, timeout_seconds: float) -> list[str]:
    """Return the addresses of all ranks, as another rank than 0."""
    missing = [f"0 at {launch.host}, ports {launch.ports[0]} to {launch.ports[-1]}"]
    kind = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds + CHIEF_FIRST_SECONDS):
            for port in itertools.cycle(launch.ports):
                kind, *words = await _ask(launch, port, own_port, missing)
                if kind:
                    break
                await asyncio.sleep(PAUSE_SECONDS)
    if kind == "workers" and len(words) == launch.size:
        return words
    if kind == "refused":
        raise UserError(" ".join(words))
    raise AloneError.of_start(launch.rank, timeout_seconds, words if kind == "missing" else missing)


async def _ask(launch: _Launch, port: int, own_port: int, missing: list[str]) -> list[str]:
    """Report at a port of rank 0's host; return its last line as words, or an empty one if rank 0 is not there.

    Empties `missing` if it is.
    """
    with contextlib.suppress(OSError, ValueError):
        found = await asyncio.get_running_loop().getaddrinfo(launch.host, port, type=socket.SOCK_STREAM)
        family = min(family for family, *_ in found)  # of IPv4, if both: all ranks of a host must give one address
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(launch.host, port, family=family, limit=ANSWER_BYTES)
        with contextlib.closing(writer):
            own_host = writer.get_extra_info("sockname")[0]
            writer.write(f"{launch.job} {launch.rank} {launch.size} {own_port} {own_host}\n".encode())
            async with asyncio.timeout(ANSWER_SECONDS):
                is_chief = await reader.readline() == f"{launch.job}\n".encode()
            if is_chief:
                missing.clear()
                line = await reader.readline()
                return (line.decode().split() if line.endswith(b"\n") else []) or [""]
    return [""]
