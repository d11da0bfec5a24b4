"""Places where a process that publishes is killed, and the process.

Importable, because the process is another one.
"""

from __future__ import annotations

import os
import signal
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from tasks import publish
from tasks.run_forecasts import forecasts_of
from tasks.runs import runs_by_id
from tasks.sinks import deliveries, outside, sql
from tasks.sinks.config import (
    OWNER_PASSWORD,
    SQL_PASSWORD,
    WEBHOOK_KEY,
    FolderSinkConfig,
    SqlSinkConfig,
    WebhookSinkConfig,
)
from tasks.sinks.configured import open_sinks
from tasks.sinks.outside import publish_outside
from tasks.sinks.sink import Status
from tasks.sinks.webhook import WebhookSink
from tasks.storage import places
from tasks.store import Store
from tests.private_postgres import PASSWORD
from tests.tasks.sinks.nights import TONIGHT
from tests.tasks.sinks.receiver import KEY

POINTS = (
    "before it is written down as due",
    "before the database commits",
    "after the database committed",
    "between the two files",
    "after the files",
    "before the message",
    "after the message",
)


SECRETS = {SQL_PASSWORD: PASSWORD, OWNER_PASSWORD: PASSWORD, WEBHOOK_KEY: KEY}


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def publish_all(store_url: str, sql_url: str, folder_url: str, webhook_url: str) -> None:
    """What a night does of its only run."""
    os.environ.update(SECRETS)  # a process may have been prepared before they were set
    store = Store.open(store_url, create=False)
    run_id = store.read("runs")["run_id"][-1].as_py()
    run = runs_by_id(store, {run_id})[run_id]
    assert forecasts_of(store, run).num_rows
    sinks = open_sinks(
        SqlSinkConfig(url=sql_url),
        FolderSinkConfig(url=folder_url),
        WebhookSinkConfig(url=webhook_url),
    )
    publish_outside(store, run, sinks, TONIGHT)


def publish_and_die(point: str, *urls: str) -> None:
    """The same, killed at `point` without warning."""
    write, note = places.write, deliveries.note

    def noting(store: Store, edition: Any, sinks: Any, status: Status, **more: Any) -> None:  # noqa: ANN401
        after = {
            "after the database committed": "sql",
            "after the files": "folder",
            "after the message": "webhook",
        }
        wanted = after.get(point)
        if status == "delivered" and wanted is not None and sinks[0].startswith(wanted):
            die()
        if status == "due" and point == "before it is written down as due":
            die()
        note(store, edition, sinks, status, **more)

    def writing(place: places.Place, relative: str, data: bytes) -> str:
        if point == "between the two files" and relative == publish.PARQUET:
            die()
        return write(place, relative, data)

    engine_of = sql._engine

    def engine(*arguments: Any) -> sa.Engine:  # noqa: ANN401
        made = engine_of(*arguments)
        if point == "before the database commits":
            committing = [False]

            @sa.event.listens_for(made, "after_cursor_execute")
            def _seen(_: object, __: object, statement: str, *___: object) -> None:
                committing[0] |= "INSERT INTO fleetcast.forecasts" in statement

            @sa.event.listens_for(made, "commit")
            def _commit(_: object) -> None:
                if committing[0]:
                    die()

        return made

    with (
        patch.object(outside, "note", noting),
        patch.object(places, "write", writing),
        patch.object(sql, "_engine", engine),
    ):
        if point == "before the message":
            with patch.object(WebhookSink, "_once", die):
                publish_all(*urls)
        publish_all(*urls)
    raise AssertionError(f"it was never killed {point}")
