"""Quarantined rows let in by a person, and the way back, on a real store."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bars import RULES
from tasks.ingest import ingest
from tasks.quarantined import SHORTEST, ReleaseError, short_ids
from tasks.release import hold, release
from tasks.revisions import revisions
from tasks.sessions import Calendars, calendar
from tasks.store import Store
from tests.tasks.provider import Provider
from tests.tasks.store_rows import bar, bars

MONDAY = datetime(2024, 3, 4, 22, tzinfo=UTC)
DAY = timedelta(days=1)
SESSION = date(2024, 1, 2)
NEVER = datetime(2030, 1, 1, tzinfo=UTC)
SESSIONS = [day.item() for day in calendar("XNYS").sessions(date(2024, 1, 2), date(2024, 2, 29))]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def quarantine(store: Store, one: str, close: float | None = 300.0, **said: object) -> str:
    """Holds a row in the store's quarantine; its id begins with `one`."""
    row = {
        "quarantine_id": one + "0" * (32 - len(one)),
        "source": "somewhere",
        "instrument": "AAPL",
        "session": SESSION,
        "rule": "absurd_jump",
        "reason": "the close jumps",
        "row": json.dumps({"close": close}),
        **dict.fromkeys(("open", "high", "low", "close"), close),
        "volume": 7.0,
        "price_basis": "raw",
        "op": "hold",
    }
    table = pa.Table.from_pylist([row | said])
    for name in ("open", "high", "low", "close", "volume"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].cast(pa.float64()))
    store.commit_facts("quarantine", table, now=MONDAY)
    return str((row | said)["quarantine_id"])


def ops(store: Store) -> dict[str, str]:
    return {row["quarantine_id"]: row["op"] for row in store.read("quarantine").to_pylist()}


def bar_rows(store: Store) -> list[dict[str, Any]]:
    names = ["instrument", "session", "open", "high", "low", "close", "volume", "price_basis"]
    found: list[dict[str, Any]] = store.read("bars", columns=[*names, "source"]).to_pylist()
    return found


def closes(store: Store, as_of: datetime | None = None) -> list[float]:
    found: list[float] = store.read("bars", as_of=as_of)["close"].to_pylist()
    return found


def test_a_released_row_is_a_bar_known_from_then_on(store: Store) -> None:
    one = quarantine(store, "aa", 300.0)
    (done,) = release(store, [one], now=MONDAY + DAY)
    (row,) = bar_rows(store)
    assert row == {
        "instrument": "AAPL",
        "session": SESSION,
        **dict.fromkeys(("open", "high", "low", "close"), 300.0),
        "volume": 7.0,
        "price_basis": "raw",
        "source": "somewhere",
    }
    (known,) = store.read("bars").to_pylist()
    assert (known["known_at"], known["assumed"]) == (MONDAY + DAY, False)
    assert closes(store, MONDAY + DAY - timedelta(microseconds=1)) == []
    assert ops(store) == {one: "release"}
    assert (done.what, done.value, done.before, done.already) == ("bar", 300.0, None, False)


def test_a_release_over_a_bar_is_a_revision_and_says_what_held(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0)), now=MONDAY)
    one = quarantine(store, "aa", 300.0)
    (done,) = release(store, [one], now=MONDAY + DAY)
    assert (done.before, closes(store), closes(store, MONDAY)) == (100.0, [300.0], [100.0])
    assert set(revisions(store, "AAPL").rows["change"].to_pylist()) == {"released"}


def test_the_beginning_of_an_id_that_only_one_has_is_enough(store: Store) -> None:
    quarantine(store, "abc1")
    quarantine(store, "abd2", session=SESSIONS[1])
    with pytest.raises(ReleaseError, match=r"begins several ids: .*abc10000.*abd20000"):
        release(store, ["ab"], now=MONDAY + DAY)
    assert closes(store) == []
    release(store, ["ABD"], now=MONDAY + DAY)
    assert [row["session"] for row in bar_rows(store)] == [SESSIONS[1]]


