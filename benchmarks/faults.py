"""Is a run that is broken at random, again and again, finished all the same, to the same bits?

    python benchmarks/faults.py --rounds=100            # an hour and a half on two cores
    python benchmarks/faults.py --rounds=25 --seed=3    # those of one seed come again, but for their timing

A round is a small run in one process, in three of Horovod or on two replicas of MirroredStrategy. Something is done
to it at some moment: a rank, its parent or the launcher is killed, frozen or asked to stop; its newest checkpoint is
changed or cut; its disk is full, or no longer to be written to. A third of this comes while it starts, restores or
saves. The same command is given until the run is done, at most six times. It must end with the state digest of a run
of the same layout that nobody disturbed; no attempt may last for more than three minutes; and the newest sound
checkpoint may never be older than before, unless it was the one that was damaged. As root, runs live on a small file
system of their own.
"""

import argparse
import contextlib
import ctypes
import functools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import launching
import psutil
import record
from launching import Layout

STEPS, EVERY = 80, 9
LIMIT_SECONDS, ATTEMPTS = 180, 6
FLAGS = launching.as_flags({
    "filters": 4, "latent_dim": 10, "batch_size": 16, "precision": "float32", "log_every_steps": 5, "steps": STEPS,
    "checkpoint_every": f"{EVERY}steps", "keep_checkpoints": 3, "sample_every": "1000steps",
    "stall_timeout_seconds": 40,
})  # fmt: skip
LAYOUTS = (Layout("single"), Layout("horovod", 3, crowded=True), Layout("mirrored", 2, crowded=True))
SIGNALS = ("kill", "freeze", "stop")
DAMAGES = ("flip", "cut")
DISKS = ("full", "small files", "read-only")
MOMENTS = ("starting", "restoring", "saving", *6 * ("at a step",))
DISK_BYTES = 3 * 2**20
SMALL_FILE_BLOCKS = 50  # of 1 KiB
PR_SET_CHILD_SUBREAPER = 36


class Fault(NamedTuple):
    """What is done, to whom, and when."""

    layout: Layout
    kind: str
    victim: str
    moment: str
    step: int

    def __str__(self) -> str:
        when = f"at step {self.step}" if self.moment == "at a step" else self.moment
        return f"{self.layout}: {self.kind}{f' {self.victim}' if self.victim else ''} {when}"


def main() -> None:
    given = _arguments()
    rounds: list[dict[str, Any]] = []
    for row in rounds_of(given.rounds, given.seed):
        print(f"{len(rounds) + 1} of {given.rounds}: {row}", file=sys.stderr, flush=True)
        rounds.append(row)
    record.add("faults", {"rounds": given.rounds, "seed": given.seed, "steps": STEPS}, measured=rounds)
    _print(rounds)
    sys.exit(any(row["problem"] for row in rounds))


