"""The meeting point at which the processes that `horovodrun` started wait for each other, even if some are late.

Gloo's own timeout determines how soon a lost process is detected. It is too short for processes that start one after
the other on a busy machine. So they register in the launcher's key-value store, and start Gloo when all have done so.
"""

import contextlib
import http.client
import time

from distgan.errors import LEFT, AloneError

ASK_EVERY_SECONDS = 0.1
ANSWER_SECONDS, GONE_SECONDS = 10.0, 15.0


def meet(server: tuple[str, int], rank: int, size: int, timeout_seconds: float) -> None:
    """Return when all have come. Raises `AloneError` after the timeout, with missing ranks, or if the launcher ends."""
    began = time.monotonic()
    has_come, missing = False, [other for other in range(size) if other != rank]
    while not has_come or missing:
        try:
            has_come = has_come or _ask(server, "PUT", rank)
            missing = [other for other in missing if not _ask(server, "GET", other)]
        except (OSError, http.client.HTTPException) as error:  # a busy server is tried again
            refused = isinstance(error, ConnectionRefusedError)
            if refused and (has_come or time.monotonic() > began + GONE_SECONDS):
                raise AloneError(f"rank {rank}: its launcher exited before all ranks had started.", LEFT) from None
        if (not has_come or missing) and time.monotonic() > began + timeout_seconds:
            raise AloneError.of_start(rank, timeout_seconds, missing)
        time.sleep(0 if has_come and not missing else ASK_EVERY_SECONDS)


def _ask(server: tuple[str, int], method: str, rank: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection(*server, timeout=ANSWER_SECONDS)) as connection:
        connection.request(method, f"/distgan_start/{rank}", body=b"here" if method == "PUT" else None)
        return connection.getresponse().status == http.HTTPStatus.OK
