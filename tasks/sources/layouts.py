"""Tables of another shape as long tables with a session: wide ones, and those without dates.

Owns the shapes. Never touches files, or what a cell says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources.cells import Mask, as_text, distinct, valid
from tasks.sources.config import FieldName
from tasks.sources.dates import days_from
from tasks.sources.delimited import LINE

SESSION, INSTRUMENT = "session", "instrument"
"""What the columns that are added are called."""


def with_sessions(rows: pa.Table, first: date, instrument: str | None) -> pa.Table:
    """`rows` with a session: the first row's is `first`, the others' the calendar days after it.

    Args:
        rows: in the order of time.
        first: the session of the first row.
        instrument: the column that says whose row it is: each instrument starts at `first`; None:
            all rows are of one, or there is one column for each.
    """
    count = np.arange(rows.num_rows)
    if instrument is not None:
        indices, words = distinct(rows[instrument])
        code = pc.fill_null(indices, len(words)).to_numpy(zero_copy_only=False)
        order = np.argsort(code, kind="stable")
        _, begins, sizes = np.unique(code[order], return_index=True, return_counts=True)
        count[order] = np.arange(rows.num_rows) - np.repeat(begins, sizes)
    return rows.append_column(SESSION, days_from(first, count))


def instruments_of(header: Sequence[str], session: str) -> list[str]:
    """The columns of a wide table that are instruments: all that are named, but the session's."""
    return [
        name
        for place, name in enumerate(header, start=1)
        if name not in (session, LINE) and name != f"column {place}"
    ]


def melt(
    rows: pa.Table, session: str, names: Sequence[str], malformed: Mask, value: FieldName
) -> tuple[pa.Table, Mapping[FieldName, str], Mask]:
    """A wide table as a long one: a row for every cell that says something.

    Args:
        rows: the wide table.
        session: the column of sessions.
        names: the columns that are instruments.
        malformed: rows whose cells could not be told apart; axis (row). Each stays one row.
        value: what the cells are: close or return.

    Returns:
        The long table; its columns by meaning; which of its rows are malformed.
    """
    texts = any(_is_text(rows[name].type) for name in names)
    kind = pa.string() if texts else pa.float64()
    sessions: list[pa.Array] = []
    cells: list[pa.Array] = []
    sizes: list[int] = []
    for name in names:
        column = as_text(rows[name]) if texts else rows[name].cast(kind, safe=False)
        there = pa.array(valid(column) & ~malformed)
        sessions.extend(rows[session].filter(there).chunks)
        cells.extend(column.filter(there).cast(kind).chunks)
        sizes.append(pc.sum(there).as_py() or 0)
    bad = rows.filter(pa.array(malformed))
    sessions.extend(bad[session].chunks)
    cells.append(pa.nulls(bad.num_rows, kind))
    who = np.repeat(np.arange(len(names)), sizes)
    told = pa.DictionaryArray.from_arrays(pa.array(who, pa.int32()), pa.array(names, pa.string()))
    columns = {
        session: pa.chunked_array(sessions, rows[session].type),
        INSTRUMENT: pa.chunked_array([told.cast(pa.string()), pa.nulls(bad.num_rows, pa.string())]),
        value: pa.chunked_array(cells, kind),
    }
    wrong: npt.NDArray[np.bool_] = np.zeros(len(who) + bad.num_rows, dtype=bool)
    wrong[len(who) :] = True
    if bad.num_rows:
        none = pa.nulls(len(who), pa.string())
        columns[LINE] = pa.chunked_array([none, *bad[LINE].cast(pa.string()).chunks])
    return pa.table(columns), {"session": session, "instrument": INSTRUMENT, value: value}, wrong


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return not numeric
