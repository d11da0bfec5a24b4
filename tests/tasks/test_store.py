from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from tasks.schemas import DATASETS, INSTANT, SCHEMA_VERSION
from tasks.store import FactCounts, Store
from tests.tasks.store_rows import NIGHT, SESSION, bar, bars, losses

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "a store é")


def closes(store: Store, as_of: datetime | None = None) -> list[float]:
    found: list[float] = store.read("bars", as_of=as_of)["close"].to_pylist()
    return found


def commit(store: Store, *rows: dict[str, object], now: datetime = NIGHT) -> FactCounts:
    return store.commit_facts("bars", bars(*rows), now=now)


def test_a_new_store_is_empty_and_complete(store: Store) -> None:
    assert set(store.versions()) == set(DATASETS)
    assert store.latest_known_at() is None
    for name, dataset in DATASETS.items():
        assert store.read(name).equals(dataset.schema.empty_table())
        assert store.history(name).num_rows == 0


def test_a_new_key_keeps_the_known_at_that_is_proposed(store: Store) -> None:
    close = NIGHT - 2 * DAY
    assert commit(store, bar(1.0, known_at=close, assumed=True)) == FactCounts(1, 0, 0, close)
    row = store.read("bars").to_pylist()[0]
    assert (row["known_at"], row["assumed"]) == (close, True)


def test_the_same_rows_again_add_nothing(store: Store) -> None:
    rows = [bar(1.0), bar(2.0, instrument="IBM", volume=None)]
    assert commit(store, *rows) == FactCounts(2, 0, 0, NIGHT)
    before = store.versions()
    assert commit(store, *rows, now=NIGHT + DAY) == FactCounts(0, 0, 2, None)
    assert store.versions() == before


def test_a_then_b_then_a_are_three_facts(store: Store) -> None:
    nights = [NIGHT, NIGHT + DAY, NIGHT + 2 * DAY]
    for close, now in zip([1.0, 2.0, 1.0], nights, strict=True):
        commit(store, bar(close), now=now)
    assert store.history("bars")["close"].to_pylist() == [1.0, 2.0, 1.0]
    assert [closes(store, now) for now in nights] == [[1.0], [2.0], [1.0]]
    assert closes(store, NIGHT - TICK) == []
    assert closes(store, NIGHT + DAY - TICK) == [1.0]
    assert closes(store) == [1.0]


def test_a_correction_is_not_assumed_and_known_from_now_on(store: Store) -> None:
    commit(store, bar(1.0, known_at=NIGHT - DAY, assumed=True))
    counts = commit(store, bar(2.0, known_at=NIGHT - DAY, assumed=True), now=NIGHT)
    assert counts == FactCounts(0, 1, 0, NIGHT)
    row = store.read("bars").to_pylist()[0]
    assert (row["close"], row["known_at"], row["assumed"]) == (2.0, NIGHT, False)


@pytest.mark.parametrize("values", [(1.0, 2.0), (2.0, 1.0)])  # whichever has the greater hash
@pytest.mark.parametrize("lag", [timedelta(0), DAY])
def test_a_lagging_clock_loses_no_correction(
    store: Store, values: tuple[float, float], lag: timedelta
) -> None:
    first, corrected = values
    commit(store, bar(first), now=NIGHT)
    counts = commit(store, bar(corrected), now=NIGHT - lag)
    assert counts == FactCounts(0, 1, 0, NIGHT + TICK)
    assert closes(store) == [corrected]
    assert closes(store, NIGHT) == [first]
    assert store.latest_known_at() == NIGHT + TICK


@pytest.mark.parametrize("first", [1.0, 3.0, 5.0, 7.0, 9.0, 11.0])
def test_ties_of_known_at_go_to_the_greater_hash_in_any_order(tmp_path: Path, first: float) -> None:
    rows = []
    for close in (first, first + 1.0):  # two stores each hold a row of one instant
        store = Store.open(tmp_path / str(close))
        commit(store, bar(close))
        rows.append(store.history("bars"))
    best = max((row.to_pylist()[0] for row in rows), key=lambda row: str(row["row_hash"]))
    for name, order in (("one", rows), ("other", rows[::-1])):
        merged = Store.open(tmp_path / name)
        for row in order:
            write_deltalake(f"{merged.url}/bars", row, mode="append")
        assert merged.history("bars").num_rows == 2
        assert merged.read("bars").to_pylist() == [best]
        assert merged.read("bars", columns=["close"]).to_pylist() == [{"close": best["close"]}]


