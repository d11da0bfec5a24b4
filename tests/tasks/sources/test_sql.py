"""A real SQLite file, and a real PostgreSQL where the machine has one."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from flows.config import check
from flows.config_errors import ConfigError
from tasks.bars import validate
from tasks.sessions import CalendarConfig, Calendars
from tasks.sources import Fetched, SourceConfig, SourceError, open_source, sql, sql_connection
from tasks.sources.sql_rows import as_table
from tests.private_postgres import PASSWORD, private_postgres

NEW_YORK = "America/New_York"


def rows_of(fetched: Fetched) -> list[tuple[Any, ...]]:
    """Instrument, session and close of each row, sorted; None first."""
    told = fetched.bars.select(["instrument", "session", "close"]).to_pylist()
    return sorted((tuple(row.values()) for row in told), key=str)


def lite(path: Path, table: str = "bars", **fields: Any) -> SourceConfig:  # noqa: ANN401
    named = {} if "query" in fields else {"table": table}
    return SourceConfig(name="sql", url=f"sqlite:///{path}", **named, **fields)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two instruments, of which one has what only SQLite lets into a column."""
    path = tmp_path / "market.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            'CREATE TABLE bars (date DATE, symbol TEXT, close REAL, volume INTEGER, "Adj Close" '
            "REAL, dividend REAL, note BLOB)"
        )
        connection.executemany(
            "INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                ("2024-01-02", "AAPL", 185.64, 82488700, 184.73, 0, b"\xff\x00"),
                ("2024-01-03", "AAPL", "184.25", "58414500", 183.35, None, None),
                ("2024-01-04 00:00:00", "AAPL", 181, None, 180.1, 0.5, None),
                ("2024-01-05", "AAPL", "much", 1, None, 0, None),
                ("soon", "AAPL", 181.2, 1, None, 0, None),
                ("2024-01-02", "MSFT ", 370.87, 1, None, 0, None),
                ("2024-01-03", "MSFT", 370.6, 1, None, 0, None),
                ("2024-01-03", None, 1.0, 1, None, 0, None),
            ],
        )
    connection.close()
    return path


def test_a_table_is_read_by_the_meaning_of_its_columns(database: Path) -> None:
    source = open_source(lite(database))
    assert (source.incremental, source.price_basis) == (True, "split_adjusted")
    assert source.instruments() == ("AAPL", "MSFT")
    fetched = source.fetch()
    assert fetched.bars.num_rows == 8
    first = fetched.bars.slice(0, 1).to_pylist()[0]
    assert first == {
        "instrument": "AAPL",
        "session": date(2024, 1, 2),
        "open": None,
        "high": None,
        "low": None,
        "close": 185.64,
        "volume": 82488700.0,
    }
    assert fetched.adjusted_close is not None
    assert fetched.adjusted_close[0].as_py() == 184.73
    assert fetched.actions.to_pylist() == [
        {"instrument": "AAPL", "session": date(2024, 1, 4), "action": "dividend", "value": 0.5}
    ]
    assert "note" not in fetched.original.column_names  # only what means something is asked for
    assert str(database) in fetched.provenance


def test_what_sqlite_lets_into_a_column_is_read_or_held_with_its_reason(database: Path) -> None:
    fetched = open_source(lite(database)).fetch()
    judged = validate(
        fetched,
        Calendars.load(CalendarConfig()),
        now=datetime(2024, 2, 1, tzinfo=UTC),
        lag=timedelta(0),
        config=None,
    )
    held = {row["rule"]: row["reason"] for row in judged.quarantine.to_pylist()}
    assert set(held) == {"not_a_number", "not_a_date", "missing_instrument"}
    assert "'much'" in held["not_a_number"]
    assert "'soon'" in held["not_a_date"]
    assert judged.bars.num_rows == 5


