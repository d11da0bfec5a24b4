"""Erasure: gone from every file and version, whatever happens meanwhile, and nothing else is."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from tasks.schemas import DATASETS
from tasks.storage import delta, erasure, files
from tasks.store import ErasedCounts, Store, StoreError
from tests.tasks.store_rows import NIGHT, bar, bars, losses

DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Bars of A and B by two sources, corrected and compacted, and statistics of both."""
    made = Store.open(tmp_path / "store")
    for number in range(3):
        rows = [bar(1.0 + number), bar(5.0 + number, instrument="B", source="other")]
        made.commit_facts("bars", bars(*rows), now=NIGHT + number * DAY)
    made.compact("bars")
    made.commit_facts("bars", bars(bar(9.0), bar(10.0, instrument="B")), now=NIGHT + 3 * DAY)
    for name in ("AAPL", "B"):
        made.append_once("statistics", losses([f"of {name}"], instrument=name), now=NIGHT)
    return made


def on_disk(store: Store) -> set[tuple[str, str]]:
    """Instrument and source of every row of every file, whether or not a version names it."""
    found = set()
    for dataset in ("bars", "statistics"):
        for path in (Path(store.url) / dataset).glob("*.parquet"):
            table = pq.read_table(path)
            source = table["source"].to_pylist() if dataset == "bars" else ["-"] * table.num_rows
            found |= set(zip(table["instrument"].to_pylist(), source, strict=True))
    return found


def is_append_only(store: Store, dataset: str = "bars") -> bool:
    configuration = DeltaTable(f"{store.url}/{dataset}").metadata().configuration
    return configuration["delta.appendOnly"] == "true"


def test_an_instrument_is_gone_from_every_file(store: Store) -> None:
    kept = store.history("bars", instruments=["B"])
    counts = store.erase(["AAPL", "unknown"])
    assert counts.rows == {"bars": 4, "statistics": 1}
    assert counts.files == 6  # three nights, their compaction, the last night, and statistics
    assert on_disk(store) == {("B", "other"), ("B", "somewhere"), ("B", "-")}
    assert store.history("bars").equals(kept)
    assert is_append_only(store)
    with pytest.raises(DeltaError, match="append"):
        DeltaTable(f"{store.url}/bars").delete()


def test_a_source_is_gone_and_what_others_said_holds(store: Store) -> None:
    assert store.erase(sources=["other"]).rows == {"bars": 3}
    assert ("B", "other") not in on_disk(store)
    assert store.read("bars")["close"].to_pylist() == [9.0, 10.0]
    assert store.read("statistics").num_rows == 2


def test_again_is_nothing(store: Store) -> None:
    store.erase(["AAPL"])
    versions = store.versions()
    assert store.erase(["AAPL"]) == ErasedCounts({}, 0)
    assert store.erase() == ErasedCounts({}, 0)
    assert store.versions() == versions


def test_a_version_that_held_them_says_so(store: Store) -> None:
    pinned = store.versions()
    store.erase(["AAPL"])
    with pytest.raises(StoreError, match="Version .* of bars .* erased for good.* by as_of"):
        store.history("bars", versions=pinned)


def test_a_row_of_no_instrument_stays(store: Store) -> None:
    row = {"source": "s", "rule": "r", "reason": "1", "row": "{}"}
    held = [
        {**row, "quarantine_id": "a", "instrument": "AAPL"},
        {**row, "quarantine_id": "b", "instrument": None},
    ]
    store.commit_facts("quarantine", pa.Table.from_pylist(held), now=NIGHT)
    assert store.erase(["AAPL"]).rows["quarantine"] == 1
    assert store.read("quarantine")["quarantine_id"].to_pylist() == ["b"]


def test_they_may_come_again(store: Store) -> None:
    store.erase(["AAPL"])
    assert store.commit_facts("bars", bars(bar(3.0)), now=NIGHT).new == 1


