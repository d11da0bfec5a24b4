"""Bars from files: CSV (also gzipped) or Parquet, long, wide, or one file per instrument.

Owns which files and rows are read for what is asked. Never touches the meaning of a cell.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.actions import PriceBasis
from tasks.sources import parquet
from tasks.sources.cells import as_names
from tasks.sources.config import FieldName, SourceConfig
from tasks.sources.delimited import LINE, DelimitedError, read_delimited, unzip
from tasks.sources.dialect import Dialect
from tasks.sources.headers import HeaderError, Recognised, recognise
from tasks.sources.layouts import instruments_of, melt, with_sessions
from tasks.sources.locations import Location, LocationError, find, is_packed, start_of
from tasks.sources.merge import between, merge
from tasks.sources.protocol import Fetched, SourceError, SourceProblem
from tasks.sources.tables import Table, TableError, implied_actions, read_table
from tasks.storage.places import redacted

_PEEK = 1 << 16
_BATCH, _LARGE_BATCH = 250, 1000
_READINGS = 2.0
"""Where batches would read a row group of a Parquet file more often, larger ones are better: they
take more memory, and where it has to be asked for anew each time, more time a row."""

_UNREADABLE = (
    DelimitedError,
    HeaderError,
    LocationError,
    TableError,
    OSError,
    EOFError,
    zlib.error,
    pa.ArrowException,
)


def open_files(config: SourceConfig) -> FilesSource:
    """The files that `config.path` names.

    Prices are taken as adjusted for splits but not for dividends, unless stated otherwise: that is
    what `Close` means in the exports of the common providers, beside an `Adj Close`.
    """
    return FilesSource(
        path=config.path or "",
        price_basis=config.price_basis or "split_adjusted",
        archive=bool(config.archive),
        adjusted_close=config.adjusted_close or "check",
        config=config,
    )


@dataclass(frozen=True)
class _Known:
    """A file's header, what it means, and whether rows of several instruments are below it."""

    header: tuple[str, ...]
    columns: Recognised
    long: bool
    wide: bool