@pytest.mark.parametrize(
    "query", [None, "SELECT * FROM bars -- all of them", "SELECT * FROM bars;"]
)
def test_filters_keep_what_was_asked_for_and_what_does_not_tell(
    database: Path, query: str | None
) -> None:
    source = open_source(lite(database) if query is None else lite(database, query=query))
    assert rows_of(source.fetch(["MSFT", "NONE"], date(2024, 1, 3), date(2024, 1, 3))) == [
        ("MSFT", date(2024, 1, 3), 370.6),
        (None, date(2024, 1, 3), 1.0),
    ]
    assert rows_of(source.fetch(["MSFT"], last=date(2024, 1, 2))) == [
        ("MSFT", date(2024, 1, 2), 370.87),  # its name is padded
    ]
    assert ("AAPL", None, 181.2) in rows_of(source.fetch(["AAPL"], date(2024, 1, 5)))
    assert rows_of(source.fetch([])) == [(None, date(2024, 1, 3), 1.0)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The statements that reach the database, and their parameters."""
    found: list[tuple[str, Any]] = []
    build = sa.create_engine

    def watched(*args: Any, **options: Any) -> sa.Engine:  # noqa: ANN401
        engine: sa.Engine = build(*args, **options)

        @sa.event.listens_for(engine, "before_cursor_execute")
        def _(_c: object, _cursor: object, statement: str, values: object, *_: object) -> None:
            found.append((statement, values))

        return engine

    monkeypatch.setattr(sa, "create_engine", watched)
    return found


def test_filters_reach_the_database_as_parameters(
    database: Path, asked: list[tuple[str, Any]]
) -> None:
    name = "x'; DROP TABLE bars; --"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE bars SET symbol = ? WHERE symbol = 'MSFT'", (name,))
    connection.close()
    open_source(lite(database)).fetch([name], date(2024, 1, 3), date(2024, 1, 3))
    statement, values = next(one for one in asked if " IN (" in one[0])
    assert name in values
    assert {"2024-01-02", "2024-01-05"} <= set(values)  # a day on either side, for time zones
    assert "DROP" not in statement


def test_names_that_need_quotes_are_quoted(tmp_path: Path) -> None:
    path, table = tmp_path / "odd.db", 'sel"ect; x'
    with sqlite3.connect(path) as connection:
        connection.execute(
            'CREATE TABLE "sel""ect; x" ("order by" TEXT, "a""b" TEXT, "%(x)s" REAL, ":c" REAL)'
        )
        connection.execute("""INSERT INTO "sel""ect; x" VALUES ('2024-01-02', 'A', 1.5, 2)""")
    connection.close()
    columns = {"session": "order by", "instrument": 'a"b', "close": "%(x)s", "volume": ":c"}
    fetched = open_source(lite(path, table, columns=columns)).fetch(["A"])
    assert rows_of(fetched) == [("A", date(2024, 1, 2), 1.5)]


def test_a_query_may_hold_colons_and_percent_signs(database: Path) -> None:
    query = (
        "SELECT date AS session, symbol, close FROM bars "
        "WHERE symbol LIKE 'AA%' AND ':x' = ':x' AND time('12:30:00') = '12:30:00'"
    )
    assert open_source(lite(database, query=query)).fetch(["AAPL"]).bars.num_rows == 5


def test_symbols_name_instruments_as_the_universe_does(database: Path) -> None:
    source = open_source(lite(database, symbols={"Apple": "AAPL"}))
    assert source.instruments() == ("Apple", "MSFT")
    fetched = source.fetch(["Apple"], date(2024, 1, 4), date(2024, 1, 4))
    assert ("Apple", date(2024, 1, 4), 181.0) in rows_of(fetched)
    assert fetched.actions["instrument"].to_pylist() == ["Apple"]


def test_dates_in_another_order_are_not_filtered_as_texts(tmp_path: Path) -> None:
    path = tmp_path / "days.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bars (date TEXT, symbol TEXT, close REAL)")
        connection.execute("INSERT INTO bars VALUES ('31.01.2024', 'A', 1), ('01.02.2024', 'A', 2)")
        connection.execute("CREATE TABLE odd (date TEXT, symbol TEXT, close REAL)")
        connection.execute("INSERT INTO odd VALUES ('2024-31-01', 'A', 1), ('2024-01-02', 'A', 2)")
    connection.close()
    for table, written in (("bars", "%d.%m.%Y"), ("odd", "%Y-%d-%m")):
        fetched = open_source(lite(path, table, date_format=written)).fetch(
            first=date(2024, 2, 1), last=date(2024, 2, 1)
        )
        assert rows_of(fetched) == [("A", date(2024, 2, 1), 2.0)]


def test_the_first_session_ever_asked_for_is_a_field(database: Path) -> None:
    rows = rows_of(open_source(lite(database, start=date(2024, 1, 4))).fetch(["AAPL"]))
    assert {session for name, session, _ in rows if name} == {
        None,
        date(2024, 1, 4),
        date(2024, 1, 5),
    }


def test_nothing_can_be_written(database: Path) -> None:
    before = database.read_bytes()
    with pytest.raises(SourceError):
        open_source(lite(database, query="DELETE FROM bars RETURNING *")).fetch()
    with (
        pytest.raises(SourceError, match="readonly"),  # past the subquery, too
        sql_connection.reading(f"sqlite:///{database}") as connection,
    ):
        connection.execute(sa.text("DELETE FROM bars"))
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"table": "bar"}, r"has no table or view 'bar'\. Did you mean 'bars'\?"),
        ({"query": "SELECT * FROM nowhere"}, "no such table: nowhere"),
        (
            {"query": "SELECT date, close FROM bars"},
            r"no column for the instrument.*'AAPL' AS inst",
        ),
        ({"query": "SELECT symbol, close FROM bars"}, "no column for the session"),
        ({"table": "bars", "columns": {"close": "Last"}}, "no column 'Last'.*source.columns.close"),
        ({"table": "bars", "columns": {"close": "note"}}, "holds no number"),
        ({"table": "bars", "url": "sqlite:///gone.db"}, "'gone.db', which does not exist"),
        ({"table": "bars", "url": "nonsense"}, "no address of a database"),
        ({"table": "bars", "url": "oracel://x"}, "knows no database 'oracel'"),
        ({"table": "bars", "url": "mysql+pymysql://me@h/x"}, "not installed.*pip install pymysql"),
        ({"table": "bars", "url": "sqlite+aiosqlite://"}, "asynchronous.*such as sqlite"),
    ],
)
def test_what_is_wrong_is_told_with_the_remedy(
    database: Path, fields: dict[str, Any], message: str
) -> None:
    config = SourceConfig(**{"name": "sql", "url": f"sqlite:///{database}"} | fields)
    with pytest.raises(SourceError, match=message):
        open_source(config).fetch()


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="four slashes"):
        open_source(lite(tmp_path / "new.db")).instruments()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_table_brings_nothing(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "empty.db") as connection:
        connection.execute("CREATE TABLE bars (date TEXT, symbol TEXT, close REAL)")
    connection.close()
    source = open_source(lite(tmp_path / "empty.db"))
    assert source.instruments() == ()
    assert source.fetch(["A"]).bars.num_rows == 0


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:hunter2@host/market",
        "postgresql://me:hun/ter2@host/market",
        "postgresql+psycopg://me@host/market?password=hunter2",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BUID%3Dme%3BPWD%3Dhunter2",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_shown(url: str) -> None:
    values = {"source": {"name": "sql", "url": url, "table": "bars"}}
    with pytest.raises(ConfigError, match="FLEETCAST_SQL_PASSWORD") as caught:
        check(values, "fleetcast.toml")
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://me@host/market?sslmode=require", "sqlite:////data/a:b@c.db"]
)
def test_a_url_without_a_password_is_taken(url: str) -> None:
    assert SourceConfig(name="sql", url=url, table="bars").url == url


CELLS = st.one_of(
    st.none(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.decimals(allow_nan=True, places=3),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.booleans(),
)


@given(
    st.integers(1, 3).flatmap(
        lambda width: st.lists(
            st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=4), max_size=4
        ).map(lambda batches: (width, batches))
    )
)
def test_no_cell_of_any_type_is_lost(drawn: tuple[int, list[list[tuple[Any, ...]]]]) -> None:
    width, batches = drawn
    names = [f"c{place}" for place in range(width)]
    table = as_table(batches, names)
    rows = [row for batch in batches for row in batch]
    assert table.num_rows == len(rows)
    for place, name in enumerate(names):
        cells = [row[place] for row in rows]
        assert table[name].is_null().to_pylist() == [cell is None for cell in cells]
        if all(type(cell) is int and abs(cell) < 2**63 for cell in cells):
            assert table[name].to_pylist() == cells


def test_numbers_dates_and_instants_keep_their_types() -> None:
    batches: list[list[tuple[Any, ...]]] = [
        [(Decimal("1.10"), 1, date(2024, 1, 2), datetime(2024, 1, 2, 5, tzinfo=UTC))],
        [(Decimal("NaN"), 2.5, None, None), (None, None, date(2024, 1, 3), None)],
    ]
    table = as_table(batches, ["price", "volume", "day", "instant"])
    assert table.schema.types == [
        pa.float64(),
        pa.float64(),
        pa.date32(),
        pa.timestamp("us", tz="UTC"),
    ]
    price = table["price"].to_pylist()
    assert price[0] == 1.1
    assert math.isnan(price[1])
    assert price[2] is None


# PostgreSQL


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A private server; its URL without a password, which FLEETCAST_SQL_PASSWORD must hold."""
    with private_postgres("timezone=Asia/Tokyo") as server:
        yield server.url()


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FLEETCAST_SQL_PASSWORD", PASSWORD)
    return PASSWORD


@pytest.fixture
def market(postgres: str, password: str) -> Iterator[str]:
    """The server with a table whose every type is PostgreSQL's own."""
    engine = sa.create_engine(sa.make_url(postgres).set(password=password))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            """
            CREATE SCHEMA desk;
            CREATE SEQUENCE desk.counter;
            CREATE TABLE desk."Bars" (
                at timestamptz, "Ticker" char(8), close numeric(12, 4), volume bigint, day date,
                local timestamp, written text, code integer
            );
            INSERT INTO desk."Bars" VALUES
                ('2024-01-02 16:00 America/New_York', 'AAPL', 185.6400, 82488700,
                 '2024-01-02', '2024-01-02 16:00', '2024-01-02', 7),
                ('2024-01-03 20:30 America/New_York', 'AAPL', 'NaN', NULL,
                 '2024-01-03', '2024-01-03 16:00', '2024-01-03', 7),
                ('2024-01-04 16:00 America/New_York', 'MSFT', NULL, 1,
                 '2024-01-04', '2024-01-04 16:00', '2024-01-04', 8),
                (NULL, 'MSFT', 370.8700, 1, NULL, NULL, NULL, 8);
            """
        )
    yield postgres
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA desk CASCADE")
    engine.dispose()


