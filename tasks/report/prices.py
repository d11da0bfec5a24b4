"""The last bars of each instrument, for charts.

Owns their reading from tables. Never touches the store, or what is drawn of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

PRICES = ("open", "high", "low", "close")

Floats = np.ndarray[Any, np.dtype[np.float64]]
Dates = np.ndarray[Any, np.dtype[np.datetime64]]


@dataclass(frozen=True)
class Prices:
    """The last bars of one instrument, by `time`, ascending; prices as the provider gave them."""

    sessions: Dates
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    price_basis: str
    splits: tuple[tuple[date, float], ...]


def recent_prices(bars: pa.Table, actions: pa.Table, recent: int) -> dict[str, Prices]:
    """The last `recent` bars of every instrument, and its splits.

    Args:
        bars: (row) of `bars`, sorted by instrument and session.
        actions: (row) of `actions`.
        recent: how many bars.
    """
    splits: dict[str, list[tuple[date, float]]] = defaultdict(list)
    for row in actions.to_pylist():
        if row["action"] == "split":
            splits[row["instrument"]].append((row["session"], row["value"]))
    result = {}
    for instrument, rows in by_instrument(bars):
        last = rows.slice(max(rows.num_rows - recent, 0))
        columns = {name: floats(last[name]) for name in PRICES}
        result[instrument] = Prices(
            sessions=dates(last["session"]),
            price_basis=last["price_basis"][-1].as_py(),
            splits=tuple(splits[instrument]),
            **columns,
        )
    return result


def by_instrument(table: pa.Table) -> list[tuple[str, pa.Table]]:
    """Slices of a table that is sorted by instrument, without copying."""
    if table.num_rows == 0:
        return []
    encoded = table["instrument"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    names = encoded.dictionary.to_pylist()
    starts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    return [
        (names[codes[start]], table.slice(start, stop - start)) for start, stop in pairwise(starts)
    ]


def floats(column: pa.ChunkedArray) -> Floats:
    """A column of numbers, NaN where one is absent."""
    return np.array([np.nan if v is None else v for v in column.to_pylist()], dtype=np.float64)


def dates(column: pa.ChunkedArray) -> Dates:
    """A column of dates."""
    return np.array(column.to_pylist(), dtype="datetime64[D]")
