"""The latest forecasts as plain files: Parquet and CSV that replace the ones before them at once.

Owns `latest/forecasts.*`. Never touches a value: the rows are the run's, sorted.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.schemas import DATASETS, SCHEMA_VERSION
from tasks.store import Store

PARQUET = "latest/forecasts.parquet"
CSV = "latest/forecasts.csv"
_ORDER = ("instrument", "target", "kind", "lead", "forecast_id")


class Published(NamedTuple):
    """What decides which forecasts are newer: the first of these that differs.

    Attributes:
        cutoff: the newest session that any of them rests on.
        as_of: what was known.
        made_at: when the last of them was made.
    """

    cutoff: date
    as_of: datetime
    made_at: datetime


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

    Newer means of a later session; of the same one a later `as_of`; and with that, made later. So a
    backfill of a past date, a session that was caught up late, or a worker that was thought dead,
    changes nothing. Each file is replaced at once, the Parquet file last: a run that was stopped
    between the two repeats both.

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
    mine = Published(
        pc.max(rows["cutoff"]).as_py(),
        instants[0].astimezone(UTC),
        pc.max(rows["made_at"]).as_py().astimezone(UTC),
    )
    there = published(store)
    if there is not None and mine < there:
        return ()
    return (store.write_file(CSV, _csv(rows)), store.write_file(PARQUET, _parquet(rows, mine)))


def published_instruments(store: Store) -> frozenset[str]:
    """Whose forecasts the latest files hold."""
    if published(store) is None:
        return frozenset()
    rows = pq.read_table(io.BytesIO(store.read_file(PARQUET)), columns=["instrument"])
    return frozenset(pc.unique(rows["instrument"]).to_pylist())


def withdraw(store: Store, instruments: Collection[str]) -> bool:
    """Takes the forecasts of `instruments` out of the latest files; whether there were any.

    The Parquet file is replaced last: one that was stopped in between is done again.

    Raises:
        StoreError: The store can't be read or written.
    """
    there = published(store)
    if there is None:
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
    store.write_file(PARQUET, _parquet(kept, there))
    return True


def published(store: Files) -> Published | None:
    """Which forecasts the latest files hold; None where nothing is published yet.

    A file that is no Parquet, or none of ours, counts as nothing: it is replaced.

    Raises:
        StoreError: The files can't be read.
    """
    if not store.exists(PARQUET):
        return None
    try:
        metadata = pq.read_metadata(io.BytesIO(store.read_file(PARQUET))).metadata or {}
        cutoff, as_of, made_at = (
            metadata[f"fleetcast.{name}".encode()].decode() for name in Published._fields
        )
    except (pa.ArrowInvalid, KeyError):
        return None
    return Published(
        date.fromisoformat(cutoff), datetime.fromisoformat(as_of), datetime.fromisoformat(made_at)
    )


def _parquet(rows: pa.Table, stamp: Published) -> bytes:
    told = {f"fleetcast.{name}": value.isoformat() for name, value in stamp._asdict().items()}
    metadata = {"fleetcast.schema_version": str(SCHEMA_VERSION), **told}
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