def rounds_of(number: int, seed: int) -> Iterator[dict[str, Any]]:
    """So many rounds of the faults of a seed: of each the fault, the attempts, the seconds, and the problem if any."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a killed launcher leaves behind comes to this process
    chance = random.Random(seed)
    digests: dict[Layout, str] = {}
    with tempfile.TemporaryDirectory() as directory, _disk(Path(directory)) as disk:
        for count in range(number):
            fault = _draw(chance)
            if fault.layout not in digests:
                digests[fault.layout] = _undisturbed(fault.layout, Path(directory))
            yield {"round": count, "fault": str(fault), **_round(fault, disk, digests[fault.layout])}


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _draw(chance: random.Random) -> Fault:
    layout = chance.choice(LAYOUTS)
    kinds = [*SIGNALS, *SIGNALS, *DAMAGES, "small files", *(DISKS[::2] if os.geteuid() == 0 else ())]
    kind, moment = chance.choice(kinds), chance.choice(MOMENTS)
    if kind in DAMAGES:
        moment = "restoring"  # there must be a checkpoint to damage, and somebody to read it
    if kind == "small files":
        moment = "starting"  # a limit of the process
    victims = ["a rank", "the parent of a rank", *(["the launcher"] if layout.backend == "horovod" else [])]
    victim = chance.choice(victims) if kind in SIGNALS else ""
    return Fault(layout, kind, victim, moment, chance.randrange(1, STEPS - 5))


def _round(fault: Fault, disk: Path, digest: str) -> dict[str, Any]:
    """Break a run and give its command until it is done; tells what it took, and the problem if there was any."""
    run_dir = disk / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    began, attempts, problem, newest = time.monotonic(), 0, "", 0
    if fault.moment == "restoring":
        attempts += 1
        _attempt(fault.layout, run_dir, functools.partial(_kill_at_step, run_dir=run_dir, step=STEPS // 2))
        newest = _newest_sound(run_dir)
    while not problem and attempts < ATTEMPTS:
        is_first = attempts == (fault.moment == "restoring")
        attempts += 1
        limits = {"file_blocks": SMALL_FILE_BLOCKS} if is_first and fault.kind == "small files" else {}
        if is_first and fault.kind in DAMAGES:
            _damage(run_dir, fault.kind)
            newest = _newest_sound(run_dir)
        status, output = _attempt(fault.layout, run_dir, _doing(fault, run_dir, disk) if is_first else None, **limits)
        _mend(disk, run_dir)
        if status is None:
            problem = f"no end after {LIMIT_SECONDS} s"
        elif "Traceback" in output:
            problem = "a traceback"
        elif _newest_sound(run_dir) < newest:
            problem = f"the checkpoint of step {newest} was lost"
        elif status == 0 and _newest_sound(run_dir) == STEPS:
            break
        newest = max(newest, _newest_sound(run_dir))
    found = _digest(run_dir) if _newest_sound(run_dir) == STEPS else ""
    if not problem and found != digest:
        problem = "another digest" if found else f"not done after {attempts} attempts"
    if problem:
        print(output[-3000:], file=sys.stderr)
    return {"attempts": attempts, "problem": problem, "seconds": round(time.monotonic() - began, 1)}


# ---- a run, while it runs


class Job:
    """The processes of one command, and all it said."""

    def __init__(self, layout: Layout, run_dir: Path, output: Path, file_blocks: int | None = None) -> None:
        self.run_dir, self._output = run_dir, output
        command = [sys.executable, "-m", "distgan.train", *launching.backend_flags(layout), *FLAGS,
                   f"--run_dir={run_dir}"]  # fmt: skip
        if layout.backend == "horovod":
            horovodrun = str(Path(sys.executable).with_name("horovodrun"))
            command = [horovodrun, "--gloo", "-np", str(layout.count), *command]
        if file_blocks:
            command = ["bash", "-c", f'ulimit -f {file_blocks}; exec "$@"', "limited", *command]
        paths = os.pathsep.join(filter(None, [str(launching.ROOT), os.environ.get("PYTHONPATH")]))
        with output.open("w") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                env={"TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ | {"PYTHONPATH": paths},
            )  # fmt: skip

    def is_running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def trainers(self) -> dict[int, int]:
        """The processes that train, and the parents that watch them, by number; of each its own parent's."""
        found = {}
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                words = process.cmdline()
                if words[1:3] == ["-m", "distgan.train"] and f"--run_dir={self.run_dir}" in words:
                    found[process.pid] = process.ppid()
        return found

    def find(self, victim: str) -> int | None:
        """The number of a process, at random of its kind; None while there is none."""
        trainers = self.trainers()
        watched = set(trainers.values())
        of_kind = {
            "the launcher": [self.process.pid],
            "a rank": [pid for pid in trainers if pid not in watched],
            "the parent of a rank": [pid for pid in trainers if pid in watched],
        }[victim]
        return random.choice(of_kind) if of_kind else None

    def kill_all(self) -> None:
        for pid in [self.process.pid, *self.trainers()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _attempt(layout: Layout, run_dir: Path, do: Callable[[Job], Any] | None, **limits: int) -> tuple[int | None, str]:
    """Give the command, do something to it, wait; its status, None if it had to be ended, and what it said."""
    psutil.wait_procs(psutil.Process().children(), timeout=0)  # what was adopted, and has ended since
    with tempfile.TemporaryDirectory() as directory:
        job = Job(layout, run_dir, Path(directory) / "output", **limits)
        end = time.monotonic() + LIMIT_SECONDS
        if do:
            do(job)
        while (job.is_running() or job.trainers()) and time.monotonic() < end:
            time.sleep(0.1)
        if job.is_running() or job.trainers():
            job.kill_all()
            job.process.wait()
            return None, job.output()
        return job.process.returncode, job.output()


def _doing(fault: Fault, run_dir: Path, disk: Path) -> Callable[[Job], None] | None:
    """What breaks a run in an attempt; None where that has been done before it began."""
    if fault.kind in (*DAMAGES, "small files"):
        return None

    def do(job: Job) -> None:
        if not _wait_for(fault, job, run_dir):
            return
        if fault.kind == "full":
            free = shutil.disk_usage(disk).free
            with contextlib.suppress(OSError):  # the run has taken some meanwhile: it is full then
                (disk / "filler").write_bytes(bytes(max(0, free - random.randrange(20_000))))
        elif fault.kind == "read-only":
            _make_read_only(run_dir)
        else:
            number = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "stop": signal.SIGTERM}[fault.kind]
            pid = job.find(fault.victim)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                if fault.kind == "freeze" and fault.victim != "a rank":
                    time.sleep(2)  # nobody watches these two: whoever froze them thaws them
                    os.kill(pid, signal.SIGCONT)

    return do


