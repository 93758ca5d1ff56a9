"""What is said to a user of a mistake, or of a run that can't go on, and the system's errors as sentences."""

import re
import textwrap

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
