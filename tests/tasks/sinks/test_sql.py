"""The SQL sink on a real PostgreSQL, and on a SQLite file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from tasks.run_forecasts import forecasts_of
from tasks.schemas import DATASETS
from tasks.sinks import sql
from tasks.sinks.config import OWNER_PASSWORD, SQL_PASSWORD, SqlSinkConfig
from tasks.sinks.sink import Edition, RefusedError, SinkError
from tasks.sinks.sql import SqlSink
from tasks.sinks.sql_tables import KEY, VERSION, Tables
from tasks.store import Store
from tests.private_postgres import PASSWORD, PrivatePostgres
from tests.tasks.sinks.nights import Pauses, edition, night, sorted_rows

Both = tuple[SqlSink, Engine, Tables]


@pytest.fixture(params=["postgresql", "sqlite"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Both:
    """A sink, and a way to look behind it."""
    if request.param == "sqlite":
        config = SqlSinkConfig(url=f"sqlite:///{tmp_path}/market.db")
        engine = sa.create_engine(f"sqlite:///{tmp_path}/market.db", poolclass=NullPool)
        return SqlSink(config, Pauses()), engine, Tables(None)
    server: PrivatePostgres = request.getfixturevalue("postgres")
    database: str = request.getfixturevalue("database")
    config = SqlSinkConfig(url=server.url("publisher", database))
    return SqlSink(config, Pauses()), server.engine("postgres", database), Tables("fleetcast")


@pytest.fixture
def desk(postgres: PrivatePostgres, database: str) -> Both:
    """The same with a role that owns the tables, and one that only publishes."""
    postgres.execute(f"REVOKE CREATE ON DATABASE {database} FROM publisher")
    config = SqlSinkConfig(url=postgres.url("publisher", database), owner="owner")
    return SqlSink(config, Pauses()), postgres.engine("postgres", database), Tables("fleetcast")


def rows_in(engine: Engine, table: sa.Table) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table)).mappings().all()
    return [{name: _plain(name, value) for name, value in row.items()} for row in rows]


def _plain(name: str, value: object) -> object:
    if isinstance(value, str) and (name.endswith("_at") or name == "as_of"):
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def means(both: Both) -> list[float]:
    _, engine, tables = both
    return sorted(row["mean"] for row in rows_in(engine, tables.forecasts))


def test_every_column_of_every_forecast_arrives(both: Both, store: Store) -> None:
    sink, engine, tables = both
    run = night(store)
    assert sink.deliver(edition(store, run))
    there = rows_in(engine, tables.forecasts)
    there.sort(key=lambda row: (row["as_of"], row["forecast_id"]))
    assert there == sorted_rows(forecasts_of(store, run))
    assert list(there[0]) == DATASETS["forecasts"].schema.names
    (told,) = rows_in(engine, tables.nights)
    assert (told["run_id"], told["session"], told["as_of"]) == (run.run_id, run.session, run.as_of)
    assert told["forecasts"] == len(there) == 20
    assert told["edition"] == edition(store, run).edition_id


def test_twice_is_as_good_as_once(both: Both, store: Store) -> None:
    sink, engine, tables = both
    first = edition(store, night(store))
    assert sink.deliver(first)
    before = rows_in(engine, tables.forecasts)
    assert sink.deliver(first)
    assert rows_in(engine, tables.forecasts) == before
    assert len(rows_in(engine, tables.nights)) == 1


def test_what_was_made_later_holds_and_nothing_brings_the_older_back(
    both: Both, store: Store
) -> None:
    sink, engine, tables = both
    older = edition(store, night(store))
    newer = edition(store, night(store, made=5, shift=0.5))
    assert older.edition_id != newer.edition_id
    assert sink.deliver(older)
    assert sink.deliver(newer)
    held = rows_in(engine, tables.forecasts), rows_in(engine, tables.nights)
    assert not sink.deliver(older)  # a worker that was thought dead
    assert (rows_in(engine, tables.forecasts), rows_in(engine, tables.nights)) == held
    assert {row["mean"] for row in held[0]} == set(newer.rows["mean"].to_pylist())


def test_single_rows_made_earlier_change_nothing_even_in_a_newer_edition(
    both: Both, store: Store
) -> None:
    """Of a mended night only one shard is made anew; the others' rows are as they were."""
    sink, engine, tables = both
    first = edition(store, night(store, made=1))
    assert sink.deliver(first)
    with engine.begin() as connection:
        late = {"made_at": datetime(2030, 1, 1, tzinfo=UTC), "mean": 9.0}
        changed = sa.update(tables.forecasts).where(tables.forecasts.c.instrument == "IBM")
        connection.execute(changed.values(late))
    assert sink.deliver(edition(store, night(store, made=2, shift=0.5)))
    rows = rows_in(engine, tables.forecasts)
    assert {row["mean"] for row in rows if row["instrument"] == "IBM"} == {9.0}
    assert {row["forecast_id"][-1] for row in rows if row["instrument"] == "AAPL"} == {"2"}


