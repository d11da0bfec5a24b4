"""docs/publishing.md: its statements are run, and its receiver checks a real message."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flows.config import FleetcastConfig
from tasks.sinks.config import OWNER_PASSWORD, SQL_PASSWORD, WEBHOOK_KEY, SqlSinkConfig
from tasks.sinks.sql import SqlSink
from tasks.sinks.sql_tables import KEY, Tables
from tasks.sinks.webhook import body_of, signed
from tasks.store import Store
from tests.private_postgres import PASSWORD, PrivatePostgres
from tests.tasks.sinks.nights import edition, night
from tests.tasks.sinks.receiver import KEY as SIGNING_KEY

TEXT = (Path(__file__).parents[3] / "docs" / "publishing.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_statements_give_each_role_what_it_needs(
    postgres: PrivatePostgres, store: Store
) -> None:
    newest, roles, reading = blocks("sql")
    postgres.execute("CREATE DATABASE documented")
    roles = roles.replace("CREATE ROLE publisher LOGIN;", "")  # it is there
    for statement in filter(None, map(str.strip, roles.split(";"))):
        postgres.execute(statement, "documented")
    for role in ("forecast_owner", "publisher", "reader"):
        postgres.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    url = postgres.url("publisher", "documented")
    sink = SqlSink(SqlSinkConfig(url=url, owner="forecast_owner"))
    assert sink.migrate()
    for day in range(2):
        assert sink.deliver(edition(store, night(store, day)))
    with postgres.engine("forecast_owner", "documented").begin() as connection:
        connection.exec_driver_sql(reading)
    with postgres.engine("reader", "documented").connect() as connection:
        rows = connection.exec_driver_sql(newest).mappings().all()
    assert len(rows) == 20
    assert {row["as_of"].day for row in rows} == {2}


def test_its_receiver_checks_a_message(store: Store) -> None:
    one = edition(store, night(store))
    body = body_of(one, FleetcastConfig().publish.webhook)
    headers = signed(b"\x00" * 24, one.edition_id, 1, body)
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)  # noqa: S102 - our own page
    is_ours = names["is_ours"]
    assert is_ours(headers, body, "whsec_" + "A" * 32)
    assert not is_ours(headers, body + b" ", "whsec_" + "A" * 32)
    assert not is_ours(headers, body, SIGNING_KEY)
    shown, sent = json.loads(blocks("json")[0]), json.loads(body)
    assert list(shown) == list(sent)
    assert list(shown["data"])[:-1] == list(sent["data"])


def test_it_names_the_variables_and_the_tables() -> None:
    for name in (SQL_PASSWORD, OWNER_PASSWORD, WEBHOOK_KEY):
        assert f"| `{name}` |" in TEXT
    tables = Tables(None)
    for table in tables.metadata.tables:
        assert f"| `{table}` |" in TEXT
    assert ", ".join(f"`{name}`" for name in KEY) in TEXT
    assert isinstance(tables.nights, sa.Table)
    listed = TEXT.partition("| `nights` |")[2].partition("\n")[0]
    assert re.findall(r"`(\w+)`", listed) == [column.name for column in tables.nights.c]
