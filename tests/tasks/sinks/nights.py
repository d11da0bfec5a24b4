"""Nights in a store: a run and its forecasts, as `flows.nightly` leaves them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from tasks.run_forecasts import forecasts_of
from tasks.runs import PinnedRun, runs_by_id
from tasks.sinks.sink import Edition
from tasks.sources.rate_limit import Clock
from tasks.store import Store
from tests.tasks.example_store import AS_OF, NOW, forecast_rows, rows_table, run_row

TONIGHT = NOW


class Pauses(Clock):
    """A clock that only remembers how long it was to wait."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        super().__init__(now=lambda: 0.0, sleep=self.waited.append)


def night(
    store: Store, day: int = 0, *, made: int = 0, shift: float = 0.0, origin: str = "live"
) -> PinnedRun:
    """The run `day` days after the first, with forecasts made `made` minutes after it was pinned.

    Called again with another `made`, it adds what the same night forecast anew.
    """
    run_id = f"run-{day:02}-{origin}"
    as_of = AS_OF + timedelta(days=day)
    made_at = NOW + timedelta(days=day, minutes=made)
    changes: dict[str, Any] = {"as_of": as_of, "run_id": run_id, "origin": origin}
    row = run_row(
        **changes,
        session=as_of.date(),
        made_at=NOW + timedelta(days=day),
        status="finished",
        shards=json.dumps({"shard-000": ["AAPL", "IBM"]}),
    )
    store.commit_facts("runs", rows_table("runs", [row]), now=NOW)
    rows = [
        one
        | changes
        | {"made_at": made_at, "mean": one["mean"] + shift}
        | {"forecast_id": f"{one['forecast_id']}-{day}-{made}"}
        for one in forecast_rows(("AAPL", "IBM"))
    ]
    rows[0]["reason"] = 'it\'s 5 % "sure": \\ ünïcode; DROP TABLE forecasts; --'
    rows[1] |= {"probabilities": [0.25, 0.75], "edges": [0.0]}
    store.append_once("forecasts", rows_table("forecasts", rows), now=NOW)
    return runs_by_id(store, {run_id})[run_id]


def edition(store: Store, run: PinnedRun) -> Edition:
    return Edition.of(run, forecasts_of(store, run))


def sorted_rows(rows: pa.Table) -> list[dict[str, Any]]:
    return sorted(rows.to_pylist(), key=lambda row: (row["as_of"], row["forecast_id"]))


def later(days: int) -> datetime:
    return TONIGHT + timedelta(days=days)
