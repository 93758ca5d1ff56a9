"""Is a run that is broken at random, again and again, finished all the same, to the same bits?

    python benchmarks/faults.py --rounds=100                       # an hour and a half on two cores
    python benchmarks/faults.py --rounds=25 --seed=3               # one seed's faults come again, but for their timing
    python benchmarks/faults.py --rounds=50 --layouts=multiworker  # of one layout alone

A round is a small run in one process, in three of Horovod, on two replicas of MirroredStrategy, or in two processes of
multiworker under distgan.launch with --restarts. Something is done to it at some moment: a rank, its parent, the agent
of distgan.launch beside it or the launcher is killed, frozen or asked to stop; its newest checkpoint is changed or cut;
its disk is full, or no longer to be written to. A third of this comes while it starts, restores or saves. The same
command is given until the run is done, at most six times. It must end with the state digest of a run of the same layout
that nobody disturbed; no attempt may last for more than three minutes, nor leave a process; and the newest sound
checkpoint may never be older than before, unless it was the one that was damaged. After the loss of anything but
itself, distgan.launch must start the job again from the newest checkpoint, so that no second command is needed. As
root, runs live on a small file system of their own.
"""

import argparse
import contextlib
import ctypes
import functools
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
LAYOUTS = (
    Layout("single"), Layout("horovod", 3, crowded=True), Layout("mirrored", 2, crowded=True),
    Layout("multiworker", 2, crowded=True),
)  # fmt: skip
RESTARTS = 3  # of distgan.launch
AGAIN = "all processes are ended and started again"  # as it says
OPENING = re.compile(r"^\[0\] run directory [^;\n]+(?:; resumes from step (\d+))?", re.MULTILINE)
VICTIMS = {
    "horovod": ("a rank", "the parent of a rank", "the launcher"),
    "multiworker": ("a rank", "the parent of a rank", "the agent of a rank", "the launcher"),
}
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

    @property
    def needs_one_command(self) -> bool:
        """Whether the launcher itself brings the run to its end."""
        is_killed = self.kind == "kill" and self.victim != "the launcher"
        return self.layout.backend == "multiworker" and (is_killed or self.kind == "freeze")


class Ended(NamedTuple):
    """How a command ended."""

    status: int | None  # None if it had to be ended
    output: str
    saved_step: int  # of the newest checkpoint when the fault came

    @property
    def restarts(self) -> int:
        """How often the launcher started the job again."""
        return self.output.count(AGAIN)

    @property
    def loses_a_checkpoint(self) -> bool:
        """Whether the job that the launcher started again began before the newest checkpoint."""
        begun_from = OPENING.findall(self.output.rpartition(AGAIN)[2]) if self.restarts else []
        return bool(begun_from) and int(begun_from[-1] or 0) < self.saved_step


def main() -> None:
    given = _arguments()
    case = {"rounds": given.rounds, "seed": given.seed, "steps": STEPS, "layouts": [str(one) for one in given.layouts]}
    rounds: list[dict[str, Any]] = []
    for row in rounds_of(given.rounds, given.seed, given.layouts):
        print(f"{len(rounds) + 1} of {given.rounds}: {row}", file=sys.stderr, flush=True)
        rounds.append(row)
        record.add("faults", case, measured=rounds)  # so that an end before the last round leaves the others
    _print(rounds)
    sys.exit(any(row["problem"] for row in rounds))


