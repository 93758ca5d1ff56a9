"""Stop a run in every way there is; the same command goes on to the same bits."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layouts
import limits
import numpy as np
import pytest
import small_runs
from idx_files import write_idx

from distgan.errors import UserError
from distgan.store import checkpoint, lock

STEPS = 60
KILLED_STEPS = 120  # of a run that is killed in its first half
HOROVOD_3, HOROVOD_2 = layouts.Layout("horovod", 3), layouts.Layout("horovod", 2)
needs_horovod = pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)


def _start(layout: layouts.Layout, run_dir: Path, **settings: object) -> list[subprocess.Popen[str]]:
    return layouts.start(layout, "-m", "distgan.train", *small_runs.flags(run_dir, **settings))


def _run(layout: layouts.Layout, run_dir: Path, **settings: object) -> tuple[int, str]:
    return layouts.run(layout, "-m", "distgan.train", *small_runs.flags(run_dir, **settings))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    small_runs.train(run_dir, steps=STEPS, checkpoint_every="20steps")
    return run_dir


@pytest.mark.parametrize(
    "layout", [layouts.SINGLE, pytest.param(HOROVOD_2, marks=[needs_horovod, pytest.mark.slow])], ids=str
)
def test_a_run_killed_at_a_random_step_ends_in_the_same_bits(layout: layouts.Layout, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": KILLED_STEPS, "checkpoint_every": "7steps", "keep_checkpoints": 1000}
    if layout == layouts.SINGLE:
        small_runs.train(tmp_path / "whole", **settings)
    else:
        assert _run(layout, tmp_path / "whole", **settings)[0] == 0
    broken = tmp_path / "broken"
    first = _start(layout, broken, **settings)
    small_runs.wait_for_step(broken, random.SystemRandom().randrange(8, KILLED_STEPS // 2), first)
    limits.wait_until(
        lambda: bool(small_runs.checkpoints(broken)), "a checkpoint, which is written beside the training"
    )
    random.SystemRandom().choice(small_runs.workers(broken)).kill()
    for process in first:
        limits.output_of(process)
        assert process.returncode != 0
    assert 0 < max(small_runs.checkpoints(broken)) < KILLED_STEPS
    if layout == layouts.SINGLE:
        output = small_runs.train(broken, **settings)
    else:
        status, output = _run(layout, broken, **settings)
        assert status == 0, output
    assert "resumes from step" in output
    assert small_runs.digest(broken, KILLED_STEPS) == small_runs.digest(tmp_path / "whole", KILLED_STEPS)
    assert small_runs.logged_steps(broken) == list(range(1, KILLED_STEPS + 1))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_stopped_process_saves_first(
    number: signal.Signals, status: int, uninterrupted: Path, tmp_path: Path
) -> None:
    (process,) = _start(layouts.SINGLE, tmp_path, steps=STEPS)
    small_runs.wait_for_step(tmp_path, 5, [process])
    process.send_signal(number)
    output = limits.output_of(process)
    assert process.returncode == status, output
    (saved,) = small_runs.checkpoints(tmp_path)
    assert f"{number.name}: stopped at step {saved}, which is saved; rerun the command to resume." in output
    assert small_runs.manifest(tmp_path, saved)["step"] == saved < STEPS
    small_runs.train(tmp_path, steps=STEPS)
    assert small_runs.digest(tmp_path, STEPS) == small_runs.digest(uninterrupted, STEPS)


@pytest.mark.slow
@needs_horovod
def test_a_signal_to_one_rank_stops_all_at_the_same_step(tmp_path: Path) -> None:
    (launcher,) = _start(HOROVOD_3, tmp_path, steps=10000)
    small_runs.wait_for_step(tmp_path, 3, [launcher])
    small_runs.workers(tmp_path)[-1].terminate()
    output = limits.output_of(launcher)
    (saved,) = small_runs.checkpoints(tmp_path)
    assert f"SIGTERM: stopped at step {saved}, which is saved; rerun the command to resume." in output
    assert launcher.returncode == 0, output


@pytest.mark.slow
@needs_horovod
def test_a_signal_to_the_launcher_saves_on_every_rank(tmp_path: Path) -> None:
    (launcher,) = _start(HOROVOD_2, tmp_path, steps=10000)
    small_runs.wait_for_step(tmp_path, 3, [launcher])
    launcher.send_signal(signal.SIGTERM)
    limits.output_of(launcher)
    limits.wait_until(lambda: not small_runs.workers(tmp_path), "end of all ranks")
    assert len(small_runs.checkpoints(tmp_path)) == 1


@pytest.fixture(scope="module")
def in_float64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("in_float64")
    small_runs.train(run_dir, steps=40, precision="float64", checkpoint_every="20steps")
    return run_dir


@pytest.mark.parametrize(
    "layout",
    [pytest.param(HOROVOD_2, marks=needs_horovod), pytest.param(layouts.Layout("mirrored", 2), marks=pytest.mark.slow)],
    ids=str,
)
def test_a_run_goes_on_with_the_same_data_on_another_layout(
    layout: layouts.Layout, in_float64: Path, tmp_path: Path
) -> None:
    step_20 = Path("checkpoints", "step_000000020")
    shutil.copytree(in_float64 / step_20, tmp_path / step_20)
    shutil.copy(in_float64 / "config.json", tmp_path / "config.json")
    status, output = _run(layout, tmp_path, steps=40, precision="float64")
    assert status == 0, output
    one, two = (small_runs.state(run_dir, 40) for run_dir in (in_float64, tmp_path))
    assert max(np.abs(one[name] - two[name]).max() for name in one) < 1e-10


@pytest.mark.slow
def test_a_run_goes_on_in_another_precision(uninterrupted: Path, tmp_path: Path) -> None:
    run_dir = shutil.copytree(uninterrupted, tmp_path / "run")
    for steps, number_format in ((STEPS + 3, "mixed_float16"), (STEPS + 6, "float64"), (STEPS + 9, "mixed_bfloat16")):
        said = small_runs.train(run_dir, steps=steps, precision=number_format)
        assert f"resumes from step {steps - 3}" in said
        assert small_runs.manifest(run_dir, steps)["precision"] == number_format


@pytest.fixture
def copy(uninterrupted: Path, tmp_path: Path) -> Iterator[Path]:
    yield shutil.copytree(uninterrupted, tmp_path / "copy")


@pytest.mark.parametrize(
    "damage",
    ["flip", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("truncate", "no manifest", "empty manifest"))],
)
def test_a_damaged_checkpoint_is_told_of_and_an_older_one_taken(damage: str, copy: Path, uninterrupted: Path) -> None:
    newest = copy / "checkpoints" / f"step_{STEPS:09d}"
    if damage == "flip":
        content = bytearray((newest / "state.npz").read_bytes())
        content[len(content) // 2] ^= 1
        (newest / "state.npz").write_bytes(content)
    elif damage == "truncate":
        os.truncate(newest / "state.npz", 1000)
    elif damage == "no manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "manifest.json").write_text("")
    said = small_runs.train(copy, steps=STEPS)
    assert f"checkpoint step_{STEPS:09d} is damaged" in said
    assert "resumes from step 40" in said
    assert small_runs.digest(copy, STEPS) == small_runs.digest(uninterrupted, STEPS)


def test_a_run_without_a_sound_checkpoint_is_not_started_anew(copy: Path) -> None:
    for path in (copy / "checkpoints").glob("step_*/state.npz"):
        path.write_bytes(b"")
    for _ in range(2):  # a launcher may try again
        with pytest.raises(UserError, match=r"No usable checkpoint is left in .* \(step_\d+: .*manifest"):
            small_runs.train(copy, steps=STEPS)
    assert small_runs.logged_steps(copy)[-1] == STEPS


@pytest.mark.slow
def test_a_half_written_checkpoint_of_a_killed_run_is_not_taken(copy: Path) -> None:
    unfinished = copy / "checkpoints" / f".unfinished-step_{STEPS + 20:09d}"
    unfinished.mkdir()
    (unfinished / "state.npz").write_bytes(b"half")
    assert f"resumes from step {STEPS}" in small_runs.train(copy, steps=STEPS + 20)
    assert max(small_runs.checkpoints(copy)) == STEPS + 20


def test_another_network_seed_or_batch_is_refused_by_name(copy: Path) -> None:
    with pytest.raises(UserError, match=r"can't be resumed with --seed=1 .* and --filters=8"):
        small_runs.train(copy, steps=STEPS, filters=8, seed=1)
    assert max(small_runs.checkpoints(copy)) == STEPS


def test_other_data_is_refused(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_idx(other / "train-images-idx3-ubyte", np.zeros((100, 28, 28), np.uint8))
    with pytest.raises(UserError, match="is not the data of the run"):
        small_runs.train(copy, steps=STEPS, data=f"idx:{other}")
    assert json.loads((copy / "config.json").read_text())["data"] == "mnist"


def test_a_finished_run_says_how_to_go_on(copy: Path) -> None:
    assert "This run is finished; a larger --steps continues it." in small_runs.train(copy, steps=STEPS)


@pytest.mark.slow
def test_a_run_can_be_repeated_from_its_config(uninterrupted: Path, tmp_path: Path) -> None:
    command = ["-m", "distgan.train", f"--config={uninterrupted}/config.json", f"--run_dir={tmp_path}"]
    assert layouts.run(layouts.SINGLE, *command)[0] == 0
    assert small_runs.digest(tmp_path, STEPS) == small_runs.digest(uninterrupted, STEPS)


def test_a_new_run_starts_from_another_s_weights(uninterrupted: Path, tmp_path: Path) -> None:
    said = small_runs.train(tmp_path, steps=1, init_from=str(uninterrupted), generator_learning_rate=1e-12,
                            discriminator_learning_rate=1e-12)  # fmt: skip
    assert f"starts from the weights of {uninterrupted}" in said
    theirs, ours = small_runs.state(uninterrupted, STEPS), small_runs.state(tmp_path, 1)
    assert np.allclose(ours["generator/project/kernel"], theirs["generator/project/kernel"], atol=1e-9)
    assert ours["step"] == 1


def test_each_value_of_a_manifest_is_verified(uninterrupted: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(uninterrupted, tmp_path / "copy")
    newest = max((copy / "checkpoints").glob("step_*")) / "manifest.json"
    manifest = json.loads(newest.read_text())
    newest.write_text(json.dumps(manifest | {"data": manifest["data"][::-1]}))
    found = checkpoint.load_newest(copy / "checkpoints")
    assert found and found.damaged == {newest.parent: "manifest.json does not have its own SHA-256"}
    del manifest["manifest_sha256"]  # as of an older version
    newest.write_text(json.dumps(manifest))
    found = checkpoint.load_newest(copy / "checkpoints")
    assert found and not found.damaged


def test_weights_of_another_network_are_refused_by_name(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"generator/project/kernel is .* there, but .* in this run"):
        small_runs.train(tmp_path, steps=1, init_from=str(uninterrupted), filters=8)


@pytest.mark.slow
def test_checkpoints_are_made_by_the_clock_too_and_the_newest_are_kept(tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=STEPS, checkpoint_every="0.01s", keep_checkpoints=4)
    assert small_runs.checkpoints(tmp_path)[-1] == STEPS
    assert len(small_runs.checkpoints(tmp_path)) == 4


def test_a_directory_in_use_is_refused_until_its_run_is_dead(tmp_path: Path) -> None:
    (process,) = _start(layouts.SINGLE, tmp_path, steps=100000)
    small_runs.wait_for_step(tmp_path, 1, [process])
    (worker,) = small_runs.workers(tmp_path)
    with pytest.raises(UserError, match=f"is in use by process {worker.pid} on "):
        small_runs.train(tmp_path, steps=3)
    process.kill()
    process.communicate()
    worker.wait(limits.LIMIT_SECONDS)  # one that nobody waits for counts as alive until its lease is over
    small_runs.train(tmp_path, steps=3)
    assert small_runs.checkpoints(tmp_path) == [3]


HOLD = """
import os, pathlib, sys
from distgan.store import lock
lock.LEASE_SECONDS, lock.HEARTBEAT_SECONDS = float(sys.argv[2]), 0.5
held = lock.RunLock(pathlib.Path(sys.argv[1]))
held.acquire()
os._exit(0)
"""


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 3.0)
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr(lock, "ENDING_SECONDS", 0.0)


@pytest.mark.usefixtures("short_lease")
def test_an_owner_whose_end_nobody_asked_about_loses_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), "3"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert f"pid={process.pid}\n" in (tmp_path / "lock").read_text()
        ours = lock.RunLock(tmp_path)
        ours.acquire()
        ours.check()
        ours.release()
    assert not (tmp_path / "lock").exists()


@pytest.mark.usefixtures("short_lease")
def test_an_owner_that_was_frozen_finds_the_lock_taken(tmp_path: Path) -> None:
    first, second = lock.RunLock(tmp_path), lock.RunLock(tmp_path)
    first.acquire()
    first._lock._stop_heartbeat()  # as that of a frozen process
    second.acquire()
    second.check()
    with pytest.raises(UserError, match="was taken over by another run"):
        first.check()
    first.release()
    second.check()
    second.release()


UPSET = """
import runpy
import tensorflow as tf
from distgan.store.run_directory import RunDirectory
save = RunDirectory.save
def save_after_an_upset(self, state, facts):
    copy = state.variables["generator/project/kernel"].values[-1]
    copy.assign_add(tf.ones_like(copy))
    save(self, state, facts)
