"""A process that makes no progress is ended by its parent, which hands on what it is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import layouts
import limits
import pytest
import small_runs

GUARDED = """
import sys, time
from distgan.replicas import watchdog

def main():
    print("begun", flush=True)
    {body}
    return 7

sys.exit(watchdog.guard(main, {timeout}, {start_timeout}))
"""


def _start(body: str, timeout_seconds: float = 4, start_timeout_seconds: float = 1000) -> subprocess.Popen[str]:
    code = GUARDED.format(body=body, timeout=timeout_seconds, start_timeout=start_timeout_seconds)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    return process


def _child(process: subprocess.Popen[str]) -> int:
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=limits.LIMIT_SECONDS)
    return process.returncode, output, errors


def test_the_exit_status_is_the_child_s() -> None:
    assert _end(_start("pass"))[0] == 7


def test_a_sign_of_life_now_and_then_is_enough() -> None:
    assert _end(_start("[(watchdog.works(), time.sleep(0.5)) for _ in range(12)]", timeout_seconds=4))[0] == 7


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("watchdog.works(); time.sleep(100)", "has made no progress in its own work for 2 seconds"),
        ("watchdog.waits(); time.sleep(100)", "has waited for others, or its device, for 4 seconds"),
    ],
)
def test_one_that_hangs_is_ended_with_the_reason_and_the_place(body: str, why: str) -> None:
    status, _, errors = _end(_start(body))
    assert status == 4
    assert f"distgan: rank 0 {why}, so it was ended; rerun the command to resume from the last checkpoint." in errors
    assert 'File "<string>"' in errors  # where it hung


def test_a_frozen_one_is_ended() -> None:
    process = _start("time.sleep(100)")
    os.kill(_child(process), signal.SIGSTOP)
    status, _, errors = _end(process)
    assert status == 4
    assert "rank 0 has been frozen for 2 seconds" in errors


def test_a_frozen_one_that_is_asked_to_stop_is_named_at_once() -> None:
    process = _start("time.sleep(100)", timeout_seconds=1000)
    os.kill(_child(process), signal.SIGSTOP)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    status, _, errors = _end(process)
    assert status == 4
    assert "rank 0 is frozen and could not save a checkpoint" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_handed_on(number: signal.Signals) -> None:
    handler = f"import signal; signal.signal({number.value}, lambda *_: sys.exit(9)); print('ready', flush=True)"
    process = _start(f"{handler}; time.sleep(100)", timeout_seconds=1000)
    assert process.stdout
    process.stdout.readline()
    process.send_signal(number)
    assert _end(process)[0] == 9


def test_the_child_dies_with_its_parent() -> None:
    process = _start("time.sleep(100)", timeout_seconds=1000)
    child = _child(process)
    process.kill()
    process.communicate()
    command = Path(f"/proc/{child}/cmdline")
    limits.wait_until(lambda: not command.exists() or not command.read_bytes(), "end of the child")


def test_a_killed_child_is_seen_as_killed() -> None:
    process = _start("time.sleep(100)", timeout_seconds=1000)
    os.kill(_child(process), signal.SIGKILL)
    assert _end(process)[0] == -signal.SIGKILL


def test_an_aborted_child_is_seen_as_aborted() -> None:
    assert _end(_start("import os; os.abort()"))[0] == -signal.SIGABRT


def test_one_that_does_not_meet_the_others_is_ended_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_SIZE", "4")
    monkeypatch.setenv("HOROVOD_RANK", "2")
    status, _, errors = _end(_start("watchdog.starts(); time.sleep(100)", start_timeout_seconds=1))
    assert status == 4
    assert errors == (
        "distgan: rank 2 could not connect to the others within 1 seconds: check that all run, "
        "or raise --start_timeout_seconds.\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_a_rank_that_hangs_under_a_launcher_is_named_and_the_run_ends(tmp_path: Path) -> None:
    (job,) = layouts.start(
        layouts.Layout("horovod", 2), "-m", "distgan.train",
        *small_runs.flags(tmp_path, steps=100_000, stall_timeout_seconds=30),
    )  # fmt: skip
    small_runs.wait_for_step(tmp_path, 5, [job])
    small_runs.workers(tmp_path)[-1].suspend()
    output = limits.output_of(job)
    assert job.returncode != 0
    assert "has been frozen for 15 seconds" in output or "is frozen and could not save" in output
