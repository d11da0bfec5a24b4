"""A real server on this machine that answers as providers do, on good days and bad ones."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """What the server does with a request.

    Attributes:
        body: of the answer.
        status: of the answer.
        headers: beside the content's length.
        missing: so many bytes more are announced than come.
        measured: whether the length is told; else the closed connection ends the answer.
        zipped: sent as gzip.
        trickle: seconds between one byte and the next.
        trickle_headers: seconds between a header and the next, for ever.
        silent: nothing is ever answered.
        hangs_up: the connection is closed without an answer.
    """

    body: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    measured: bool = True
    zipped: bool = False
    trickle: float = 0.0
    trickle_headers: float = 0.0
    silent: bool = False
    hangs_up: bool = False


class ProviderServer:
    """Answers with what `answer` makes of a request, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[Asked], Reply] = lambda _: Reply("nothing here", status=404)
        self.asked: list[Asked] = []
        self.dies_after: int | None = None
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.die()

    def replies(self, *replies: Reply) -> None:
        """Answers with `replies`, one after the other, and then always with the last."""
        left = list(replies)
        self.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def die(self) -> None:
        """Hears nothing from now on."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._server.shutdown()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: told[-1] for name, told in parse_qs(parts.query).items()}
                if outer.dies_after is not None and len(outer.asked) >= outer.dies_after:
                    self.close_connection = True
                    outer.die()
                    return
                asked = Asked(parts.path, query, dict(self.headers.items()))
                outer.asked.append(asked)
                try:
                    self._send(outer.answer(asked))
                except OSError:  # the client had enough
                    self.close_connection = True

            def _send(self, reply: Reply) -> None:
                if reply.silent:
                    outer._stopped.wait(30)
                if reply.silent or reply.hangs_up:
                    self.close_connection = True
                    return
                body = reply.body.encode() if isinstance(reply.body, str) else reply.body
                body = gzip.compress(body) if reply.zipped else body
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.zipped:
                    self.send_header("Content-Encoding", "gzip")
                if reply.measured:
                    self.send_header("Content-Length", str(len(body) + reply.missing))
                if reply.missing or not reply.measured:
                    self.send_header("Connection", "close")
                while reply.trickle_headers:
                    self.send_header("X-Wait", "longer")
                    self.flush_headers()
                    time.sleep(reply.trickle_headers)
                self.end_headers()
                step = 1 if reply.trickle else max(1, len(body))
                for place in range(0, len(body), step):
                    self.wfile.write(body[place : place + step])
                    time.sleep(reply.trickle)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Says nothing."""

        return Handler


class FakeClock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
