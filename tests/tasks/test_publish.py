"""The latest files hold the run's forecasts, and nothing older ever replaces them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.publish import CSV, PARQUET, publish_latest, published
from tasks.schemas import DATASETS
from tasks.storage import places
from tasks.store import Store, StoreError
from tests.tasks.example_store import AS_OF, NOW, forecast_rows


def forecasts(
    *, as_of: datetime = AS_OF, made_at: datetime = NOW, shift: float = 0.0, days: int = 0
) -> pa.Table:
    """Of `days` after the example's session."""
    rows = [
        row
        | {"as_of": as_of, "made_at": made_at, "known_at": made_at, "mean": row["mean"] + shift}
        | {"cutoff": row["cutoff"] + timedelta(days=days)}
        for row in forecast_rows()
    ]
    return pa.Table.from_pylist(rows, schema=DATASETS["forecasts"].schema)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def rows_of(store: Store) -> pa.Table:
    return pq.read_table(io.BytesIO(store.read_file(PARQUET)))


def test_parquet_holds_every_forecast_sorted_with_units(store: Store) -> None:
    shuffled = forecasts().sort_by([("lead", "descending"), ("target", "descending")])
    assert shuffled != forecasts()
    csv_path, parquet_path = publish_latest(store, shuffled)
    assert store.local_path is not None
    assert Path(csv_path) == store.local_path / CSV
    assert Path(parquet_path) == store.local_path / PARQUET
    table = rows_of(store)
    assert table.schema.equals(DATASETS["forecasts"].schema)
    for field in DATASETS["forecasts"].schema:
        assert table.schema.field(field.name).metadata == field.metadata
    keys = [
        tuple(row[name] for name in ("instrument", "target", "kind", "lead"))
        for row in table.to_pylist()
    ]
    assert keys == sorted(keys)
    by_id = [("forecast_id", "ascending")]
    assert table.sort_by(by_id).to_pylist() == shuffled.sort_by(by_id).to_pylist()


def test_csv_says_the_same_as_parquet(store: Store) -> None:
    publish_latest(store, forecasts())
    lines = list(csv.DictReader(io.StringIO(store.read_file(CSV).decode())))
    rows = rows_of(store).to_pylist()
    assert len(lines) == len(rows) == len(forecast_rows())
    for line, row in zip(lines, rows, strict=True):
        assert line["instrument"] == row["instrument"]
        assert line["target_session"] == row["target_session"].isoformat()
        assert datetime.fromisoformat(line["as_of"]) == row["as_of"]
        for name in ("mean", "lower", "upper", "volatility"):
            assert (float(line[name]) if line[name] else None) == row[name]


def test_csv_writes_lists_as_json(store: Store) -> None:
    levels = [{"level": 0.8, "lower": -0.5, "upper": 0.25}]
    lists = {"probabilities": [0.25, 0.75], "edges": [0.0], "intervals": levels}
    plain, *others = forecasts().to_pylist()
    rows = [{**plain, "probabilities": None, "edges": None}, *(row | lists for row in others)]
    publish_latest(store, pa.Table.from_pylist(rows, schema=DATASETS["forecasts"].schema))
    lines = list(csv.DictReader(io.StringIO(store.read_file(CSV).decode())))
    for line, row in zip(lines, rows_of(store).to_pylist(), strict=True):
        for name in lists:
            assert (json.loads(line[name]) if line[name] else None) == row[name]
    assert sum(line["edges"] == "" for line in lines) == 1


def test_the_same_forecasts_give_the_same_bytes_in_any_order(store: Store) -> None:
    publish_latest(store, forecasts())
    first = store.read_file(PARQUET), store.read_file(CSV)
    assert publish_latest(store, forecasts().sort_by([("mean", "ascending")])) != ()
    assert (store.read_file(PARQUET), store.read_file(CSV)) == first


