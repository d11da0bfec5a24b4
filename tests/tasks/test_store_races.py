"""Many writers at once: nothing lost, nothing twice."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.schemas import DATASETS
from tasks.storage import scans, turns
from tasks.store import Store
from tests.tasks.store_rows import NIGHT, SESSION, bar, bars, losses
from tests.tasks.writers import check, run_writers

WRITERS = 8
COMMITS = 3


def write(url: str, writer: int) -> None:
    """One process: bars of its own, a statistic of its own, and one that all writers write."""
    store = Store.open(url)
    for number in range(COMMITS):
        session = SESSION + timedelta(days=number)
        row = bar(float(writer), instrument=f"I{writer}", session=session)
        store.commit_facts("bars", bars(row), now=NIGHT)
        store.append_once("statistics", losses([f"{writer}-{number}", "shared"]), now=NIGHT)


def test_eight_writers_that_also_make_the_store_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    url = str(tmp_path / "store")
    processes = [context.Process(target=write, args=(url, writer)) for writer in range(WRITERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * WRITERS

    store = Store.open(url, create=False)
    expected = {
        (f"I{writer}", SESSION + timedelta(days=number))
        for writer in range(WRITERS)
        for number in range(COMMITS)
    }
    bars_found = store.history("bars", columns=["instrument", "session"]).to_pylist()
    assert len(bars_found) == len(expected)
    assert {(row["instrument"], row["session"]) for row in bars_found} == expected
    ids = store.history("statistics")["evaluation_id"].to_pylist()
    own = [f"{writer}-{number}" for writer in range(WRITERS) for number in range(COMMITS)]
    assert sorted(ids) == sorted([*own, "shared"])


@pytest.mark.parametrize("patience", [0.0, turns.PATIENCE], ids=["racing", "in turns"])
def test_writers_of_the_same_keys_lose_nothing_and_write_nothing_twice(
    patience: float, tmp_path: Path
) -> None:
    """`python -m benchmarks.writers` is the same with 8 writers and 250 writes each."""
    url = str(tmp_path / "store")
    assert run_writers(url, 4, 5, patience) == [0] * 4
    check(Store.open(url, create=False), 4, 5)


def test_who_holds_a_turn_and_sleeps_stops_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.02)
    with turns.turn(store.place, DATASETS["bars"]):
        assert store.commit_facts("bars", bars(bar(1.0)), now=NIGHT).new == 1


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def meddle(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> list[int]:
    """Acts once between the comparison and the append of the next commit; counts comparisons."""
    monkeypatch.setattr(turns, "PATIENCE", 0.0)
    scan, comparisons = scans.scan, [0]

    def scan_and_act(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        found = scan(*args, **kwargs)
        comparisons[0] += 1
        if comparisons[0] == 1:
            act()
        return found

    monkeypatch.setattr(scans, "scan", scan_and_act)
    return comparisons


def test_a_fact_that_another_writer_commits_first_is_not_written_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = bars(bar(1.0))

    def other() -> None:
        assert store.commit_facts("bars", rows, now=NIGHT).new == 1

    comparisons = meddle(monkeypatch, other)
    assert store.commit_facts("bars", rows, now=NIGHT).unchanged == 1
    assert store.history("bars").num_rows == 1
    assert comparisons[0] >= 3  # the other's, and this one's before and after it


def test_a_correction_between_comparison_and_append_is_corrected_in_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit_facts("bars", bars(bar(1.0)), now=NIGHT)

    def other() -> None:
        store.commit_facts("bars", bars(bar(2.0)), now=NIGHT + timedelta(days=1))

    meddle(monkeypatch, other)
    counts = store.commit_facts("bars", bars(bar(3.0)), now=NIGHT)  # by a clock that lags a day
    assert counts.known_at == NIGHT + timedelta(days=1, microseconds=1)
    assert store.history("bars")["close"].to_pylist() == [1.0, 2.0, 3.0]
    assert store.read("bars")["close"].to_pylist() == [3.0]


def test_an_id_that_another_writer_commits_first_is_not_written_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other() -> None:
        assert store.append_once("statistics", losses(["a"], 1.0), now=NIGHT) == 1

    meddle(monkeypatch, other)
    late = losses(["a", "b"], 2.0)
    assert store.append_once("statistics", late, now=NIGHT - timedelta(days=1)) == 1
    assert store.read("statistics")["loss"].to_pylist() == [1.0, 2.0]
    assert store.history("statistics").num_rows == 2
