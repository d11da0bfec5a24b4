"""The store on a real S3 API: no folder, no rename, only conditional puts."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tasks.store import Store, StoreError
from tests.tasks.object_store import object_store
from tests.tasks.store_rows import NIGHT, SESSION, bar, bars, losses

COMMITS = 4


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(scope="module")
def store(bucket: str) -> Store:
    """Two nights: A and B, then a correction of A."""
    made = Store.open(f"{bucket}/deep/store")
    rows = bars(bar(1.0, instrument="A"), bar(5.0, instrument="B"))
    assert made.commit_facts("bars", rows, now=NIGHT).new == 2
    later = bars(bar(2.0, instrument="A"), bar(5.0, instrument="B"))
    counts = made.commit_facts("bars", later, now=NIGHT + timedelta(days=1))
    assert (counts.changed, counts.unchanged) == (1, 1)
    made.append_once("statistics", losses(["a"], instrument="A"), now=NIGHT)
    return made


def test_what_was_known_when(store: Store) -> None:
    assert store.read("bars")["close"].to_pylist() == [2.0, 5.0]
    assert store.read("bars", as_of=NIGHT)["close"].to_pylist() == [1.0, 5.0]
    assert store.read("bars", instruments=["B"])["close"].to_pylist() == [5.0]
    assert store.latest_known_at() == NIGHT + timedelta(days=1)
    assert Store.open(store.url, create=False) == store


def test_an_id_is_written_once(store: Store) -> None:
    assert store.append_once("statistics", losses(["a"], instrument="A"), now=NIGHT) == 0


def test_files(store: Store) -> None:
    assert not store.exists("latest/forecasts.csv")
    for content in (b"one", b"two"):
        address = store.write_file("latest/forecasts.csv", content)
        assert address == f"{store.url}/latest/forecasts.csv"
        assert store.read_file("latest/forecasts.csv") == content
    assert store.exists("latest/forecasts.csv")
    with pytest.raises(StoreError, match="latest/nothing"):
        store.read_file("latest/nothing")


def test_compaction_and_pinned_versions(store: Store) -> None:
    pinned, before = store.versions(), store.history("bars")
    assert store.compact("bars")["bars"].after == 1
    assert store.history("bars").equals(before)
    assert store.history("bars", versions=pinned).equals(before)


def test_erasure(bucket: str) -> None:
    store = Store.open(f"{bucket}/erased")
    for close in (1.0, 2.0):
        rows = bars(bar(close, instrument="A"), bar(close, instrument="B"))
        store.commit_facts("bars", rows, now=NIGHT)
    pinned = store.versions()
    store.compact("bars")
    counts = store.erase(["A"])
    assert (counts.rows, counts.files) == ({"bars": 2}, 3)
    assert store.history("bars")["instrument"].to_pylist() == ["B", "B"]
    with pytest.raises(StoreError, match="erased for good"):
        store.history("bars", versions=pinned)


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        Store.open(f"{bucket}-nowhere/store")
    with pytest.raises(StoreError, match="nowhere"):
        Store.open(f"{bucket}-nowhere/store", create=False)


def write(url: str, writer: int) -> None:
    """One process: bars of its own, and one that all write."""
    store = Store.open(url, create=False)
    for number in range(COMMITS):
        session = SESSION + timedelta(days=number)
        mine = bar(float(writer), instrument=f"I{writer}", session=session)
        shared = bar(1.0, instrument="shared", session=session)
        store.commit_facts("bars", bars(mine, shared), now=NIGHT)


def test_two_writers_at_once_lose_nothing_and_write_nothing_twice(bucket: str) -> None:
    url = Store.open(f"{bucket}/raced").url
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write, args=(url, writer)) for writer in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    found = Store.open(url, create=False).history("bars")["instrument"].to_pylist()
    assert sorted(found) == sorted(["I0", "I1", "shared"] * COMMITS)