RunDirectory.save = save_after_an_upset
runpy.run_module("distgan.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_replicas_that_differ_end_the_run_by_name(tmp_path: Path) -> None:
    status, output = layouts.run(layouts.Layout("mirrored", 2), "-c", UPSET, *small_runs.flags(tmp_path, steps=2))
    assert status == 5
    assert "distgan: Replicas have different values of generator/project/kernel: no checkpoint was saved." in output
    assert "Traceback" not in output
    assert small_runs.checkpoints(tmp_path) == []


ELSEWHERE = "filelock/2\npid=1\nhost=node7\nmode=lease\ntoken=0\nduration=3.0\n"


@pytest.mark.usefixtures("short_lease")
def test_an_owner_on_another_machine_is_watched_and_its_directory_taken_when_it_is_silent(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(ELSEWHERE)
    ours = lock.RunLock(tmp_path)
    ours.acquire()
    ours.check()
    ours.release()
    assert not (tmp_path / "lock").exists()


@pytest.mark.usefixtures("short_lease")
def test_an_owner_on_another_machine_that_beats_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(ELSEWHERE)
    os.utime(tmp_path / "lock", (time.time() - 5,) * 2)
    threading.Timer(2, lambda: os.utime(tmp_path / "lock")).start()
    with pytest.raises(UserError, match="is in use by process 1 on node7"):
        lock.RunLock(tmp_path).acquire()
    assert (tmp_path / "lock").read_text() == ELSEWHERE


@pytest.mark.slow
@needs_horovod
def test_data_that_differs_between_processes_is_refused_by_all(tmp_path: Path) -> None:
    for rank in range(2):
        directory = tmp_path / str(rank)
        directory.mkdir()
        write_idx(directory / "train-images-idx3-ubyte", np.full((100 - rank, 28, 28), rank, np.uint8))
    code = (
        "import os, runpy, sys\n"
        f"sys.argv.append('--data=idx:{tmp_path}/' + os.environ['HOROVOD_RANK'])\n"
        "runpy.run_module('distgan.train', run_name='__main__', alter_sys=True)\n"
    )
    status, output = layouts.run(HOROVOD_2, "-c", code, *small_runs.flags(tmp_path / "run", steps=2))
    assert status != 0
    assert "is not the same data for all processes: copy it to all machines." in output
    (tmp_path / "1" / "train-images-idx3-ubyte").unlink()
    status, output = layouts.run(HOROVOD_2, "-c", code, *small_runs.flags(tmp_path / "run", steps=2))
    assert status != 0
    assert f"[0]<stderr>:distgan: {tmp_path / '1'} holds no images of the train split" in output


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_gets_one_sentence_and_loses_nothing(small_disk: Path) -> None:
    small_runs.train(small_disk, steps=3)
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(free - 50_000))  # room for the logs, not for a checkpoint
    status, output = _run(layouts.SINGLE, small_disk, steps=6)
    assert status == 2
    assert "make room, then rerun the command, which resumes from step_000000003." in output
    assert "Traceback" not in output
    filler.unlink()
    assert "resumes from step 3" in small_runs.train(small_disk, steps=6)


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_is_named(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    status, output = _run(layouts.SINGLE, small_disk, steps=3)
    assert status == 2
    assert f"--run_dir={small_disk} can't be written to (No space left on device): make room" in output


@pytest.mark.slow
def test_a_read_only_directory_gets_one_sentence_and_loses_nothing(small_disk: Path) -> None:
    small_runs.train(small_disk, steps=3)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    status, output = _run(layouts.SINGLE, small_disk, steps=6)
    assert status == 2
    assert "can't be written to (Read-only file system): make it writable" in output
    assert "Traceback" not in output
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert "resumes from step 3" in small_runs.train(small_disk, steps=6)


@pytest.mark.slow
def test_a_limit_of_file_size_gets_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=3)
    command = [sys.executable, "-m", "distgan.train", *small_runs.flags(tmp_path, steps=6)]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 50; exec "$@"', "limited", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "The checkpoint of step 6 can't be written" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert "resumes from step 3" in small_runs.train(tmp_path, steps=6)
