"""What a read opens, and that other tools read the same files."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tasks.storage import files
from tasks.store import Store, StoreError
from tests.tasks.store_rows import NIGHT, SESSION, bar, bars, losses


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def histories(names: str, sessions: int) -> pa.Table:
    days = [SESSION + timedelta(days=day) for day in range(sessions)]
    rows = [bar(1.0, instrument=name, session=day) for day in days for name in names]
    return bars(*rows)


def test_files_without_the_instruments_are_not_opened(store: Store) -> None:
    folder = Path(store.url) / "bars"
    store.commit_facts("bars", histories("AB", 5), now=NIGHT)
    kept = set(folder.glob("*.parquet"))
    store.commit_facts("bars", histories("YZ", 5), now=NIGHT)
    (other,) = set(folder.glob("*.parquet")) - kept
    other.write_bytes(b"not Parquet")
    assert store.read("bars", instruments=["A", "B"]).num_rows == 10
    with pytest.raises(StoreError, match=other.name):
        store.read("bars", instruments=["B", "Y"])


def test_row_groups_without_the_instruments_are_not_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_ROWS_PER_GROUP", 50)
    store.commit_facts("bars", histories("ABCD", 50), now=NIGHT)
    (file,) = (Path(store.url) / "bars").glob("*.parquet")
    metadata = pq.read_metadata(file)
    assert metadata.num_row_groups == 4
    column = metadata.schema.names.index("close")
    content = bytearray(file.read_bytes())
    for group in range(1, 4):  # every close but those of A: overwritten where they lie
        chunk = metadata.row_group(group).column(column)
        start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
        content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    file.write_bytes(content)
    assert store.read("bars", instruments=["A"])["close"].to_pylist() == [1.0] * 50
    with pytest.raises(StoreError, match=file.name):
        store.read("bars", instruments=["D"])


def test_columns_that_are_not_asked_for_are_not_read(store: Store) -> None:
    store.commit_facts("bars", histories("A", 3), now=NIGHT)
    found = store.read("bars", columns=["close"])
    assert found.column_names == ["close"]
    assert found.num_rows == 3


def test_rows_lie_sorted_in_the_files(store: Store) -> None:
    store.commit_facts("bars", histories("CAB", 3), now=NIGHT)
    (file,) = (Path(store.url) / "bars").glob("*.parquet")
    table = pq.read_table(file)
    pairs = list(zip(table["instrument"].to_pylist(), table["session"].to_pylist(), strict=True))
    assert pairs == sorted(pairs)


def test_derived_rows_are_read_among_the_texts_that_are_wanted(store: Store) -> None:
    parts = [losses(["A", "B"], instrument=name) for name in "XY"]
    store.append_once("statistics", pa.concat_tables(parts), now=NIGHT)
    whole = store.read("statistics")
    among = {"evaluation_id": ["A"]}
    expected = [row for row in whole.to_pylist() if row["evaluation_id"] == "A"]
    assert store.read("statistics", among=among).to_pylist() == expected
    found = store.read("statistics", among=among, columns=["instrument", "loss"])
    assert found.to_pylist() == [{k: row[k] for k in ("instrument", "loss")} for row in expected]
    assert store.read("statistics", among={"evaluation_id": []}).num_rows == 0


def test_facts_are_not_read_among_anything(store: Store) -> None:
    """An older row would pass for the latest, where that one is not among them."""
    with pytest.raises(StoreError, match="bars holds facts"):
        store.read("bars", among={"price_basis": ["raw"]})


def test_derived_rows_lie_sorted_by_instrument(store: Store) -> None:
    parts = [losses([f"{9 - n}"], instrument=name) for n, name in enumerate("CAB")]
    store.append_once("statistics", pa.concat_tables(parts), now=NIGHT)
    (file,) = (Path(store.url) / "statistics").glob("*.parquet")
    assert pq.read_table(file)["instrument"].to_pylist() == ["A", "B", "C"]


@pytest.mark.parametrize("later", ["0", "32"])  # no file has ranges; the second has
def test_files_of_which_the_log_knows_no_range_are_opened(store: Store, later: str) -> None:
    table = DeltaTable(f"{store.url}/bars")
    table.alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "0"})
    store.commit_facts("bars", histories("B", 3), now=NIGHT)
    table = DeltaTable(f"{store.url}/bars")
    table.alter.set_table_properties({"delta.dataSkippingNumIndexedCols": later})
    store.commit_facts("bars", histories("A", 3), now=NIGHT - timedelta(days=1))
    assert store.read("bars", instruments=["B"]).num_rows == 3
    assert store.commit_facts("bars", histories("B", 3), now=NIGHT).unchanged == 3
    assert store.latest_known_at() == NIGHT


def test_a_pinned_version_outlives_the_upkeep_of_the_log(store: Store) -> None:
    store.commit_facts("bars", histories("A", 3), now=NIGHT)
    pinned = store.versions()
    store.commit_facts("bars", histories("B", 3), now=NIGHT)
    two_months_ago = time.time() - 60 * 24 * 3600
    for file in (Path(store.url) / "bars" / "_delta_log").iterdir():
        os.utime(file, (two_months_ago, two_months_ago))
    table = DeltaTable(f"{store.url}/bars")
    table.optimize.compact()
    table.create_checkpoint()
    table.cleanup_metadata()
    table.vacuum(dry_run=False)
    assert store.read("bars", versions=pinned).num_rows == 3
    assert store.read("bars").num_rows == 6


def test_pandas_reads_the_files_of_a_snapshot(store: Store) -> None:
    store.commit_facts("bars", histories("AB", 3), now=NIGHT)
    store.commit_facts("bars", bars(bar(2.0, instrument="A")), now=NIGHT)
    files = DeltaTable(f"{store.url}/bars").file_uris()
    frame = pd.concat([pd.read_parquet(file) for file in files])
    latest = frame.sort_values(["known_at", "row_hash"]).groupby(["instrument", "session"]).tail(1)
    latest = latest.sort_values(["instrument", "session"], ignore_index=True)
    expected = store.read("bars").to_pandas()
    pd.testing.assert_frame_equal(latest, expected, check_dtype=False)
