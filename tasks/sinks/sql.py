"""Forecasts in a database: a night in one transaction, and never an older one over a newer.

Owns the transactions. Never touches the tables' shape: `tasks.sinks.sql_tables` does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool

from tasks.runs import PinnedRun
from tasks.sinks.config import OWNER_PASSWORD, SQL_PASSWORD, SqlSinkConfig
from tasks.sinks.sink import Edition, RefusedError, SinkError, TryAgainError, retried
from tasks.sinks.sql_tables import KEY, Tables
from tasks.sources.rate_limit import Clock

T = TypeVar("T")

_BACKENDS: dict[str, Callable[[sa.Table], Any]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}

_HOPELESS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "permission denied",
    "unable to open",
)
"""What waiting does not mend, as a server says it when it turns a connection away."""

_AT_ONCE = 1_000
"""Rows in one statement's batch."""


@dataclass(frozen=True)
class SqlSink:
    """The tables of one database; made without a connection."""

    config: SqlSinkConfig
    clock: Clock = field(default_factory=Clock)
    newest_only = False

    @property
    def name(self) -> str:
        """The database's address, without user, password and options, and the namespace."""
        return f"sql {_shown(self.config)}"

    def takes(self, run: PinnedRun) -> bool:  # noqa: ARG002
        """Every run: each has rows of its own."""
        return True

    def lost(self, editions: Collection[str]) -> frozenset[str]:
        """Delivered editions whose nights are not in the database, or in an older edition.

        Raises:
            SinkError: the database can't be reached or read.
        """

        def look(connection: Connection, tables: Tables) -> frozenset[str]:
            there = connection.scalars(sa.select(tables.nights.c.edition))
            return frozenset(editions) - frozenset(there)

        return self._in_transaction(look)

    def deliver(self, edition: Edition) -> bool:
        """Writes a night's forecasts, and the night, in one transaction.

        Raises:
            RefusedError: two of the rows are about the same.
            SinkError: the database can't be reached, or does not let us write.
        """
        rows = edition.rows.to_pylist()
        if len({tuple(row[name] for name in KEY) for row in rows}) < len(rows):
            raise RefusedError(f"two of its forecasts have the same {', '.join(KEY)}")
        night = _night(edition)
        return self._in_transaction(
            lambda connection, tables: _write(connection, tables, night, rows)
        )

    def migrate(self) -> bool:
        """Makes the tables or brings them up to date, as the owner if there is one.

        Returns:
            Whether there was anything to do.

        Raises:
            SinkError: the database can't be reached, or the role may not.
        """
        owner = self.config.owner
        publisher = None if owner is None else _address(self.config).username

        def once() -> bool:
            with _connection(self.config, as_owner=owner is not None) as (connection, tables):
                return tables.migrate(connection, grant_to=publisher)

        return retried(self.config.attempts, self.clock, once)

    def _in_transaction(self, work: Callable[[Connection, Tables], T]) -> T:
        """What `work` returns, after a commit; tried again where the connection was at fault."""

        def once() -> T:
            with _connection(self.config) as (connection, tables):
                if not tables.check(connection):
                    if self.config.owner is None:
                        tables.migrate(connection)
                        return work(connection, tables)
                    raise SinkError(
                        "its tables are missing or of an older version, and publish.sql.owner says "
                        f"who may change them: run `fleetcast publish --migrate` with "
                        f"{OWNER_PASSWORD} set"
                    )
                return work(connection, tables)

        return retried(self.config.attempts, self.clock, once)


def _night(edition: Edition) -> dict[str, Any]:
    run = edition.run
    return {
        "as_of": run.as_of.astimezone(UTC),
        "config_hash": run.config_hash,
        "session": run.session,
        "run_id": run.run_id,
        "origin": run.origin,
        "edition": edition.edition_id,
        "forecasts": edition.rows.num_rows,
        "made_at": pc.max(edition.rows["made_at"]).as_py().astimezone(UTC),
        "delivered_at": datetime.now(UTC),
    }


def _write(
    connection: Connection, tables: Tables, night: dict[str, Any], rows: list[dict[str, Any]]
) -> bool:
    """Whether the night was written; False: it is there, made later."""
    insert = _BACKENDS[connection.dialect.name]
    nights, forecasts = tables.nights, tables.forecasts
    # This takes the night's row: who else publishes the same night waits until we are done.
    claim = insert(nights).values(night)
    claim = claim.on_conflict_do_update(
        index_elements=list(nights.primary_key),
        set_={name: claim.excluded[name] for name in night},
        where=nights.c.made_at <= claim.excluded.made_at,
    ).returning(nights.c.edition)
    if connection.execute(claim).first() is None:
        return False
    upsert = insert(forecasts)
    upsert = upsert.on_conflict_do_update(
        index_elements=list(forecasts.primary_key),
        set_={one.name: upsert.excluded[one.name] for one in forecasts.c if one.name not in KEY},
        where=forecasts.c.made_at < upsert.excluded.made_at,
    )
    for start in range(0, len(rows), _AT_ONCE):
        connection.execute(upsert, rows[start : start + _AT_ONCE])
    return True


