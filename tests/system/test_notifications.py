"""Who is told of what, on a real Prefect server: a night's events, the examples, a web server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import automations, events
from flows.config import FleetcastConfig
from flows.prefect_server import answers
from tasks import runs
from tasks.store import Store
from tests.flows.test_nightly import config, night, write_bars

__all__ = ["config"]  # a fixture of the nightly flow's tests

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's and its libraries' own

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "notifications.yaml"
PATIENCE = 300.0


class Receiver(ThreadingHTTPServer):
    """A web server that keeps what it is told, by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[tuple[str, Any]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def at(self, path: str) -> list[Any]:
        return [body for where, body in self.told if where == path]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.path, json.loads(body)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A whole server: one of a run's own has no service that evaluates automations."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    with (
        (home / "server.log").open("wb") as log,
        _running([*_SERVER, "--port", str(port)], home, log),
    ):
        wait_until(lambda: answers(api), lambda: (home / "server.log").read_text()[-3000:])
        settings = {
            PREFECT_API_URL: api,
            PREFECT_HOME: home,
            PREFECT_LOGGING_TO_API_ENABLED: False,
        }
        with temporary_settings(settings):
            yield api


_SERVER = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]


@contextmanager
def _running(command: list[str], home: Path, log: Any) -> Iterator[None]:  # noqa: ANN401
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    environment = os.environ | quiet | {"PREFECT_HOME": str(home), "PREFECT_SERVER_UI_ENABLED": "0"}
    environment.pop("PREFECT_API_URL", None)
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(true: Callable[[], object], told: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, told()
        time.sleep(0.2)


def events_of(run_id: str) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventResourceFilter

    wanted = EventFilter(resource=EventResourceFilter(id=[f"fleetcast.run.{run_id}"]))
    with get_client(sync_client=True) as client:
        return list(client.read_events(wanted, limit=50).events)


def make_blocks(receiver: Receiver) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.blocks.webhook import Webhook

    Webhook(url=receiver.url("/published")).save("fleetcast", overwrite=True)
    CustomWebhookNotificationBlock(
        name="test",
        url=receiver.url("/notified"),
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    ).save("fleetcast", overwrite=True)


def test_a_night_tells_once_whom_the_examples_say(
    config: FleetcastConfig, prefect: str, receiver: Receiver, tmp_path: Path
) -> None:
    del prefect  # the settings of its fixture hold
    from prefect.client.orchestration import get_client

    # In the place of Slack and e-mail: the same kind of block, at an address of this machine.
    text = EXAMPLES.read_text()
    for outside in ("slack-webhook/", "sendgrid-email/"):
        assert outside in text
        text = text.replace(f"block: {outside}", "block: custom-webhook/")
    file = tmp_path / "notifications.yaml"
    file.write_text(text)

    with pytest.raises(ValueError, match="names the block custom-webhook/fleetcast, which this"):
        automations.apply(file)
    with get_client(sync_client=True) as client:
        assert client.read_automations_by_name("fleetcast-tell-published") == []
    make_blocks(receiver)
    names = automations.apply(file)
    assert automations.apply(file) == names
    with get_client(sync_client=True) as client:
        assert [len(client.read_automations_by_name(name)) for name in names] == [1] * len(names)

    write_bars(tmp_path / "bars" / "D.csv", np.linspace(100.0, 101.0, 200))
    lines = (tmp_path / "bars" / "D.csv").read_text().splitlines()
    (tmp_path / "bars" / "D.csv").write_text("\n".join(lines[:-2]) + "\n")
    first = night(config)
    assert not [one for one in first.problems if "events" in one]

    wait_until(lambda: receiver.at("/published") and receiver.at("/notified"), events_all)
    (payload,) = receiver.at("/published")
    assert (payload["run_id"], payload["session"]) == (first.run_id, "2019-12-31")
    assert payload["planned"] - payload["missing"] == payload["published"]
    (notified,) = receiver.at("/notified")
    assert notified["subject"] == "fleetcast: old bars"
    assert notified["body"] == "Session 2019-12-31: no new bar of D"

    # The server writes events down a few seconds after its automations have seen them.
    wait_until(lambda: len(events_of(first.run_id)) == 2, events_all)
    told = {one.event: one for one in events_of(first.run_id)}
    assert set(told) == {events.PUBLISHED, events.STALE}
    for one in told.values():
        roles = {r.role for r in one.related}
        assert {"flow-run", "flow"} <= roles, "an automation can go by the flow"
    stale = told[events.STALE]
    assert "fleetcast.instrument.D" in {r.id for r in stale.related}

    again = night(config)
    assert (again.run_id, again.written) == (first.run_id, 0)
    assert events.emit(config, runs.find(Store.open(config.store.url), first.run_id)) == 0
    assert len(events_of(first.run_id)) == 2

    # A failed flow run is the next thing that is told: nothing came in between.
    failed = fail()
    wait_until(lambda: len(receiver.at("/notified")) > 1, events_all)
    assert [one["subject"] for one in receiver.at("/notified")][1:] == [
        f"fleetcast: {failed} Failed"
    ]
    assert "no night today" in receiver.at("/notified")[1]["body"]
    assert len(receiver.at("/published")) == 1


def fail() -> str:
    """A run of a flow called nightly that fails; says what the run is called."""
    from prefect import flow, runtime

    names = []

    @flow(name="nightly")
    def broken() -> None:
        names.append(runtime.flow_run.name)
        raise RuntimeError("no night today")

    with pytest.raises(RuntimeError):
        broken()
    return str(names[0])


def events_all() -> object:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return [(one.event, one.payload) for one in client.read_events(limit=50).events]
