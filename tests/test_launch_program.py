"""distgan.launch: processes, here or on other hosts, that begin and end together. Nothing here needs TensorFlow."""

import functools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from distgan import launch
from distgan.errors import UserError

LAUNCH = [sys.executable, "-m", "distgan.launch"]
LIMIT_SECONDS = 300  # ends what hangs, and measures nothing
PYTHON = [sys.executable, "-u", "-c"]
TELLS = """
import json, os, sys
names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DISTGAN_JOB", "HOME",
         "GIVEN", "PATH"]
print(json.dumps({name: os.environ.get(name) for name in names} | {"cwd": os.getcwd(), "words": sys.argv[1:]}))
"""
WAITS = """
import os, signal, subprocess, sys, time
child = subprocess.Popen(["sleep", "1000"])
def stop(number, _):
    {on_signal}
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, stop)
print("ready", os.getpid(), child.pid)
if os.environ["RANK"] == "1":
    {rank_1}
time.sleep(1000)
"""
SAVES = "time.sleep(0.3); print('saved at', number); sys.exit(0)"
# As sshd does, it has a shell run the joined words, in the home directory, with few variables.
SSH = """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
[ "$1" != gone ] || { echo "ssh: Could not resolve hostname gone: Name or service not known" >&2; exit 255; }
[ "$1" != bare ] || { echo "sh: 1: cd: no such directory" >&2; exit 2; }
shift
cd /
exec env -i HOME=/there PATH=/usr/bin:/bin sh -c "$*"
"""


def _run(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*LAUNCH, *words], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False, **options
    )


def _told(output: str) -> list[dict[str, Any]]:
    """What the processes told, by rank."""
    lines = dict(re.findall(r"^\[(\d+)\] (.*)$", output, re.MULTILINE))
    return [json.loads(lines[rank]) for rank in sorted(lines, key=int)]


@pytest.fixture
def ssh(tmp_path: Path) -> dict[str, str]:
    """The environment in which ssh runs commands on this machine."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "GIVEN": "with 'quotes'\nand lines"}


class _Started:
    """A launcher with two processes that wait, and the processes' and their children's numbers."""

    def __init__(self, words: list[str], on_signal: str = SAVES, rank_1: str = "pass", on_hangup: Any = signal.SIG_DFL,
                 **options: Any) -> None:  # fmt: skip
        code = WAITS.format(on_signal=on_signal, rank_1=rank_1)
        before = signal.signal(signal.SIGHUP, on_hangup)  # which the launcher inherits
        self.process = subprocess.Popen(
            [*LAUNCH, *words, "--", *PYTHON, code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        signal.signal(signal.SIGHUP, before)
        assert self.process.stdout
        ready = [self.process.stdout.readline().split() for _ in range(2)]
        assert sorted(words[:2] for words in ready) == [["[0]", "ready"], ["[1]", "ready"]]
        self.pids = [int(pid) for words in ready for pid in words[2:]]

    def end(self) -> tuple[int, str, str]:
        """Wait until all have ended; returns the launcher's exit status, and what was said until then."""
        output, errors = self.process.communicate(timeout=LIMIT_SECONDS)
        self.wait_for_end_of_all()
        return self.process.returncode, output, errors

    def wait_for_end_of_all(self) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not all(map(_has_ended, self.pids)):
            assert time.monotonic() < deadline, f"one of {self.pids} has not ended"
            time.sleep(0.02)


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_each_process_knows_its_place() -> None:
    answer = _run("-n", "3", "--", *PYTHON, TELLS)
    assert answer.returncode == 0, answer.stderr
    told = _told(answer.stdout)
    assert [(one["RANK"], one["LOCAL_RANK"]) for one in told] == [("0", "0"), ("1", "1"), ("2", "2")]
    assert {(one["WORLD_SIZE"], one["LOCAL_WORLD_SIZE"], one["MASTER_ADDR"]) for one in told} == {
        ("3", "3", "127.0.0.1")
    }
    assert len({(one["MASTER_PORT"], one["DISTGAN_JOB"]) for one in told}) == 1
    assert 0 < int(told[0]["MASTER_PORT"]) < 2**16
    assert told[0]["DISTGAN_JOB"] != _told(_run("-n", "1", "--", *PYTHON, TELLS).stdout)[0]["DISTGAN_JOB"]