def test_every_night_has_rows_of_its_own(both: Both, store: Store) -> None:
    sink, engine, tables = both
    for day in (2, 0, 1):
        assert sink.deliver(edition(store, night(store, day)))
    assert len(rows_in(engine, tables.forecasts)) == 60
    nights = rows_in(engine, tables.nights)
    kept = {row["edition"] for row in nights}
    assert len(kept) == 3
    assert sink.lost([*kept, "gone"]) == {"gone"}


def test_all_of_a_night_or_nothing(both: Both, store: Store) -> None:
    sink, engine, tables = both
    assert sink.deliver(edition(store, night(store)))
    before = means(both)
    later = edition(store, night(store, 1))
    spoiled = [*later.rows.to_pylist()[:-1], later.rows.to_pylist()[-1] | {"reason": None}]
    rows = later.rows.from_pylist(spoiled, schema=later.rows.schema)
    with pytest.raises(RefusedError, match="can't be published to"):
        sink.deliver(Edition(later.run, rows, later.edition_id))
    assert means(both) == before
    assert len(rows_in(engine, tables.nights)) == 1


def test_two_rows_about_the_same_are_refused_for_good(both: Both, store: Store) -> None:
    sink, _, _ = both
    one = edition(store, night(store))
    rows = one.rows.take([0, 0])
    with pytest.raises(RefusedError, match=", ".join(KEY)):
        sink.deliver(Edition(one.run, rows, one.edition_id))


