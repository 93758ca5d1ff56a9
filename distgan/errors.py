"""Errors that end a program with one sentence, and the system's errors as sentences."""

import re
import textwrap
from collections.abc import Sequence

STALLED, LEFT = 4, 1  # exit statuses: of a process that waited or hung too long, and of a process no longer needed
MOST_CHARACTERS = 200  # of another program's message
MOST_NAMES = 12  # in a list


class UserError(ValueError):
    """A user's mistake, in one sentence that states what to change; programs print it and exit with status 2."""


class TrainingError(RuntimeError):
    """An error that ends a run and is not a user's mistake: one sentence, and the exit status of its kind."""

    def __init__(self, sentence: str, exit_status: int) -> None:
        """Set the sentence and the exit status, the same on all processes, which end together."""
        super().__init__(sentence)
        self.exit_status = exit_status


class AloneError(TrainingError):
    """An error that ends this process only, which therefore prints it."""

    @classmethod
    def of_start(cls, rank: int, timeout_seconds: float, missing: Sequence[object] = ()) -> "AloneError":
        """Return the error of a process that did not meet the others in time; `missing` are absent ranks, if known."""
        known = f" (missing: rank {', '.join(map(str, missing))})" if missing else ""
        begin = f"rank {rank} could not connect to the others within {timeout_seconds:g} seconds{known}"
        return cls(f"{begin}: check that all run, or raise --start_timeout_seconds.", STALLED)


def sentence_of(error: OSError) -> str:
    """Return the system's error about a file as a sentence that names the file."""
    return f"{error.filename or 'A file'}: {error.strerror or error}."


def reason(error: Exception) -> str:
    """Shorten the message of an error of another program, without its graph and source lines."""
    about_graph = ("Graph execution error", "Detected at node", "File ", "<stack traces", "[[")
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if line and not line.startswith(about_graph)), type(error).__name__)
    return textwrap.shorten(re.sub(r"\[?/\S+:\d+\]? ", "", said), MOST_CHARACTERS, placeholder=" ...")


def in_short(names: Sequence[str]) -> str:
    """Return a list of names as words, without those beyond the first dozen."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (", ".join(names[:MOST_NAMES]) or "nothing") + more


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).partition("\n")[0]
