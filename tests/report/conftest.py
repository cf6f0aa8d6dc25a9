"""Chromium without a window, driven over the DevTools protocol by the standard library alone.

The protocol: https://chromedevtools.github.io/devtools-protocol/. With `--remote-debugging-pipe` the browser reads JSON
messages from file descriptor 3 and writes them to 4, each ended by a NUL; nothing listens on a port.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no page reaches a network, whatever it asks for
    "--remote-debugging-pipe",
)
PATIENCE = 60.0
"""Seconds that an answer may take; a busy machine starts the browser in ten."""

_AS_3_AND_4 = """\
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD_CLOEXEC, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass(frozen=True)
class Message:
    """What the browser says about a page: a console message, an exception, or its log (a policy's violation too)."""

    level: str
    text: str


@dataclass
class Visit:
    """A page that is open, and all that has happened on it.

    requests  the addresses that it asked for, its own first; data URIs are cut after 60 characters
    messages  what was said on the console and in the browser's log; levels: verbose, info, warning, error
    """

    browser: Chromium
    session: str
    width: int
    height: int
    dark: bool
    requests: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    loaded: bool = False

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the protocol to this page and return its result."""
        return self.browser.ask(method, params, self.session)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, a promise's once it is kept. The page's own policy does not bind it."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 15.0) -> bool:
        """Whether an expression comes true in time."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def screenshot(self, *, whole: bool = False) -> bytes:
        """The page as PNG: what the window shows, or the whole length of it."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def heed(self, method: str, params: dict[str, Any]) -> None:
        """Take note of an event."""
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            self.requests.append(url[:60] if url.startswith("data:") else url)
        elif method == "Log.entryAdded":
            entry = params["entry"]
            self.messages.append(Message(entry["level"], entry["text"]))
        elif method == "Runtime.consoleAPICalled":
            level = {"warning": "warning", "error": "error", "assert": "error"}.get(params["type"], "info")
            said = [str(item.get("value", item.get("description", ""))) for item in params["args"]]
            self.messages.append(Message(level, " ".join(said)))
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.messages.append(Message("error", details.get("exception", {}).get("description") or details["text"]))
        elif method == "Inspector.targetCrashed":
            raise AssertionError("the page crashed")
        elif method == "Page.loadEventFired":
            self.loaded = True


class Chromium:
    """One browser; `open` shows a file in a tab of its own."""

    def __init__(self, program: str, folder: Path):
        self._log = folder / "stderr"
        reads, self._write = os.pipe()
        self._read, writes = os.pipe()
        words = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-c", _AS_3_AND_4, str(reads), str(writes), *words],
                pass_fds=(reads, writes),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that its helpers end with it
            )
        os.close(reads)
        os.close(writes)
        self._buffer = bytearray()
        self._count = 0
        self._visits: dict[str, Visit] = {}

    def close(self) -> None:
        """End the browser and its helpers, by force where it does not go by itself."""
        with suppress(AssertionError, OSError):
            self.ask("Browser.close", {})
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        os.close(self._read)
        os.close(self._write)

    @contextmanager
    def open(self, path: Path, width: int, height: int, *, dark: bool = False) -> Iterator[Visit]:
        """Show a file in a window of so many CSS pixels; below 600 of width, as a phone does."""
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        visit = self._visits[session] = Visit(self, session, width, height, dark)
        try:
            for domain in ("Page", "Network", "Log", "Runtime", "Inspector"):
                visit.ask(f"{domain}.enable")
            phone = width < 600
            visit.ask(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=2 if phone else 1,
                mobile=phone,
            )
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            visit.ask("Emulation.setEmulatedMedia", features=[scheme])
            answer = visit.ask("Page.navigate", url=path.resolve().as_uri())
            assert "errorText" not in answer, answer
            deadline = time.monotonic() + PATIENCE
            while not visit.loaded:
                self._take(deadline)
            visit.evaluate(
                "document.fonts.ready"
                ".then(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done()))))"
            )
            yield visit
        finally:
            del self._visits[session]
            with suppress(AssertionError):
                self.ask("Target.closeTarget", {"targetId": target})

    def ask(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """Send a command and wait for its result; events that come before it are heeded."""
        self._count += 1
        number = self._count
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        deadline = time.monotonic() + PATIENCE
        self._send(json.dumps(message).encode() + b"\0", deadline)
        while True:
            answer = self._take(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _send(self, data: bytes, deadline: float) -> None:
        while data:
            if not select.select([], [self._write], [], max(0.0, deadline - time.monotonic()))[1]:
                raise AssertionError(f"the browser reads nothing any more; {self._last_words()}")
            try:
                data = data[os.write(self._write, data[: select.PIPE_BUF]) :]
            except BrokenPipeError:
                raise AssertionError(f"the browser has ended; {self._last_words()}") from None

    def _take(self, deadline: float) -> dict[str, Any]:
        """The next message; an event is heeded by the visit that it is about."""
        while (end := self._buffer.find(0)) < 0:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"no word from the browser in time; {self._last_words()}")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise AssertionError(f"the browser has ended; {self._last_words()}")
            self._buffer += data
        message = json.loads(self._buffer[:end])
        del self._buffer[: end + 1]
        visit = self._visits.get(message.get("sessionId", ""))
        if visit is not None and "method" in message:
            visit.heed(message["method"], message["params"])
        return message

    def _last_words(self) -> str:
        return "its last words: " + (self._log.read_text(errors="replace")[-600:] or "none")


def find_chromium() -> str | None:
    """The browser that MEMX_CHROMIUM names, or one that is on the PATH.

    MEMX_CHROMIUM=required: there has to be one; MEMX_CHROMIUM=none: it is not looked for.
    """
    wanted = os.environ.get("MEMX_CHROMIUM", "")
    if wanted == "none":
        return None
    if wanted not in ("", "required"):
        found = shutil.which(wanted)
        assert found, f"MEMX_CHROMIUM={wanted}: no such program"
        return found
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found or not wanted, f"MEMX_CHROMIUM=required, and none of {', '.join(NAMES)} is on the PATH"
    return found


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """The browser, started once; skips where there is none."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here: `apt-get install chromium`, or say MEMX_CHROMIUM=/path/to/chrome")
    browser = Chromium(program, tmp_path_factory.mktemp("chromium"))
    try:
        yield browser
    finally:
        browser.close()