def test_float_jitter_is_no_revision_but_a_true_difference_is(store: Store) -> None:
    commit(store, bar(100.0))
    assert commit(store, bar(100.0 * (1 + 5e-10))).unchanged == 1
    assert commit(store, bar(100.0 * (1 - 5e-10))).unchanged == 1
    assert commit(store, bar(100.0 * (1 + 5e-9))).changed == 1
    assert closes(store) == [100.0 * (1 + 5e-9)]


def test_what_counts_as_jitter_may_be_said(store: Store) -> None:
    commit(store, bar(100.0))
    near = bars(bar(100.001))
    assert store.commit_facts("bars", near, now=NIGHT, tolerance=1e-4).unchanged == 1
    twice = bars(bar(100.001), bar(100.002))
    assert store.commit_facts("bars", twice, now=NIGHT, tolerance=1e-4).unchanged == 2
    assert store.commit_facts("bars", near, now=NIGHT, tolerance=1e-6).changed == 1


def test_null_and_a_value_are_different(store: Store) -> None:
    for volume, counts in [
        (None, (1, 0, 0)),
        (0.0, (0, 1, 0)),
        (None, (0, 1, 0)),
        (None, (0, 0, 1)),
    ]:
        got = commit(store, bar(1.0, volume=volume))
        assert (got.new, got.changed, got.unchanged) == counts
        assert store.read("bars")["volume"].to_pylist() == [volume]


def test_the_same_value_from_another_source_is_no_news(store: Store) -> None:
    commit(store, bar(1.0, source="one"))
    assert commit(store, bar(1.0, source="other")).unchanged == 1


def test_a_retracted_row_is_gone_from_then_on_and_may_come_back(store: Store) -> None:
    commit(store, bar(1.0), bar(2.0, instrument="IBM"), now=NIGHT)
    commit(store, bar(1.0, op="retract"), now=NIGHT + DAY)
    assert closes(store) == [2.0]
    assert closes(store, NIGHT) == [1.0, 2.0]
    commit(store, bar(1.0), now=NIGHT + 2 * DAY)
    assert closes(store) == [1.0, 2.0]
    assert closes(store, NIGHT + DAY) == [2.0]
    assert store.history("bars").num_rows == 4


def test_a_released_row_stays_in_sight(store: Store) -> None:
    row = {
        "quarantine_id": "q",
        "source": "s",
        "rule": "high_below_low",
        "reason": "1 < 2",
        "row": "{}",
    }
    for op in ("hold", "release"):
        store.commit_facts("quarantine", pa.Table.from_pylist([{**row, "op": op}]), now=NIGHT)
        assert store.read("quarantine")["op"].to_pylist() == [op]


def test_the_order_of_rows_in_a_commit_changes_nothing(tmp_path: Path) -> None:
    rows = [bar(float(n), instrument=name) for n, name in enumerate("CABED", start=1)]
    one, other = Store.open(tmp_path / "one"), Store.open(tmp_path / "other")
    for store, batch in ((one, rows), (other, rows[::-1])):
        commit(store, bar(9.0, instrument="B"), now=NIGHT - DAY)
        commit(store, *batch)
    assert one.read("bars").equals(other.read("bars"))
    assert one.history("bars").equals(other.history("bars"))
    assert closes(one) == [2.0, 3.0, 1.0, 5.0, 4.0]


def test_agreed_duplicates_in_a_commit_count_as_unchanged(store: Store) -> None:
    counts = commit(store, bar(1.0), bar(1.0), bar(2.0, instrument="IBM"))
    assert (counts.new, counts.changed, counts.unchanged) == (2, 0, 1)


def test_no_rows_are_no_commit(store: Store) -> None:
    before = store.versions()
    empty = DATASETS["bars"].schema.empty_table()
    assert store.commit_facts("bars", empty, now=NIGHT) == FactCounts(0, 0, 0, None)
    assert store.append_once("statistics", losses([]), now=NIGHT) == 0
    assert store.versions() == before


