"""What a night left behind: its payload, and everything that a kill must not leave.

Owns the comparison of two nights. Never runs one.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import sqlalchemy as sa
from deltalake import DeltaTable

from tasks.run_forecasts import forecasts_of
from tasks.runs import runs_by_id
from tasks.schemas import DATASETS
from tasks.sinks.deliveries import account
from tasks.store import Store

NAMES = ("A", "B", "C")

OURS = {"forecast_id", "run_id", "made_at", "known_at", "as_of"}
"""Columns of `forecasts` that say whose work a row is; the others are its payload."""


def payload(store: Store) -> list[tuple[str, ...]]:
    """What the forecasts of the only finished run say, to the last bit."""
    (run,) = runs_by_id(store, set(store.read("runs")["run_id"].to_pylist())).values()
    rows = forecasts_of(store, run)
    columns = [rows[name].to_pylist() for name in sorted(set(rows.column_names) - OURS)]
    return sorted(tuple(map(repr, row)) for row in zip(*columns, strict=True))


def faults(folder: Path) -> list[str]:
    """What is wrong with a store whose night is over; empty where nothing is."""
    store = Store.open(folder, create=False)
    found = []
    runs = store.read("runs").to_pylist()
    found += [f"run {one['status']}: {one['message']}" for one in runs if one["message"]]
    found += [f"{len(runs)} runs"] * (len(runs) != 1)
    for name, dataset in DATASETS.items():
        if not dataset.fact:
            keys = store.history(name, columns=list(dataset.key)).to_pylist()
            twice = len(keys) - len({tuple(row.values()) for row in keys})
            found += [f"{twice} rows of {name} are there twice"] * bool(twice)
        for path in DeltaTable(str(folder / name)).file_uris():
            pq.read_table(path)  # raises where it is not whole
    for row in store.read("models").to_pylist():
        if row["checkpoint"] is not None and not store.exists(row["checkpoint"]):
            found.append(f"the checkpoint {row['checkpoint']} is gone")
    latest = pq.read_table(folder / "latest/forecasts.parquet").num_rows
    every = len(payload(store))
    found += [f"{latest} of {every} forecasts are in latest/"] * (latest != every)
    waiting = {one.status for one in account(store).values()} - {"delivered"}
    found += [f"deliveries are {waiting}"] * bool(waiting)
    return found


def leftovers(folder: Path) -> list[Path]:
    """Files that no log names and nobody reads: what a killed process was about to write."""
    named = {
        Path(uri).name for name in DATASETS for uri in DeltaTable(str(folder / name)).file_uris()
    }
    rows = [p for name in DATASETS for p in (folder / name).glob("*.parquet")]
    parts = [p for p in folder.rglob(".*") if p.is_file() and ".prefect" not in p.parts]
    locks = {path for path in parts if path.suffix == ".lock"}
    return [path for path in rows if path.name not in named] + sorted({*parts} - locks)


def delivered(url: str, namespace: str | None, store: Store) -> list[str]:
    """What is wrong with what a database got of the only run; empty where nothing is."""
    prefix = f"{namespace}." if namespace else ""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        query = f"SELECT forecast_id FROM {prefix}forecasts"  # noqa: S608 - the test's own name
        ids = connection.scalars(sa.text(query)).all()
        nights = connection.scalars(sa.text(f"SELECT edition FROM {prefix}nights")).all()  # noqa: S608
    engine.dispose()
    (run,) = runs_by_id(store, set(store.read("runs")["run_id"].to_pylist())).values()
    wanted = sorted(forecasts_of(store, run)["forecast_id"].to_pylist())
    found = ["the database has other forecasts"] * (sorted(ids) != wanted)
    return found + [f"{len(nights)} nights in the database"] * (len(nights) != 1)