def _wait_for(fault: Fault, job: Job, run_dir: Path) -> bool:
    """Wait for the moment of a fault; False where the run has ended before."""
    if fault.moment == "at a step":
        return _at_step(job, run_dir, fault.step)
    if fault.moment == "saving":
        unfinished = run_dir / "checkpoints"
        return (
            _until(job, lambda: any(unfinished.glob(".unfinished-*"))) if _at_step(job, run_dir, fault.step) else False
        )
    return _until(job, lambda: bool(job.trainers())) and _until(job, lambda: True, pause_seconds=random.uniform(0, 9))


def _at_step(job: Job, run_dir: Path, step: int) -> bool:
    path = run_dir / "metrics.jsonl"

    def is_there() -> bool:
        lines = path.read_text().splitlines() if path.exists() else []
        return bool(lines) and int(json.loads(lines[-1])["step"]) >= step - 5

    return _until(job, is_there)


def _kill_at_step(job: Job, run_dir: Path, step: int) -> None:
    if _at_step(job, run_dir, step):
        job.kill_all()


def _until(job: Job, is_so: Callable[[], bool], pause_seconds: float = 0.0) -> bool:
    end = time.monotonic() + pause_seconds
    while time.monotonic() < end and job.is_running():
        time.sleep(0.02)
    while job.is_running():
        if is_so():
            return True
        time.sleep(0.002)
    return False


# ---- the disk


@contextlib.contextmanager
def _disk(directory: Path) -> Iterator[Path]:
    """A small file system of its own, where that can be had."""
    disk = directory / "disk"
    disk.mkdir()
    if os.geteuid():
        yield disk
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _make_read_only(run_dir: Path) -> None:
    """Nothing can be created there any more; what is open stays so, as where an administrator does it."""
    run_dir.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", run_dir, run_dir], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", run_dir], check=True)


def _is_read_only(run_dir: Path) -> bool:
    return run_dir.exists() and bool(os.statvfs(run_dir).f_flag & os.ST_RDONLY)


def _mend(disk: Path, run_dir: Path) -> None:
    while _is_read_only(run_dir):
        subprocess.run(["umount", "--lazy", run_dir], check=True)
    (disk / "filler").unlink(missing_ok=True)


def _damage(run_dir: Path, kind: str) -> None:
    """Change a byte of the newest checkpoint, or cut it short."""
    newest = max((run_dir / "checkpoints").glob("step_*"))
    path = newest / random.choice(["state.npz", "manifest.json"])
    content = bytearray(path.read_bytes())
    place = random.randrange(len(content))
    if kind == "cut":
        del content[place:]
    else:
        content[place] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def _newest_sound(run_dir: Path) -> int:
    """The step of the newest sound checkpoint; 0 where there is none."""
    from distgan.errors import UserError
    from distgan.store import checkpoint

    with contextlib.suppress(UserError, FileNotFoundError):
        found = checkpoint.load_newest(run_dir / "checkpoints")
        return int(found.manifest["step"]) if found else 0
    return 0


def _digest(run_dir: Path) -> str:
    path = run_dir / "checkpoints" / f"step_{STEPS:09d}" / "manifest.json"
    return str(json.loads(path.read_text())["state_digest"])


def _undisturbed(layout: Layout, directory: Path) -> str:
    run_dir = directory / str(layout).replace(":", "-").replace(" ", "-")
    status, output = _attempt(layout, run_dir, None)
    if status:
        sys.exit(f"{layout} fails when nobody disturbs it:\n{output}")
    return _digest(run_dir)


def _print(rounds: list[dict[str, Any]]) -> None:
    done = [row for row in rounds if not row["problem"]]
    print(f"{len(done)} of {len(rounds)} rounds ended in the digest of the undisturbed run, after "
          f"{statistics.mean(row['attempts'] for row in rounds):.1f} attempts on average.")  # fmt: skip
    launching.print_table(
        ["round", "fault", "attempts", "problem", "seconds"],
        ([row[name] for name in ("round", "fault", "attempts", "problem", "seconds")]
         for row in rounds if row["problem"]),
    )  # fmt: skip


if __name__ == "__main__":
    main()
