"""Rows for the tests of the store: small tables with only what a test is about spelled out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pyarrow as pa

NIGHT = datetime(2024, 1, 5, 22, 0, tzinfo=UTC)
SESSION = date(2024, 1, 2)


def bar(
    close: float,
    *,
    instrument: str = "AAPL",
    session: date = SESSION,
    volume: float | None = 100.0,
    op: str = "upsert",
    source: str = "somewhere",
    known_at: datetime | None = None,
    assumed: bool = False,
) -> dict[str, object]:
    row: dict[str, object] = {
        "instrument": instrument,
        "session": session,
        "open": close,
        "high": close,
        "low": close,
        "close": close,
        "volume": volume,
        "price_basis": "raw",
        "source": source,
        "op": op,
        "assumed": assumed,
    }
    return row if known_at is None else {**row, "known_at": known_at}


def bars(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def losses(ids: Sequence[str], loss: float = 1.0, *, instrument: str = "AAPL") -> pa.Table:
    """Derived rows: one statistic per evaluation id."""
    count = len(ids)
    return pa.table(
        {
            "evaluation_id": pa.array(ids, pa.string()),
            "instrument": pa.array([instrument] * count, pa.string()),
            "target": pa.array(["log_return"] * count, pa.string()),
            "kind": pa.array(["many_to_many"] * count, pa.string()),
            "method": pa.array(["zero"] * count, pa.string()),
            "fold": pa.array([0] * count, pa.int32()),
            "segment": pa.array(["test"] * count, pa.string()),
            "cutoff": pa.array([SESSION] * count, pa.date32()),
            "loss": pa.array([loss] * count, pa.float64()),
        }
    )
