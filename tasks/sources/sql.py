"""Bars from a database: a table, or a query, through SQLAlchemy.

Owns what is asked, and in which parts. Never writes, and never touches the meaning of a cell.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tasks.actions import PriceBasis
from tasks.sources.cells import as_text
from tasks.sources.config import FieldName, SourceConfig
from tasks.sources.configured import Configured
from tasks.sources.dialect import Dialect
from tasks.sources.headers import HeaderError, recognise
from tasks.sources.merge import between, merge
from tasks.sources.protocol import Fetched, SourceError, SourceProblem
from tasks.sources.sql_connection import described, reading
from tasks.sources.sql_rows import as_array, as_table
from tasks.sources.tables import Table, TableError, implied_actions, read_table

_ROWS = 50_000
"""Rows that are held as Python objects at a time: about 30 MB."""

_NAMES = 1_000
"""Instruments per statement: every database takes so many parameters."""

_DAY = timedelta(days=1)
_ISO = "%Y-%m-%d"
_ISO_GLOB = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"


def open_sql(config: SourceConfig) -> SqlSource:
    """The table or query that `config` names; nothing is connected yet.

    Prices are taken as adjusted for splits but not for dividends, unless stated otherwise.
    """
    return SqlSource(config)


@dataclass(frozen=True)
class _Relation:
    """What rows are read from: a table, or a query as a subquery.

    Attributes:
        rows: to select from.
        meaning: meaning → column.
        sample: the first row's session.
    """

    rows: sa.FromClause
    meaning: Mapping[FieldName, str]
    sample: object


@dataclass(frozen=True)
class SqlSource(Configured):
    """A `Source` that reads a database. A table and a query are asked in the same way.

    Attributes:
        config: where, what, and how it is read.
    """

    @property
    def price_basis(self) -> PriceBasis:
        """What the prices are."""
        return self.config.price_basis or "split_adjusted"

    @property
    def batch_size(self) -> int | None:
        """So many instruments' whole histories fit into memory with ease."""
        return 250

    def instruments(self) -> tuple[str, ...]:
        """What the instrument column holds, or what `config.symbols` calls it.

        Raises:
            SourceError: the database can't be read.
        """
        own = {symbol: name for name, symbol in self.config.symbols.items()}
        return tuple(sorted(own.get(name, name) for name in self._spellings if name is not None))

    def fetch(
        self,
        instruments: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Fetched:
        """The bars of `instruments` (None: all) from session `first` to `last`, both included.

        Raises:
            SourceError: the database can't be read, or its connection was lost on the way.
        """
        first = max(first or self.config.start, self.config.start)
        selected = None if instruments is None else self._selected(instruments)
        with reading(self._url) as connection:
            relation = self._relation(connection)
            names = list(dict.fromkeys(relation.meaning.values()))
            chosen = sa.select(*map(sa.column, names)).select_from(relation.rows)
            within = self._within(connection.dialect.name, relation, first, last)
            if within is not None:
                chosen = chosen.where(within)
            statements = _of_instruments(chosen, _column(relation, "instrument"), selected)
            rows = as_table(_batches(connection, statements), names)
        session = relation.meaning["session"]
        notes = self._zone_notes(rows[session], session)
        malformed = np.zeros(rows.num_rows, dtype=bool)
        table = Table(rows, relation.meaning, None, malformed, self._described, notes)
        try:
            fetched = read_table(table, Dialect.of(self.config))
        except TableError as error:
            raise SourceError(f"{self._described}: {error}.") from error
        return self._finished(fetched, instruments, first, last)

    def _finished(
        self, fetched: Fetched, instruments: Sequence[str] | None, first: date, last: date | None
    ) -> Fetched:
        """Under the names that `config.symbols` gives, and within what was asked for."""
        if self.config.adjusted_close == "derive":
            fetched = fetched.with_actions(implied_actions(fetched, self.price_basis))
        if self.config.adjusted_close == "ignore":
            fetched = fetched.without_adjusted_close()
        merged = merge([_renamed(fetched, self.config.symbols)], (), self._described)
        wanted = None if instruments is None else frozenset(instruments)
        return between(merged, wanted, first, last)

    @property
    def _url(self) -> str:
        return self.config.url or ""

    @property
    def _described(self) -> str:
        what = f"table {self.config.table}" if self.config.table else "the query"
        return f"{what} of {described(self._url)}"

    @cached_property
    def _spellings(self) -> Mapping[str | None, tuple[Any, ...]]:
        """Name → the cells that say it: CHAR columns are padded, ids may be numbers."""
        with reading(self._url) as connection:
            relation = self._relation(connection)
            column = _column(relation, "instrument")
            chosen = sa.select(column).distinct().select_from(relation.rows)
            cells = [cell for (cell,) in connection.execute(chosen) if cell is not None]
        spellings: dict[str | None, list[Any]] = {}
        names = as_text(pa.chunked_array([as_array(cells).cast(pa.string())])).to_pylist()
        for name, cell in zip(names, cells, strict=True):
            spellings.setdefault(name, []).append(cell)
        return {name: tuple(cells) for name, cells in spellings.items()}

    def _selected(self, instruments: Sequence[str]) -> list[Any]:
        """The cells that say one of `instruments`, and those that say nothing."""
        wanted = [self.config.symbols.get(name, name) for name in instruments]
        return [
            cell
            for name in (None, *dict.fromkeys(wanted))
            for cell in self._spellings.get(name, ())
        ]

    def _relation(self, connection: Connection) -> _Relation:
        """Looks at one row.

        Raises:
            SourceError: there is no such table, or it lacks a column.
        """
        rows = self._rows(connection)
        result = connection.execute(sa.select(sa.text("*")).select_from(rows).limit(1))
        header = tuple(result.keys())
        row = result.first()
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SourceError(
                f"{self._described} has several columns named {twice[0]!r}. Let source.query name "
                "each column that it needs once, such as a.close AS close."
            )
        try:
            known = recognise(header, self.config.columns)
        except HeaderError as error:
            raise SourceError(f"{self._described}: {error}.") from None
        if known.notes:
            raise SourceError(f"{self._described}: {known.notes[0]}.")
        if "instrument" not in known.columns:
            raise SourceError(
                f"{self._described} has no column for the instrument. It has: {', '.join(header)}. "
                'State it: source.columns = {instrument = "..."}; or, where all rows are of one, '
                "let a query say it: SELECT 'AAPL' AS instrument, …"
            )
        place = header.index(known.columns["session"])
        return _Relation(rows, known.columns, None if row is None else row[place])

    def _rows(self, connection: Connection) -> sa.FromClause:
        if self.config.query is not None:
            # Colons are the query's own, not parameters; a last comment ends before the bracket.
            query = self.config.query.strip().rstrip(";").replace(":", r"\:")
            return sa.text(query + "\n").columns().subquery("bars")
        schema, _, name = (self.config.table or "").rpartition(".")
        inspector = sa.inspect(connection)
        if not inspector.has_table(name, schema=schema or None):
            there = [*inspector.get_table_names(schema or None)]
            there += inspector.get_view_names(schema or None)
            close = difflib.get_close_matches(name, there, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            shown = ", ".join(sorted(there)[:12]) or "no table"
            raise SourceError(
                f"{described(self._url)} has no table or view {self.config.table!r}.{hint} It has: "
                f"{shown}. Correct source.table (schema.name, where it lies in another schema)."
            )
        return sa.table(name, schema=schema or None)

    def _within(
        self, dialect: str, relation: _Relation, first: date, last: date | None
    ) -> sa.ColumnElement[bool] | None:
        """A condition that holds for every session from `first` to `last`, and for few others.

        None where none can be had: texts compare as dates only if they are ISO dates. A day on
        either side leaves room for time zones.
        """
        session, sample = _column(relation, "session"), relation.sample
        low, high = first - _DAY, date.max if last is None else last + 2 * _DAY
        if dialect == "sqlite":  # a cell may hold anything, whatever its column says
            if not (self.config.date_format or _ISO).startswith(_ISO):
                return None
            day = sa.func.substr(session, 1, 10)
            told = sa.and_(day >= low.isoformat(), day < high.isoformat())
            return sa.or_(session.is_(None), sa.not_(session.op("GLOB")(_ISO_GLOB)), told)
        if isinstance(sample, datetime):
            low = datetime.combine(low, time(), sample.tzinfo)
            high = datetime.combine(high, time(), sample.tzinfo)
        elif not isinstance(sample, date):
            return None
        told = session >= low if last is None else sa.and_(session >= low, session < high)
        return sa.or_(session.is_(None), told)

    def _zone_notes(self, column: pa.ChunkedArray, session: str) -> tuple[str, ...]:
        """What to state of instants: databases keep none of the zone that they were written in."""
        instants = pa.types.is_timestamp(column.type) and column.type.tz is not None
        if not instants or self.config.timezone is not None:
            return ()
        if pc.all(pc.equal(pc.hour(column), 0)).as_py() is not False:
            return ()
        return (
            f"its column {session!r} holds instants, whose date is taken in UTC; state the zone of "
            'the exchange, such as source.timezone = "Europe/London"',
        )


def _column(relation: _Relation, meaning: FieldName) -> sa.ColumnClause[Any]:
    return sa.column(relation.meaning[meaning])


def _of_instruments(
    chosen: sa.Select[Any], instrument: sa.ColumnClause[Any], selected: Sequence[Any] | None
) -> list[sa.Select[Any]]:
    """`chosen` for the instruments whose cells are `selected`, and for rows without any."""
    if selected is None:
        return [chosen]
    parts = [selected[start : start + _NAMES] for start in range(0, len(selected), _NAMES)]
    return [
        *(chosen.where(instrument.in_(part)) for part in parts),
        chosen.where(instrument.is_(None)),
    ]


def _batches(
    connection: Connection, statements: Iterable[sa.Select[Any]]
) -> Iterator[Sequence[Sequence[Any]]]:
    streaming = connection.execution_options(yield_per=_ROWS)
    for statement in statements:
        with streaming.execute(statement) as result:
            yield from result.partitions()


def _renamed(fetched: Fetched, symbols: Mapping[str, str]) -> Fetched:
    """The same under our names for instruments: {our name: the provider's}."""
    if not symbols:
        return fetched
    theirs = pa.array(list(symbols.values()), pa.string())
    ours = pa.array(list(symbols), pa.string())

    def rename(table: pa.Table) -> pa.Table:
        before = table["instrument"]
        place = pc.index_in(before, value_set=theirs)
        after = pc.if_else(pc.is_valid(place), ours.take(place.combine_chunks()), before)
        return table.set_column(0, table.schema.field("instrument"), after)

    problems = tuple(SourceProblem(one.instrument, one.message) for one in fetched.problems)
    return Fetched(
        bars=rename(fetched.bars),
        original=fetched.original,
        actions=rename(fetched.actions),
        problems=problems,
        provenance=fetched.provenance,
        defects=fetched.defects,
        adjusted_close=fetched.adjusted_close,
    )
