"""Processes of any launcher meet, and know where TensorFlow of each will listen; without TensorFlow."""

import asyncio
import contextlib
import json
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distgan.errors import AloneError, UserError
from distgan.replicas import cluster, launcher

ENOUGH_SECONDS = 60.0
Environment = dict[str, str]


def _torchrun(rank: int, size: int, port: int) -> Environment:
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "TORCHELASTIC_RESTART_COUNT": str(rank)}
    return own | {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "no-such-host.invalid",
                  "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "none"}  # fmt: skip


def _torchrun_on_two_hosts(rank: int, size: int, port: int) -> Environment:
    return _torchrun(rank, size, port) | {"LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}


def _ours(rank: int, size: int, port: int) -> Environment:
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    return own | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "DISTGAN_JOB": f"job of {port}"}


def _srun(rank: int, size: int, port: int) -> Environment:
    own = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": str(size)}
    return own | {"SLURM_STEP_TASKS_PER_NODE": f"1(x{size})", "SLURM_STEP_NODELIST": "127.0.0.[1-4]",
                  "SLURM_JOB_ID": str(port), "SLURM_STEP_ID": "0"}  # fmt: skip


def _srun_pmi2(rank: int, size: int, port: int) -> Environment:
    return _srun(rank, size, port) | {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "PMI_JOBID": f"{port}.0"}


def _mpirun(rank: int, size: int, port: int) -> Environment:
    names = {"RANK": rank, "SIZE": size, "LOCAL_RANK": rank, "LOCAL_SIZE": size}
    return {f"OMPI_COMM_WORLD_{name}": str(value) for name, value in names.items()} | {"PMIX_NAMESPACE": str(port)}


def _mpirun_on_two_hosts(rank: int, size: int, port: int) -> Environment:
    on_the_first_only = {"MASTER_PORT": "1"} if rank == 0 else {}  # as it is not given to mpirun
    others = {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "MASTER_ADDR": "localhost"}
    return _mpirun(rank, size, port) | others | on_the_first_only


def _mpiexec(rank: int, size: int, port: int) -> Environment:
    return {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "MPI_LOCALRANKID": str(rank), "MPI_LOCALNRANKS": str(size),
            "PMI_JOBID": str(port)}  # fmt: skip


def _indexed_job(rank: int, size: int, port: int) -> Environment:
    own = {"JOB_COMPLETION_INDEX": str(rank), "WORLD_SIZE": str(size)}
    return own | {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}


def _kubeflow(rank: int, size: int, port: int) -> Environment:
    return {"PET_NODE_RANK": str(rank), "PET_NNODES": str(size), "PET_MASTER_ADDR": "localhost",
            "PET_MASTER_PORT": str(port)}  # fmt: skip


LAUNCHERS = (
    _torchrun, _torchrun_on_two_hosts, _ours, _srun, _srun_pmi2, _mpirun, _mpirun_on_two_hosts, _mpiexec, _indexed_job,
    _kubeflow,
)  # fmt: skip


class Process(threading.Thread):
    """A rank in a thread, that has met the others when it ends: its environment then, and its place or its error."""

    def __init__(self, environment: Environment, timeout_seconds: float = ENOUGH_SECONDS) -> None:
        super().__init__()
        self.environment, self.place, self.error = environment, (0, 0), ""
        self._timeout_seconds = timeout_seconds
        self.start()

    def run(self) -> None:
        try:
            with cluster.formed(self._timeout_seconds, self.environment) as self.place:
                _assert_that_only_tensorflow_can_listen(_port_of(self._workers()[self._index()]))
        except (AloneError, UserError) as error:
            self.error = f"{type(error).__name__}: {error}"

    def workers(self) -> list[str]:
        """Wait until all have met; the addresses of all."""
        self.join()
        assert not self.error
        return self._workers()

    def said(self) -> str:
        """Wait for the end; the error."""
        self.join()
        return self.error

    def _workers(self) -> list[str]:
        return list(json.loads(self.environment["TF_CONFIG"])["cluster"]["worker"])

    def _index(self) -> int:
        return int(json.loads(self.environment["TF_CONFIG"])["task"]["index"])


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def _assert_that_only_tensorflow_can_listen(port: int) -> None:
    """gRPC sets SO_REUSEADDR, and listens for both versions of IP where it can."""
    both = socket.has_dualstack_ipv6()
    with socket.create_server(("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both):
        pass
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("", port))


def _assert_that_all_can_listen(port: int) -> None:
    with socket.socket() as other:  # without SO_REUSEADDR
        other.bind(("", port))
        other.listen()


@pytest.fixture
def port() -> int:
    """A number that no other test has as its port or job, before eight free ports that the system gives to nobody."""
    while True:
        first = random.SystemRandom().randrange(25_000, 32_000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for candidate in range(first, first + cluster.NUM_PORTS + 1):
                stack.enter_context(socket.create_server(("", candidate)))
            return first


def _chief_s_port(environment: Environment, at: int = 0) -> tuple[str, int]:
    return cluster.THIS_HOST, cluster._Launch.of(environment).ports[at]


def _send(address: tuple[str, int], line: bytes) -> socket.socket:
    """Send a line to rank 0 as soon as it listens."""
    for _ in range(1000):
        with contextlib.suppress(ConnectionRefusedError):
            connection = socket.create_connection(address, timeout=ENOUGH_SECONDS)
            connection.sendall(line)
            return connection
        threading.Event().wait(0.01)
    raise AssertionError(f"nothing listens at {address}")


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("launched", LAUNCHERS)
def test_ranks_of_every_launcher_get_the_addresses_of_all(
    launched: Callable[[int, int, int], Environment], size: int, port: int
) -> None:
    ranks = [Process(launched(rank, size, port)) for rank in reversed(range(size))][::-1]
    workers = ranks[0].workers()
    assert len({_port_of(worker) for worker in workers}) == size
    for rank, process in enumerate(ranks):
        assert process.workers() == workers
        assert json.loads(process.environment["TF_CONFIG"])["task"] == {"type": "worker", "index": rank}
        assert process.environment["no_grpc_proxy"] == "127.0.0.1"
        assert process.place == (rank, size)
        assert launcher.own_rank(process.environment) == rank


def test_on_macos_no_socket_is_in_tensorflow_s_way(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Darwin", "mac", "24", "", "arm64")))
    monkeypatch.setitem(globals(), "_assert_that_only_tensorflow_can_listen", _assert_that_all_can_listen)
    ranks = [Process(_ours(rank, 2, port)) for rank in range(2)]
    assert ranks[0].workers() == ranks[1].workers()


def test_a_tf_config_is_left_as_it_is() -> None:
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    environment = {"TF_CONFIG": json.dumps(config)}
    with cluster.formed(ENOUGH_SECONDS, environment) as place:
        assert place == (0, 1)
    assert environment == {"TF_CONFIG": json.dumps(config)}


def test_a_tf_config_of_one_machine_gives_way_to_the_launcher(port: int) -> None:
    alone = {"TF_CONFIG": json.dumps({"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}})}
    ranks = [Process(alone | _ours(rank, 2, port)) for rank in range(2)]
    assert ranks[0].workers() == ranks[1].workers()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_addresses_of_ipv6_have_brackets(port: int) -> None:
    ranks = [Process(_indexed_job(rank, 2, port) | {"MASTER_ADDR": "[::1]"}) for rank in range(2)]
    assert [worker.rpartition(":")[0] for worker in ranks[1].workers()] == ["[::1]", "[::1]"]
    assert ranks[1].place == (1, 2)


@contextlib.contextmanager
def _program_at(address: tuple[str, int], answer: bytes) -> Iterator[None]:
    """A server that sends an answer to each connection, and keeps it open."""
    with socket.create_server(address) as server, contextlib.ExitStack() as connections:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the server is closed
                while True:
                    connections.enter_context(server.accept()[0]).sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 100_000, b"\xff\n", b"JOB\n\n", b"JOB\n\xff\n"],
    ids=["silent", "http", "long", "binary", "empty", "binary at the end"],
)
def test_another_program_is_not_taken_for_rank_0(answer: bytes, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    job = cluster._Launch.of(_ours(0, 2, port)).job.encode()
    with _program_at(_chief_s_port(_ours(0, 2, port)), answer.replace(b"JOB", job)):
        ranks = [Process(_ours(rank, 2, port)) for rank in range(2)]
        assert ranks[0].workers() == ranks[1].workers()


def test_two_jobs_with_one_port_do_not_mix(port: int) -> None:
    first, second = ([_ours(rank, 2, port) | {"DISTGAN_JOB": job} for rank in range(2)] for job in ("a", "b"))
    chief = Process(first[0])
    _send(_chief_s_port(first[0]), b"").close()  # it listens now
    theirs = [Process(environment) for environment in second]
    assert theirs[0].workers() == theirs[1].workers()
    assert chief.is_alive()
    assert Process(first[1]).workers() == chief.workers()
    assert not set(chief.workers()) & set(theirs[0].workers())


def test_what_is_no_report_is_not_answered_and_harms_nobody(port: int) -> None:
    environments = [_ours(rank, 2, port) for rank in range(2)]
    job = cluster._Launch.of(environments[0]).job.encode()
    chief = Process(environments[0])
    for line in (
        b"\n", b"\x00\xff\xfe\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 10_000, b"[" * 400 + b"\n", job + b"\n",
        job + b" 1 2 3\n", job + b" one 2 3 127.0.0.1\n", job + b" 1 2 3 no.address\n",
        job + b" 1 2 70000 127.0.0.1\n", b"other 1 2 3 127.0.0.1\n",
        job + b" " + b"9" * 400 + b"e 2 3 127.0.0.1\n", "³".encode() + b"\n",
    ):  # fmt: skip
        reset = contextlib.suppress(ConnectionResetError)
        with _send(_chief_s_port(environments[0]), line) as connection, reset:
            assert connection.recv(1) == b"", line
    silent = _send(_chief_s_port(environments[0]), job)
    assert Process(environments[1]).workers() == chief.workers()
    silent.close()


def test_a_rank_that_ended_may_come_again(port: int) -> None:
    environments = [_ours(rank, 3, port) for rank in range(3)]
    job = cluster._Launch.of(environments[0]).job.encode()
    chief = Process(environments[0])
    with _send(_chief_s_port(environments[0]), job + b" 1 3 9 127.0.0.1\n") as connection:
        assert connection.recv(100) == job + b"\n"
    ranks = [Process(environment) for environment in environments[1:]]
    assert ranks[0].workers() == ranks[1].workers() == chief.workers()
    assert 9 not in map(_port_of, chief.workers())


def test_missing_ranks_are_named_by_all(port: int) -> None:
    ranks = [Process(_ours(rank, 4, port), 1.0) for rank in (0, 2)]
    for rank, process in zip((0, 2), ranks, strict=True):
        assert process.said() == (
            f"AloneError: rank {rank} could not connect to the others within 1 seconds (missing: rank 1, 3): check "
            "that all run, or raise --start_timeout_seconds."
        )


def test_a_missing_rank_0_is_named_with_its_place(port: int) -> None:
    assert f"within 0.5 seconds (missing: rank 0 at 127.0.0.1, ports {port + 1} to {port + 8})" in (
        Process(_ours(1, 2, port), 0.5).said()
    )


@pytest.mark.parametrize(
    ("other", "sentence"),
    [((1, 3), "Two processes have rank 1 of 3: start all with one launcher, and give each job its own MASTER_PORT."),
     ((1, 4), "Rank 1 was started as one of 4 processes, and rank 0 as one of 3: start all with one launcher, and give "
              "each job its own MASTER_PORT.")],
)  # fmt: skip
def test_ranks_that_contradict_each_other_are_refused_by_all(other: tuple[int, int], sentence: str, port: int) -> None:
    chief = Process(_ours(0, 3, port))
    job = cluster._Launch.of(chief.environment).job.encode()
    with _send(_chief_s_port(chief.environment), job + b" 1 3 9 127.0.0.1\n") as first:
        assert first.recv(len(job) + 1) == job + b"\n"
        second = Process(_ours(*other, port))
        assert {chief.said(), second.said()} == {f"UserError: {sentence}"}
        assert first.recv(1000).decode() == f"refused {sentence}\n"


def test_a_row_of_occupied_ports_is_reported(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for candidate in cluster._Launch.of(_ours(0, 2, port)).ports:
            with contextlib.suppress(OSError):  # occupied by another program already
                stack.enter_context(socket.create_server((cluster.THIS_HOST, candidate)))
        assert Process(_ours(0, 2, port)).said() == (
            f"UserError: Rank 0 finds no free port from {port + 1} to {port + 8}: set another MASTER_PORT."
        )


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node1", "node1"), ("node1,node2", "node1"), ("node[01-03,07],x2", "node01"), ("a[3,5-7]", "a3"),
     ("rack[1-2]node[09-12]", "rack1node09"), ("gpu-[7-8].example", "gpu-7.example"), ("x,node[1-2]", "x")],
)  # fmt: skip
def test_rank_0_is_on_the_first_host_of_slurm_s_list(nodes: str, first: str) -> None:
    assert cluster._Launch.of(_srun(1, 2, 1) | {"SLURM_STEP_NODELIST": nodes}).host == first


ELSEWHERE = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
ALLOCATED = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_STEP_NODELIST": "n2"}


@pytest.mark.parametrize(
    ("environment", "host"),
    [(ELSEWHERE | {"MASTER_ADDR": "a"}, "a"), (ELSEWHERE | ALLOCATED, "n1"),
     (ELSEWHERE | ALLOCATED | {"MASTER_ADDR": "a"}, "a"),
     (ELSEWHERE | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, "127.0.0.1"),
     (ALLOCATED | {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "SLURM_STEP_TASKS_PER_NODE": "2,1(x2)"}, "n2"),
     (ALLOCATED | {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "SLURM_STEP_TASKS_PER_NODE": "4"}, "127.0.0.1")],
)  # fmt: skip
def test_rank_0_is_looked_for_where_the_launcher_has_put_it(environment: Environment, host: str) -> None:
    assert cluster._Launch.of(environment).host == host


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [({}, "--backend=multiworker needs several processes: start them with torchrun"),
     ({"RANK": "1"}, "needs several processes"), ({"RANK": "0", "WORLD_SIZE": "1"}, "needs several processes"),
     ({"RANK": "2", "WORLD_SIZE": "2"}, "rank 2 of 2, counted from 0"),
     ({"RANK": "0", "WORLD_SIZE": "2"}, "Set MASTER_ADDR to the host of rank 0"), (ELSEWHERE, "Set MASTER_ADDR"),
     ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x is refused: it must be a number"),
     ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "http"}, "MASTER_PORT=http is refused")],
)  # fmt: skip
def test_an_environment_that_is_not_enough_is_refused(environment: Environment, sentence: str) -> None:
    assert sentence in Process(environment).said()


class Connection:
    """A connection to rank 0 at one of the addresses of its host."""

    def __init__(self, reached: str) -> None:
        self._reached = reached

    def get_extra_info(self, name: str) -> tuple[str, int]:
        assert name == "sockname"
        return self._reached, 1

    def write(self, line: bytes) -> None:
        """Take the answer."""

    def close(self) -> None:
        """End."""


def test_ranks_of_rank_0_s_host_are_found_where_other_hosts_find_it() -> None:
    launch = cluster._Launch(0, 5, "node0", range(1), "job")
    loopback, other_interface = ("127.0.0.1", "127.0.1.1"), ("192.168.0.1", "192.168.0.1")
    reports = [loopback, ("10.0.0.7", "::ffff:10.0.0.1"), other_interface, ("10.0.0.7", "10.0.0.1")]

    async def meet() -> list[str]:
        chief, readers, receiving = cluster._Chief(launch), [], []
        for rank, (host, reached) in enumerate(reports, 1):
            readers.append(asyncio.StreamReader())
            readers[-1].feed_data(f"job {rank} 5 {rank} {host}\n".encode())
            writer: Any = Connection(reached)
            receiving.append(asyncio.create_task(chief.receive(readers[-1], writer)))
        await chief.all_are_here
        for reader in readers:
            reader.feed_eof()
        await asyncio.gather(*receiving)
        return chief.addresses(9)

    assert asyncio.run(meet()) == ["10.0.0.1:9", "10.0.0.1:1", "10.0.0.7:2", "10.0.0.1:3", "10.0.0.7:4"]