@dataclass(frozen=True)
class FilesSource:
    """A `Source` that reads files.

    Attributes:
        path: a folder, a pattern, or one file.
        price_basis: what the prices are.
        archive: whether the files are history that does not grow.
        adjusted_close: what an adjusted-close column is for.
        config: the rest: name, lag, headers and how cells are written.
    """

    path: str
    price_basis: PriceBasis
    archive: bool
    adjusted_close: Literal["check", "derive", "ignore"]
    config: SourceConfig
    _headers: dict[Location, _Known] = field(default_factory=dict, compare=False, repr=False)
    _groups: dict[Location, parquet.Names] = field(default_factory=dict, compare=False, repr=False)
    _downloads: dict[Location, bytes] = field(default_factory=dict, compare=False, repr=False)
    _told: set[Location] = field(default_factory=set, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Written into every row."""
        return self.config.name

    @property
    def lag(self) -> timedelta:
        """From the close of a session until its bar is published."""
        return self.config.lag

    @property
    def incremental(self) -> bool:
        """Files are read whole: what lies there is what the provider says today."""
        return False

    @property
    def batch_size(self) -> int | None:
        """Few where files can be read in part; all at once where each would be read whole."""
        try:
            known = [(one, self._known(one)) for one in self._readable()]
            if any(found.long and not one.is_parquet for one, found in known):
                return None
            files = [self._names(one) for one, _ in known if self._in_parts(one)]
        except (SourceError, *_UNREADABLE):
            return None
        readings = parquet.readings(files, sorted(self.instruments()), _BATCH)
        return _LARGE_BATCH if readings > _READINGS else _BATCH

    def instruments(self) -> tuple[str, ...]:
        """The files' names without their ending, and what the instrument columns hold.

        A file that can't be read is among them by its name, so that asking for it tells why.

        Raises:
            SourceError: there are no files.
        """
        names: set[str] = set()
        for location in self._files():
            try:
                names.update(self._offered(location))
            except _UNREADABLE:
                names.add(location.stem)
        return tuple(sorted(names))

    def fetch(
        self,
        instruments: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Fetched:
        """The bars of `instruments` (None: all) from session `first` to `last`, both included.

        A long file that can't be read is told by the first fetch, and by those that ask for it.

        Raises:
            SourceError: there are no files, or none of those needed could be read.
        """
        wanted = None if instruments is None else frozenset(instruments)
        parts: list[Fetched] = []
        problems: list[SourceProblem] = []
        for location in self._files():
            try:
                asked = wanted is None or location.stem in wanted
                if asked or self._known(location).long:
                    parts.append(self._read(location, wanted, first, last))
            except _UNREADABLE as error:
                if asked or location not in self._told:
                    told = f"{location.name} was not read: {error}."
                    problems.append(SourceProblem(location.stem, told))
                self._told.add(location)
        if problems and not parts:
            raise SourceError(
                f"No file of source {self.name!r} could be read. {problems[0].message}"
                + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
            )
        merged = merge(parts, problems, f"{redacted(self.path)} (files read: {len(parts)})")
        if self.adjusted_close == "derive":
            merged = merged.with_actions(implied_actions(merged, self.price_basis))
        if self.adjusted_close == "ignore":
            merged = merged.without_adjusted_close()
        return between(merged, wanted, first, last)

    def _files(self) -> list[Location]:
        return find(
            self.path,
            self.name,
            timeout_seconds=self.config.timeout_seconds,
            attempts=self.config.attempts,
        )

    def _readable(self) -> list[Location]:
        """Those whose header can be read."""
        found = []
        for location in self._files():
            try:
                self._known(location)
            except _UNREADABLE:
                continue
            found.append(location)
        return found

    # ------------------------------------------------------------------- what a file's start tells

    def _known(self, location: Location) -> _Known:
        """What its columns mean, and whether several instruments are in it; read once."""
        if location not in self._headers:
            self._headers[location] = self._recognise(self._header(location))
        return self._headers[location]

    def _header(self, location: Location) -> tuple[str, ...]:
        if location.is_parquet:
            return parquet.header_of(location)
        if self.config.header:
            return self.config.header
        if location.is_web:
            start = self._bytes(location)[:_PEEK]
        else:
            with location.open() as stream:
                start = start_of(stream, _PEEK)
        if start[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            start = b"\n".join(start.lstrip(b"\r\n").splitlines()[:2])
        return read_delimited(start, self.config.separator).header

    def _recognise(self, header: tuple[str, ...]) -> _Known:
        needed: list[FieldName] = ["session"]
        if self.config.layout != "wide":
            needed.append("close" if self.config.returns is None else "return")
        if self.config.first_session is not None:
            needed.remove("session")
        columns = recognise(header, self.config.columns, needed)
        wide = self.config.layout == "wide"
        return _Known(header, columns, long=wide or "instrument" in columns.columns, wide=wide)

    def _in_parts(self, location: Location) -> bool:
        known = self._known(location)
        return location.is_parquet and known.long and not known.wide

    def _names(self, location: Location) -> parquet.Names:
        if location not in self._groups:
            column = self._known(location).columns.columns["instrument"]
            self._groups[location] = parquet.names_of(location, column)
        return self._groups[location]

    def _offered(self, location: Location) -> Collection[str]:
        known = self._known(location)
        if not known.long:
            return (location.stem,)
        if known.wide:
            return instruments_of(known.header, known.columns.columns.get("session", ""))
        if location.is_parquet:
            return self._names(location).all
        table = self._open(location)
        names = as_names(table.rows[table.meaning["instrument"]])
        return frozenset(pc.unique(names).drop_null().to_pylist())

    # ------------------------------------------------------------------------------ what it holds

    def _bytes(self, location: Location) -> bytes:
        """The text of a file, unpacked; one of a web server is asked for once."""
        if location in self._downloads:
            return self._downloads[location]
        data = location.read()
        if is_packed(location, data):
            data = unzip(data)
        if location.is_web:
            self._downloads[location] = data
        return data

    def _read(
        self,
        location: Location,
        wanted: frozenset[str] | None,
        first: date | None,
        last: date | None,
    ) -> Fetched:
        table = self._open(location, wanted, first, last)
        fetched = read_table(table, Dialect.of(self.config))
        in_parts = location.is_parquet or self.config.layout == "wide"
        whole = wanted is None and first is None and last is None
        if not fetched.bars.num_rows and (whole or not in_parts):
            raise TableError("it has a header but no rows")
        return fetched

    def _open(
        self,
        location: Location,
        wanted: frozenset[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Table:
        if location.is_parquet:
            known = self._known(location)
            rows = self._parquet_rows(location, known, wanted, first, last)
            malformed = np.zeros(rows.num_rows, dtype=bool)
        else:
            data = self._bytes(location)
            found = read_delimited(data, self.config.separator, self.config.header)
            known, rows, malformed = self._recognise(found.header), found.rows, found.malformed
            if not malformed.any():
                rows = rows.drop_columns([LINE])
        meaning: dict[FieldName, str] = dict(known.columns.columns)
        notes = known.columns.notes
        start = self.config.first_session
        if start is not None and "session" not in meaning:
            rows = with_sessions(rows, start, None if known.wide else meaning.get("instrument"))
            meaning["session"] = rows.column_names[-1]
        elif start is not None:
            notes += ("it has dates, so source.first_session is not used",)
        if known.wide:
            value: FieldName = "close" if self.config.returns is None else "return"
            names = instruments_of(known.header, meaning["session"])
            names = [name for name in names if wanted is None or name in wanted]
            rows, columns, malformed = melt(rows, meaning["session"], names, malformed, value)
            meaning = dict(columns)
        instrument = None if "instrument" in meaning else location.stem
        foreign = known.columns.foreign
        return Table(rows, meaning, instrument, malformed, location.name, notes, foreign)

    def _parquet_rows(
        self,
        location: Location,
        known: _Known,
        wanted: frozenset[str] | None,
        first: date | None,
        last: date | None,
    ) -> pa.Table:
        twice = sorted({name for name in known.header if known.header.count(name) > 1})
        if twice:
            raise TableError(f"its header names {twice[0]!r} more than once")
        meaning = known.columns.columns
        columns = dict.fromkeys(meaning.values())
        if known.wide:
            names = instruments_of(known.header, meaning.get("session", ""))
            chosen = [name for name in names if wanted is None or name in wanted]
            columns = dict.fromkeys(
                (*([meaning["session"]] if "session" in meaning else ()), *chosen)
            )
        if self.config.returns is not None or self.config.first_session is not None:
            first = last = None  # a close follows from all rows before it
        in_parts = self._in_parts(location) and wanted is not None
        return parquet.read_rows(
            location,
            list(columns),
            instrument=meaning.get("instrument") if in_parts else None,
            wanted=wanted,
            names=self._names(location) if in_parts else None,
            session=meaning.get("session"),
            first=first,
            last=last,
        )
