"""The parts that all programs share: parse flags, report user errors, import TensorFlow quietly."""

import gc
import io
import logging
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Never

from absl import app, flags

from distgan.config import older
from distgan.errors import TrainingError, UserError
from distgan.replicas import launcher

WRONG_INPUT = 2  # exit status
CHIEF_SPEAKS_SECONDS = 5.0
SHARED_MEMORY = "/dev/shm"


def run(main: Callable[[], int], help_text: Callable[[list[str]], str] | None = None) -> Never:
    """Parse absl's flags, run `main` and exit with its result; on a `UserError`, print a sentence and exit with 2.

    --help and --helpfull print what `help_text`, if given, returns for the arguments.
    """
    _open_streams()
    if help_text and {"--help", "--helpfull", "-help", "-?", "-h"} & set(sys.argv):
        print(f"{sys.modules['__main__'].__doc__}\n{help_text(sys.argv)}")
        _exit(0)
    app.run(lambda _: _exit_with(main), flags_parser=_parse)
    raise AssertionError("app.run does not return")


def run_on(main: Callable[[list[str]], int], flags_first: bool = False) -> Never:
    """Run a program as `run` does, with words before, between and after its flags; or only after them."""
    _open_streams()
    flags.FLAGS.set_gnu_getopt(not flags_first)
    app.run(lambda words: _exit_with(lambda: main(words)), flags_parser=lambda arguments: _parse(arguments, True))
    raise AssertionError("app.run does not return")


class _Output(io.TextIOWrapper):
    """A standard stream that never ends a program: it escapes what its encoding lacks, and keeps its first failure."""

    failure: OSError | None = None

    def __init__(self, descriptor: int, encoding: str) -> None:
        """Write to a file descriptor."""
        file = open(descriptor, "wb", closefd=False)  # noqa: SIM115 (open until the process ends)
        super().__init__(file, encoding, "backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        """Write a text, or nothing after a failure."""
        try:
            return super().write(text)
        except OSError as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        try:
            super().flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = self.failure or error
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def _open_streams() -> None:
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)  # None if it was closed
        target = os.open(os.devnull, os.O_WRONLY) if stream is None else descriptor
        setattr(sys, name, _Output(target, getattr(stream, "encoding", "utf-8")))


def _exit(status: int) -> Never:
    """Exit; if the output could not be written, with a sentence, unless its reader had enough of it."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure and not isinstance(failure, BrokenPipeError):
        _refuse(f"The standard output can't be written to ({failure.strerror}); files are complete.", False)
    sys.exit(status)


def _parse(arguments: list[str], allows_words: bool = False) -> list[str]:
    """Parse the flags, and return the words that are not flags."""
    try:
        rest = list(flags.FLAGS(arguments)[1:])
    except SystemExit:  # from --help, for which absl uses another status
        sys.exit(0)
    except flags.Error as error:
        flag = getattr(error, "flagname", "")
        _refuse(older.flag_is_now(flag) or _shortened(flag) or _sentence(str(error)), all_ranks_know=True)
    if rest and not allows_words:
        _refuse(f"{' '.join(rest)} is not a flag: flags are written as --name=value.", all_ranks_know=True)
    return rest


def _shortened(flag: str) -> str:
    """Return a sentence that names the flags of which an unknown one is the end; empty if there are none."""
    meant = [name for name in flags.FLAGS if name.endswith(f"_{flag}")] if flag else []
    return f"Unknown command line flag '{flag}'. Did you mean: {', '.join(sorted(meant))}." if meant else ""


def _sentence(error: str) -> str:
    """Return absl's error as a sentence: `flag --x=1: it must be 2` becomes `--x=1 is refused: it must be 2.`"""
    error = re.sub(r": \('Non-boolean.*", ": it must be true or false", error)
    error = re.sub(r": (invalid literal for int|could not convert string to float).*", ": it must be a number", error)
    words = error.removeprefix("flag ").rstrip(" .?")
    return (words.replace(": it must be", " is refused: it must be", 1) if error.startswith("flag ") else words) + "."


def _exit_with(main: Callable[[], int]) -> None:
    try:
        _exit(main())
    except UserError as error:
        _refuse(str(error), all_ranks_know=False)
    except TrainingError as error:
        print(f"distgan: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _refuse(message: str, all_ranks_know: bool) -> Never:
    """Print the error once, and exit. Launchers end all processes when one fails, so the chief prints first."""
    if launcher.launched_rank() > 0:
        time.sleep(CHIEF_SPEAKS_SECONDS)
    if launcher.launched_rank() == 0 or not all_ranks_know:
        print(f"distgan: {message}".replace("\n", "\\n"), file=sys.stderr, flush=True)
    sys.exit(WRONG_INPUT)


def import_tensorflow() -> None:
    """Import TensorFlow, and hide what its libraries write to standard error, unless the import fails.

    A quarter faster than `import tensorflow`: garbage collection is off, as there is none to collect, and matplotlib's
    pyplot, which Keras loads for its own pictures, is not imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    _find_temporary_directory()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # tf.distribute logs every collective it traces
    if "TF_XLA_FLAGS" in os.environ:  # if it does not know one of them, TensorFlow says so and ends the process
        return _import_quickly()
    with open(os.memfd_create("hidden"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as hidden:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(hidden.fileno(), 2)
        try:
            _import_quickly()
        except BaseException:
            hidden.seek(0)
            os.write(before, hidden.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


def _find_temporary_directory() -> None:
    """Use shared memory if no temporary directory is writable, as in a container with a read-only file system."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        if not os.access(SHARED_MEMORY, os.W_OK):
            raise UserError("No temporary directory is writable: set TMPDIR to one that is.") from None
        tempfile.tempdir = os.environ["TMPDIR"] = SHARED_MEMORY


def _import_quickly() -> None:
    hides_pyplot = "matplotlib.pyplot" not in sys.modules
    gc.disable()
    try:
        if hides_pyplot:
            sys.modules["matplotlib.pyplot"] = None  # type: ignore[assignment]
        import keras  # noqa: F401 (loads TensorFlow too)
        import tensorflow as tf

        tf.config.list_physical_devices()  # the first call reports missing GPU drivers
    finally:
        if hides_pyplot:
            del sys.modules["matplotlib.pyplot"]
        gc.enable()
        gc.freeze()
