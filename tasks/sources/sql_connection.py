"""A connection to a database that only reads, and what its errors mean for a person.

Owns the URL, the password and the wording. Never touches rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tasks.sources.keys import PASSWORD
from tasks.sources.protocol import SourceError

_READ_ONLY = {
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}
"""How a session is kept from writing, even by a function within a query."""


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """A connection that streams its results and can't write.

    Args:
        url: SQLAlchemy's, without a password, which the environment holds.

    Raises:
        SourceError: the database can't be reached, or refuses what it is asked, here or within the
            context; no message holds the password.
    """
    place = _url(url)
    shown = described(url)
    try:
        engine = _engine(place)
        try:
            with engine.connect() as connection:
                yield connection.execution_options(stream_results=True)
        finally:
            engine.dispose()
    except ImportError as error:
        raise SourceError(_no_driver(place, error)) from None
    except NoSuchModuleError:
        raise SourceError(
            f"source.url = {shown!r}: SQLAlchemy knows no database {place.drivername!r}. Expected "
            "one such as sqlite, postgresql+psycopg, mysql+pymysql; others come with a package of "
            "their own."
        ) from None
    except SQLAlchemyError as error:
        raise SourceError(_explained(shown, error)) from None


def described(url: str) -> str:
    """The database's address without user, password and options."""
    place = make_url(url)
    bare = URL.create(place.drivername, None, None, place.host, place.port, place.database)
    return bare.render_as_string(hide_password=True)


def _url(url: str) -> URL:
    try:
        place = make_url(url)
    except (ArgumentError, ValueError):
        raise SourceError(
            "source.url is no address of a database. Expected something like sqlite:///bars.db or "
            "postgresql+psycopg://me@host/market (the password comes from the environment "
            f"variable {PASSWORD})."
        ) from None
    backend = place.get_backend_name()
    password = os.environ.get(PASSWORD)
    if backend != "sqlite":
        return place if not password else place.set(password=password)
    file = place.database
    if file and file != ":memory:" and not file.startswith("file:") and not Path(file).is_file():
        # SQLite would make an empty one.
        raise SourceError(
            f"source.url names the SQLite file {file!r}, which does not exist (looked for "
            f"{Path(file).absolute()}). An absolute path has four slashes: sqlite:////data/bars.db"
        )
    return place


def _engine(place: URL) -> Engine:
    engine = sa.create_engine(place, poolclass=NullPool, hide_parameters=True)
    if engine.dialect.is_async:
        raise SourceError(
            f"The driver of source.url, {place.drivername!r}, is asynchronous. Expected a "
            f"synchronous one, such as {_SYNCHRONOUS.get(place.get_backend_name(), 'sqlite')}."
        )
    statement = _READ_ONLY.get(engine.dialect.name)
    if statement is not None:

        @sa.event.listens_for(engine, "connect")
        def _only_read(connection: Any, _: object) -> None:  # noqa: ANN401 - any driver's
            cursor = connection.cursor()
            cursor.execute(statement)
            cursor.close()
            connection.commit()

    return engine


_SYNCHRONOUS = {
    "mysql": "mysql+pymysql",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite",
}


def _no_driver(place: URL, error: ImportError) -> str:
    backend = place.get_backend_name()
    remedy = f"pip install {error.name}" if error.name else "Install it"
    if backend == "postgresql":
        remedy = "pip install 'fleetcast[postgres]' and write the URL as postgresql+psycopg://…"
    return (
        f"The driver of source.url, {place.drivername!r}, is not installed ({error.name}): {remedy}"
    )


def _explained(shown: str, error: SQLAlchemyError) -> str:
    """What the database said, in a line."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    said = said.partition("\n")[0] or type(error).__name__
    password = os.environ.get(PASSWORD)
    if password:
        said = said.replace(password, "***")
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return (
            f"The connection to {shown} was lost while its rows were read ({said}). None of these "
            "rows was taken; run the same command again."
        )
    if "password" in said.lower() and not password:
        said += f". Its password is expected in the environment variable {PASSWORD}, which is empty"
    return f"The database {shown} refused: {said}. Check source.url, source.table and source.query."