def test_an_id_is_written_once(store: Store) -> None:
    assert store.append_once("statistics", losses(["a", "b"]), now=NIGHT) == 2
    assert store.append_once("statistics", losses(["b", "c"], loss=9.0), now=NIGHT + DAY) == 1
    found = store.read("statistics")
    assert found["evaluation_id"].to_pylist() == ["a", "b", "c"]
    assert found["loss"].to_pylist() == [1.0, 1.0, 9.0]
    assert found["known_at"].to_pylist() == [NIGHT, NIGHT, NIGHT + DAY]
    assert store.history("statistics").num_rows == 3


def test_an_id_twice_in_one_commit_is_written_once(store: Store) -> None:
    rows = pa.concat_tables([losses(["a"], 1.0), losses(["a"], 2.0)])
    assert store.append_once("statistics", rows, now=NIGHT) == 1
    other = Store.open(store.url + " other")
    other.append_once("statistics", rows.take([1, 0]), now=NIGHT)
    assert store.read("statistics").equals(other.read("statistics"))


def test_an_id_twice_with_lists_in_it_is_written_once(store: Store) -> None:
    row: dict[str, object] = {}
    for field in DATASETS["forecasts"].schema:
        if not field.nullable and field.name != "known_at":
            kind = field.type
            row[field.name] = (
                NIGHT
                if field.type == INSTANT
                else SESSION
                if pa.types.is_date(kind)
                else "x"
                if pa.types.is_string(kind)
                else 1
            )
    row |= {"origin": "live", "probabilities": [0.25, 0.75]}
    interval = [{"level": 0.9, "lower": -1.0, "upper": 1.0}]
    rows = [row | {"intervals": interval}, row | {"probabilities": [0.5, 0.5]}]
    schema = without_known_at("forecasts")
    both = pa.Table.from_pylist(rows, schema=schema)
    assert store.append_once("forecasts", both, now=NIGHT) == 1
    other = Store.open(store.url + " other")
    other.append_once("forecasts", both.take([1, 0]), now=NIGHT)
    assert store.read("forecasts").equals(other.read("forecasts"))


def test_known_at_of_derived_rows_is_the_commit(store: Store) -> None:
    rows = losses(["a"]).append_column("known_at", pa.array([NIGHT - DAY], INSTANT))
    store.append_once("statistics", rows, now=NIGHT)
    assert store.read("statistics")["known_at"].to_pylist() == [NIGHT]


def test_a_late_duplicate_changes_nothing(store: Store) -> None:
    store.append_once("statistics", losses(["a"], 1.0), now=NIGHT)
    kept = store.read("statistics")
    late = pa.Table.from_pylist(
        [row | {"loss": 2.0, "known_at": NIGHT + DAY} for row in kept.to_pylist()],
        schema=kept.schema,
    )
    write_deltalake(f"{store.url}/statistics", late, mode="append")  # past the check, as in a race
    assert store.history("statistics").num_rows == 2
    assert store.read("statistics").equals(kept)


def test_a_row_of_no_instrument_comes_before_those_of_one(store: Store) -> None:
    def row(name: str, instrument: str | None) -> dict[str, object]:
        words = {"company": "c", "target": "t", "kind": "k", "method": "m", "baseline": "b"}
        whose = {"config_hash": "h", "run_id": "r", "origin": "live"}
        days = {"first_cutoff": SESSION, "last_cutoff": SESSION, "sessions": 1, "instruments": 1}
        when = {"as_of": NIGHT, "made_at": NIGHT}
        about = {"comparison_id": name, "instrument": instrument}
        return {**about, **words, **whose, **days, **when}

    rows = [row("own", "A"), row("pooled", None)]
    table = pa.Table.from_pylist(rows, schema=without_known_at("comparisons"))
    assert store.append_once("comparisons", table, now=NIGHT) == 2
    assert store.append_once("comparisons", table, now=NIGHT + DAY) == 0
    assert store.read("comparisons")["comparison_id"].to_pylist() == ["pooled", "own"]
    of_one = store.read("comparisons", instruments=["A"])
    assert of_one["comparison_id"].to_pylist() == ["own"]


def without_known_at(dataset: str) -> pa.Schema:
    fields = [field for field in DATASETS[dataset].schema if field.name != "known_at"]
    return pa.schema([pa.field(field.name, field.type) for field in fields])


