"""Processes are killed, frozen and added under a real `horovodrun --min-np`; nothing of it shows in the result.

`localhost` and `127.0.0.1` stand for two hosts: where a process has failed, Horovod bans its host for some seconds.
"""

import io
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any, Never

import layouts
import pytest
import small_runs
from elastic_jobs import DISCOVER, Job, Rank, assert_undisturbed

from distgan.config import Config
from distgan.errors import LEFT, AloneError
from distgan.replicas.base import Replicas
from distgan.training import elastic, loop

FROZEN_SECONDS = 20
pytestmark = pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)


def _kill(ranks: list[Rank], number: signal.Signals = signal.SIGKILL) -> None:
    for rank in ranks:
        rank.process.send_signal(number)


@pytest.mark.slow
def test_those_that_are_left_go_on_when_others_are_killed(tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:1", "127.0.0.1:2", log_every_steps=6, steps_per_call=5)
    job.wait_for_start(processes=3)
    for who in ("one of three", "two of three", "the chief"):
        ranks = job.wait_for_ranks(3)
        _kill({
            "one of three": [rank for rank in ranks if rank.host == "localhost"],
            "two of three": [rank for rank in ranks if rank.host == "127.0.0.1"],
            "the chief": ranks[:1],
        }[who])  # fmt: skip
        job.wait_for_start(processes=3)
    said = job.stop()
    assert len(re.findall(r"resumes from step \d+, which rank \d has in memory", said)) >= 3, said
    assert ">:Traceback" not in said  # of a rank; the launcher's own server may print one where a rank dies as it asks
    assert_undisturbed(job)


@pytest.mark.slow
def test_all_can_be_replaced_one_by_one_a_frozen_one_is_left_behind_and_others_are_taken_in(tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:1", "127.0.0.1:1", stall_timeout_seconds=2 * FROZEN_SECONDS)
    job.wait_for_start(processes=2)
    first = job.wait_for_ranks(2)
    _kill(first[:1])
    job.wait_for_start(processes=2)
    _kill(first[1:], signal.SIGSTOP)
    job.wait_for_start(processes=2)
    assert f"rank {first[1].rank} has been frozen for {FROZEN_SECONDS} seconds, so it was ended" in job.output()
    second = {rank.process for rank in job.wait_for_ranks(2)}
    assert not {rank.process for rank in first} & second
    job.set_hosts("localhost:2", "127.0.0.1:2")
    job.wait_for_start(processes=4)
    assert second < {rank.process for rank in job.ranks()}  # with no restart of those that were there
    job.stop()
    assert_undisturbed(job)


def test_a_signal_that_comes_just_before_a_loss_is_answered_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = loop.train

    def is_told_to_end_and_loses_others(*of_run: Any) -> Never:
        monkeypatch.setattr(loop, "train", goes_on)
        of_run[-1].append(signal.SIGTERM)
        raise loop.Regrouping

    monkeypatch.setattr(loop, "train", is_told_to_end_and_loses_others)
    monkeypatch.setattr(Replicas, "regroup", lambda _: None)
    config = Config(**small_runs.SMALL, run_dir=str(tmp_path), steps=100)
    trainer, stopped_by = elastic.train(config, Replicas(), io.StringIO())
    assert stopped_by == signal.SIGTERM
    assert small_runs.checkpoints(tmp_path) == [trainer.step_number]
    assert trainer.step_number < 100


def test_a_process_that_is_not_let_in_again_leaves_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loses_others(*_: Any) -> Never:
        raise loop.Regrouping

    def is_named_no_more(_: Replicas) -> Never:
        raise ValueError("Horovod initialization failed")

    monkeypatch.setattr(loop, "train", loses_others)
    monkeypatch.setattr(Replicas, "regroup", is_named_no_more)
    with pytest.raises(AloneError, match="this process was removed from the elastic job") as left:
        elastic.train(Config(**small_runs.SMALL, run_dir=str(tmp_path)), Replicas(), io.StringIO())
    assert left.value.exit_status == LEFT


def test_hosts_without_a_slot_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "hosts").touch()
    done = subprocess.run(
        [DISCOVER.with_name("elastic.sh")], env=os.environ | {"DISTGAN_HOSTS": str(tmp_path / "hosts")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("No host has a slot: DISTGAN_HOSTS=")
    assert not done.stdout


@pytest.mark.slow
def test_the_launcher_can_be_ended_while_those_that_are_left_wait_for_each_other(tmp_path: Path) -> None:
    job = Job(tmp_path, "localhost:1", "127.0.0.1:2")
    job.wait_for_start(processes=3)
    ranks = job.wait_for_ranks(3)
    _kill(ranks[1:2], signal.SIGSTOP)  # so that the others wait
    _kill(ranks[2:])
    job.wait_for_words("processes were lost")
    said = job.terminate()
    assert "Traceback" not in said, said
    assert not job.ranks()
