"""Two nightlies and a backfill that ingest into one store at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.store import Store
from tests.tasks.provider import Provider, Row, action, bar, run
from tests.tasks.writers import run_all

NAMES = ("A", "B", "C")
BAD = bar(33, 10.0, "B") | {"close": -1.0}


def rows(first: int, last: int) -> list[Row]:
    return [bar(place, 10.0 + place, name) for name in NAMES for place in range(first, last)]


def nightly(url: str, place: int) -> None:
    """A night that brings the sessions since 30, a dividend and a bad row."""
    bars = [row for row in rows(30, 40) if (row["instrument"], row["session"]) != _key(BAD)]
    source = Provider([*bars, BAD], [action(35, "dividend", 0.1, "A")], offered=NAMES, batch_size=1)
    report = run(Store.open(url), source, place)
    assert report.fetched == 30


def backfill(url: str, place: int) -> None:
    """The sessions before, and five that the nightlies bring too."""
    report = run(Store.open(url), Provider(rows(0, 33), offered=NAMES, batch_size=2), place)
    assert report.fetched == 99


def _key(row: Row) -> tuple[object, object]:
    return row["instrument"], row["session"]


@pytest.mark.skipif(
    "FLEETCAST_TEST_S3" in os.environ,
    reason="its processes write to a folder; storage/test_s3.py has a race on S3",
)
def test_nothing_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    assert run_all([(nightly, (url, 50)), (nightly, (url, 51)), (backfill, (url, 52))]) == [0] * 3
    store = Store.open(url, create=False)
    expected = sorted(
        (row["instrument"], row["session"], row["close"])
        for row in rows(0, 40)
        if _key(row) != _key(BAD)
    )
    for told in (store.history("bars"), store.read("bars")):
        found = [(row["instrument"], row["session"], row["close"]) for row in told.to_pylist()]
        assert sorted(found) == expected
    assert store.history("actions").num_rows == 1
    held = store.history("quarantine").to_pylist()
    assert [(row["instrument"], row["rule"]) for row in held] == [("B", "nonpositive_price")]
    assert store.history("ingests").num_rows == 3
