"""Parts of a Parquet file: the columns that mean something, of the instruments asked for.

Owns which row groups and columns are read. Never touches what a cell means.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.sources.cells import as_text, distinct
from tasks.sources.locations import Location

_TEXTS = (pa.types.is_string, pa.types.is_large_string)


@dataclass(frozen=True)
class Names:
    """Whose rows a long Parquet file holds.

    Attributes:
        groups: the names in each row group; None among them for rows that tell none.
        rows: of the file.
    """

    groups: tuple[frozenset[str | None], ...]
    rows: int

    @property
    def all(self) -> frozenset[str]:
        """Every name."""
        return frozenset(name for group in self.groups for name in group if name is not None)


def header_of(location: Location) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        OSError, pa.ArrowException: it can't be read, or is no Parquet.
    """
    with location.open() as stream, pq.ParquetFile(_source(location, stream)) as file:
        return tuple(file.schema_arrow.names)


def names_of(location: Location, column: str) -> Names:
    """Whose rows it holds; only one column is read.

    Raises:
        OSError, pa.ArrowException: it can't be read.
    """
    with location.open() as stream, _opened(location, stream, column) as file:
        groups = []
        for group in range(file.num_row_groups):
            indices, words = distinct(file.read_row_group(group, columns=[column])[column])
            cells = as_text(pa.chunked_array([words])).to_pylist()
            groups.append(frozenset([*cells, None] if indices.null_count else cells))
        return Names(tuple(groups), file.metadata.num_rows)


def readings(files: Sequence[Names], everyone: Sequence[str], size: int) -> float:
    """How often a usual row group is read if instruments are asked for `size` at a time.

    Args:
        files: what `names_of` told.
        everyone: all instruments, in the order in which they are asked for.
        size: instruments to a batch.
    """
    batch = {name: place // size for place, name in enumerate(everyone)}
    groups = [group for file in files for group in file.groups]
    return sum(len({batch.get(name or "") for name in group}) for group in groups) / max(
        1, len(groups)
    )


def read_rows(
    location: Location,
    columns: Sequence[str],
    *,
    instrument: str | None = None,
    wanted: Collection[str] | None = None,
    names: Names | None = None,
    session: str | None = None,
    first: date | None = None,
    last: date | None = None,
) -> pa.Table:
    """The rows of `wanted`, and those that do not tell whose they are.

    A row group without any of them is not read; neither is one whose sessions all lie before
    `first` or after `last`, where the file says so. Of the others, rows out of these bounds may
    be returned.

    Args:
        location: the file.
        columns: which.
        instrument: the column that tells whose row it is.
        wanted: names; None: all.
        names: what `names_of` told of it.
        session: the column of sessions.
        first: the first session asked for.
        last: the last one.

    Raises:
        OSError, pa.ArrowException: it can't be read.
    """
    with location.open() as stream, _opened(location, stream, instrument) as file:
        groups = [
            group
            for group in range(file.num_row_groups)
            if not _outside(file.metadata.row_group(group), session, first, last)
        ]
        if wanted is None or instrument is None or names is None:
            return file.read_row_groups(groups, columns=list(columns))
        asked = frozenset((*wanted, None))
        parts = [file.schema_arrow.empty_table().select(list(columns))]
        parts[0] = _like_read(parts[0], instrument)
        for group in groups:
            if not names.groups[group] & asked:
                continue
            rows = file.read_row_group(group, columns=list(columns))
            if not names.groups[group] <= asked:
                rows = _of(rows, instrument, wanted)
            parts.append(_like_read(rows, instrument))
    return pa.concat_tables(parts, promote_options="permissive")


def _of(rows: pa.Table, instrument: str, wanted: Collection[str]) -> pa.Table:
    indices, words = distinct(rows[instrument])
    cells = as_text(pa.chunked_array([words])).combine_chunks()
    asked = pc.or_(pc.is_null(cells), pc.is_in(cells, value_set=pa.array(sorted(wanted))))
    keep = pc.fill_null(asked.take(indices), True)
    return rows.filter(keep)


def _like_read(rows: pa.Table, instrument: str) -> pa.Table:
    """Names as texts again: dictionaries that differ from group to group can't be joined."""
    place = rows.schema.get_field_index(instrument)
    kind = rows.schema.field(place).type
    if pa.types.is_dictionary(kind):
        names = rows[instrument].cast(kind.value_type)
        rows = rows.set_column(place, instrument, names)
    return rows


def _source(location: Location, stream: object) -> object:
    """A local file by its path: Arrow then reads without Python."""
    return location.address if location.place is None and not location.is_web else stream


def _opened(location: Location, stream: object, instrument: str | None) -> pq.ParquetFile:
    source = _source(location, stream)
    if instrument is not None:
        with pq.ParquetFile(source) as file:
            field = file.schema_arrow.field(instrument)
        if any(test(field.type) for test in _TEXTS):
            return pq.ParquetFile(source, read_dictionary=[instrument])
    return pq.ParquetFile(source)


def _outside(
    group: pq.RowGroupMetaData, session: str | None, first: date | None, last: date | None
) -> bool:
    if session is None or (first is None and last is None):
        return False
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema != session:
            continue
        told = column.statistics
        if told is None or not told.has_min_max or told.null_count != 0:
            return False
        if type(told.min) is not date:  # an instant's date depends on a zone
            return False
        return (last is not None and told.min > last) or (first is not None and told.max < first)
    return False
