"""What is said to a user of a mistake, or of a run that can't go on, and the system's errors as sentences."""

import re
import textwrap
from collections.abc import Sequence

STALLED, LEFT = 4, 1  # exit statuses: of a process that waited, or hung, for too long, and of one that nobody needs
MOST_CHARACTERS = 200  # of what another program says


class UserError(ValueError):
    """A mistake in what the user gave: one sentence that says what to change.

    Programs print it without a traceback and end with exit status 2.
    """


class TrainingError(RuntimeError):
    """What ends a run through no mistake of the user's: one sentence, and the exit status that stands for its kind."""

    def __init__(self, sentence: str, exit_status: int) -> None:
        """The same on all processes, which end together."""
        super().__init__(sentence)
        self.exit_status = exit_status


class AloneError(TrainingError):
    """What ends this process and no other, so it says so itself."""

    @classmethod
    def of_start(cls, rank: int, timeout_seconds: float, missing: Sequence[int] = ()) -> "AloneError":
        """Of a process that did not meet the others in time; some of those that did not come may be known."""
        known = f" ({', '.join(map(str, missing))} did not come)" if missing else ""
        return cls(
            f"rank {rank} could not meet the others within {timeout_seconds:g} seconds{known}: see that all are "
            "started and can reach each other, or give a larger --start_timeout_seconds.",
            STALLED,
        )


def sentence_of(error: OSError) -> str:
    """What the system says of a file, as a sentence that names it."""
    return f"{error.filename or 'A file'}: {error.strerror or error}."


def reason(error: Exception) -> str:
    """What an error of TensorFlow's, or of Horovod's, says in short, without its graph and lines of its source."""
    about_graph = ("Graph execution error", "Detected at node", "File ", "<stack traces", "[[")
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if line and not line.startswith(about_graph)), type(error).__name__)
    return textwrap.shorten(re.sub(r"\[?/\S+:\d+\]? ", "", said), MOST_CHARACTERS, placeholder=" ...")


def first_line(error: Exception) -> str:
    """What an error says, without what follows its first line."""
    return str(error).partition("\n")[0]
