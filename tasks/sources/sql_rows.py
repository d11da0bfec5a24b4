"""Rows of a database as Arrow columns, a batch at a time.

Owns the types of cells. Never touches a connection, or the meaning of a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

_INSTANT = pa.timestamp("us", tz="UTC")
_NUMBERS = frozenset({int, float, Decimal})


def as_table(batches: Iterable[Sequence[Sequence[Any]]], names: Sequence[str]) -> pa.Table:
    """The rows of all batches; only one batch at a time is held as Python objects.

    A column keeps its type where all cells agree: numbers, dates, instants (in UTC), times without
    a zone. Where they don't, as SQLite allows, its cells become texts.

    Args:
        batches: rows, each with a cell per name.
        names: the columns'.
    """
    chunks: list[list[pa.Array]] = [[] for _ in names]
    for batch in batches:
        for cells, column in zip(zip(*batch, strict=True), chunks, strict=False):
            column.append(as_array(cells))
    return pa.table([_joined(column) for column in chunks], names=list(names))


def as_array(cells: Sequence[Any]) -> pa.Array:
    """The cells as one array: of the type that they share, else of texts."""
    kinds = set(map(type, cells)) - {type(None)}
    if not kinds:
        return pa.nulls(len(cells))
    if kinds <= _NUMBERS:
        try:
            if kinds == {int}:
                return pa.array(cells, pa.int64())
            return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
        except (OverflowError, ValueError):  # 2**63, a signalling NaN
            return _texts(cells)
    if kinds == {date}:
        return pa.array(cells, pa.date32())
    if kinds == {datetime}:
        zoned = {cell.tzinfo is not None for cell in cells if cell is not None}
        if len(zoned) == 1:
            return pa.array(cells, _INSTANT if zoned.pop() else pa.timestamp("us"))
    return _texts(cells)


def _texts(cells: Sequence[Any]) -> pa.Array:
    return pa.array([None if cell is None else _text(cell) for cell in cells], pa.string())


def _text(cell: object) -> str:
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell).decode("utf-8", errors="replace")
    return str(cell)


def _joined(chunks: Sequence[pa.Array]) -> pa.ChunkedArray:
    """The chunks of a column under one type, which is text where they have several."""
    kinds = {chunk.type for chunk in chunks} - {pa.null()}
    if len(kinds) > 1:
        numbers = kinds <= {pa.int64(), pa.float64()}
        kinds = {pa.float64() if numbers else pa.string()}
    kind = kinds.pop() if kinds else pa.string()
    return pa.chunked_array([chunk.cast(kind, safe=False) for chunk in chunks], kind)
