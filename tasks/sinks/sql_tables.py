"""The tables of the SQL sink: their columns out of the store's schema, made and brought up to date.

Owns their shape, version and rights. Never touches a row of forecasts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateColumn, CreateSchema

from tasks.schemas import DATASETS
from tasks.sinks.sink import SinkError

VERSION = 1
"""Raised when a table or a column is added; nothing is ever renamed or removed."""

KEY = ("instrument", "target", "kind", "lead", "as_of", "config_hash")
"""What a forecast is about: of two with the same key the one made later holds."""

_MIGRATORS = 0x666C656574  # "fleet"
"""Whoever migrates holds this lock of PostgreSQL's, so that two don't at once."""

_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


class _Utc(sa.TypeDecorator[object]):
    """An instant; SQLite, which has no such type, keeps it as ISO text in UTC, in order."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[object]:
        kind = sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True)
        return dialect.type_descriptor(kind)  # type: ignore[arg-type]

    def process_bind_param(self, value: object, dialect: sa.Dialect) -> object:
        if dialect.name != "sqlite" or value is None:
            return value
        return value.isoformat(timespec="microseconds")  # type: ignore[attr-defined]


class Tables:
    """The tables in one namespace; None: the database's default, as SQLite has it."""

    def __init__(self, namespace: str | None) -> None:
        """Describes them; nothing is asked of a database."""
        self.namespace = namespace
        self.metadata = sa.MetaData(schema=namespace)
        self.versions = sa.Table(
            "fleetcast_version",
            self.metadata,
            sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
            sa.Column("migrated_at", _Utc(), nullable=False),
        )
        self.nights = sa.Table(
            "nights",
            self.metadata,
            sa.Column("as_of", _Utc(), primary_key=True),
            sa.Column("config_hash", sa.Text(), primary_key=True),
            sa.Column("session", sa.Date(), nullable=False),
            sa.Column("run_id", sa.Text(), nullable=False),
            sa.Column("origin", sa.Text(), nullable=False),
            sa.Column("edition", sa.Text(), nullable=False),
            sa.Column("forecasts", sa.Integer(), nullable=False),
            sa.Column("made_at", _Utc(), nullable=False),
            sa.Column("delivered_at", _Utc(), nullable=False),
        )
        self.forecasts = sa.Table(
            "forecasts",
            self.metadata,
            *(_column(field) for field in DATASETS["forecasts"].schema),
            sa.Index("forecasts_by_target_session", "instrument", "target_session"),
        )

    def version(self, connection: Connection) -> int | None:
        """The version of the tables that are there; None: there are none."""
        inspector = sa.inspect(connection)
        if not inspector.has_table(self.versions.name, schema=self.namespace):
            return None
        found = connection.scalar(sa.select(sa.func.max(self.versions.c.version)))
        return None if found is None else int(found)

    def check(self, connection: Connection) -> bool:
        """Whether the tables are of this version; False: they are older, or not there.

        Raises:
            SinkError: they are newer.
        """
        version = self.version(connection)
        if version is not None and version > VERSION:
            raise SinkError(
                f"its tables are of version {version}; this fleetcast knows versions up to "
                f"{VERSION}. Install a newer fleetcast"
            )
        return version == VERSION

    def migrate(self, connection: Connection, grant_to: str | None = None) -> bool:
        """Makes what is missing, in the connection's transaction; whether anything was.

        Args:
            connection: in a transaction, as the role that is to own the tables.
            grant_to: a role that is given what publishing needs, and no more.

        Raises:
            SinkError: the tables are newer.
        """
        postgres = connection.dialect.name == "postgresql"
        if postgres:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATORS)))
            if self.namespace is not None and not sa.inspect(connection).has_schema(self.namespace):
                connection.execute(CreateSchema(self.namespace))
        stale = not self.check(connection)
        if stale:
            self._check_free(connection)
            self.metadata.create_all(connection)
            self._add_columns(connection)
            now = {"version": VERSION, "migrated_at": datetime.now(UTC)}
            connection.execute(sa.insert(self.versions).values(now))
        if postgres and grant_to is not None:
            self._grant(connection, grant_to)
        return stale

    def _check_free(self, connection: Connection) -> None:
        """Raises SinkError where somebody else's table has one of our names."""
        inspector = sa.inspect(connection)
        if self.version(connection) is not None:
            return
        for table in (self.nights, self.forecasts):
            if inspector.has_table(table.name, schema=self.namespace):
                raise SinkError(
                    f"it has a table {table.fullname} that fleetcast did not make. Choose another "
                    "publish.sql.namespace, or another database"
                )

    def _add_columns(self, connection: Connection) -> None:
        """Columns that an older version lacks, empty in the rows that are there."""
        inspector = sa.inspect(connection)
        for table in self.metadata.sorted_tables:
            there = {one["name"] for one in inspector.get_columns(table.name, self.namespace)}
            named = connection.dialect.identifier_preparer.format_table(table)
            for column in table.columns:
                if column.name not in there:
                    added = sa.Column(column.name, column.type)
                    spelled = CreateColumn(added).compile(dialect=connection.dialect)
                    connection.execute(_ddl(f"ALTER TABLE {named} ADD COLUMN {spelled}"))

    def _grant(self, connection: Connection, role: str) -> None:
        preparer = connection.dialect.identifier_preparer
        to = preparer.quote_identifier(role)
        if self.namespace is not None:
            schema = preparer.quote(self.namespace)
            connection.execute(_ddl(f"GRANT USAGE ON SCHEMA {schema} TO {to}"))
        rights = {
            self.versions: "SELECT",
            self.nights: "SELECT, INSERT, UPDATE",
            self.forecasts: "SELECT, INSERT, UPDATE",
        }
        for table, right in rights.items():
            named = preparer.format_table(table)
            connection.execute(_ddl(f"GRANT {right} ON {named} TO {to}"))


def _ddl(text: str) -> sa.DDL:
    """A statement of ours, whose names are quoted."""
    return sa.DDL(text.replace("%", "%%"))  # type: ignore[no-untyped-call]


def _column(field: pa.Field) -> sa.Column[object]:
    key = field.name in KEY
    meaning = (field.metadata or {}).get(b"meaning", b"").decode()
    return sa.Column(
        field.name, _kind(field.type), primary_key=key, nullable=field.nullable, comment=meaning
    )


def _kind(kind: pa.DataType) -> sa.types.TypeEngine[Any]:
    if pa.types.is_list(kind):
        return _JSON
    if pa.types.is_timestamp(kind):
        return _Utc()
    for matches, found in _KINDS:
        if matches(kind):
            return found
    raise TypeError(f"Expected a type that a table can hold. Received: {kind}.")


_KINDS: tuple[tuple[Callable[[pa.DataType], bool], sa.types.TypeEngine[Any]], ...] = (
    (pa.types.is_string, sa.Text()),
    (pa.types.is_floating, sa.Double()),
    (pa.types.is_integer, sa.Integer()),
    (pa.types.is_boolean, sa.Boolean()),
    (pa.types.is_date, sa.Date()),
)
