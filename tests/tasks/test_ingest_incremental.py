"""Asking only for what is missing, batch by batch, and going on after whatever broke it off."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ingest.requests import plan
from tasks.sessions import Calendars, calendar
from tasks.sources import SourceError
from tasks.store import FactCounts, Store
from tests.tasks.provider import (
    NYSE,
    SESSIONS,
    Provider,
    Row,
    action,
    bar,
    messages,
    night,
    run,
)

START = SESSIONS[0]
TOLD = {"start": START, "overlap_sessions": 3}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def provider(rows: list[Row], **more: Any) -> Provider:  # noqa: ANN401 - fields of the provider
    names = tuple(sorted({row["instrument"] for row in rows if row["instrument"]}))
    return Provider(rows, offered=names, incremental=True, **more)


def history(names: str, until: int, close: float = 10.0) -> list[Row]:
    return [bar(place, close + place, name) for name in names for place in range(until)]


# ---------------------------------------------------------------------------------- the requests


def test_only_what_is_missing_and_an_overlap_is_asked_for(store: Store) -> None:
    source = provider(history("AB", 20))
    run(store, source, 19, **TOLD)
    assert source.asked == [(("A", "B"), START)]
    source.bars = [*history("AB", 25), *history("C", 25)]
    source.offered = ("A", "B", "C")
    report = run(store, source, 24, **TOLD)
    # The newest stored session is the one at 19; three before it is 16.
    assert source.asked[1:] == [(("A", "B"), SESSIONS[16]), (("C",), START)]
    assert [(one.fetched, one.new, one.unchanged) for one in report.instruments] == [
        (9, 5, 4),
        (9, 5, 4),
        (25, 25, 0),
    ]
    run(store, source, 24, full=True, **TOLD)
    assert source.asked[3:] == [(("A", "B", "C"), START)]


def test_instruments_with_the_same_first_session_share_batches() -> None:
    source = Provider(incremental=True, batch_size=2)
    newest = dict.fromkeys("ABCDE", SESSIONS[20]) | {"F": SESSIONS[10]}
    asked = plan(source, "FEDCBAXY", newest, NYSE, start=START, overlap_sessions=5)
    assert [(one.instruments, one.first, one.partial) for one in asked] == [
        (("A", "B"), SESSIONS[15], True),
        (("C", "D"), SESSIONS[15], True),
        (("E",), SESSIONS[15], True),
        (("F",), SESSIONS[5], True),
        (("X", "Y"), START, False),
    ]


def test_a_source_that_reads_whole_is_read_whole_in_batches() -> None:
    source = Provider(batch_size=2)
    asked = plan(source, "CAB", {"A": SESSIONS[9]}, NYSE, start=START, overlap_sessions=5)
    assert [(one.instruments, one.first) for one in asked] == [(("A", "B"), None), (("C",), None)]
    (everything,) = plan(source, None, {}, NYSE, start=START, overlap_sessions=5)
    assert (everything.instruments, everything.first) == (None, None)


@given(
    place=st.integers(0, 60),
    overlap=st.integers(1, 80),
    crypto=st.booleans(),
    offset=st.integers(0, 3),
)
def test_the_overlap_is_counted_on_the_instruments_own_calendar(
    place: int, overlap: int, *, crypto: bool, offset: int
) -> None:
    """Against counting days back one by one; the newest bar may be on a day off."""
    calendars = Calendars(NYSE.default, {"X": calendar("24/7")})
    name = "X" if crypto else "A"
    newest = SESSIONS[place] + timedelta(days=offset)
    (asked,) = plan(
        Provider(incremental=True),
        [name],
        {name: newest},
        calendars,
        start=date(2020, 1, 1),
        overlap_sessions=overlap,
    )
    day, left = newest, overlap
    while left:
        day -= timedelta(days=1)
        left -= bool(calendars.of(name).count(day, day))
    assert asked.first == day


def test_nothing_before_the_start_is_ever_asked_for() -> None:
    source = Provider(incremental=True)
    (asked,) = plan(source, "A", {"A": SESSIONS[2]}, NYSE, start=START, overlap_sessions=9)
    assert (asked.first, asked.partial) == (START, False)


def test_an_instrument_that_trades_no_more_is_asked_from_its_own_newest_bar(store: Store) -> None:
    source = provider([*history("A", 50), *history("B", 5)])
    run(store, source, 49, **TOLD)
    run(store, source, 50, now=night(49) + timedelta(days=300), **TOLD)
    assert source.asked[1:] == [(("A",), SESSIONS[46]), (("B",), SESSIONS[1])]


# ------------------------------------------------------------------------------ batch after batch


def test_each_batch_is_committed_before_the_next_is_fetched(store: Store) -> None:
    seen: list[int] = []

    class Watching(Provider):
        def fetch(self, *told: Any, **more: Any) -> Any:  # noqa: ANN401
            seen.append(store.read("bars").num_rows)
            return super().fetch(*told, **more)

    source = Watching(history("ABC", 4), offered=("A", "B", "C"), batch_size=1)
    progress: list[tuple[int, int]] = []
    run(store, source, 10, progress=lambda done, total: progress.append((done, total)))
    assert seen == [0, 4, 8]
    assert progress == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_rows_that_do_not_say_whose_they_are_count_once(store: Store) -> None:
    nobody = [bar(1, 10.0) | {"instrument": None}, bar(1, 10.0) | {"instrument": None}]
    rows = [*history("ABC", 4), *nobody]
    whole = run(store, replace(provider(rows), incremental=False), 10)
    source = replace(provider(rows, batch_size=1), incremental=False)
    batched = run(store, source, 10)
    assert len(source.asked) == 3
    assert (batched.fetched, batched.unattributed, dict(batched.rules)) == (
        14,
        2,
        {"missing_instrument": 2},
    )
    assert (whole.fetched, whole.unattributed, whole.rules) == (14, 2, batched.rules)
    assert store.history("quarantine").num_rows == 2


def test_batches_store_the_same_facts_as_one(tmp_path: Path) -> None:
    rows = [*history("ABCD", 12), bar(13, -1.0, "B"), bar(3, 13.0, "C")]
    stores = []
    for size in (None, 1, 3):
        store = Store.open(tmp_path / f"store-{size}")
        run(
            store,
            provider(rows, batch_size=size, actions=[action(2, "dividend", 0.1, "D")]),
            **TOLD,
        )
        stores.append(store)
    for dataset in ("bars", "actions", "quarantine"):
        first = stores[0].history(dataset)
        assert first.num_rows
        assert all(other.history(dataset).equals(first) for other in stores[1:])


def test_a_source_that_fails_for_some_leaves_the_others_done_and_goes_on_next_time(
    store: Store,
) -> None:
    source = provider(history("ABCD", 10), batch_size=1, fails_for="BC")
    report = run(store, source, 10, **TOLD)
    assert [one.instrument for one in report.instruments] == ["A", "D"]
    assert "failed for 2 of the instruments (B, C): the provider is down" in messages(report)
    assert report.unknown == {}
    source = replace(source, fails_for=(), asked=[])
    report = run(store, source, 10, **TOLD)
    # What is there is asked for since the overlap only; what failed from the start.
    assert source.asked == [
        (("A",), SESSIONS[6]),
        (("D",), SESSIONS[6]),
        (("B",), START),
        (("C",), START),
    ]
    assert (report.new, report.unchanged, report.problems) == (20, 8, ())


def test_a_source_that_died_is_not_asked_for_thousands(store: Store) -> None:
    source = provider(history("ABCDEFGH", 5), batch_size=1, fails_for="BCDEFGH")
    report = run(store, source, 10, **TOLD)
    assert len(source.asked) == 4
    assert "failed for 7 of the instruments (B, C, D, E, F and 2 more)" in messages(report)


def test_a_source_that_is_down_is_told_and_raised(store: Store) -> None:
    with pytest.raises(SourceError, match="the provider is down"):
        run(store, provider(history("AB", 5), fails_for="AB"), 10, redact=str.upper, **TOLD)
    assert store.history("bars").num_rows == 0
    (row,) = store.read("ingests").to_pylist()
    assert (row["fetched"], json.loads(row["problems"])) == (0, ["THE PROVIDER IS DOWN"])


@pytest.mark.parametrize("commit", range(9))
def test_killed_at_any_commit_of_any_batch_and_run_again_the_facts_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: int
) -> None:
    """Three batches of three commits each."""
    rows = [*history("ABC", 6), bar(7, -1.0, "B")]
    source = provider(
        rows, actions=[action(2, "dividend", 0.1, name) for name in "ABC"], batch_size=1
    )
    clean, killed = Store.open(tmp_path / "clean"), Store.open(tmp_path / "killed")
    run(clean, source, **TOLD)

    whole: Callable[..., FactCounts] = Store.commit_facts
    calls = 0

    def stop(self: Store, dataset: str, rows: pa.Table, **told: Any) -> FactCounts:  # noqa: ANN401
        nonlocal calls
        calls += 1
        if calls == commit + 1:
            raise KeyboardInterrupt
        return whole(self, dataset, rows, **told)

    monkeypatch.setattr(Store, "commit_facts", stop)
    with pytest.raises(KeyboardInterrupt):
        run(killed, source, **TOLD)
    monkeypatch.undo()
    run(killed, source, **TOLD)
    for dataset in ("bars", "actions", "quarantine"):
        assert killed.history(dataset).equals(clean.history(dataset)), dataset


# ------------------------------------------------------------------------------ revisions and ticks


def test_a_bad_tick_is_retracted_when_the_next_night_shows_it(store: Store) -> None:
    rows = [bar(place, 10.0) for place in range(30)]
    source = provider([*rows, bar(30, 1300.0)])
    assert run(store, source, 30, **TOLD).new == 31
    source.bars = [*source.bars, bar(31, 10.0)]
    report = run(store, source, 31, start=START, overlap_sessions=1)
    assert source.asked[-1] == (("A",), SESSIONS[29])
    assert (report.fetched, report.retracted, dict(report.rules)) == (3, 1, {"absurd_jump": 1})
    assert SESSIONS[30] not in store.read("bars")["session"].to_pylist()
    assert SESSIONS[30] in store.read("bars", as_of=night(30))["session"].to_pylist()


def test_the_store_tells_what_is_usual_before_the_sessions_that_came(store: Store) -> None:
    """One new row alone is judged beside the eighty sessions before it."""
    source = provider([bar(place, 10.0 + 0.01 * (place % 2)) for place in range(45)])
    run(store, source, 44, **TOLD)
    source.bars = [*source.bars[:40], bar(45, 13.5), bar(46, 10.0)]
    report = run(store, source, 47, start=START, overlap_sessions=1)
    assert (report.fetched, report.quarantined) == (2, 1)


def test_a_row_that_a_person_let_in_stays_in_the_next_overlapping_fetch(store: Store) -> None:
    rows = [bar(place, 10.0 + place % 3) for place in range(40)]
    source = provider([*rows[:35], bar(35, 1300.0), *rows[36:]])
    run(store, source, 40, **TOLD)
    (held,) = store.read("quarantine").to_pylist()
    assert (held["op"], held["close"], held["price_basis"]) == ("hold", 1300.0, "raw")
    fact = {name: held[name] for name in store.read("bars").column_names if name in held}
    stamps = ("known_at", "row_hash", "op")
    fact = {name: value for name, value in fact.items() if name not in stamps}
    store.commit_facts("bars", pa.Table.from_pylist([fact]), now=night(41))
    let_in = store.read("quarantine").drop_columns(["known_at", "row_hash", "op"])
    let_in = let_in.append_column("op", pa.array(["release"]))
    store.commit_facts("quarantine", let_in, now=night(41))

    report = run(store, source, 42, start=START, overlap_sessions=10)
    assert (report.quarantined, report.changed, report.retracted) == (0, 0, 0)
    assert store.read("quarantine")["op"].to_pylist() == ["release"]
    assert 1300.0 in store.read("bars")["close"].to_pylist()


def test_doubtful_bars_are_stored_and_flagged(store: Store) -> None:
    rows = [bar(place, 10.0) for place in range(30)]
    report = run(store, provider(rows), 30, **TOLD)
    assert (report.new, report.quarantined, set(report.flags)) == (30, 0, {"stale_run"})
    assert report.flagged == store.read("quarantine").num_rows > 0
    assert set(store.read("quarantine")["op"].to_pylist()) == {"flag"}


# ------------------------------------------------------------------------------------ restatements


def split(rows: list[Row]) -> list[Row]:
    """The same in new shares, two for an old one."""
    prices = ("open", "high", "low", "close")
    return [row | {name: row[name] / 2 for name in prices} for row in rows]


def test_a_restated_history_is_fetched_whole_at_once(store: Store) -> None:
    source = provider(history("AB", 30))
    source.price_basis = "split_adjusted"
    run(store, source, 30, **TOLD)
    before = store.read("bars", as_of=night(30))
    source.bars = [*split(history("A", 31)), *history("B", 31)]
    source.actions = [action(30, "split", 2.0)]
    report = run(store, source, 31, **TOLD)
    assert source.asked[1:] == [(("A", "B"), SESSIONS[26]), (("A",), START)]
    assert [(one.fetched, one.new, one.changed) for one in report.instruments] == [
        (31, 1, 30),
        (5, 1, 0),
    ]
    assert report.problems == ()
    closes = store.read("bars", instruments=["A"])["close"].to_pylist()
    assert closes == [row["close"] for row in split(history("A", 31))]
    assert store.read("bars", as_of=night(30)).equals(before)
    assert run(store, source, 32, **TOLD).changed == 0


@pytest.mark.parametrize("trouble", ["fails", "short", "stale", "silent"])
def test_a_history_never_mixes_two_scales(store: Store, trouble: str) -> None:
    """The second fetch fails, begins late, ends early, or brings nothing."""
    source = provider(history("AB", 30))
    run(store, source, 30, **TOLD)
    before = store.read("bars", instruments=["A"])
    restated = split(history("A", 31))

    class Troubled(Provider):
        def fetch(self, instruments: Any = None, first: Any = None, last: Any = None) -> Any:  # noqa: ANN401, ARG002
            if tuple(instruments) == ("A",):
                if trouble == "fails":
                    raise SourceError("too many requests")
                cut = {"short": restated[5:], "stale": restated[:-1], "silent": []}[trouble]
                return replace(self, bars=cut).plain(instruments, first)
            return self.plain(instruments, first)

        def plain(self, instruments: Any, first: Any) -> Any:  # noqa: ANN401
            return Provider.fetch(self, instruments, first)

    troubled = Troubled(
        [*restated, *history("B", 31)], offered=("A", "B"), incremental=True, asked=[]
    )
    report = run(store, troubled, 31, **TOLD)
    assert store.read("bars", instruments=["A"]).equals(before)
    assert [(one.instrument, one.new) for one in report.instruments] == [("B", 1)]
    assert "the source restated its bars of A (×0.5)" in messages(report)
    assert report.unknown == {}

    mended = replace(source, bars=troubled.bars, asked=[])
    report = run(store, mended, 32, **TOLD)  # the next run tries again
    assert report.problems == ()
    assert store.read("bars", instruments=["A"])["close"].to_pylist()[0] == 5.0


def test_what_a_restated_history_no_longer_has_no_longer_holds(store: Store) -> None:
    source = provider(history("A", 30))
    run(store, source, 30, **TOLD)
    source.bars = [row for row in split(history("A", 31)) if row["session"] != SESSIONS[7]]
    report = run(store, source, 31, **TOLD)
    assert (report.retracted, report.changed, report.missing) == (1, 29, 1)
    assert max(store.read("bars")["close"].to_pylist()) < 21
    assert SESSIONS[7] in store.read("bars", as_of=night(30))["session"].to_pylist()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda row, _: row["close"] * (1 + 3e-7), id="jitter"),
        pytest.param(
            lambda row, place: row["close"] * (1.1 if place == 28 else 1), id="one correction"
        ),
        pytest.param(
            lambda row, place: row["close"] * (1.01 if place % 2 else 0.99), id="two directions"
        ),
    ],
)
def test_other_changes_are_no_restatement(
    store: Store, changed: Callable[[Row, int], float]
) -> None:
    source = provider(history("A", 30))
    run(store, source, 30, **TOLD)
    source.bars = [bar(place, changed(row, place)) for place, row in enumerate(history("A", 30))]
    run(store, source, 31, **TOLD)
    assert len(source.asked) == 2


def test_a_dividend_restates_a_total_return_history_too(store: Store) -> None:
    """By three parts in a thousand, on prices rounded to cents."""
    rows = history("A", 30, 80.0)
    source = provider(rows)
    source.price_basis = "total_return"
    run(store, source, 30, **TOLD)
    source.bars = [bar(place, round((80.0 + place) * 0.997, 2)) for place in range(30)]
    report = run(store, source, 31, **TOLD)
    assert (source.asked[-1], report.changed) == ((("A",), START), 30)


# ------------------------------------------------------------------------- erased, and the account


def erase(store: Store, subject: str, name: str, op: str = "erase") -> None:
    row = {"subject": subject, "name": name, "op": op}
    store.commit_facts("erased", pa.Table.from_pylist([row]), now=night(1))


def test_what_was_erased_is_neither_asked_for_nor_stored(store: Store) -> None:
    erase(store, "instrument", "B")
    source = provider(history("AB", 5))
    report = run(store, source, 10, **TOLD)
    assert source.asked == [(("A",), START)]
    assert "the instrument B was erased" in messages(report)
    unasked = Provider(history("AB", 5), offered=("A", "B"))
    report = run(store, unasked, 10)  # read whole, and B is among it
    assert "the instrument B was erased" in messages(report)
    assert set(store.read("bars")["instrument"].to_pylist()) == {"A"}
    assert (report.fetched, report.unchanged, dict(report.unknown)) == (5, 5, {})
    erase(store, "instrument", "B", "allow")
    assert run(store, source, 10, **TOLD).new == 5


def test_an_erased_source_is_not_asked(store: Store) -> None:
    erase(store, "source", "provider")
    source = provider(history("A", 5))
    report = run(store, source, 10, **TOLD)
    assert (source.asked, report.fetched) == ([], 0)
    assert "the source provider was erased" in messages(report)


def test_missing_sessions_are_counted(store: Store) -> None:
    source = provider([bar(place, 10.0 + place) for place in (2, 3, 5, 6, 9)])
    (one,) = run(store, source, 10, **TOLD).instruments
    assert one.missing == 3
    source.bars = [*source.bars, bar(4, 14.0), bar(12, 22.0)]
    (one,) = run(store, source, 13, **TOLD).instruments
    # From the stored bar before what came (5: three sessions before 9 is 6) on: 7, 8, 10, 11.
    assert (one.first_session, one.missing) == (SESSIONS[6], 4)


def test_every_ingest_leaves_its_account(store: Store) -> None:
    rows = [*history("AB", 10), bar(3, 13.0, "A"), bar(11, -1.0, "B")]
    source = provider(rows)
    for place in (12, 13):
        report = run(store, source, place, **TOLD)
    accounts = store.read("ingests").to_pylist()
    assert [one["made_at"] for one in accounts] == [night(12), night(13)]
    names = ("fetched", "new", "changed", "unchanged", "quarantined", "agreed_duplicates")
    for one in accounts:
        assert one["fetched"] == sum(one[name] for name in names[1:]) > 0
    assert {name: accounts[1][name] for name in names} == {
        name: getattr(report, name) for name in names
    }
    assert json.loads(accounts[0]["rules"]) == {"nonpositive_price": 1}