def pg(url: str, **fields: Any) -> SourceConfig:  # noqa: ANN401
    named = {} if "query" in fields else {"table": "desk.Bars"}
    return SourceConfig(name="sql", url=url, **named, **fields)


@pytest.mark.parametrize("session", ["at", "day", "local", "written"])
@pytest.mark.parametrize("instrument", ["Ticker", "code"])
def test_postgres_types_come_through(market: str, session: str, instrument: str) -> None:
    apple, microsoft = ("AAPL", "MSFT") if instrument == "Ticker" else ("7", "8")
    columns = {"session": session, "instrument": instrument}
    source = open_source(pg(market, columns=columns, timezone=NEW_YORK))
    assert source.instruments() == (apple, microsoft)
    first = date(2024, 1, 3)
    assert rows_of(source.fetch()) == [
        (apple, date(2024, 1, 2), 185.64),
        (apple, date(2024, 1, 3), None),  # 2024-01-04 in UTC and in the server's Tokyo
        (microsoft, None, 370.87),
        (microsoft, date(2024, 1, 4), None),
    ]
    assert rows_of(source.fetch([apple], first, first)) == [(apple, first, None)]
    assert rows_of(source.fetch([microsoft], first, first)) == [(microsoft, None, 370.87)]


def test_instants_without_a_stated_zone_are_told(market: str) -> None:
    fetched = open_source(pg(market, columns={"session": "at", "instrument": "Ticker"})).fetch()
    assert fetched.bars["session"].to_pylist()[1] == date(2024, 1, 4)
    assert any("source.timezone" in problem.message for problem in fetched.problems)