@contextmanager
def _connection(
    config: SqlSinkConfig, *, as_owner: bool = False
) -> Iterator[tuple[Connection, Tables]]:
    """A connection in one transaction, which ends in a commit.

    Raises:
        SinkError: it can't be made, or what was asked within it was refused. Nothing was written.
    """
    variable = OWNER_PASSWORD if as_owner else SQL_PASSWORD
    place = _address(config)
    password = None if place.get_backend_name() == "sqlite" else os.environ.get(variable)
    if as_owner:
        place = place.set(username=config.owner, password=None)
    shown = _shown(config)
    reason: SinkError
    try:
        engine = _engine(place if not password else place.set(password=password), config)
        tables = Tables(config.namespace if engine.dialect.name != "sqlite" else None)
        try:
            with engine.begin() as connection:
                if engine.dialect.name == "postgresql":
                    limit = sa.text("SELECT set_config('statement_timeout', :ms, true)")
                    connection.execute(limit, {"ms": str(int(config.timeout_seconds * 1000))})
                yield connection, tables
                return
        finally:
            engine.dispose()
    except ImportError as error:
        reason = SinkError(_no_driver(place, error))
    except NoSuchModuleError:
        reason = SinkError(f"publish.sql.url = {shown!r}: SQLAlchemy knows no such database")
    except SQLAlchemyError as error:
        reason = _explained(shown, error, password, variable)
    except SinkError as error:
        reason = type(error)(f"The database {shown} can't be published to: {error}")
    # Raised outside of `except`: what came before may hold the password.
    raise reason


def _address(config: SqlSinkConfig) -> URL:
    try:
        place = make_url(config.url or "")
    except (ArgumentError, ValueError):
        raise SinkError(
            "publish.sql.url is no address of a database. Expected something like "
            "postgresql+psycopg://publisher@host/market (its password comes from the environment "
            f"variable {SQL_PASSWORD})"
        ) from None
    if place.get_backend_name() not in _BACKENDS:
        raise SinkError(
            f"publish.sql.url names a database of kind {place.get_backend_name()!r}. Expected "
            f"{' or '.join(_BACKENDS)}"
        )
    return place


def _shown(config: SqlSinkConfig) -> str:
    try:
        place = make_url(config.url or "")
    except (ArgumentError, ValueError):
        return "?"
    backend, database = place.get_backend_name(), place.database or ""
    if backend == "sqlite":
        return f"sqlite:///{os.path.abspath(database)}"  # noqa: PTH100 - resolve() would follow links
    host = place.host or place.query.get("host") or ""
    port = "" if place.port is None else f":{place.port}"
    return f"{backend}://{host}{port}/{database} ({config.namespace})"


def _engine(place: URL, config: SqlSinkConfig) -> Engine:
    seconds = max(2, math.ceil(config.timeout_seconds))
    if place.get_backend_name() == "sqlite":
        arguments: dict[str, Any] = {"timeout": seconds, "isolation_level": None}
    else:
        arguments = {"connect_timeout": min(seconds, 10), "application_name": "fleetcast"}
        if place.get_driver_name() == "psycopg":
            arguments["tcp_user_timeout"] = seconds * 1000  # a peer that vanished
    engine = sa.create_engine(
        place, poolclass=NullPool, hide_parameters=True, connect_args=arguments
    )
    if engine.dialect.is_async:
        raise SinkError(
            f"the driver {place.drivername!r} is asynchronous. Expected a synchronous one, such as "
            "postgresql+psycopg"
        )
    if engine.dialect.name == "sqlite":
        # Python's own transactions would begin late, and not at all before a CREATE TABLE.
        @sa.event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _no_driver(place: URL, error: ImportError) -> str:
    remedy = f"pip install {error.name}" if error.name else "Install it"
    if place.get_backend_name() == "postgresql":
        remedy = "pip install 'fleetcast[postgres]' and write the URL as postgresql+psycopg://…"
    return (
        f"the driver of publish.sql.url, {place.drivername!r}, is not installed ({error.name}): "
        f"{remedy}"
    )


def _explained(
    shown: str, error: SQLAlchemyError, password: str | None, variable: str
) -> SinkError:
    """What the database said, in a line, and whether a moment later may be better."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    said = " ".join(said.split()) or type(error).__name__
    if password:
        said = said.replace(password, "***")
    if "password" in said.lower() and not password:
        said += f" (the environment variable {variable}, which has its password, is empty)"
    told = f"The database {shown} can't be published to: {said}".rstrip(".")
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    again = isinstance(error, OperationalError) or lost
    if isinstance(error, DataError | IntegrityError):
        return RefusedError(told)
    if again and not any(one in said.lower() for one in _HOPELESS):
        return TryAgainError(told)
    return SinkError(told)
