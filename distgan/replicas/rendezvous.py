"""Where the processes that `horovodrun` started wait for each other, however late they come.

Gloo's own time-out says how soon a lost process is missed, and is too short for processes that start one after the
other on a busy machine. So they tell the launcher's key-value store that they have come, and only then go on to Gloo.
"""

import contextlib
import http.client
import time

from distgan.errors import AloneError

ASK_EVERY_SECONDS = 0.1
ANSWER_SECONDS = 10.0


def meet(server: tuple[str, int], rank: int, size: int, timeout_seconds: float) -> None:
    """Return when all processes have come. Raises `AloneError`, with those that are missing, after the timeout."""
    end = time.monotonic() + timeout_seconds
    has_come, missing = False, [other for other in range(size) if other != rank]
    while not has_come or missing:
        with contextlib.suppress(OSError, http.client.HTTPException):  # a busy server is asked again
            has_come = has_come or _ask(server, "PUT", rank)
            missing = [other for other in missing if not _ask(server, "GET", other)]
        if (not has_come or missing) and time.monotonic() > end:
            raise AloneError.of_start(rank, timeout_seconds, missing)
        time.sleep(ASK_EVERY_SECONDS if missing else 0)


def _ask(server: tuple[str, int], method: str, rank: int) -> bool:
    connection = http.client.HTTPConnection(*server, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, f"/distgan_start/{rank}", body=b"here" if method == "PUT" else None)
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()
