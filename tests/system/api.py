"""A Prefect server as a test asks it: over HTTP, without Prefect's own client.

Owns the asking, and what is known of a server's processes. Never starts one.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 900.0
"""Seconds after which what a test waits for is not going to come."""

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Api:
    """The server at a port of this machine; `secret` is name:password, where it asks for one."""

    port: int
    secret: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def ask(self, path: str, method: str | None = None, **wanted: object) -> Any:  # noqa: ANN401
        """What it answers; a POST where there is something to say, unless `method` says else."""
        data = json.dumps(wanted).encode() if wanted or path.endswith("filter") else None
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/{path}",
            data=data,
            headers={"Content-Type": "application/json", **_authorization(self.secret)},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read() or "null")

    def runs(self, flow: str, states: tuple[str, ...] = ENDED) -> list[dict[str, Any]]:
        """A flow's runs in these states, in the order in which they were due."""
        found: list[dict[str, Any]] = self.ask(
            "flow_runs/filter",
            flows={"name": {"any_": [flow]}},
            flow_runs={"state": {"type": {"any_": list(states)}}},
            sort="EXPECTED_START_TIME_ASC",
        )
        return found

    def answers(self, path: str = "health") -> int:
        """The status of an answer; 0 where nobody answers."""
        return status(f"{self.url}/{path}", self.secret)


def status(url: str, secret: str | None = None) -> int:
    """The status of an answer; 0 where nobody answers."""
    request = urllib.request.Request(url, headers=_authorization(secret))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as got:  # noqa: S310
            return int(got.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _authorization(secret: str | None) -> dict[str, str]:
    if secret is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    """That of a person whose home is in `folder`, and who has told Prefect nothing."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TF_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": str(folder / "home")}


def alive(mark: str) -> dict[int, str]:
    """Processes, in any group, with `mark` (NAME=value) in their environment: their commands."""
    found = {}
    wanted = mark.encode()
    for one in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (one / "environ").read_bytes().split(b"\0"):
                found[int(one.name)] = (one / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it ended meanwhile
    return {pid: line for pid, line in found.items() if line}