def rounds_of(number: int, seed: int, layouts: Sequence[Layout] = LAYOUTS) -> Iterator[dict[str, Any]]:
    """So many rounds of the faults of a seed: of each the fault, how often the command was given and how often the
    launcher started the job again, the seconds, and the problem if any.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a killed launcher leaves behind comes to this process
    chance = random.Random(seed)
    digests: dict[Layout, str] = {}
    with tempfile.TemporaryDirectory() as directory, _disk(Path(directory)) as disk:
        for count in range(number):
            fault = _draw(chance, layouts)
            if fault.layout not in digests:
                digests[fault.layout] = _undisturbed(fault.layout, Path(directory))
            yield {"round": count, "fault": str(fault), **_round(fault, disk, digests[fault.layout])}


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    names = ",".join(layout.backend for layout in LAYOUTS)
    parser.add_argument("--layouts", type=_layouts, default=LAYOUTS, help=f"some of {names}; all by default")
    return parser.parse_args()


def _layouts(text: str) -> tuple[Layout, ...]:
    by_name = {layout.backend: layout for layout in LAYOUTS}
    if unknown := set(text.split(",")) - set(by_name):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: name some of {','.join(by_name)}")
    return tuple(by_name[name] for name in text.split(","))


def _draw(chance: random.Random, layouts: Sequence[Layout]) -> Fault:
    layout = chance.choice(layouts)
    kinds = [*SIGNALS, *SIGNALS, *DAMAGES, "small files", *(DISKS[::2] if os.geteuid() == 0 else ())]
    kind, moment = chance.choice(kinds), chance.choice(MOMENTS)
    if kind in DAMAGES:
        moment = "restoring"  # there must be a checkpoint to damage, and somebody to read it
    if kind == "small files":
        moment = "starting"  # a limit of the process
    victim = chance.choice(VICTIMS.get(layout.backend, ("a rank", "the parent of a rank"))) if kind in SIGNALS else ""
    return Fault(layout, kind, victim, moment, chance.randrange(1, STEPS - 5))


def _round(fault: Fault, disk: Path, digest: str) -> dict[str, Any]:
    """Break a run and give its command until it is done; tells what it took, and the problem if there was any."""
    run_dir = disk / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    began, attempts, restarts, problem, newest = time.monotonic(), 0, 0, "", 0
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
        ended = _attempt(fault.layout, run_dir, _doing(fault, run_dir, disk) if is_first else None, **limits)
        _mend(disk, run_dir)
        restarts += ended.restarts
        found = _newest_sound(run_dir)
        if problem := _problem(ended, found, newest):
            break
        if ended.status == 0 and found == STEPS:
            break
        if is_first and fault.needs_one_command:
            problem = f"a second command is needed after status {ended.status}"
        newest = found
    if not problem and found != STEPS:
        problem = f"not done after {attempts} attempts"
    if not problem and _digest(run_dir) != digest:
        problem = "another digest"
    if problem:
        print(ended.output[-3000:], file=sys.stderr)
    seconds = round(time.monotonic() - began, 1)
    return {"attempts": attempts, "restarts": restarts, "problem": problem, "seconds": seconds}


def _problem(ended: Ended, found: int, newest: int) -> str:
    """What is wrong with an attempt after which the newest sound checkpoint is `found`, and was `newest` before it."""
    if ended.status is None:
        return f"no end after {LIMIT_SECONDS} s"
    if "Traceback" in ended.output:
        return "a traceback"
    if found < newest:
        return f"the checkpoint of step {newest} was lost"
    if ended.loses_a_checkpoint:
        return f"it was started again from before step {ended.saved_step}"
    return ""


# ---- a run, while it runs


class Job:
    """The processes of one command, and all it said."""

    def __init__(self, layout: Layout, run_dir: Path, output: Path, file_blocks: int | None = None) -> None:
        self.run_dir, self._output = run_dir, output
        self.saved_step = 0
        python = [sys.executable, "-m"]
        command = [*python, "distgan.train", *launching.backend_flags(layout), *FLAGS, f"--run_dir={run_dir}"]
        if layout.backend == "horovod":
            horovodrun = str(Path(sys.executable).with_name("horovodrun"))
            command = [horovodrun, "--gloo", "-np", str(layout.count), *command]
        if layout.backend == "multiworker":
            launch = [*python, "distgan.launch", f"-n={layout.count}", f"--restarts={RESTARTS}", "--"]
            command = [*launch, *command[2:]]
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
        own = f"--run_dir={self.run_dir}"
        return _descendants(lambda words: words[1:3] == ["-m", "distgan.train"] and own in words)

    def agents(self) -> dict[int, int]:
        """The processes of distgan.launch beside the ranks."""
        return _descendants(lambda words: words[1:2] == ["-I"] and words[-1].endswith("launch_agent.py"))

    def is_left(self) -> bool:
        """Whether any of its processes runs."""
        return self.is_running() or bool(self.trainers() or self.agents())

    def find(self, victim: str) -> list[int]:
        """The numbers of the processes of a kind."""
        trainers = self.trainers()
        return {
            "the launcher": [self.process.pid],
            "a rank": [pid for pid, parent in trainers.items() if parent in trainers],
            "the parent of a rank": [pid for pid, parent in trainers.items() if parent not in trainers],
            "the agent of a rank": list(self.agents()),
        }[victim]

    def kill_all(self) -> None:
        for pid in [self.process.pid, *self.agents(), *self.trainers()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _descendants(is_so: Callable[[list[str]], bool]) -> dict[int, int]:
    """The numbers of the processes below this one whose command line is so; of each its parent's."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if is_so(process.cmdline()):
                found[process.pid] = process.ppid()
    return found


