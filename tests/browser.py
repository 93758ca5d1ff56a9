"""A headless Chromium, driven by its debugging protocol over a pipe."""

import fcntl
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import limits

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = "needs Chromium: apt-get install chromium"
QUIETLY = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


class Browser:
    """One tab. Its `events` are what the page did since it was opened: requests, messages and exceptions."""

    def __init__(self, profile: Path) -> None:
        """Start the browser, with a profile of its own."""
        pairs = os.pipe(), os.pipe()
        # Chromium reads file 3 and writes file 4: the other ends must not have these numbers.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (pairs[0][0], pairs[1][1])]
        self._to, self._from = pairs[0][1], pairs[1][0]
        command = [str(CHROMIUM), *QUIETLY, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        connect = f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]} 2>/dev/null'
        self._process = subprocess.Popen(["bash", "-c", connect, "bash", *command], pass_fds=theirs)
        for end in (pairs[0][0], pairs[1][1], *theirs):
            os.close(end)
        self._number, self._read, self.events = 0, b"", list[dict[str, Any]]()
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the browser."""
        self._session = {}
        self.call("Browser.close")
        self._process.wait(timeout=limits.LIMIT_SECONDS)
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result. Raises `AssertionError` if it fails."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters} | self._session
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self._from], [], [], limits.LIMIT_SECONDS)[0], "the browser does not answer"
            read = os.read(self._from, 1 << 20)
            assert read, "the browser has ended"
            self._read += read
        message, _, self._read = self._read.partition(b"\0")
        return dict(json.loads(message))

    def open(self, page: Path) -> None:
        """Open a page, and wait until its scripts have run."""
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript in the page, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        """Return what the events of some kinds tell."""
        return [event["params"] for event in self.events if event["method"] in methods]
