"""Compaction: fewer files, the same rows, beside writers and readers of old versions."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.schemas import DATASETS
from tasks.storage import compaction, delta, files
from tasks.storage.files import FileCut, cut
from tasks.storage.rows import ordered
from tasks.store import Store
from tests.tasks.store_rows import NIGHT, SESSION, bar, bars, losses

BARS = DATASETS["bars"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def nights(store: Store, count: int, names: str = "ABC", first: date = SESSION) -> None:
    for number in range(count):
        session = first + timedelta(days=number)
        rows = [bar(float(number + 1), instrument=name, session=session) for name in names]
        store.commit_facts("bars", bars(*rows), now=NIGHT + timedelta(days=number))


def files_of(store: Store, dataset: str = "bars") -> set[str]:
    return {Path(uri).name for uri in DeltaTable(f"{store.url}/{dataset}").file_uris()}


def test_rows_stay_and_files_become_few(store: Store) -> None:
    nights(store, 12)
    before = store.history("bars")
    counts = store.compact()["bars"]
    assert (counts.before, counts.after, counts.rows, counts.removed) == (12, 1, 36, 0)
    assert store.history("bars").equals(before)
    assert store.read("bars", as_of=NIGHT)["close"].to_pylist() == [1.0] * 3
    assert store.commit_facts("bars", before.drop_columns(["row_hash"]), now=NIGHT).unchanged == 36


def test_what_is_compacted_is_left_alone(store: Store) -> None:
    nights(store, 5)
    store.compact()
    versions = store.versions()
    assert store.compact("bars")["bars"].rows == 0
    assert store.versions() == versions


def test_many_small_commits_are_merged_without_being_asked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_TIDY_EVERY", 4)
    nights(store, 10)
    assert len(files_of(store)) < 6
    assert store.history("bars").num_rows == 30
    assert store.read("bars", as_of=NIGHT)["close"].to_pylist() == [1.0] * 3


def test_a_read_leaves_out_op_only_where_nothing_is_retracted(store: Store) -> None:
    nights(store, 2)
    gone = bars(bar(1.0, instrument="B", op="retract"))
    store.commit_facts("bars", gone, now=NIGHT + timedelta(days=9))
    held = store.read("bars", columns=["instrument", "close"])
    assert held["instrument"].to_pylist() == ["A", "A", "B", "C", "C"]
    assert held["close"].to_pylist() == [1.0, 2.0, 2.0, 1.0, 2.0]


def test_a_pinned_version_reads_as_before(store: Store) -> None:
    nights(store, 3)
    pinned = store.versions()
    before = store.history("bars")
    nights(store, 3, "XYZ")
    store.compact()
    assert store.history("bars", versions=pinned).equals(before)


def test_rows_lie_sorted_by_instrument_and_cut_at_the_turn_of_years(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileCut.__init__, "__defaults__", (20, 2**21))
    nights(store, 20, "CAB", date(2023, 12, 22))
    store.compact()
    found = [pq.read_table(f"{store.url}/bars/{name}") for name in files_of(store)]
    years = [{day.year for day in table["session"].to_pylist()} for table in found]
    assert sorted(map(sorted, years)) == [[2023], [2024]]
    for table in found:
        keys = list(zip(*(table[name].to_pylist() for name in BARS.key), strict=True))
        assert keys == sorted(keys)


def test_a_commit_during_a_compaction_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights(store, 4)
    write = files.write

    def write_and_commit(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        monkeypatch.setattr(files, "write", write)
        nights(store, 1, "Z")
        return write(*args, **kwargs)

    monkeypatch.setattr(files, "write", write_and_commit)
    assert store.compact("bars")["bars"].rows == 12
    assert store.history("bars").num_rows == 13


def test_two_compactions_at_once_keep_every_row_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights(store, 4)
    before = store.history("bars")
    write = files.write

    def write_after_the_other(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        monkeypatch.setattr(files, "write", write)
        store.compact("bars")
        return write(*args, **kwargs)

    monkeypatch.setattr(files, "write", write_after_the_other)
    store.compact("bars")
    assert store.history("bars").equals(before)
    on_disk = {path.name for path in (Path(store.url) / "bars").glob("*.parquet")}
    assert len(on_disk - files_of(store)) == 4  # the nights; what the loser wrote is gone


def test_a_commit_that_was_judged_before_a_compaction_still_lands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights(store, 4)
    append = delta._append

    def compact_first(*args: Any) -> bool:  # noqa: ANN401
        monkeypatch.setattr(delta, "_append", append)
        store.compact("bars")
        return append(*args)

    monkeypatch.setattr(delta, "_append", compact_first)
    nights(store, 1, "Q")
    assert store.history("bars").num_rows == 13
    assert len(files_of(store)) == 2


def test_five_hundred_commits_open_from_a_checkpoint(store: Store) -> None:
    for number in range(12):
        store.append_once("statistics", losses([str(number)]), now=NIGHT)
    assert store.compact("statistics")["statistics"].after == 1
    log = Path(store.url) / "statistics" / "_delta_log"
    version = store.versions()["statistics"]
    assert (log / f"{version:020d}.checkpoint.parquet").exists()
    for path in log.glob("*.json"):
        path.unlink()
    assert store.read("statistics").num_rows == 12


def test_expired_files_are_removed_and_younger_ones_are_not(store: Store) -> None:
    nights(store, 3)
    store.compact()
    assert store.compact()["bars"].removed == 0
    table = DeltaTable(f"{store.url}/bars")
    table.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 days"})
    assert store.compact()["bars"].removed == 3
    assert store.history("bars").num_rows == 9


def listed(*sizes: int, names: tuple[str, str] = ("A", "Z")) -> pa.Table:
    count = len(sizes)
    return pa.table(
        {
            "path": [f"{number:03d}" for number in range(count)],
            "modification_time": list(range(count)),
            "num_records": pa.array(sizes, pa.int64()),
            "min.instrument": [names[0]] * count,
            "max.instrument": [names[1]] * count,
            "min.session": pa.array([SESSION] * count, pa.date32()),
        }
    )


def test_a_large_file_waits_until_the_small_ones_are_worth_it() -> None:
    def merged(*sizes: int) -> list[list[int]]:
        return [merge["num_records"].to_pylist() for merge in compaction.plan(listed(*sizes), BARS)]

    assert merged(5, 5) == [[5, 5]]
    assert merged(100, 5, 5) == [[5, 5]]
    assert merged(20, 5, 5) == [[20, 5, 5]]
    assert merged(100, 5) == []
    assert merged(2**20, 2**20) == []
    assert merged() == []


def test_a_year_of_nights_is_rewritten_a_few_times_only() -> None:
    sizes: list[int] = []
    rewritten = 0
    for _ in range(252):
        sizes.append(5000)
        for merge in compaction.plan(listed(*sizes), BARS):
            gone = merge["num_records"].to_pylist()
            rewritten += sum(gone)
            for size in gone:
                sizes.remove(size)
            sizes.append(sum(gone))
    assert len(sizes) < 10
    assert rewritten / (252 * 5000) < 12


def test_shards_of_a_bulk_history_are_left_apart() -> None:
    parts = [listed(60_000, names=pair) for pair in (("A", "B"), ("C", "D"), ("E", "F"))]
    assert compaction.plan(pa.concat_tables(parts), BARS) == []
    overlap = [*parts, listed(60_000, names=("B", "E"))]
    assert sum(merge.num_rows for merge in compaction.plan(pa.concat_tables(overlap), BARS)) == 4
    tiny = [listed(60, names=pair) for pair in (("A", "B"), ("C", "D"))]
    assert sum(merge.num_rows for merge in compaction.plan(pa.concat_tables(tiny), BARS)) == 2


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 2000)), unique=True, max_size=40),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_cutting_loses_nothing_and_keeps_years_together(
    keys: list[tuple[str, int]], least: int, most: int
) -> None:
    rows = [{"instrument": name, "session": SESSION + timedelta(days=day)} for name, day in keys]
    schema = pa.schema([BARS.schema.field(name) for name in BARS.key])
    table = ordered(pa.Table.from_pylist(rows, schema=schema), BARS.order)
    parts = cut(table, BARS, FileCut(least, most))
    got = [tuple(row.values()) for part in parts for row in part.to_pylist()]
    assert sorted(got) == sorted((row["instrument"], row["session"]) for row in rows)
    assert all(0 < part.num_rows <= most for part in parts)
    for part in parts:
        pairs = list(zip(*(part[name].to_pylist() for name in BARS.key), strict=True))
        assert pairs == sorted(pairs)


def test_the_log_knows_the_ranges_of_names_sessions_and_instants(store: Store) -> None:
    instant = datetime.fromisoformat("2024-01-05T22:00:00.123999+00:00")
    store.commit_facts("bars", bars(bar(1.0), bar(2.0, instrument="IBM")), now=instant)
    (row,) = pa.table(DeltaTable(f"{store.url}/bars").get_add_actions(flatten=True)).to_pylist()
    assert (row["min.instrument"], row["max.instrument"]) == ("AAPL", "IBM")
    assert (row["min.session"], row["max.session"], row["num_records"]) == (SESSION, SESSION, 2)
    assert row["max.known_at"] == instant.replace(microsecond=123_000)
