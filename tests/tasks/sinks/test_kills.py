"""Killed without warning while it publishes; the same again, and each sink has the night once."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from tasks.publish import PARQUET
from tasks.run_forecasts import forecasts_of
from tasks.sinks.deliveries import account
from tasks.sinks.sql_tables import Tables
from tasks.store import Store
from tests.private_postgres import PrivatePostgres
from tests.tasks.sinks.fault_points import POINTS, publish_all, publish_and_die
from tests.tasks.sinks.nights import edition, night, sorted_rows
from tests.tasks.sinks.receiver import Receiver


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that share what takes long to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tasks.sinks.fault_points", "psycopg"])
    return context


@pytest.fixture
def market(postgres: PrivatePostgres, database: str) -> tuple[str, sa.Engine]:
    """The address to publish to, and a way to look behind it."""
    return postgres.url("publisher", database), postgres.engine("postgres", database)


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_and_run_again_every_sink_has_the_night_once(
    point: str,
    processes: ForkServerContext,
    market: tuple[str, sa.Engine],
    receiver: Receiver,
    store: Store,
) -> None:
    run = night(store)
    url, engine = market
    tables = Tables("fleetcast")
    folder = Path(store.url).parent / "desk"
    urls = store.url, url, str(folder), receiver.url
    process = processes.Process(target=publish_and_die, args=(point, *urls))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    def rows() -> list[dict[str, object]]:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("forecasts", schema="fleetcast"):
                return []
            found = connection.execute(sa.select(tables.forecasts)).mappings().all()
        return sorted((dict(row) for row in found), key=lambda row: str(row["forecast_id"]))

    before = rows()
    assert len(before) == (20 if POINTS.index(point) >= 2 else 0)
    publish_all(*urls)
    expected = sorted_rows(forecasts_of(store, run))
    assert rows() == expected
    assert before in ([], expected)
    assert sorted_rows(pq.read_table(folder / PARQUET)) == expected
    left = [path.name for path in (folder / "latest").iterdir()]
    assert sorted(left) == ["forecasts.csv", "forecasts.parquet"]
    # A receiver may see it twice, as the same message: it knows the second by its id.
    assert set(receiver.ids) == {edition(store, run).edition_id}
    assert len({body for _, body in receiver.received}) == 1
    assert len(receiver.received) == (2 if point == "after the message" else 1)
    assert {one.status for one in account(store).values()} == {"delivered"}
    assert len(account(store)) == 3
    publish_all(*urls)
    assert rows() == expected
    assert len(receiver.received) <= 2