def _attempt(layout: Layout, run_dir: Path, do: Callable[[Job], Any] | None, **limits: int) -> Ended:
    """Give the command, do something to it, and wait until all of its processes have ended."""
    with tempfile.TemporaryDirectory() as directory:
        job = Job(layout, run_dir, Path(directory) / "output", **limits)
        end = time.monotonic() + LIMIT_SECONDS
        if do:
            do(job)
        while job.is_left() and time.monotonic() < end:
            _reap(job)
            time.sleep(0.1)
        if job.is_left():
            job.kill_all()
            job.process.wait()
            return Ended(None, job.output(), job.saved_step)
        return Ended(job.process.returncode, job.output(), job.saved_step)


def _reap(job: Job) -> None:
    """Take note of adopted processes that have ended, as init does; until then they hold the lock of a run."""
    adopted = [process for process in psutil.Process().children() if process.pid != job.process.pid]
    psutil.wait_procs(adopted, timeout=0)


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
            _signal(job, fault.kind, fault.victim)

    return do


def _signal(job: Job, kind: str, victim: str) -> None:
    """Kill, freeze or stop a process of a job, as soon as there is one of its kind."""
    if not _until(job, lambda: bool(job.find(victim))):
        return
    saved = [path.name[5:] for path in (job.run_dir / "checkpoints").glob("step_*")]
    job.saved_step = max((int(step) for step in saved if step.isdecimal()), default=0)
    with contextlib.suppress(ProcessLookupError, IndexError):  # it has just ended
        pid = random.choice(job.find(victim))
        os.kill(pid, {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "stop": signal.SIGTERM}[kind])
        if kind == "freeze" and victim != "a rank":
            time.sleep(2)  # nobody watches these: whoever froze them thaws them
            os.kill(pid, signal.SIGCONT)


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
        lines = path.read_text().split("\n")[:-1] if path.exists() else []  # a line without its end is being written
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
    ended = _attempt(layout, run_dir, None)
    if ended.status != 0:
        sys.exit(f"{layout} fails when nobody disturbs it:\n{ended.output}")
    return _digest(run_dir)


def _print(rounds: list[dict[str, Any]]) -> None:
    done = [row for row in rounds if not row["problem"]]
    print(f"{len(done)} of {len(rounds)} rounds ended in the digest of the undisturbed run, after "
          f"{statistics.mean(row['attempts'] for row in rounds):.1f} attempts on average. distgan.launch started the "
          f"job again in {sum(row['restarts'] > 0 for row in rounds)} of them.")  # fmt: skip
    heads = ["round", "fault", "attempts", "restarts", "problem", "seconds"]
    launching.print_table(heads, ([row[name] for name in heads] for row in rounds if row["problem"]))


if __name__ == "__main__":
    main()