def test_a_module_is_run_by_this_python(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text("import sys; print(sys.executable, __name__, *sys.argv[1:])")
    answer = _run("-n", "1", "package.module", "-n", "--flag=a b", cwd=tmp_path)
    assert answer.stdout == f"[0] {sys.executable} __main__ -n --flag=a b\n"


def test_lines_of_several_processes_are_whole() -> None:
    code = (
        "import os, sys\n"
        "for number in range(300):\n"
        "    for stream in (sys.stdout, sys.stderr):\n"
        "        stream.write(os.environ['RANK'] * 50); stream.flush()\n"
        "        stream.write(f' {number}\\n'); stream.flush()"
    )
    command = [*LAUNCH, "-n", "3", "--", *PYTHON, code]
    answer = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_SECONDS, check=True
    )
    found = re.findall(r"^\[(\d)\] \1{50} (\d+)$", answer.stdout, re.MULTILINE)
    assert len(found) == answer.stdout.count("\n") == 1800
    for rank in "012":
        assert sorted(int(number) for one, number in found if one == rank) == sorted([*range(300), *range(300)])


def test_a_progress_display_stays_one_and_other_bytes_are_shown() -> None:
    command = [*LAUNCH, "-n", "1", "--", "printf", r"10%%\r\r20%%\rdone\r\n\303\251 \377\nlast"]
    answer = subprocess.run(command, capture_output=True, timeout=LIMIT_SECONDS, check=True)
    assert answer.stdout == b"[0] 10%\r[0] 20%\r[0] done\r\n[0] \xc3\xa9 \\xff\n[0] last\n"


