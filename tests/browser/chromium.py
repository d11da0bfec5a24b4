"""A real headless browser, driven over its DevTools pipe: open a page, ask it, photograph it.

Owns the process and the protocol (https://chromedevtools.github.io/devtools-protocol). Never
touches what is on the page.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_PATIENCE = 60.0  # seconds until a browser that says nothing is given up


def find_browser() -> str | None:
    """The browser's path, None where this machine has none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Page:
    """One tab: what it was asked to fetch and what it complained about is kept."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def show(
        self,
        width: int,
        *,
        height: int = 900,
        dark: bool = False,
        media: str = "",
        scale: float = 1.0,
    ) -> None:
        """Set the screen: its size in CSS pixels, its colour scheme, and screen or print."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def open(self, url: str) -> None:
        """Load a page and wait until it has loaded."""
        self._call("Page.navigate", url=url)
        self.browser.wait_for("Page.loadEventFired")

    def ask(self, expression: str) -> Any:  # noqa: ANN401 (whatever the page answers)
        """The value of a JavaScript expression on the page, as JSON."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"the page could not answer {expression!r}: {answer}")
        return answer["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = True, height: int | None = None) -> None:
        """Photograph the whole page, or its first `height` pixels."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {
            "x": 0,
            "y": 0,
            "width": size["width"],
            "height": min(height or size["height"], size["height"]),
            "scale": 1,
        }
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=whole, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)


class Browser:
    """A headless browser with a throw-away profile; use it in a `with` block."""

    def __init__(self, path: str) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        asks, self._out = os.pipe()
        self._in, answers = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4: a shell can place them.
        place = f'exec "$0" "$@" 3</dev/fd/{asks} 4>/dev/fd/{answers}'
        flags = [*_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            ["sh", "-c", place, path, *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(asks, answers),
        )
        os.close(asks)
        os.close(answers)
        self._sent = 0
        self._buffer = b""
        self._events: list[str] = []
        self.page: Page | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def new_page(self) -> Page:
        """A tab that listens to its network, its console and its exceptions."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.page = Page(self, attached["sessionId"])
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable", self.page.session)
        return self.page

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Send one command and return its answer; events that come before it are kept."""
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._sent:
                if "error" in answer:
                    raise AssertionError(f"{method} failed: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def wait_for(self, event: str) -> None:
        """Return when an event has come, or had come since the last wait."""
        while event not in self._events:
            self._next()
        self._events.clear()

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._in, 1 << 16) if ready else b""
            if not chunk:
                raise AssertionError("the browser ended, or said nothing for too long")
            self._buffer += chunk
        raw, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(raw)
        if "method" in message:
            self._note(message["method"], message.get("params", {}))
        return message

    def _note(self, event: str, about: dict[str, Any]) -> None:
        self._events.append(event)
        if self.page is None:
            return
        if event == "Network.requestWillBeSent":
            self.page.requests.append(about["request"]["url"])
        elif event == "Runtime.exceptionThrown" or (
            event == "Runtime.consoleAPICalled" and about["type"] in {"error", "warning"}
        ):
            self.page.complaints.append(json.dumps(about))
        elif event == "Log.entryAdded":
            self.page.complaints.append(about["entry"]["text"])