def at_once(*work: Callable[[], object]) -> None:
    failed: list[BaseException] = []

    def guarded(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_publishers_at_once_leave_the_newest_and_migrators_do_not_race(
    both: Both, store: Store
) -> None:
    sink, engine, tables = both
    editions = [edition(store, night(store, made=made, shift=made)) for made in range(4)]
    at_once(*(lambda one=one: sink.deliver(one) for one in editions))
    assert means(both) == sorted(editions[-1].rows["mean"].to_pylist())
    assert [row["version"] for row in rows_in(engine, tables.versions)] == [VERSION]


def test_an_older_version_gets_what_it_lacks_and_keeps_its_rows(both: Both, store: Store) -> None:
    sink, engine, tables = both
    assert sink.deliver(edition(store, night(store)))
    prefix = "" if tables.namespace is None else f"{tables.namespace}."
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {prefix}forecasts DROP COLUMN baseline")
        connection.execute(sa.update(tables.versions).values(version=VERSION - 1))
    assert sink.deliver(edition(store, night(store, 1)))
    held = {row["as_of"].day: row["baseline"] for row in rows_in(engine, tables.forecasts)}
    assert held[1] is None
    assert held[2] is not None
    versions = [row["version"] for row in rows_in(engine, tables.versions)]
    assert sorted(versions) == [VERSION - 1, VERSION]


def test_newer_tables_are_refused(both: Both, store: Store) -> None:
    sink, engine, tables = both
    assert sink.migrate()
    assert not sink.migrate()
    with engine.begin() as connection:
        connection.execute(sa.update(tables.versions).values(version=VERSION + 1))
    told = f"version {VERSION + 1}; this fleetcast knows versions up to {VERSION}"
    with pytest.raises(SinkError, match=told):
        sink.deliver(edition(store, night(store)))
    with pytest.raises(SinkError, match=told):
        sink.migrate()


def test_somebody_elses_table_is_left_alone(both: Both, store: Store) -> None:
    sink, engine, tables = both
    prefix = "" if tables.namespace is None else f"{tables.namespace}."
    with engine.begin() as connection:
        if prefix:
            connection.exec_driver_sql("CREATE SCHEMA fleetcast")
            connection.exec_driver_sql("GRANT ALL ON SCHEMA fleetcast TO publisher")
        connection.exec_driver_sql(f"CREATE TABLE {prefix}forecasts (weather TEXT)")
    with pytest.raises(SinkError, match=r"forecasts that fleetcast did not make.*namespace"):
        sink.deliver(edition(store, night(store)))
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names(schema=tables.namespace)
    assert names == ["forecasts"]


def test_a_change_of_the_tables_raises_the_version() -> None:
    """If this fails: raise VERSION in tasks/sinks/sql_tables.py, and write the new count here."""
    counts = {table.name: len(table.columns) for table in Tables(None).metadata.sorted_tables}
    assert (VERSION, counts) == (1, {"fleetcast_version": 2, "forecasts": 33, "nights": 9})


def test_the_publishing_role_has_no_more_rights_than_it_needs(desk: Both, store: Store) -> None:
    sink, engine, _ = desk
    one = edition(store, night(store))
    with pytest.raises(SinkError, match=r"run `fleetcast publish --migrate` with FLEETCAST_OWNER"):
        sink.deliver(one)
    assert sink.migrate()
    assert sink.deliver(one)
    publisher = sa.create_engine(
        sa.make_url(sink.config.url or "").set(password=PASSWORD), poolclass=NullPool
    )
    for statement in (
        "DELETE FROM fleetcast.forecasts",
        "TRUNCATE fleetcast.nights",
        "DROP TABLE fleetcast.forecasts",
        "ALTER TABLE fleetcast.forecasts ADD COLUMN x TEXT",
        "CREATE TABLE fleetcast.mine (x TEXT)",
        "UPDATE fleetcast.fleetcast_version SET version = 9",
    ):
        with (
            pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"),
            publisher.begin() as connection,
        ):
            connection.exec_driver_sql(statement)
    assert len(rows_in(engine, Tables("fleetcast").forecasts)) == 20


def test_a_wrong_password_is_told_at_once_and_not_shown(
    postgres: PrivatePostgres, database: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Pauses()
    sink = SqlSink(SqlSinkConfig(url=postgres.url("publisher", database)), clock)
    one = edition(store, night(store))
    monkeypatch.setenv(SQL_PASSWORD, "wrong-horse")
    with pytest.raises(SinkError, match="password authentication failed") as caught:
        sink.deliver(one)
    assert clock.waited == []
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "wrong-horse" not in f"{seen} {seen.args}"
        seen = seen.__context__
    monkeypatch.delenv(SQL_PASSWORD)
    with pytest.raises(SinkError, match=f"environment variable {SQL_PASSWORD}.*is empty"):
        sink.deliver(one)
    monkeypatch.delenv(OWNER_PASSWORD)
    owned = SqlSink(sink.config.model_copy(update={"owner": "owner"}), clock)
    with pytest.raises(SinkError, match=f"environment variable {OWNER_PASSWORD}.*is empty"):
        owned.migrate()


def test_a_server_that_is_away_is_tried_again_with_growing_pauses(
    tmp_path: Path, store: Store
) -> None:
    clock = Pauses()
    url = f"postgresql+psycopg://me@/market?host={tmp_path}"
    sink = SqlSink(SqlSinkConfig(url=url, attempts=4), clock)
    with pytest.raises(SinkError, match=r"can't be published to.*\(4 tries\)"):
        sink.deliver(edition(store, night(store)))
    first, second, third = clock.waited
    assert 0 < first < second < third
    assert str(tmp_path) in sink.name


def test_a_connection_lost_within_the_night_is_made_again(
    postgres: PrivatePostgres, database: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Pauses()
    sink = SqlSink(SqlSinkConfig(url=postgres.url("publisher", database)), clock)
    write, cut = sql._write, [True]

    def cut_once(connection: sa.Connection, *arguments: Any) -> bool:  # noqa: ANN401
        written = write(connection, *arguments)
        if cut.pop() if cut else False:
            pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
            postgres.execute(f"SELECT pg_terminate_backend({pid})")
            connection.scalar(sa.text("SELECT 1"))
        return written

    monkeypatch.setattr(sql, "_write", cut_once)
    assert sink.deliver(edition(store, night(store)))
    assert len(clock.waited) == 1
    assert len(rows_in(postgres.engine("postgres", database), Tables("fleetcast").forecasts)) == 20


def test_a_statement_that_waits_too_long_is_given_up(
    postgres: PrivatePostgres, database: str, store: Store
) -> None:
    config = SqlSinkConfig(url=postgres.url("publisher", database), timeout_seconds=0.2, attempts=2)
    sink = SqlSink(config, Pauses())
    sink.migrate()
    with postgres.engine("postgres", database).begin() as connection:
        connection.exec_driver_sql("LOCK TABLE fleetcast.nights IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SinkError, match=r"statement timeout.*\(2 tries\)"):
            sink.deliver(edition(store, night(store)))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "no address of a database"),
        ("mysql+pymysql://me@host/market", "database of kind 'mysql'. Expected postgresql or sqli"),
        ("postgresql+asyncpg://me@host/market", "asyncpg"),
        ("postgresql+psycopg2://me@host/market", r"not installed.*fleetcast\[postgres\]"),
        ("sqlite:////nowhere/at/all/market.db", "unable to open database file"),
    ],
)
def test_what_is_no_database_is_told(url: str, told: str, store: Store) -> None:
    clock = Pauses()
    with pytest.raises(SinkError, match=told):
        SqlSink(SqlSinkConfig(url=url), clock).deliver(edition(store, night(store)))
    assert clock.waited == []