def test_output_that_nobody_reads_ends_no_process(tmp_path: Path) -> None:
    code = f"print('line\\n' * 100_000); open({str(tmp_path / 'done')!r}, 'w')"
    process = subprocess.Popen([*LAUNCH, "-n", "1", "--", *PYTHON, code], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(LIMIT_SECONDS) == 0
    assert (tmp_path / "done").exists()


def test_a_process_that_fails_ends_the_others_which_may_save() -> None:
    status, output, errors = _Started(["-n", "2", "--restarts=0"], rank_1="time.sleep(0.2); sys.exit(7)").end()
    assert (status, output) == (7, f"[0] saved at {int(signal.SIGTERM)}\n")
    assert errors == "distgan: rank 1 on localhost ended with status 7: all processes are ended.\n"


def test_a_process_that_does_not_end_in_time_is_killed() -> None:
    rank_1 = "time.sleep(0.2); os.kill(os.getpid(), signal.SIGKILL)"
    status, _, errors = _Started(["-n", "2", "--grace_seconds=1"], on_signal="pass", rank_1=rank_1).end()
    assert status == 128 + signal.SIGKILL
    assert "distgan: rank 1 on localhost ended with status 137 (SIGKILL): all processes are ended.\n" in errors
    assert "[0] distgan: killed, as it has not ended in 1 seconds.\n" in errors


def test_a_job_is_started_again_until_it_succeeds_or_no_restart_is_left(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "print(os.environ['DISTGAN_JOB'])\n"
        f"starts = pathlib.Path({str(tmp_path)!r}, os.environ['RANK'])\n"
        "with starts.open('a') as file: file.write('.')\n"
        "sys.exit(9 if os.environ['RANK'] == '1' and len(starts.read_text()) < 3 else 0)"
    )
    answer = _run("-n", "2", "--restarts=1", "--", *PYTHON, code)
    assert answer.returncode == 9
    assert re.findall(r"all processes.*", answer.stderr) == [
        "all processes are ended and started again (restart 1 of 1).",
        "all processes are ended.",
    ]
    (tmp_path / "1").unlink()
    answer = _run("-n", "2", "--restarts=5", "--", *PYTHON, code)
    assert answer.returncode == 0
    assert (tmp_path / "1").read_text() == "..."
    jobs = re.findall(r"\[1\] (\S+)", answer.stdout)
    assert len(set(jobs)) == 3


@pytest.mark.parametrize("status", [2, 3, 130])
def test_what_a_restart_does_not_change_is_not_started_again(status: int) -> None:
    answer = _run("-n", "2", "--restarts=3", "--", "sh", "-c", f"echo begun; exit {status}")
    assert answer.returncode == status
    assert answer.stdout.count("begun") <= 2
    assert re.fullmatch(
        r"distgan: rank \d on localhost ended with status .*: all processes are ended.\n", answer.stderr
    )


def test_a_wrong_flag_of_training_is_refused_by_its_sentence() -> None:
    answer = _run("-n", "1", "--restarts=3", "--", "distgan.train", "--epochs=0")
    assert answer.returncode == 2
    assert answer.stderr.count("[0] distgan: --epochs=0 is refused") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_all_processes_which_may_save(number: signal.Signals) -> None:
    started = _Started(["-n", "2", "--restarts=3"])
    started.process.send_signal(number)
    status, output, errors = started.end()
    assert (status, errors) == (0, "")
    assert sorted(output.splitlines()) == [f"[{rank}] saved at {int(number)}" for rank in range(2)]


def test_sigusr1_reaches_all_processes_and_ends_none() -> None:
    started = _Started(["-n", "2"], on_signal="print('got', number); number == signal.SIGTERM and sys.exit(5)")
    assert started.process.stdout
    started.process.send_signal(signal.SIGUSR1)
    got = sorted(started.process.stdout.readline() for _ in range(2))
    assert got == [f"[{rank}] got {int(signal.SIGUSR1)}\n" for rank in range(2)]
    started.process.terminate()
    status, output, errors = started.end()
    assert (status, output.count(f"got {int(signal.SIGTERM)}"), errors) == (5, 2, "")


def test_a_second_ctrl_c_kills_at_once() -> None:
    started = _Started(["-n", "2", "--grace_seconds=10000"], on_signal="print('got', number)")
    assert started.process.stdout
    started.process.send_signal(signal.SIGINT)
    assert "got" in started.process.stdout.readline()
    started.process.send_signal(signal.SIGINT)  # the same one, passed on twice
    time.sleep(1.1)
    assert started.process.poll() is None
    started.process.send_signal(signal.SIGINT)
    assert started.end()[0] == 128 + signal.SIGKILL


def test_nohup_is_heeded() -> None:
    started = _Started(["-n", "2"], on_hangup=signal.SIG_IGN)
    started.process.send_signal(signal.SIGHUP)
    started.process.send_signal(signal.SIGTERM)
    assert sorted(started.end()[1].splitlines()) == [f"[{rank}] saved at {int(signal.SIGTERM)}" for rank in range(2)]


@pytest.mark.parametrize("on_signal", [SAVES, "pass"], ids=["saves", "ignores"])
def test_the_end_of_the_launcher_ends_all_processes(on_signal: str) -> None:
    started = _Started(["-n", "2", "--grace_seconds=1"], on_signal=on_signal)
    started.process.kill()
    assert started.end()[0] == -signal.SIGKILL


def test_the_end_of_an_agent_ends_its_process_and_the_job() -> None:
    started = _Started(["-n", "2"])
    psutil.Process(started.pids[0]).parent().kill()
    started.pids.pop(1)  # a process's own child is its own affair then
    status, _, errors = started.end()
    assert status == 128 + signal.SIGKILL
    assert "ended with status 137 (SIGKILL): all processes are ended." in errors


def test_processes_on_other_hosts(ssh: dict[str, str], tmp_path: Path) -> None:
    directory = tmp_path / "a directory's name"
    directory.mkdir()
    words = ["a b", 'say "no"', "it's $HOME", "*", "line\nline"]
    hosts = "--hosts=user@node1:2,node2:2"
    answer = _run("-n", "3", hosts, "--", *PYTHON, TELLS, *words, env=ssh, cwd=directory)
    assert answer.returncode == 0, answer.stderr
    told = _told(answer.stdout)
    places = [(one["RANK"], one["LOCAL_RANK"], one["LOCAL_WORLD_SIZE"], one["WORLD_SIZE"]) for one in told]
    assert places == [("0", "0", "2", "3"), ("1", "1", "2", "3"), ("2", "0", "1", "3")]
    assert len({one["MASTER_PORT"] for one in told}) == 1
    for one in told:
        assert (one["MASTER_ADDR"], one["cwd"], one["words"]) == ("node1", str(directory), words)
        assert (one["HOME"], one["GIVEN"], one["PATH"]) == ("/there", ssh["GIVEN"], ssh["PATH"])


def test_signals_reach_processes_on_other_hosts(ssh: dict[str, str]) -> None:
    started = _Started(["-H", "node1,node2"], env=ssh)
    started.process.send_signal(signal.SIGTERM)
    status, output, errors = started.end()
    assert (status, errors) == (0, "")
    assert sorted(output.splitlines()) == [f"[{rank}] saved at {int(signal.SIGTERM)}" for rank in range(2)]


@pytest.mark.parametrize("ended", ["launcher", "connection"])
def test_processes_on_other_hosts_end_with_the_launcher_and_with_their_connection(
    ended: str, ssh: dict[str, str], tmp_path: Path
) -> None:
    relay = (tmp_path / "bin" / "ssh").read_text().replace("exec env", "env")  # a process of its own, as ssh's is
    (tmp_path / "bin" / "ssh").write_text(f"{relay}\nexit 0\n")
    started = _Started(["-H", "node1,node2", "--grace_seconds=1"], on_signal="pass", env=ssh)
    if ended == "launcher":
        started.process.kill()
    else:
        agent = psutil.Process(started.pids[0]).parent()
        agent.parent().kill()
    status, _, _ = started.end()
    assert status == -signal.SIGKILL if ended == "launcher" else 128 + signal.SIGKILL


@pytest.mark.parametrize("word", ["distgan.trian", "distgan.train.py", "./none", "conftest.py", "", "-h"])
def test_a_command_that_is_not_there_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=f"^{word} is neither a command nor a module"):
        launch._command([word])
    with pytest.raises(UserError, match="The command is missing"):
        launch._command([])


