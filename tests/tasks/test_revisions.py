"""Revisions against what was committed, and restatements against a plain loop over factors."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.restatements import FEWEST, restatements
from tasks.revisions import REVISIONS, Revisions, revisions
from tasks.sessions import calendar
from tasks.store import Store
from tests.tasks.store_rows import bar, bars

MONDAY = datetime(2024, 3, 4, 22, tzinfo=UTC)
DAY = timedelta(days=1)
SESSIONS = [day.item() for day in calendar("XNYS").sessions(date(2024, 1, 2), date(2024, 2, 29))]
FIRST, SECOND = SESSIONS[:2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def told(found: Revisions) -> list[tuple[Any, ...]]:
    names = ("change", "session", "field", "old", "new")
    return [tuple(row[name] for name in names) for row in found.rows.to_pylist()]


def action(value: float, session: date = SECOND, **said: object) -> pa.Table:
    row = {"instrument": "AAPL", "session": session, "action": "dividend", "value": value}
    return pa.Table.from_pylist([row | {"source": "somewhere", "op": "upsert"} | said])


def test_the_first_fact_of_a_bar_is_no_revision(store: Store) -> None:
    store.commit_facts("bars", bars(bar(1.0), bar(2.0, session=SECOND)), now=MONDAY)
    found = revisions(store, "AAPL")
    assert found.rows.num_rows == 0
    assert found.rows.schema == REVISIONS
    assert (found.facts, found.sessions) == (2, 2)


def test_an_instrument_without_facts_has_no_revisions(store: Store) -> None:
    found = revisions(store, "AAPL")
    assert (found.rows.num_rows, found.facts, found.counts) == (0, 0, {})


def test_every_field_that_changed_is_a_row_with_old_and_new(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0)), now=MONDAY)
    later = bar(100.0, volume=250.0) | {"high": 110.0, "source": "elsewhere"}
    store.commit_facts("bars", bars(later), now=MONDAY + DAY)
    found = revisions(store, "AAPL")
    assert told(found) == [
        ("revised", FIRST, "high", 100.0, 110.0),
        ("revised", FIRST, "volume", 100.0, 250.0),
    ]
    rows = found.rows.to_pylist()
    assert [row["relative_change"] for row in rows] == pytest.approx([0.1, 1.5])
    assert {row["source"] for row in rows} == {"elsewhere"}
    assert {row["known_at"] for row in rows} == {MONDAY + DAY}
    assert found.counts == {"revised": 1}  # one bar


def test_there_and_back_are_two_revisions(store: Store) -> None:
    for days, close in enumerate((100.0, 101.0, 100.0)):
        store.commit_facts("bars", bars(bar(close)), now=MONDAY + days * DAY)
    closes = [row for row in told(revisions(store, "AAPL")) if row[2] == "close"]
    assert closes == [
        ("revised", FIRST, "close", 100.0, 101.0),
        ("revised", FIRST, "close", 101.0, 100.0),
    ]


def test_a_number_that_came_or_went_is_told(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0, volume=None)), now=MONDAY)
    store.commit_facts("bars", bars(bar(100.0, volume=7.0)), now=MONDAY + DAY)
    assert told(revisions(store, "AAPL")) == [("revised", FIRST, "volume", None, 7.0)]


def test_retracted_and_returned(store: Store) -> None:
    for days, op in enumerate(("upsert", "retract", "upsert")):
        store.commit_facts("bars", bars(bar(100.0, op=op)), now=MONDAY + days * DAY)
    assert told(revisions(store, "AAPL")) == [
        ("retracted", FIRST, "close", 100.0, None),
        ("returned", FIRST, "close", None, 100.0),
    ]


def test_another_price_basis_is_told_in_words(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0)), now=MONDAY)
    store.commit_facts("bars", bars(bar(100.0) | {"price_basis": "total_return"}), now=MONDAY + DAY)
    (row,) = revisions(store, "AAPL").rows.to_pylist()
    assert (row["field"], row["note"]) == ("price_basis", "raw → total_return")


def test_jitter_is_counted_and_not_shown(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0), bar(50.0, session=SECOND)), now=MONDAY)
    jitter = bars(bar(100.0 * (1 + 5e-7)), bar(50.0 * (1 + 5e-6), session=SECOND))
    written = store.commit_facts("bars", jitter, now=MONDAY + DAY)
    found = revisions(store, "AAPL", tolerance=1e-6)
    assert {row["session"] for row in found.rows.to_pylist()} == {SECOND}
    assert found.recomputed == written.changed - 1


def test_of_a_changed_bar_only_the_fields_that_really_changed(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0)), now=MONDAY)
    store.commit_facts("bars", bars(bar(100.0000001) | {"high": 101.0}), now=MONDAY + DAY)
    assert [row[2] for row in told(revisions(store, "AAPL"))] == ["high"]


def test_as_of_an_instant_later_facts_are_not_there(store: Store) -> None:
    for days, close in enumerate((100.0, 101.0, 102.0)):
        store.commit_facts("bars", bars(bar(close)), now=MONDAY + days * DAY)
    then = revisions(store, "AAPL", as_of=MONDAY + DAY)
    assert {row[4] for row in told(then)} == {101.0}
    assert then.facts == 2


def test_a_late_action_is_told_and_one_in_time_is_not(store: Store) -> None:
    store.commit_facts("actions", action(0.5, SESSIONS[0]), now=MONDAY)
    store.commit_facts("bars", bars(bar(100.0), bar(99.0, session=SECOND)), now=MONDAY)
    store.commit_facts("actions", action(0.4), now=MONDAY + DAY)  # after the bar of its ex-date
    store.commit_facts("actions", action(0.3, SESSIONS[2]), now=MONDAY + DAY)  # ahead of it
    assert told(revisions(store, "AAPL")) == [("late", SECOND, "dividend", None, 0.4)]


def test_an_assumed_action_is_not_late(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0), bar(99.0, session=SECOND)), now=MONDAY)
    store.commit_facts("actions", action(0.4, assumed=True, known_at=MONDAY + DAY), now=MONDAY)
    assert told(revisions(store, "AAPL")) == []


def test_changes_of_actions(store: Store) -> None:
    for days, (value, op) in enumerate(((0.5, "upsert"), (0.6, "upsert"), (0.6, "retract"))):
        store.commit_facts("actions", action(value, op=op), now=MONDAY + days * DAY)
    store.commit_facts("actions", action(0.6), now=MONDAY + 3 * DAY)
    assert [row[0] for row in told(revisions(store, "AAPL"))] == [
        "revised",
        "retracted",
        "returned",
    ]


def test_a_release_is_named_as_one(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0, session=SECOND)), now=MONDAY)
    held = {
        "quarantine_id": "q",
        "source": "somewhere",
        "instrument": "AAPL",
        "session": FIRST,
        "rule": "absurd_jump",
        "reason": "jumps",
        "row": "{}",
        "close": 300.0,
    }
    store.commit_facts("quarantine", pa.Table.from_pylist([held]), now=MONDAY)
    store.commit_facts("bars", bars(bar(300.0)), now=MONDAY + DAY)
    released = pa.Table.from_pylist([held | {"op": "release"}])
    store.commit_facts("quarantine", released, now=MONDAY + DAY)
    assert told(revisions(store, "AAPL")) == [("released", FIRST, "close", None, 300.0)]


def history(prices: np.ndarray[Any, Any], volume: float = 1000.0) -> pa.Table:
    rows = [
        bar(float(close), session=session, volume=volume)
        for session, close in zip(SESSIONS, prices, strict=False)
    ]
    return bars(*rows)


WALK = 100 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 0.02, len(SESSIONS))))


def test_a_restated_history_is_one_line(store: Store) -> None:
    before = np.round(WALK, 2)
    store.commit_facts("bars", history(before), now=MONDAY)
    after = np.round(before * 0.25, 2)
    store.commit_facts("bars", history(after, volume=4000.0), now=MONDAY + DAY)
    (row,) = revisions(store, "AAPL").rows.to_pylist()
    assert (row["change"], row["count"], row["new"]) == ("restated", len(SESSIONS), 0.25)
    assert (row["session"], row["last_session"]) == (SESSIONS[0], SESSIONS[-1])
    assert row["note"] == "volume × 4"
    assert revisions(store, "AAPL").counts == {"restated": len(SESSIONS)}


def test_every_bar_of_it_on_demand(store: Store) -> None:
    store.commit_facts("bars", history(WALK), now=MONDAY)
    store.commit_facts("bars", history(WALK / 3), now=MONDAY + DAY)
    rows = revisions(store, "AAPL", every_bar=True).rows.to_pylist()
    assert len(rows) == 4 * len(SESSIONS)
    assert {row["change"] for row in rows} == {"revised"}


def test_what_a_factor_does_not_explain_stays_a_line_of_its_own(store: Store) -> None:
    store.commit_facts("bars", history(WALK), now=MONDAY)
    after = WALK / 3
    after[9] *= 1.02
    rows = history(after).to_pylist()
    rows[4]["volume"] = 123.0
    store.commit_facts("bars", pa.Table.from_pylist(rows), now=MONDAY + DAY)
    found = revisions(store, "AAPL").rows.to_pylist()
    single = {(row["session"], row["field"]) for row in found if row["change"] == "revised"}
    assert single == {
        *((SESSIONS[9], name) for name in ("open", "high", "low", "close")),
        (SESSIONS[4], "volume"),
    }
    (whole,) = [row for row in found if row["change"] == "restated"]
    assert whole["count"] == len(SESSIONS) - 1


def test_a_few_bars_by_small_amounts_are_not_a_restatement(store: Store) -> None:
    before = np.round(WALK[:8] / 20, 2)
    store.commit_facts("bars", history(before), now=MONDAY)
    store.commit_facts("bars", history(before + 0.01), now=MONDAY + DAY)
    found = revisions(store, "AAPL").rows
    assert set(found["change"].to_pylist()) == {"revised"}
    assert found.num_rows == 4 * 8


@settings(max_examples=40)
@given(
    factors=st.lists(
        st.sampled_from([0.25, 1 / 3, 2.0, 100.0, 0.97, 0.9931, 1.5]),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    seed=st.integers(0, 2**16),
)
def test_each_factor_of_a_commit_is_found(factors: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(FEWEST, 40, len(factors))
    factor = np.repeat(factors, sizes)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.03, len(factor))))
    ranged = {
        "open": close * 1.01,
        "high": close * 1.02,
        "low": close * 0.98,
        "close": close,
    }
    pairs = {name: (old, old * factor) for name, old in ranged.items()}
    pairs["volume"] = (np.full(len(close), np.nan), np.full(len(close), np.nan))
    told = np.ones(len(close), dtype=bool)
    found = restatements(pairs, told, np.zeros(len(close), dtype=np.int64))
    expected = sorted((round(f, 8), int(n)) for f, n in zip(factors, sizes, strict=True))
    assert sorted((round(one.factor, 8), len(one.places)) for one in found) == expected
    assert sorted(np.concatenate([one.places for one in found])) == list(range(len(close)))
