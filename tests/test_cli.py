"""The command distgan: its programs are those of python -m, and what it does not know is refused in a sentence."""

import subprocess
import sys
from pathlib import Path

import limits
import pytest

from distgan import __version__, cli

COMMAND = [sys.executable, "-m", "distgan"]
FLAGS = {"train": "--run_dir", "sample": "--num_images", "launch": "--restarts", "compare": "--output"}


def _run(*words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return limits.run([*COMMAND, *words], **settings)


def _answer(*command: str) -> tuple[int, str, str]:
    answer = limits.run([sys.executable, "-m", *command])
    return answer.returncode, answer.stdout, answer.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--helpfull", "--preset=pix2pix"),
        ("train", "--presets=mlp"),
        ("sample", "--help"),
        ("export",),
        ("compare", "nowhere"),
        ("launch", "-n", "1", "--", "nosuch"),
    ],
    ids=" ".join,
)
def test_a_program_says_what_its_module_says(words: tuple[str, ...]) -> None:
    assert _answer("distgan", *words) == _answer(f"distgan.{words[0]}", *words[1:])


def test_each_program_is_listed_with_a_line() -> None:
    alone = _run()
    assert (alone.returncode, alone.stdout) == (0, _run("--help").stdout)
    for name, line in (cli.PROGRAMS | cli.OTHERS).items():
        assert f"  {name} " in alone.stdout
        assert f" {line}\n" in alone.stdout
    modules = Path(cli.__file__).parent.glob("*.py")
    programs = {path.stem for path in modules if '"__main__":\n    program.run' in path.read_text()}
    assert programs == set(cli.PROGRAMS)


def test_the_version_is_told() -> None:
    assert _run("--version").stdout == f"distgan {__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "trian is not a command: did you mean train?"),
        (["xyzzy"], "xyzzy is not a command: see distgan --help."),
        (["completion"], "The name of a shell is missing: give bash or zsh."),
        (["completion", "tcsh"], "The name of a shell is missing: give bash or zsh."),
        (["build-horovod", "--help"], "build-horovod takes no flags"),
    ],
)
def test_what_is_not_known_is_refused_in_a_sentence(words: list[str], says: str) -> None:
    answer = _run(*words)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"distgan: {says}")
    assert (answer.stderr.count("\n"), answer.stdout) == (1, "")


def _completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of some words."""
    ask = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _distgan; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    answer = limits.run(["bash", "--norc", "-c", f"{script}\n{ask}"])
    assert not answer.stderr
    return answer.stdout.split()


def test_bash_completes_commands_and_flags() -> None:
    script = _run("completion", "bash").stdout
    assert _completed(script, "distgan", "ex") == ["export"]
    assert set(_completed(script, "distgan", "''")) == {*cli.PROGRAMS, *cli.OTHERS}
    for name, flag in FLAGS.items():
        assert _completed(script, "distgan", name, flag[:-1]) == [flag]
    assert "--preset" not in _completed(script, "distgan", "sample", "--")
    assert _completed(script, "distgan", "doctor", "''") == ["--json"]
    assert _completed(script, "distgan", "build-horovod", "''") == []
    assert script in _run("completion", "zsh").stdout


def test_a_launcher_starts_the_command_and_modules_beside_it(tmp_path: Path) -> None:
    assert _run("launch", "-n", "1", "--", "distgan", "--version").stdout == f"[0] distgan {__version__}\n"
    (tmp_path / "beside.py").write_text("import sys; print(sys.argv[1:])")
    script = "import sys; sys.path.pop(0); from distgan import cli; cli.main()"  # as the installed script begins
    answer = limits.run([sys.executable, "-c", script, "launch", "-n", "1", "--", "beside", "--a=1"], cwd=tmp_path)
    assert answer.stdout == "[0] ['--a=1']\n", answer.stderr