def test_a_pinned_version_reads_exactly_that_snapshot(store: Store) -> None:
    commit(store, bar(1.0))
    store.append_once("statistics", losses(["a"]), now=NIGHT)
    pinned = json.loads(json.dumps(store.versions()))
    seen = {name: store.read(name, versions=pinned) for name in DATASETS}
    # Later commits that claim to have been known all along.
    commit(store, bar(2.0, instrument="IBM", known_at=NIGHT - DAY), now=NIGHT - DAY)
    commit(store, bar(3.0), now=NIGHT - DAY)
    store.append_once("statistics", losses(["b"]), now=NIGHT - DAY)
    for name in DATASETS:
        assert store.read(name, versions=pinned).equals(seen[name])
        assert store.history(name, versions=pinned).num_rows == seen[name].num_rows
    assert closes(store) == [3.0, 2.0]


def test_columns_and_instruments_narrow_a_read(store: Store) -> None:
    commit(store, *[bar(float(n), instrument=name) for n, name in enumerate("ABCD")])
    commit(store, bar(9.0, instrument="B"), now=NIGHT + DAY)
    found = store.read("bars", instruments=["D", "B", "unknown"], columns=["close", "instrument"])
    assert found.to_pydict() == {"close": [9.0, 3.0], "instrument": ["B", "D"]}
    assert store.read("bars", instruments=[]).num_rows == 0
    assert store.history("bars", instruments=["B"], columns=["close"]).to_pydict() == {
        "close": [1.0, 9.0]
    }


def test_facts_are_never_edited(store: Store) -> None:
    commit(store, bar(1.0))
    with pytest.raises(DeltaError, match="append"):
        DeltaTable(f"{store.url}/bars").delete()
    assert closes(store) == [1.0]


def test_what_an_unfinished_commit_left_behind_is_not_read(store: Store) -> None:
    commit(store, bar(1.0))
    folder = Path(store.url) / "bars"
    written = next(folder.glob("*.parquet"))
    (folder / "part-00000-killed.parquet").write_bytes(written.read_bytes())
    (folder / "_delta_log" / "_commit_killed.json.tmp").write_text("{")
    assert closes(store) == [1.0]
    assert commit(store, bar(2.0), now=NIGHT + DAY).changed == 1


def test_meaning_units_and_version_are_in_the_table(store: Store) -> None:
    table = DeltaTable(f"{store.url}/bars")
    assert table.metadata().configuration["fleetcast.schemaVersion"] == str(SCHEMA_VERSION)
    assert "price row" in (table.metadata().description or "")
    close = next(field for field in table.schema().fields if field.name == "close")
    assert (close.metadata["unit"], close.nullable) == ("price", False)


def test_known_at_keeps_its_microseconds(store: Store) -> None:
    instant = datetime(2024, 1, 5, 22, 0, 0, 123_457, tzinfo=UTC)
    commit(store, bar(1.0), now=instant)
    commit(store, bar(2.0, instrument="IBM"), now=instant - TICK)
    assert store.latest_known_at() == instant
    assert closes(store, instant - TICK) == [2.0]


def test_files_are_replaced_whole(store: Store) -> None:
    assert not store.exists("latest/forecasts.csv")
    address = store.write_file("latest/forecasts.csv", b"one")
    assert Path(address).read_bytes() == b"one"
    with Path(address).open("rb") as reader:
        store.write_file("latest/forecasts.csv", b"two")
        assert reader.read() == b"one"  # who has begun to read the old file ends with it
    assert store.read_file("latest/forecasts.csv") == b"two"
    assert store.exists("latest/forecasts.csv")
    assert [file.name for file in (Path(store.url) / "latest").iterdir()] == ["forecasts.csv"]


def test_a_compressed_file_comes_back_as_it_was(store: Store) -> None:
    store.write_file("checkpoints/a.gz", b"not really gzip")
    assert store.read_file("checkpoints/a.gz") == b"not really gzip"


def test_the_address_may_be_a_file_url(store: Store) -> None:
    commit(store, bar(1.0))
    again = Store.open(Path(store.url).as_uri(), create=False)
    assert again == store
    assert again.local_path == Path(store.url)
    assert closes(again) == [1.0]


def test_the_session_is_a_plain_date(store: Store) -> None:
    commit(store, bar(1.0))
    assert store.read("bars")["session"].to_pylist() == [SESSION]
    assert type(store.read("bars")["session"][0].as_py()) is date
