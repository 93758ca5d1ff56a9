"""The parts that all programs share: parse flags, report user errors, import TensorFlow quietly."""

import gc
import logging
import os
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


def run(main: Callable[[], int], help_text: Callable[[list[str]], str] | None = None) -> Never:
    """Parse absl's flags, run `main` and exit with its result; on a `UserError`, print a sentence and exit with 2.

    --help and --helpfull print what `help_text`, if given, returns for the arguments.
    """
    if help_text and {"--help", "--helpfull", "-help", "-?", "-h"} & set(sys.argv):
        print(f"{sys.modules['__main__'].__doc__}\n{help_text(sys.argv)}")
        sys.exit(0)
    app.run(lambda _: _exit_with(main), flags_parser=_parse)
    raise AssertionError("app.run does not return")


def run_on(main: Callable[[list[str]], int]) -> Never:
    """Run a program as `run` does, with words allowed before, between and after its flags."""
    flags.FLAGS.set_gnu_getopt()
    app.run(lambda words: _exit_with(lambda: main(words)), flags_parser=lambda arguments: _parse(arguments, True))
    raise AssertionError("app.run does not return")


def _parse(arguments: list[str], allows_words: bool = False) -> list[str]:
    """Parse the flags, and return the words that are not flags."""
    try:
        rest = list(flags.FLAGS(arguments)[1:])
        if rest and not allows_words:
            raise UserError(f"{' '.join(rest)} is not a flag: flags are written as --name=value.")
        return rest
    except SystemExit:  # from --help, for which absl uses another status
        sys.exit(0)
    except flags.UnrecognizedFlagError as error:
        _refuse(older.flag_is_now(error.flagname) or _sentence(str(error)), all_ranks_know=True)
    except flags.Error as error:
        _refuse(_sentence(str(error)), all_ranks_know=True)
    except UserError as error:
        _refuse(str(error), all_ranks_know=True)


def _sentence(error: str) -> str:
    """Return absl's error as a sentence: `flag --x=1: it must be 2` becomes `--x=1 is refused: it must be 2.`"""
    words = error.removeprefix("flag ").rstrip(" .?")
    return (words.replace(": it must be", " is refused: it must be", 1) if error.startswith("flag ") else words) + "."


def _exit_with(main: Callable[[], int]) -> None:
    try:
        sys.exit(main())
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
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # tf.distribute logs every collective it traces
    with tempfile.TemporaryFile() as hidden:
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


def _import_quickly() -> None:
    hides_pyplot = "matplotlib.pyplot" not in sys.modules
    gc.disable()
    try:
        if hides_pyplot:
            sys.modules["matplotlib.pyplot"] = None  # type: ignore[assignment]
        import tensorflow as tf

        tf.keras.layers  # noqa: B018 (loads Keras)
        tf.config.list_physical_devices()  # the first call reports missing GPU drivers
    finally:
        if hides_pyplot:
            del sys.modules["matplotlib.pyplot"]
        gc.enable()
        gc.freeze()