@pytest.mark.parametrize("wanted", ["nothing", "", " "])
def test_an_id_that_is_not_there_is_refused(store: Store, wanted: str) -> None:
    quarantine(store, "aa")
    with pytest.raises(ReleaseError, match="show quarantine"):
        release(store, [wanted], now=MONDAY)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"rule": "malformed_line", "close": None}, "ingest again"),
        ({"rule": "not_a_date", "session": None}, "session can't be read"),
        ({"rule": "not_a_number"}, "numbers can't be read"),
        ({"rule": "missing_instrument", "instrument": None}, "whose it is"),
        ({"rule": "outside_range", "session": None}, "of which session, can't be told"),
        ({"rule": "outside_range", "instrument": None}, "whose row it is"),
        ({"rule": "missing_price", "close": None}, "no close"),
        ({"rule": "outside_range", "close": None}, "older fleetcast kept no numbers"),
        ({"rule": "outside_range", "price_basis": None}, "what its prices are"),
        ({"rule": "nonpositive_price", "low": -37.63}, r"low is -37\.63"),
        ({"rule": "not_a_session"}, r"calendar\.held.*2024-01-02"),
        ({"rule": "not_closed_yet"}, "after the session's close"),
        ({"rule": "impossible_action", "close": None}, "no price can follow"),
        ({"rule": "absurd_jump", "op": "flag"}, "in the store already"),
    ],
)
def test_what_can_be_no_fact_is_refused_with_the_reason(
    store: Store, said: dict[str, Any], why: str
) -> None:
    one = quarantine(store, "aa", **said)
    with pytest.raises(ReleaseError, match=why):
        release(store, [one], now=MONDAY)
    assert closes(store) == []


def test_one_that_is_refused_keeps_the_others_back(store: Store) -> None:
    good = quarantine(store, "aa")
    bad = quarantine(store, "bb", session=SESSIONS[1], rule="not_a_session")
    with pytest.raises(ReleaseError, match="Nothing was released"):
        release(store, [good, bad], now=MONDAY)
    assert (closes(store), ops(store)) == ([], {good: "hold", bad: "hold"})


def test_killed_between_the_bar_and_the_release_and_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = quarantine(store, "aa")
    commit = Store.commit_facts

    def dies(self: Store, dataset: str, rows: pa.Table, *, now: datetime) -> Any:  # noqa: ANN401
        if dataset == "quarantine":
            raise KeyboardInterrupt
        return commit(self, dataset, rows, now=now)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit_facts", dies)
        with pytest.raises(KeyboardInterrupt):
            release(store, [one], now=MONDAY + DAY)
    assert (closes(store), ops(store)) == ([300.0], {one: "hold"})
    release(store, [one], now=MONDAY + 2 * DAY)
    assert ops(store) == {one: "release"}
    assert store.history("bars").num_rows == 1


def test_a_second_release_changes_nothing(store: Store) -> None:
    one = quarantine(store, "aa")
    release(store, [one], now=MONDAY)
    (done,) = release(store, [one], now=MONDAY + DAY)
    assert done.already
    assert store.history("bars").num_rows == 1
    assert store.history("quarantine").num_rows == 2


def test_of_two_that_disagree_one_is_the_bar_and_the_other_stays_held(store: Store) -> None:
    one = quarantine(store, "aa", 100.0, rule="duplicate_session")
    two = quarantine(store, "bb", 101.0, rule="duplicate_session")
    with pytest.raises(ReleaseError, match="release the right one"):
        release(store, [one, two], now=MONDAY)
    release(store, [one], now=MONDAY)
    assert (closes(store), ops(store)) == ([100.0], {one: "release", two: "hold"})
    (done,) = release(store, [two], now=MONDAY + DAY)  # a change of mind
    assert (closes(store), ops(store)) == ([101.0], {one: "hold", two: "release"})
    assert (done.instead_of, done.before) == (one, 100.0)


def test_a_held_action_becomes_an_action(store: Store) -> None:
    said = {"instrument": "AAPL", "session": "2024-01-02", "action": "dividend", "value": 40.0}
    one = quarantine(store, "aa", None, row=json.dumps(said), rule="absurd_dividend", volume=None)
    (done,) = release(store, [one], now=MONDAY + DAY)
    (row,) = store.read("actions").to_pylist()
    assert (row["action"], row["value"], row["known_at"]) == ("dividend", 40.0, MONDAY + DAY)
    assert (done.what, done.value) == ("dividend", 40.0)
    hold(store, [one], now=MONDAY + 2 * DAY)
    assert store.read("actions").num_rows == 0


def test_held_again_nothing_holds_where_nothing_did(store: Store) -> None:
    one = quarantine(store, "aa")
    release(store, [one], now=MONDAY)
    (done,) = hold(store, [one], now=MONDAY + DAY)
    assert (closes(store), ops(store)) == ([], {one: "hold"})
    assert (done.before, done.value) == (300.0, None)
    assert closes(store, MONDAY) == [300.0]  # as it was known then
    release(store, [one], now=MONDAY + 2 * DAY)
    assert closes(store) == [300.0]