class KilledError(BaseException):
    """What no handler of errors catches."""


@pytest.mark.parametrize(
    ("module", "name"),
    [(erasure, "_rewrite"), (delta, "exchange"), (erasure, "_remove_files"), (files, "remove")],
)
def test_killed_anywhere_and_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    def kill(*_: object, **__: object) -> NoReturn:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(module, name, kill)
        with pytest.raises(KilledError):
            store.erase(["AAPL"])
    assert store.read("bars", instruments=["B"])["close"].to_pylist() == [10.0]
    store.commit_facts("bars", bars(bar(11.0, instrument="B")), now=NIGHT + 4 * DAY)
    store.erase(["AAPL"])
    assert {name for name, _ in on_disk(store)} == {"B"}
    assert store.read("bars")["close"].to_pylist() == [11.0]
    assert all(is_append_only(store, name) for name in DATASETS)


def meddle(monkeypatch: pytest.MonkeyPatch, module: object, name: str, act: Any) -> None:  # noqa: ANN401
    """Acts once before the next call of a function."""
    original = getattr(module, name)

    def acting(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        monkeypatch.setattr(module, name, original)
        act()
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, acting)


@pytest.mark.parametrize("place", ["exchange", "open_table"])
def test_rows_that_come_meanwhile_are_kept_or_go(
    store: Store, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def commit() -> None:
        new = bars(bar(20.0), bar(21.0, instrument="C"))
        store.commit_facts("bars", new, now=NIGHT + 5 * DAY)

    meddle(monkeypatch, delta, place, commit)
    store.erase(["AAPL"])
    assert {name for name, _ in on_disk(store)} == {"B", "C"}
    assert store.read("bars")["close"].to_pylist() == [10.0, 21.0]


def test_a_commit_in_flight_is_judged_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    meddle(monkeypatch, delta, "_append", lambda: store.erase(["AAPL"]))
    rows = bars(bar(22.0, instrument="C"))
    assert store.commit_facts("bars", rows, now=NIGHT + 5 * DAY).new == 1
    assert store.read("bars")["close"].to_pylist() == [10.0, 22.0]


@pytest.mark.parametrize("name", ["exchange", "_append"])
def test_a_compaction_or_another_erasure_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "exchange":
        meddle(monkeypatch, delta, "exchange", lambda: store.compact("bars"))
        store.commit_facts("bars", bars(bar(30.0, instrument="D")), now=NIGHT + 6 * DAY)
    else:
        meddle(monkeypatch, erasure, "_rewrite", lambda: store.erase(["AAPL"]))
    store.erase(["AAPL"])
    assert {name for name, _ in on_disk(store)} <= {"B", "D"}
    assert store.history("bars", instruments=["B"]).num_rows == 4
    assert is_append_only(store)


def test_what_a_killed_commit_left_goes_once_it_is_old(store: Store) -> None:
    folder = Path(store.url) / "bars"
    some = next(path for path in folder.glob("*.parquet") if pq.read_metadata(path).num_rows == 6)
    for name in ("old", "young", "broken"):
        (folder / f"part-{name}.parquet").write_bytes(some.read_bytes())
    (folder / "part-broken.parquet").write_bytes(b"PAR1")
    for name in ("old", "broken"):
        os.utime(folder / f"part-{name}.parquet", (time.time() - 7200,) * 2)
    store.erase(["AAPL"])
    left = {path.name for path in folder.glob("part-*.parquet") if len(path.name) < 25}
    assert left == {"part-young.parquet"}  # a commit under way may be about to name it


def test_many_files_go_in_several_commits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "_MOST_ROWS", 1)
    assert store.erase(["AAPL"]).rows["bars"] == 4
    assert {name for name, _ in on_disk(store)} == {"B"}


def test_one_text_is_not_a_list(store: Store) -> None:
    with pytest.raises(StoreError, match="list of names.*'AAPL'"):
        store.erase("AAPL")