@pytest.mark.parametrize(
    ("days", "as_of", "made_at", "replaces"),
    [
        (1, AS_OF - timedelta(days=3), NOW - timedelta(days=9), True),
        (-1, AS_OF + timedelta(days=3), NOW + timedelta(days=9), False),
        (0, AS_OF + timedelta(days=3), NOW - timedelta(days=9), True),
        (0, AS_OF - timedelta(days=3), NOW + timedelta(days=9), False),
        (0, AS_OF, NOW + timedelta(seconds=1), True),
        (0, AS_OF, NOW - timedelta(seconds=1), False),
        (0, AS_OF, NOW, True),
    ],
    ids=[
        "later session",
        "caught up late",
        "later as_of",
        "backfill",
        "made later",
        "late worker",
        "again",
    ],
)
def test_only_newer_forecasts_replace(
    store: Store, days: int, as_of: datetime, made_at: datetime, replaces: bool
) -> None:
    publish_latest(store, forecasts())
    before = store.read_file(PARQUET), store.read_file(CSV)
    written = publish_latest(store, forecasts(as_of=as_of, made_at=made_at, shift=0.5, days=days))
    after = store.read_file(PARQUET), store.read_file(CSV)
    assert bool(written) == replaces
    assert (after != before) == replaces
    stamp = published(store)
    assert stamp is not None
    assert stamp.as_of == (as_of if replaces else AS_OF)


def test_a_reader_of_the_old_file_keeps_it_and_never_sees_a_part(store: Store) -> None:
    publish_latest(store, forecasts())
    assert store.local_path is not None
    path = store.local_path / PARQUET
    inode = path.stat().st_ino
    with path.open("rb") as held:
        publish_latest(store, forecasts(as_of=AS_OF + timedelta(days=1), shift=1.0))
        assert path.stat().st_ino != inode  # another file took the name, whole
        old = pq.read_table(held)
    assert old["mean"].to_pylist() != rows_of(store)["mean"].to_pylist()
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["forecasts.csv", "forecasts.parquet"]


def test_a_stop_between_the_two_files_is_repaired_by_running_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_latest(store, forecasts())
    later = forecasts(as_of=AS_OF + timedelta(days=1), shift=1.0)
    write = places.write
    with monkeypatch.context() as patch:

        def stop_at_the_second(place: places.Place, relative: str, data: bytes) -> str:
            if relative == PARQUET:
                raise StoreError("the disk is full")
            return write(place, relative, data)

        patch.setattr(places, "write", stop_at_the_second)
        with pytest.raises(StoreError, match="disk is full"):
            publish_latest(store, later)
    stamp = published(store)
    assert stamp is not None
    assert stamp.as_of == AS_OF
    assert len(publish_latest(store, later)) == 2
    lines = list(csv.DictReader(io.StringIO(store.read_file(CSV).decode())))
    assert [float(line["mean"]) for line in lines] == rows_of(store)["mean"].to_pylist()


def test_nothing_to_publish_leaves_what_is_there(store: Store) -> None:
    assert publish_latest(store, forecasts().slice(0, 0)) == ()
    assert published(store) is None
    publish_latest(store, forecasts())
    assert publish_latest(store, forecasts().slice(0, 0)) == ()
    assert rows_of(store).num_rows == 50


@pytest.mark.parametrize("rubbish", [b"", b"PAR1 but cut off", b"not a table at all"])
def test_a_broken_latest_file_is_replaced(store: Store, rubbish: bytes) -> None:
    store.write_file(PARQUET, rubbish)
    assert len(publish_latest(store, forecasts())) == 2
    assert rows_of(store).num_rows == 50


def test_forecasts_of_two_nights_are_refused(store: Store) -> None:
    both = pa.concat_tables([forecasts(), forecasts(as_of=datetime(2013, 3, 4, 22, tzinfo=UTC))])
    with pytest.raises(ValueError, match=r"2 different as_of, 2013-03-01.* to 2013-03-04"):
        publish_latest(store, both)


def test_a_missing_column_is_named(store: Store) -> None:
    with pytest.raises(ValueError, match=r"lack the columns \['upper'\]"):
        publish_latest(store, forecasts().drop_columns(["upper"]))
