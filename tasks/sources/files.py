"""Bars from files: CSV (also gzipped) or Parquet, in one long table or one file per instrument.

Owns finding and opening files. Never touches the meaning of a cell, or the network.
"""

from __future__ import annotations

import glob
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.actions import PriceBasis
from tasks.sources.cells import as_text
from tasks.sources.config import SourceConfig
from tasks.sources.delimited import LINE, DelimitedError, read_delimited, unzip
from tasks.sources.headers import HeaderError, recognise
from tasks.sources.merge import between, merge
from tasks.sources.protocol import Fetched, SourceError, SourceProblem
from tasks.sources.tables import Table, TableError, implied_actions, read_table

ENDINGS = (".csv", ".csv.gz", ".parquet")

_PEEK = 1 << 16
_UNREADABLE = (DelimitedError, HeaderError, TableError, OSError, EOFError, pa.ArrowException)


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
class FilesSource:
    """A `Source` that reads files.

    Attributes:
        path: a folder, a pattern, or one file.
        price_basis: what the prices are.
        archive: whether the files are history that does not grow.
        adjusted_close: what an adjusted-close column is for.
        config: the rest: name, lag, headers, dates and separator.
    """

    path: str
    price_basis: PriceBasis
    archive: bool
    adjusted_close: Literal["check", "derive", "ignore"]
    config: SourceConfig

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
        """All at once."""
        return None

    def instruments(self) -> tuple[str, ...]:
        """The files' names without their ending, and what the instrument columns hold.

        A file that can't be read is among them by its name, so that asking for it tells why.

        Raises:
            SourceError: there are no files.
        """
        names: set[str] = set()
        for path in self._files():
            try:
                if not self._is_long(path):
                    names.add(_stem(path))
                    continue
                table = self._open(path)
                cells = as_text(table.rows[table.meaning["instrument"]])
                names.update(pc.unique(cells).drop_null().to_pylist())
            except _UNREADABLE:
                names.add(_stem(path))
        return tuple(sorted(names))

    def fetch(
        self,
        instruments: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Fetched:
        """The bars of `instruments` (None: all) from session `first` to `last`, both included.

        Raises:
            SourceError: there are no files, or none of those needed could be read.
        """
        wanted = None if instruments is None else frozenset(instruments)
        parts: list[Fetched] = []
        problems: list[SourceProblem] = []
        for path in self._files():
            try:
                if wanted is not None and _stem(path) not in wanted and not self._is_long(path):
                    continue
                parts.append(self._read(path))
            except _UNREADABLE as error:
                problems.append(SourceProblem(_stem(path), f"{path.name} was not read: {error}."))
        if problems and not parts:
            raise SourceError(
                f"No file of source {self.name!r} could be read. {problems[0].message}"
                + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
            )
        merged = merge(parts, problems, f"{self.path} (files read: {len(parts)})")
        if self.adjusted_close == "derive":
            merged = merged.with_actions(implied_actions(merged, self.price_basis))
        if self.adjusted_close == "ignore":
            merged = merged.without_adjusted_close()
        return between(merged, wanted, first, last)

    def _files(self) -> list[Path]:
        place = Path(self.path).expanduser()
        if place.is_file():
            if not place.name.lower().endswith(ENDINGS):
                raise SourceError(
                    f"The path of source {self.name!r} is {self.path!r}. Expected a file that ends "
                    f"in {', '.join(ENDINGS)}, a folder of such files, or a pattern."
                )
            return [place]
        if place.is_dir():
            found = list(place.iterdir())
        elif glob.has_magic(self.path):
            # Path.glob takes no absolute pattern.
            found = [Path(one) for one in glob.glob(str(place), recursive=True)]  # noqa: PTH207
        else:
            raise SourceError(
                f"The path of source {self.name!r}, {self.path!r}, does not exist (looked for "
                f"{place.absolute()}). Correct source.path."
            )
        files = sorted(
            one
            for one in found
            if one.name.lower().endswith(ENDINGS) and not one.name.startswith(".") and one.is_file()
        )
        if not files:
            raise SourceError(
                f"The path of source {self.name!r}, {self.path!r}, holds no file that ends in "
                f"{', '.join(ENDINGS)}. For files in subfolders give a pattern: folder/**/*.csv"
            )
        return files

    def _is_long(self, path: Path) -> bool:
        """Whether a column of the file says whose bars they are; only its start is read."""
        if path.name.lower().endswith(".parquet"):
            with pq.ParquetFile(path) as file:
                header = tuple(file.schema_arrow.names)
        else:
            opened = gzip.open if path.name.lower().endswith(".gz") else open
            with opened(path, "rb") as stream:
                start = stream.read(_PEEK)
            line = start.lstrip(b"\r\n").splitlines()[:1]
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                line = [start]
            header = read_delimited(b"".join(line), self.config.separator).header
        return "instrument" in recognise(header, self.config.columns).columns

    def _read(self, path: Path) -> Fetched:
        fetched = read_table(self._open(path), self.config.date_format)
        if not fetched.bars.num_rows:
            raise TableError("it has a header but no rows")
        return fetched

    def _open(self, path: Path) -> Table:
        if path.name.lower().endswith(".parquet"):
            with pq.ParquetFile(path) as file:
                rows = file.read()
            header, malformed = tuple(rows.column_names), np.zeros(rows.num_rows, dtype=bool)
        else:
            data = path.read_bytes()
            if path.name.lower().endswith(".gz"):
                data = unzip(data)
            found = read_delimited(data, self.config.separator)
            header, rows, malformed = found.header, found.rows, found.malformed
            if not malformed.any():
                rows = rows.drop_columns([LINE])
        known = recognise(header, self.config.columns)
        instrument = None if "instrument" in known.columns else _stem(path)
        return Table(rows, known.columns, instrument, malformed, path.name, known.notes)


def _stem(path: Path) -> str:
    name = path.name
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name
