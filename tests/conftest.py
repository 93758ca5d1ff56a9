"""What all tests share: no process of theirs stays, and nothing of theirs depends on whose machine it is."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers beside the tests
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import supervisor

if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:  # each takes one core, and so does what it starts
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Have the tests run in a process of their own, whose descendants end with it even if it is killed."""
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist
    if is_worker or supervisor.is_supervised():
        supervisor.adopt_orphans()
        return None
    return supervisor.run_supervised()


# What takes longest begins first, so that no core waits for the other at the end.
LONGEST = (
    "test_every_preset",
    "test_elastic",
    "test_hosts",
    "test_faults",
    "test_resume",
    "test_same_run",
    "test_slurm",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True, scope="module")
def _ends_what_the_module_started() -> Iterator[None]:
    before = supervisor.descendants()
    yield
    supervisor.end_all_but(before)


@pytest.fixture(autouse=True)
def _ends_what_the_test_started() -> Iterator[None]:
    before = supervisor.descendants()
    yield
    supervisor.end_all_but(before)
