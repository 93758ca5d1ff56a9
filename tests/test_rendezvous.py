"""Processes that come late are waited for, and those that do not come are named."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layouts
import limits
import pytest

from distgan.errors import STALLED, AloneError
from distgan.replicas import rendezvous

needs_horovod = pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
ANSWERS = "localhost"


@pytest.fixture
def store() -> Iterator[Any]:
    """That of a launcher."""
    from horovod.runner.http.http_server import RendezvousServer

    store = RendezvousServer()
    yield store
    store.stop()
    store._httpd.server_close()


@pytest.fixture
def server(store: Any) -> tuple[str, int]:
    """Where it answers."""
    return ANSWERS, store.start(address="127.0.0.1")


@needs_horovod
def test_all_wait_for_the_last(server: tuple[str, int]) -> None:
    met: list[int] = []

    def come(rank: int) -> None:
        rendezvous.meet(server, rank, 3, limits.LIMIT_SECONDS)
        met.append(rank)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(3)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(3 * rendezvous.ASK_EVERY_SECONDS)
    assert not met
    threads[2].start()
    for thread in threads:
        thread.join()
    assert sorted(met) == [0, 1, 2]


@needs_horovod
def test_those_that_do_not_come_are_named(server: tuple[str, int]) -> None:
    with pytest.raises(
        AloneError, match=r"rank 1 could not connect to the others within 0.2 seconds \(missing: rank 0, 2\)"
    ):
        rendezvous.meet(server, 1, 3, 0.2)


@needs_horovod
def test_a_launcher_that_is_gone_is_not_waited_for(server: tuple[str, int], store: Any) -> None:
    threading.Timer(1, store._httpd.server_close).start()
    with pytest.raises(AloneError, match=r"rank 0: its launcher exited before all ranks had started\."):
        rendezvous.meet(server, 0, 2, limits.LIMIT_SECONDS)


def test_a_launcher_that_does_not_answer_is_asked_until_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = layouts.free_ports(1)
    with pytest.raises(AloneError) as refusal:
        rendezvous.meet((ANSWERS, port), 0, 2, 0.3)
    assert refusal.value.exit_status == STALLED


@needs_horovod
def test_a_rank_whose_others_do_not_come_ends_with_one_sentence(server: tuple[str, int]) -> None:
    status, output = _start_alone(
        HOROVOD_SIZE="2", HOROVOD_RANK="1", HOROVOD_GLOO_RENDEZVOUS_ADDR=server[0],
        HOROVOD_GLOO_RENDEZVOUS_PORT=str(server[1]),
    )  # fmt: skip
    assert status == STALLED
    assert output.startswith("distgan: rank 1 could not connect to the others within 1 seconds (missing: rank 0)"), (
        output
    )
    assert output.count("\n") == 1


@pytest.mark.slow
def test_a_worker_whose_others_do_not_come_ends_with_one_sentence() -> None:
    addresses = [f"localhost:{port}" for port in layouts.free_ports(2)]
    status, output = _start_alone(TF_CONFIG=layouts.tf_config(addresses, 1))
    assert status == STALLED
    assert "distgan: rank 1 could not connect to the others within 1 seconds: check that all run" in output
    assert "Traceback" not in output


def _start_alone(**environment: str) -> tuple[int, str]:
    """Start one process of several; its exit status, and what it said on standard error."""
    done: Any = limits.run(
        [sys.executable, "-m", "distgan.train", "--steps=1", "--start_timeout_seconds=1"],
        env=os.environ | environment, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    return done.returncode, done.stderr
