"""What was delivered to which sink, and what is still due: the dataset `deliveries`.

Owns that account. Never touches a sink or a forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from tasks.schemas import DATASETS
from tasks.sinks.sink import Edition, Status
from tasks.store import Store


@dataclass(frozen=True)
class Delivery:
    """How far the forecasts of one run got to one sink."""

    sink: str
    run_id: str
    as_of: datetime
    edition: str
    status: Status


def account(store: Store) -> dict[tuple[str, str], Delivery]:
    """By sink and run what is known; of each sink in order of `as_of`, as the store sorts them.

    Raises:
        StoreError: the store can't be read.
    """
    names = ["sink", "run_id", "as_of", "edition", "status"]
    rows = store.read("deliveries", columns=names).to_pylist()
    found = [Delivery(**row) for row in rows]
    return {(one.sink, one.run_id): one for one in found}


def note(
    store: Store, edition: Edition, sinks: Sequence[str], status: Status, *, now: datetime
) -> None:
    """Writes down, in one commit, how far an edition got to these sinks.

    Raises:
        StoreError: the store can't be written.
    """
    rows = [
        {
            "sink": sink,
            "run_id": edition.run.run_id,
            "as_of": edition.run.as_of,
            "edition": edition.edition_id,
            "status": status,
        }
        for sink in sinks
    ]
    schema = DATASETS["deliveries"].schema
    given = pa.schema([field for field in schema if field.name not in ("known_at", "row_hash")])
    store.commit_facts("deliveries", pa.Table.from_pylist(rows, schema=given), now=now)
