"""The signals by which a run is stopped or saved."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator

STOPPING = (signal.SIGTERM, signal.SIGINT)
SAVING = signal.SIGUSR1


@contextlib.contextmanager
def collected(caught: list[int]) -> Iterator[None]:
    """Collect signals in a list, to be answered after a step; another SIGINT, a second later, interrupts."""
    interrupts_from_seconds = math.inf

    def remember(number: int, frame: object) -> None:
        nonlocal interrupts_from_seconds
        if number == signal.SIGINT:  # one may come twice: from a launcher to all, and by way of our parent
            if time.monotonic() > interrupts_from_seconds:
                raise KeyboardInterrupt
            interrupts_from_seconds = min(interrupts_from_seconds, time.monotonic() + 1)
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may have handlers
        return
    before = {number: signal.signal(number, remember) for number in (*STOPPING, SAVING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopping(caught: list[int]) -> bool:
    """Whether one of the signals stops a run."""
    return any(number in STOPPING for number in caught)


def take_saving(caught: list[int]) -> bool:
    """Whether one of the signals asks for a checkpoint; it is taken out of the list."""
    if SAVING not in caught:
        return False
    caught.remove(SAVING)
    return True


def stopped_by(caught: list[int]) -> signal.Signals:
    """The signal that stopped this process; that of another process is taken for a SIGTERM."""
    return signal.Signals(next((number for number in caught if number in STOPPING), signal.SIGTERM))
