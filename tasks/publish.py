"""The latest forecasts as plain files: Parquet and CSV that replace the ones before them at once.

Owns `latest/forecasts.*`. Never touches a value: the rows are the run's, sorted.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.schemas import DATASETS, SCHEMA_VERSION
from tasks.store import Store

PARQUET = "latest/forecasts.parquet"
CSV = "latest/forecasts.csv"
_ORDER = ("instrument", "target", "kind", "lead", "forecast_id")


class Files(Protocol):
    """Where the files lie: a store, or a place outside it."""

    def exists(self, relative: str) -> bool:
        """Whether there is such a file."""
        ...

    def read_file(self, relative: str) -> bytes:
        """Its bytes."""
        ...

    def write_file(self, relative: str, data: bytes) -> str:
        """Writes or replaces it at once, and says where it is."""
        ...


def publish_latest(store: Files, forecasts: pa.Table) -> tuple[str, ...]:
    """Replace the latest files with one run's forecasts, unless newer ones are there.

    Newer means a later `as_of`, or the same and made later; so a backfill of a past date, or a
    worker that was thought dead, changes nothing. Each file is replaced at once, the Parquet file
    last: a run that was stopped between the two repeats both.

    Args:
        store: Where the files lie.
        forecasts: (row) rows of the `forecasts` dataset, all of one `as_of`, in any order.

    Returns:
        The paths or URLs written; empty where there is no row, or newer ones are there.

    Raises:
        ValueError: The rows lack a column, or are of more than one `as_of`.
        StoreError: The store can't be read or written.
    """
    schema: pa.Schema = DATASETS["forecasts"].schema
    missing = [name for name in schema.names if name not in forecasts.column_names]
    if missing:
        raise ValueError(
            f"forecasts lack the columns {missing}; "
            "give rows as `store.read('forecasts')` returns them"
        )
    if forecasts.num_rows == 0:
        return ()
    instants = pc.unique(forecasts["as_of"]).to_pylist()
    if len(instants) != 1:
        raise ValueError(
            f"forecasts are of {len(instants)} different as_of, {min(instants).isoformat()} to "
            f"{max(instants).isoformat()}; publish one run's at a time"
        )
    rows = forecasts.select(schema.names).cast(schema)
    rows = rows.sort_by([(name, "ascending") for name in _ORDER]).combine_chunks()
    stamp = (instants[0].astimezone(UTC), pc.max(rows["made_at"]).as_py().astimezone(UTC))
    there = _stamp(store)
    if there is not None and stamp < there:
        return ()
    return (store.write_file(CSV, _csv(rows)), store.write_file(PARQUET, _parquet(rows, stamp)))


def published_as_of(store: Store) -> datetime | None:
    """Whose knowledge the latest files hold; None where nothing is published yet."""
    stamp = _stamp(store)
    return None if stamp is None else stamp[0]


def published_instruments(store: Store) -> frozenset[str]:
    """Whose forecasts the latest files hold."""
    if _stamp(store) is None:
        return frozenset()
    rows = pq.read_table(io.BytesIO(store.read_file(PARQUET)), columns=["instrument"])
    return frozenset(pc.unique(rows["instrument"]).to_pylist())


def withdraw(store: Store, instruments: Collection[str]) -> bool:
    """Takes the forecasts of `instruments` out of the latest files; whether there were any.

    The Parquet file is replaced last: one that was stopped in between is done again.

    Raises:
        StoreError: The store can't be read or written.
    """
    stamp = _stamp(store)
    if stamp is None:
        return False
    rows = pq.read_table(io.BytesIO(store.read_file(PARQUET)))
    kept = rows.filter(
        pc.invert(
            pc.is_in(rows["instrument"], value_set=pa.array(sorted(instruments), pa.string()))
        )
    )
    if kept.num_rows == rows.num_rows:
        return False
    store.write_file(CSV, _csv(kept))
    store.write_file(PARQUET, _parquet(kept, stamp))
    return True


def _stamp(store: Files) -> tuple[datetime, datetime] | None:
    """The `as_of` and the last `made_at` of what is published.

    A file that is no Parquet, or none of ours, counts as nothing: it is replaced.
    """
    if not store.exists(PARQUET):
        return None
    try:
        metadata = pq.read_metadata(io.BytesIO(store.read_file(PARQUET))).metadata or {}
        as_of, made_at = metadata[b"fleetcast.as_of"], metadata[b"fleetcast.made_at"]
    except (pa.ArrowInvalid, KeyError):
        return None
    return datetime.fromisoformat(as_of.decode()), datetime.fromisoformat(made_at.decode())


def _parquet(rows: pa.Table, stamp: tuple[datetime, datetime]) -> bytes:
    as_of, made_at = stamp
    metadata = {
        "fleetcast.schema_version": str(SCHEMA_VERSION),
        "fleetcast.as_of": as_of.isoformat(),
        "fleetcast.made_at": made_at.isoformat(),
    }
    buffer = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata(metadata), buffer, compression="zstd")
    return buffer.getvalue()


def _csv(rows: pa.Table) -> bytes:
    """One header line; instants in UTC, an absent value is empty, numbers round-trip.

    Lists, which CSV does not know, are JSON.
    """
    for place, field in enumerate(rows.schema):
        if pa.types.is_list(field.type):
            texts = [None if v is None else json.dumps(v) for v in rows[field.name].to_pylist()]
            rows = rows.set_column(place, field.name, pa.array(texts, pa.string()))
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(rows, buffer, pyarrow.csv.WriteOptions(quoting_style="needed"))
    return buffer.getvalue()
