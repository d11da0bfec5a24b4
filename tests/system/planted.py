"""Secrets that a test plants, every kind that is handled, and a world outside that repeats them.

Owns the secrets, how they may be written, and the server that tells them. Never searches.
"""

from __future__ import annotations

import base64
import json
import threading
from datetime import date
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, quote_plus

SIGNING = base64.b64encode(b"a signing key that nobody may see").decode()
HOOK = "T0PLANTED/B0PLANTED/tokenOfTheHook8Qz51mXw"
BLOCK_HOOK = "T1PLANTED/B1PLANTED/tokenInTheBlock7Rk42nYv"

SECRETS = {
    "TIINGO_API_KEY": "tiingo/0d1f+9b7e=planted",
    "ALPHAVANTAGE_API_KEY": "alpha/77c2+1e0d=planted",
    "tiingo in a block": "tiingo-block/51aa+8c3e=planted",
    "FLEETCAST_SQL_PASSWORD": "source p@ss/w:rd+planted",
    "FLEETCAST_PUBLISH_SQL_PASSWORD": "sink-p@ss/w:rd+planted'quoted\"",
    "FLEETCAST_OWNER_SQL_PASSWORD": "owner-p@ss/w:rd+planted",
    "sink password in a block": "block-p@ss/w:rd+planted",
    "FLEETCAST_WEBHOOK_KEY": f"whsec_{SIGNING}",
    "PREFECT_API_AUTH_STRING": "admin:prefect/p@ss+planted",
    "PREFECT_SERVER_DATABASE_PASSWORD": "database/p@ss+planted",
    "PREFECT_API_KEY": "pnu_prefect/key+planted",
    "AWS_SECRET_ACCESS_KEY": "aws/secret+access=planted",
    "AWS_SESSION_TOKEN": "aws/session+token=planted",
    "password of a connection URL": "connection-p@ss+planted",
    "password of a proxy": "proxy-p@ss+planted",
    "password written into the configuration": "written-pass-planted",
}
"""Variable, or what else it is, to secret."""


def environment(server: str, hook: str) -> dict[str, str]:
    """All of them as a person sets them; `server` is the host and port of the world outside."""
    variables = {name: value for name, value in SECRETS.items() if name.isupper()}
    connection = quote(SECRETS["password of a connection URL"], safe="")
    proxy = quote(SECRETS["password of a proxy"], safe="")
    return {
        **variables,
        "PREFECT_SERVER_API_AUTH_STRING": SECRETS["PREFECT_API_AUTH_STRING"],
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://prefect:{connection}@db/x",
        "FLEETCAST_WEBHOOK_URL": hook,
        "HTTP_PROXY": f"http://fleet:{proxy}@{server}",
        "http_proxy": f"http://fleet:{proxy}@{server}",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "AWS_ACCESS_KEY_ID": "planted-id",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{server}/s3",
        "AWS_ALLOW_HTTP": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def needles() -> dict[str, str]:
    """What is searched for: each secret, and the parts that would give it away."""
    auth = SECRETS["PREFECT_API_AUTH_STRING"]
    beginnings = {f"beginning of {name}": secret[:16] for name, secret in SECRETS.items()}
    return {
        **SECRETS,
        **beginnings,
        "signing key": SIGNING,
        "password of PREFECT_API_AUTH_STRING": auth.partition(":")[2],
        "path of FLEETCAST_WEBHOOK_URL": HOOK,
        "token of FLEETCAST_WEBHOOK_URL": HOOK.rpartition("/")[2],
        "path of the hook in a block": BLOCK_HOOK,
        "token of the hook in a block": BLOCK_HOOK.rpartition("/")[2],
    }


@cache
def forms(secret: str) -> tuple[bytes, ...]:
    """How a secret may be written: plain, percent-encoded, escaped, in base64 at any offset."""
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    texts |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    found = {text.encode() for text in texts}
    found |= {text.replace(b"%", b"%25") for text in found if b"%" in text}
    raw = secret.encode()
    for before in range(3):
        # Of what stands before and after it the first and the last letters depend: left out.
        coded = base64.b64encode(b"." * before + raw)
        whole = coded[-(-before * 8 // 6) : len(coded.rstrip(b"=")) - 1]
        found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
    return tuple(sorted(found))


class World:
    """Everything outside on one port: providers, a web hook, a bucket, a proxy.

    Attributes:
        kind: whether it does as it is asked; else it refuses, and repeats every secret that who
            asks has, in status line, headers and body.
        blocks: whether who asks has those in Prefect's blocks.
        hooked: what was POSTed: path, headers and body.
    """

    def __init__(self, sessions: list[date]) -> None:
        self.kind = True
        self.blocks = True
        self.hooked: list[tuple[str, str, bytes]] = []
        self.asked: list[str] = []
        rows = [
            {"date": f"{day}T00:00:00.000Z", "divCash": 0.0, "splitFactor": 1.0, "volume": 1000}
            | dict.fromkeys(("open", "high", "low", "close", "adjClose"), 10.0 + place % 7 / 7)
            for place, day in enumerate(sessions)
        ]
        self._bars = json.dumps(rows).encode()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.address = f"127.0.0.1:{self._server.server_port}"

    @property
    def hook(self) -> str:
        return f"http://{self.address}/services/{HOOK}"

    @property
    def block_hook(self) -> str:
        return f"http://{self.address}/services/{BLOCK_HOOK}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                world.asked.append(f"{self.command} {self.path}")
                if self.path.startswith("/services/"):
                    world.hooked.append((self.path, str(self.headers), body))
                good = world.kind and not self.path.startswith(("/s3", "http://"))
                if not good:
                    self._tell_everything(body)
                elif self.command == "POST":
                    self._answer(204, b"")
                else:
                    self._answer(200, world._bars)

            def _tell_everything(self, body: bytes) -> None:
                names = [name for name in needles() if "written" not in name]  # never sent
                names = [name for name in names if world.blocks or "block" not in name]
                secrets = [needles()[name] for name in names]
                known = [*secrets, world.hook, *[world.block_hook] * world.blocks, self.path]
                known += [str(self.headers), body[:100].decode(errors="replace")]
                told = " ".join(known)
                status = 403 if self.path.startswith("/s3") else 407 if "://" in self.path else 500
                if self.path.startswith("/s3"):
                    code = "<Code>AccessDenied</Code>"
                    told = f"<Error>{code}<Message>{told}</Message></Error>".replace("&", "+")
                line = " ".join(secrets)
                self._answer(status, told.encode(), line.encode("ascii", "replace").decode())

            def _answer(self, status: int, body: bytes, said: str | None = None) -> None:
                self.send_response(status, said)
                if said is not None:
                    self.send_header("X-Echo", said)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - the library's

            def log_message(self, *_: Any) -> None:  # noqa: ANN401 - the library's
                """Says nothing."""

        return Handler
