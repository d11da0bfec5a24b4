"""`fleetcast publish`: what is still due to the sinks, now; and the database's tables, made.

Owns its wording. Never delivers anything: `tasks.sinks` does.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table

from flows import console
from flows.config import FleetcastConfig, PublishConfig
from flows.failures import Refused
from flows.redaction import without_secrets
from flows.secrets import of_blocks, of_sinks, prefect_for, refuse_missing, refuse_no_owner
from tasks.sinks.configured import open_sinks
from tasks.sinks.outside import SinkOutcome, catch_up
from tasks.sinks.sql import SqlSink
from tasks.storage.places import locate
from tasks.store import Store


def run(config: FleetcastConfig, store: Store, *, as_json: bool = False) -> bool:
    """Delivers what is due, and shows what came of it; says whether a sink had a problem.

    Raises:
        Refused: no sink is switched on, or one lacks a secret.
        PrefectServerError: Prefect, which has a secret, can't be reached.
        StoreError: the store can't be read or written.
    """
    publish = config.publish
    if not publish.outside:
        raise Refused(
            "No sink is switched on. Set url under [publish.sql], [publish.folder] or "
            "[publish.webhook]: docs/publishing.md."
        )
    refuse_missing(publish, look_up=False)
    sinks = open_sinks(publish.sql, publish.folder, publish.webhook)
    with (
        prefect_for(of_sinks(publish), store.local_path, config.prefect.api_url),
        of_blocks(publish),
    ):
        caught_up = catch_up(store, sinks, datetime.now(UTC))
    outcomes = [
        dataclasses.replace(one, problem=one.problem and without_secrets(one.problem))
        for one in caught_up
    ]
    out = console.answers()
    if as_json:
        told = json.dumps([dataclasses.asdict(one) for one in outcomes], indent=2)
        out.print(told, markup=False, soft_wrap=True)
    else:
        out.print(_table(outcomes))
        for one in outcomes:
            if one.problem is not None:
                out.print(one.problem, style="yellow", markup=False, soft_wrap=True)
        if not any(one.problem or one.delivered or one.waiting for one in outcomes):
            told = "Nothing was due. A new sink gets its first night from `fleetcast nightly`."
            console.messages().print(told, style="dim", soft_wrap=True)
    return any(one.problem is not None for one in outcomes)


def migrate(config: FleetcastConfig) -> None:
    """Makes the database's tables, or brings them up to date, and says so.

    Raises:
        Refused: there is no database to publish to, or no password of who makes its tables.
        PrefectServerError: Prefect, which has the password, can't be reached.
        SinkError: the database can't be reached, or does not let us.
    """
    publish = config.publish
    if publish.sql.url is None:
        raise Refused("No database to migrate: publish.sql.url is not set.")
    refuse_no_owner(publish.sql)
    sink = SqlSink(publish.sql)
    needed = PublishConfig(sql=publish.sql) if publish.sql.owner is None else PublishConfig()
    refuse_missing(needed, look_up=False)
    folder = locate(config.store.url).local_path
    home = folder if folder is not None and folder.exists() else None
    with prefect_for(of_sinks(needed), home, config.prefect.api_url), of_blocks(needed):
        migrated = sink.migrate()
    done = "made or brought up to date" if migrated else "up to date already"
    console.answers().print(f"{sink.name}: its tables are {done}.", markup=False, soft_wrap=True)


def _table(outcomes: Sequence[SinkOutcome]) -> Table:
    table = Table(title="Published outside", title_justify="left", header_style="bold")
    table.add_column("sink")
    for name in ("nights delivered", "still waiting"):
        table.add_column(name, justify="right")
    for one in outcomes:
        table.add_row(one.sink, f"{len(one.delivered):,}", f"{len(one.waiting):,}")
    return table
