"""The console of a run: printed lines, then one live line."""

import math
import os
import time
from contextlib import suppress
from typing import TextIO

REDRAW_SECONDS = 0.1
PLAIN_LINE_SECONDS = 5.0


class Console:
    """A stream with at most one live line at its end.

    It uses no library: libraries for live lines hide the cursor, and a killed run would leave it hidden.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream."""
        self._stream = stream
        self._is_terminal = bool(getattr(stream, "isatty", bool)())
        self._line = ""
        self._next_seconds = -math.inf

    def progress(self, line: str, last: bool) -> None:
        """Show a live line; if the stream is not a terminal, print it, but less often."""
        now = time.monotonic()
        if now < self._next_seconds and not last:
            return
        self._next_seconds = now + (REDRAW_SECONDS if self._is_terminal else PLAIN_LINE_SECONDS)
        if self._is_terminal:
            self._draw(line)
        else:
            self._write(line + "\n")

    def say(self, text: str) -> None:
        """Print lines above the live line."""
        line = self._line
        if line:
            self._draw("")
        self._write(text + "\n")
        if line:
            self._draw(line)

    def leave_line(self) -> None:
        """End the live line."""
        self._write("\n" if self._line else "")
        self._line = ""

    def _draw(self, line: str) -> None:
        columns = 0
        with suppress(OSError, AttributeError):  # it only looks like a terminal
            columns = os.get_terminal_size(self._stream.fileno()).columns
        room = (columns or 80) - 1  # a full last column makes some terminals start a new line
        self._write("\r" + line[:room].ljust(min(len(self._line), room)) + ("" if line else "\r"))
        self._line = line[:room]

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the stream is closed, or what reads it
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
            self._stream.flush()