def test_held_again_the_bar_before_the_release_holds(store: Store) -> None:
    store.commit_facts("bars", bars(bar(100.0, source="elsewhere")), now=MONDAY)
    one = quarantine(store, "aa")
    release(store, [one], now=MONDAY + DAY)
    (done,) = hold(store, [one], now=MONDAY + 2 * DAY)
    (row,) = bar_rows(store)
    assert (row["close"], row["source"], done.value) == (100.0, "elsewhere", 100.0)


def test_held_again_a_bar_that_changed_since_stays(store: Store) -> None:
    one = quarantine(store, "aa")
    release(store, [one], now=MONDAY)
    store.commit_facts("bars", bars(bar(301.0)), now=MONDAY + DAY)
    (done,) = hold(store, [one], now=MONDAY + 2 * DAY)
    assert (closes(store), done.value, ops(store)) == ([301.0], 301.0, {one: "hold"})


def test_what_was_never_released_is_held_already_and_a_flag_is_refused(store: Store) -> None:
    one = quarantine(store, "aa")
    (done,) = hold(store, [one], now=MONDAY)
    assert done.already
    flagged = quarantine(store, "bb", op="flag", session=SESSIONS[1])
    with pytest.raises(ReleaseError, match=r"validation\.severity"):
        hold(store, [flagged], now=MONDAY)


def test_rows_that_can_be_no_fact_can_be_named_to_hold(store: Store) -> None:
    one = quarantine(store, "aa", None, rule="not_a_date", session=None, row="no json")
    (done,) = hold(store, [one], now=MONDAY)
    assert done.already


@given(st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), unique=True, max_size=30))
def test_short_ids_tell_all_apart(ids: list[str]) -> None:
    ids += [one[:20] + "f" * 12 for one in ids[:2]]
    short = short_ids(ids)
    assert len(set(short.values())) == len(set(ids))
    assert all(one.startswith(digits) and len(digits) >= SHORTEST for one, digits in short.items())


def test_every_refused_rule_exists() -> None:
    from tasks.quarantined import _UNREADABLE

    assert set(_UNREADABLE) <= set(RULES)


def provider_rows(**spoilt: float) -> list[dict[str, Any]]:
    """Twenty quiet sessions, in which some closes are spoilt: `s12=400.0`."""
    rows = []
    for place, session in enumerate(SESSIONS[:20]):
        close = spoilt.get(f"s{place}", 100.0 + 0.1 * place)
        numbers = dict.fromkeys(("open", "high", "low", "close"), close)
        rows.append({"instrument": "A", "session": session, **numbers, "volume": 10.0})
    return rows


def run(store: Store, rows: list[dict[str, Any]], now: datetime) -> Any:  # noqa: ANN401
    return ingest(store, Provider(bars=rows), calendars=Calendars.load(), now=now)


def held_ids(store: Store, op: str = "hold") -> list[str]:
    return [one for one, now in ops(store).items() if now == op]


def test_the_next_ingest_respects_a_released_jump(store: Store) -> None:
    rows = provider_rows(s12=400.0)
    assert run(store, rows, MONDAY).quarantined == 1
    (one,) = held_ids(store)
    release(store, [one], now=MONDAY + DAY)
    again = run(store, rows, MONDAY + 2 * DAY)
    assert (again.quarantined, again.changed) == (0, 0)
    held = {row["session"]: row["close"] for row in bar_rows(store)}
    assert held[SESSIONS[12]] == 400.0
    assert ops(store)[one] == "release"
    assert store.history("bars").num_rows == 20


def test_the_next_ingest_holds_again_what_a_person_held_again(store: Store) -> None:
    rows = provider_rows(s12=400.0)
    run(store, rows, MONDAY)
    (one,) = held_ids(store)
    release(store, [one], now=MONDAY + DAY)
    hold(store, [one], now=MONDAY + 2 * DAY)
    assert run(store, rows, MONDAY + 3 * DAY).quarantined == 1
    assert SESSIONS[12] not in {row["session"] for row in bar_rows(store)}


def test_the_next_ingest_respects_the_released_one_of_two(store: Store) -> None:
    rows = provider_rows()
    double = rows[5] | dict.fromkeys(("open", "high", "low", "close"), 107.0)
    rows.insert(6, double)
    assert run(store, rows, MONDAY).quarantined == 2
    right = next(row for row in store.read("quarantine").to_pylist() if row["close"] == 107.0)
    release(store, [right["quarantine_id"]], now=MONDAY + DAY)
    run(store, rows, MONDAY + 2 * DAY)
    held = {row["session"]: row["close"] for row in bar_rows(store)}
    assert held[SESSIONS[5]] == 107.0
    assert sorted(ops(store).values()) == ["hold", "release"]
    assert store.history("bars").num_rows == 20
