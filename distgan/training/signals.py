"""The signals that stop a run or request a checkpoint."""

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
    """Collect signals in a list, to handle after a step; another SIGINT, a second later, raises KeyboardInterrupt."""
    interrupts_from_seconds = math.inf

    def remember(number: int, frame: object) -> None:
        nonlocal interrupts_from_seconds
        if number == signal.SIGINT:  # one may arrive twice: from a launcher to all, and through our parent
            if time.monotonic() > interrupts_from_seconds:
                raise KeyboardInterrupt
            interrupts_from_seconds = min(interrupts_from_seconds, time.monotonic() + 1)
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    before = {number: signal.signal(number, remember) for number in (*STOPPING, SAVING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopping(caught: list[int]) -> bool:
    """Return whether one of the signals stops a run."""
    return any(number in STOPPING for number in caught)


def take_saving(caught: list[int]) -> bool:
    """Return whether one of the signals requests a checkpoint, and remove it from the list."""
    if SAVING not in caught:
        return False
    caught.remove(SAVING)
    return True


def stopped_by(caught: list[int]) -> signal.Signals:
    """Return the signal that stopped this process; SIGTERM if another process was stopped."""
    return signal.Signals(next((number for number in caught if number in STOPPING), signal.SIGTERM))