def test_postgres_filters_dates_and_names_itself(market: str, asked: list[tuple[str, Any]]) -> None:
    query = 'SELECT day, "Ticker" AS symbol, close FROM desk."Bars" WHERE "Ticker" LIKE \'AA%\''
    source = open_source(pg(market, query=query))
    last = date(2024, 1, 2)
    assert rows_of(source.fetch(["AAPL"], last, last)) == [("AAPL", last, 185.64)]
    statement = next(statement for statement, _ in asked if " IN (" in statement)
    assert "day >=" in statement
    assert "day <" in statement


def test_postgres_does_not_write_even_by_a_function(market: str) -> None:
    query = (
        "SELECT nextval('desk.counter') AS volume, current_date AS day, 'A' AS symbol, 1 AS close"
    )
    with pytest.raises(SourceError, match="read-only transaction"):
        open_source(pg(market, query=query)).fetch()


def test_a_query_that_names_a_column_twice_is_refused(market: str) -> None:
    query = 'SELECT day, day, "Ticker" AS symbol, close FROM desk."Bars"'
    with pytest.raises(SourceError, match="several columns named 'day'"):
        open_source(pg(market, query=query)).fetch()


def test_a_wrong_password_is_told_and_not_shown(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETCAST_SQL_PASSWORD", "guessed-it")
    with pytest.raises(SourceError, match="password authentication failed") as wrong:
        open_source(pg(postgres)).fetch()
    assert "guessed-it" not in str(wrong.value)
    monkeypatch.delenv("FLEETCAST_SQL_PASSWORD")
    with pytest.raises(SourceError, match="environment variable FLEETCAST_SQL_PASSWORD"):
        open_source(pg(postgres)).fetch()


def test_a_connection_lost_half_way_is_an_error_and_not_half_a_table(
    market: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = (
        "SELECT date '2000-01-01' + n AS day, 'A' AS symbol, n AS close, "
        "CASE WHEN n = 8000 THEN pg_terminate_backend(pg_backend_pid())::int ELSE 1 END AS volume "
        "FROM generate_series(1, 9000) AS n"
    )
    monkeypatch.setattr(sql, "_ROWS", 100)
    with pytest.raises(SourceError, match="was lost while its rows were read"):
        open_source(pg(market, query=query)).fetch()


def test_rows_are_streamed(market: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query = (
        "SELECT date '2000-01-01' + n AS day, 'A' AS symbol, n AS close "
        "FROM generate_series(1, 1000) AS n"
    )
    monkeypatch.setattr(sql, "_ROWS", 100)
    sizes: list[int] = []
    whole = as_table

    def counted(batches: Any, names: Any) -> pa.Table:  # noqa: ANN401
        kept = list(batches)
        sizes.extend(map(len, kept))
        return whole(kept, names)

    monkeypatch.setattr(sql, "as_table", counted)
    assert open_source(pg(market, query=query)).fetch().bars.num_rows == 1000
    assert max(sizes) == 100