@pytest.mark.parametrize(
    ("number", "hosts", "sentence"),
    [
        (None, "", "-n is missing"),
        (5, "node1:2,node2:2", "-n 5 is more than the 4 processes of -H"),
        (None, "node1:0", "-H has 'node1:0'"),
        (None, "node1:", "-H has 'node1:'"),
        (None, "node1:1,", "-H has ''"),
        (None, "-oProxyCommand=true", "-H has '-oProxyCommand=true'"),
        (None, "node1:2,node1:2", "-H has 'node1:2'"),
        (None, "localhost:1,node1:1", "-H begins with localhost"),
    ],
)
def test_hosts_that_can_t_be_are_refused(number: int | None, hosts: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        launch._hosts(number, hosts.split(",") if hosts else [])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("-n 0 -- true", "--num_processes=0: 0 is not a positive integer."),
        ("-n 1 --grace_seconds=-1 -- true", "--grace_seconds=-1"),
        ("-n 50 -- true", "Too many processes to start (Too many open files)"),
        ("-H node1,gone -- true", "started on gone (ssh: Could not resolve hostname gone: Name or service not known)"),
        ("-H bare -- true", "started on bare (sh: 1: cd: no such directory)"),
    ],
)
def test_a_refusal_is_a_sentence(words: str, sentence: str, ssh: dict[str, str]) -> None:
    few = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (64, 64))
    answer = _run(*words.split(), env=ssh, preexec_fn=few)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert re.fullmatch(r"distgan: .*\.\n", answer.stderr)
    assert sentence in answer.stderr


def test_without_ssh_other_hosts_are_refused(tmp_path: Path) -> None:
    true = Path("/bin/true")
    answer = _run("-H", "node1:2", "--", str(true), env=os.environ | {"PATH": str(tmp_path)})
    assert answer.returncode == 2
    assert answer.stderr == "distgan: -H needs ssh, which is not installed: install it, or name only this host.\n"


def test_a_command_that_another_host_lacks_is_named(ssh: dict[str, str], tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text("not a program")
    command.chmod(0o755)
    answer = _run("-n", "1", "--restarts=3", "--", str(command))
    assert answer.returncode == 127
    assert f"[0] distgan: {command} can't be started: Exec format error.\n" in answer.stderr
