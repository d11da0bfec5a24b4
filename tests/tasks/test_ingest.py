from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.actions import align_actions, total_log_returns
from tasks.ingest import InstrumentCounts
from tasks.sources import Fetched, SourceConfig, SourceError, open_source
from tasks.store import FactCounts, Store
from tests.tasks.provider import (
    SESSIONS,
    Provider,
    Row,
    action,
    bar,
    messages,
    night,
    published,
    run,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def returns_of(store: Store, instrument: str = "A", as_of: datetime | None = None) -> list[float]:
    """Total log returns from what the store holds."""
    bars = store.read("bars", instruments=[instrument], as_of=as_of)
    actions = store.read("actions", instruments=[instrument], as_of=as_of)
    session = bars["session"].to_numpy().astype("datetime64[D]")
    basis = bars["price_basis"][0].as_py()
    step = align_actions(
        session,
        actions["session"].to_numpy().astype("datetime64[D]"),
        actions["action"].to_numpy(),
        actions["value"].to_numpy(),
        basis,
    )
    close: npt.NDArray[np.float64] = bars["close"].to_numpy()
    found = total_log_returns(close, session, step.split_ratio, step.dividend, basis)
    return [float(value) for value in found[1:]]


# ------------------------------------------------------------------------------ the whole of it


def test_the_embedded_source_is_stored_once(store: Store) -> None:
    source = open_source(SourceConfig())
    now = datetime(2026, 1, 5, tzinfo=UTC)
    report = run(store, source, now=now)
    counts = {one.instrument: (one.fetched, one.new, one.actions) for one in report.instruments}
    assert counts == {
        "AAPL": (3270, 3270, 5),
        "FB": (196, 196, 0),
        "GOOG": (2148, 2148, 0),
        "IBM": (3270, 3270, 52),
        "MSFT": (3270, 3270, 38),
    }
    assert (report.problems, report.rules, dict(report.unknown)) == ((), {}, {})
    first, last = report.instruments[1].first_session, report.instruments[1].last_session
    assert (first, last) == (date(2012, 5, 18), date(2013, 3, 1))

    before = {name: store.history(name) for name in ("bars", "actions", "quarantine")}
    again = run(store, source, now=now + timedelta(days=1))
    assert (again.new, again.changed, again.unchanged) == (0, 0, 12154)
    assert again.known_at is None
    for name, rows in before.items():
        assert store.history(name).equals(rows)


def test_history_in_bulk_is_known_when_it_was_published_and_says_that_it_is_assumed(
    store: Store,
) -> None:
    source = Provider([bar(place, 10.0) for place in range(5)], [action(2, "dividend", 0.1)])
    report = run(store, source)
    for dataset in ("bars", "actions"):
        rows = store.history(dataset).to_pylist()
        assert all(row["assumed"] for row in rows)
        assert [row["known_at"] for row in rows] == [
            published(SESSIONS.index(row["session"])) for row in rows
        ]
    assert report.known_at == published(4)
    then = store.read("bars", as_of=published(2))
    assert then["session"].to_pylist() == SESSIONS[:3]
    assert store.read("actions", as_of=published(1)).num_rows == 0


def test_what_comes_later_is_known_when_it_came(store: Store) -> None:
    source = Provider([bar(place, 10.0) for place in range(5, 8)])
    run(store, source, 20)
    source.bars = [
        bar(3, 10.0),  # older than all that is stored: more of the bulk
        *(bar(place, 10.0) for place in range(5, 7)),
        bar(7, 10.1),  # corrected
        bar(8, 10.0),  # new
        bar(3, 10.0, "B"),  # a new instrument
    ]
    source.actions = [action(2, "split", 2.0), action(6, "dividend", 0.1)]
    report = run(store, source, 21)
    assert [(one.new, one.changed, one.unchanged) for one in report.instruments] == [
        (2, 1, 2),
        (1, 0, 0),
    ]
    assert report.known_at == night(21)
    found = {
        (row["instrument"], row["session"], row["close"]): (row["known_at"], row["assumed"])
        for row in store.history("bars").to_pylist()
    }
    assert found[("A", SESSIONS[3], 10.0)] == (published(3), True)
    assert found[("A", SESSIONS[7], 10.0)] == (published(7), True)
    assert found[("A", SESSIONS[7], 10.1)] == (night(21), False)
    assert found[("A", SESSIONS[8], 10.0)] == (night(21), False)
    assert found[("B", SESSIONS[3], 10.0)] == (published(3), True)
    told = [(row["known_at"], row["assumed"]) for row in store.history("actions").to_pylist()]
    assert told == [(published(2), True), (night(21), False)]


def test_a_row_is_never_known_before_it_was_published(store: Store) -> None:
    source = Provider([bar(place, 10.0) for place in range(6)])
    early = published(5) - timedelta(microseconds=1)
    assert run(store, source, now=early).rules == {"not_closed_yet": 1}
    report = run(store, source, now=published(5))
    assert (report.new, report.quarantined) == (1, 0)
    known = store.read("bars")["known_at"].to_pylist()
    assert known[-1] == published(5)


def test_a_dividend_that_is_announced_is_known_now_not_on_its_ex_date(store: Store) -> None:
    source = Provider([bar(place, 10.0) for place in range(5)], [action(30, "dividend", 0.1)])
    run(store, source, 5)
    assert store.read("actions")["known_at"].to_pylist() == [night(5)]


# ------------------------------------------------------------------------- actions and the seam


def test_a_split_and_a_dividend_that_arrive_later_add_one_row_each(store: Store) -> None:
    closes = [100.0, 101.0, 50.0, 51.0, 50.0]
    source = Provider([bar(place, close) for place, close in enumerate(closes)])
    run(store, source, 10)
    bars = store.history("bars")
    assert min(returns_of(store)) < -0.6  # nobody told of the split yet

    source.actions = [action(2, "split", 2.0), action(4, "dividend", 1.0)]
    report = run(store, source, 11)
    assert report.actions == FactCounts(2, 0, 0, night(11))
    assert store.history("actions").num_rows == 2
    assert store.history("bars").equals(bars)
    expected = np.log([101 / 100, 2 * 50 / 101, 51 / 50, (50 + 1) / 51])
    np.testing.assert_allclose(returns_of(store), expected, atol=1e-14)
    # Whoever asks as of then is not told what came later.
    assert min(returns_of(store, as_of=night(10))) < -0.6

    again = run(store, source, 12)
    assert again.actions == FactCounts(0, 0, 2, None)


@pytest.mark.parametrize("seam", [1, 2, 3, 4, 5])
def test_no_false_return_appears_at_the_seam_of_an_incremental_ingest(
    tmp_path: Path, seam: int
) -> None:
    """A split on the third session and dividends around it, however the ingests are cut."""
    closes = [100.0, 101.0, 50.0, 51.0, 50.0, 50.5]
    bars = [bar(place, close) for place, close in enumerate(closes)]
    actions = [action(1, "dividend", 0.5), action(2, "split", 2.0), action(4, "dividend", 1.0)]
    whole = Store.open(tmp_path / "whole")
    run(whole, Provider(bars, actions))

    parts = Store.open(tmp_path / "parts")
    known = [row for row in actions if row["session"] < SESSIONS[seam]]
    run(parts, Provider(bars[:seam], known), seam)
    later = [row for row in actions if row["session"] >= SESSIONS[seam]]
    run(parts, Provider(bars[seam:], later), seam + 5)
    assert returns_of(parts) == returns_of(whole)
    assert max(map(abs, returns_of(parts))) < 0.05


def test_the_seam_of_real_data_is_exact(tmp_path: Path) -> None:
    """Microsoft, cut in the middle of a split and its first dividend."""
    source = open_source(SourceConfig())

    class Until(Provider):
        """The embedded source as it was on a day."""

        until = date(2003, 2, 14)

        def fetch(self, *_: object, **__: object) -> Fetched:
            return source.fetch(["MSFT"], last=self.until)

    whole, parts = Store.open(tmp_path / "whole"), Store.open(tmp_path / "parts")
    run(whole, source, instruments=["MSFT"])
    for until in (date(2003, 2, 14), date(2003, 2, 18), date(2013, 3, 1)):
        Until.until = until
        run(parts, Until(archive=True), instruments=["MSFT"])
    assert returns_of(parts, "MSFT") == returns_of(whole, "MSFT")
    assert max(map(abs, returns_of(parts, "MSFT"))) < 0.2


def test_adjusted_history_restated_in_part_is_told(store: Store) -> None:
    halved = [bar(place, 50.0 + place / 2) for place in range(20, 30)]
    source = Provider([bar(place, 100.0 + place) for place in range(30)])
    source.price_basis = "split_adjusted"
    run(store, source)
    source.bars = halved
    report = run(store, source, 51)
    assert "restated its bars of A (×0.5)" in messages(report)
    source.bars = [bar(place, 50.0 + place / 2) for place in range(30)]
    assert "restated" not in messages(run(store, source, 52))


def test_one_corrected_bar_is_no_restatement(store: Store) -> None:
    source = Provider([bar(place, 100.0 + place) for place in range(30)])
    run(store, source)
    source.bars = [bar(20, 121.0), *(bar(place, 100.0 + place) for place in range(21, 30))]
    assert "restated" not in messages(run(store, source, 51))


# -------------------------------------------------------------------------------------- bad input


BAD_ROWS = [
    (bar(3, 10.0) | {"close": float("nan")}, "missing_price"),
    (bar(3, 0.0), "nonpositive_price"),
    (bar(3, -1.0), "nonpositive_price"),
    (bar(3, 10.0, high=9.0), "high_below_low"),
    (bar(3, 10.0, session=date(2024, 1, 6)), "not_a_session"),
    (bar(3, 10.0, session=None), "not_a_date"),
    (bar(3, 10.0) | {"instrument": None}, "missing_instrument"),
]


@pytest.mark.parametrize(("bad", "rule"), BAD_ROWS)
def test_a_bad_row_is_quarantined_once_and_nothing_else_is_lost(
    store: Store, bad: Row, rule: str
) -> None:
    good = [bar(place, 10.0) for place in range(8) if place != 3]
    source = Provider([*good[4:], bad, *good[:4]])
    report = run(store, source)
    assert report.rules == {rule: 1}
    assert (report.fetched, report.new, report.quarantined) == (8, 7, 1)
    assert report.unattributed == (bad["instrument"] is None)
    assert store.read("bars").num_rows == 7
    row = store.read("quarantine").to_pylist()[0]
    assert (row["rule"], row["source"], row["op"]) == (rule, "provider", "hold")
    assert json.loads(json.loads(row["row"])["text"]) == json.loads(json.dumps(bad, default=str))
    assert row["known_at"] == night(50)

    again = run(store, source, 51)
    assert (again.quarantined, again.unchanged) == (1, 7)
    assert store.history("quarantine").num_rows == 1


def test_equal_bad_rows_are_kept_apart(store: Store) -> None:
    source = Provider([bar(1, 10.0), bar(3, -1.0), bar(3, -1.0)])
    for place in (50, 51):
        assert run(store, source, place).quarantined == 2
        assert store.history("quarantine").num_rows == 2


def test_duplicates_that_agree_are_counted_and_those_that_disagree_held(store: Store) -> None:
    source = Provider([bar(1, 10.0), bar(1, 10.0), bar(2, 10.0), bar(2, 10.5), bar(3, 10.0)])
    report = run(store, source)
    assert (report.new, report.agreed_duplicates, report.quarantined) == (2, 1, 2)
    assert store.read("bars")["session"].to_pylist() == [SESSIONS[1], SESSIONS[3]]


def test_a_bad_tick_that_only_the_next_row_shows_no_longer_holds(store: Store) -> None:
    rows = [bar(place, 10.0) for place in range(10)] + [bar(10, 1300.0)]
    source = Provider(rows)
    assert run(store, source, 10).new == 11  # it may be real: nothing tells yet
    source.bars = [*rows, bar(11, 10.0)]
    report = run(store, source, 11)
    assert report.rules == {"absurd_jump": 1}
    assert [one.retracted for one in report.instruments] == [1]
    assert SESSIONS[10] not in store.read("bars")["session"].to_pylist()
    assert SESSIONS[10] in store.read("bars", as_of=night(10))["session"].to_pylist()
    assert max(map(abs, returns_of(store))) == 0.0

    size = store.history("bars").num_rows
    assert [one.retracted for one in run(store, source, 12).instruments] == [0]
    assert store.history("bars").num_rows == size
    source.bars = [*rows[:-1], bar(10, 10.0), bar(11, 10.0)]  # the provider repairs it
    run(store, source, 13)
    assert store.read("bars").num_rows == 12


def test_good_history_is_not_retracted_for_a_bad_row_of_today(store: Store) -> None:
    source = Provider([bar(place, 10.0) for place in range(10)])
    run(store, source, 10)
    source.bars = [bar(place, 10.0 if place != 5 else 1300.0) for place in range(10)]
    report = run(store, source, 11)
    assert report.rules == {"absurd_jump": 1}
    assert store.read("bars").num_rows == 10


def test_what_a_person_let_through_is_not_held_again(store: Store) -> None:
    source = Provider([bar(1, 10.0), bar(3, 0.0)])
    run(store, source)
    row = store.read("quarantine").drop_columns(["known_at", "row_hash"])
    let_through = row.set_column(
        row.schema.get_field_index("op"), "op", pa.array(["release"], pa.string())
    )
    store.commit_facts("quarantine", let_through, now=night(51))
    run(store, source, 52)
    assert store.read("quarantine")["op"].to_pylist() == ["release"]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([bar(3, 10.0)], id="one instrument with a single row"),
        pytest.param([bar(place, 10.0) for place in range(20)], id="a constant price"),
        pytest.param([], id="nothing"),
    ],
)
def test_little_is_no_error(store: Store, rows: list[Row]) -> None:
    report = run(store, Provider(rows, archive=True))
    assert report.new == store.read("bars").num_rows == len(rows)
    assert report.problems == ()


def test_unknown_names_are_listed_with_close_ones(store: Store) -> None:
    source = Provider([bar(1, 10.0, "MSFT")], offered=("AAPL", "GOOG", "MSFT", "msci"))
    report = run(store, source, instruments=["MSFT", "GOGO", "msft", "ZZZZ", "AAPL"])
    assert report.unknown == {"GOGO": ("GOOG",), "ZZZZ": (), "msft": ("MSFT",)}
    assert "AAPL: source 'provider' has it, but brought no row of it" in messages(report)
    assert report.new == 1


def test_a_source_that_can_not_list_its_names_still_tells_what_is_missing(store: Store) -> None:
    class Mute(Provider):
        def instruments(self) -> tuple[str, ...]:
            raise SourceError("no list")

    report = run(store, Mute([bar(1, 10.0)]), instruments=["A", "B"])
    assert report.unknown == {"B": ()}


def test_a_source_that_is_down_writes_nothing(store: Store) -> None:
    with pytest.raises(SourceError, match="the provider is down"):
        run(store, Provider(down=True))
    assert store.history("bars").num_rows == store.history("quarantine").num_rows == 0


def test_problems_of_files_reach_the_report(store: Store, tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "A.csv").write_text("Date,Close\n2024-01-02,10\n2024-01-06,10\n")
    (tmp_path / "bars" / "B.csv").write_text("")
    (tmp_path / "bars" / "C.csv").write_text("Date,Close\n2024-01-02,ten\n")
    config = SourceConfig(name="files", path=str(tmp_path / "bars"), archive=True)
    report = run(store, open_source(config), instruments=["A", "B", "C", "D"])
    assert [problem.instrument for problem in report.problems] == ["B", "C"]
    assert report.unknown == {"D": ()}
    assert report.rules == {"not_a_session": 1}
    assert report.instruments == (
        InstrumentCounts("A", 2, 1, 0, 0, 1, 0, 0, 0, date(2024, 1, 2), date(2024, 1, 2)),
    )


# ------------------------------------------------------------------------------ killed, and again


@pytest.mark.parametrize("killed_at", ["quarantine", "actions", "bars"])
def test_killed_at_any_commit_and_run_again_the_facts_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    source = Provider(
        [bar(place, 10.0) for place in range(6)] + [bar(7, -1.0)], [action(2, "split", 2.0)]
    )
    clean, killed = Store.open(tmp_path / "clean"), Store.open(tmp_path / "killed")
    run(clean, source)

    commit: Callable[..., FactCounts] = Store.commit_facts

    def stop(self: Store, dataset: str, rows: pa.Table, **told: Any) -> FactCounts:  # noqa: ANN401
        if dataset == killed_at:
            raise KeyboardInterrupt
        return commit(self, dataset, rows, **told)

    monkeypatch.setattr(Store, "commit_facts", stop)
    with pytest.raises(KeyboardInterrupt):
        run(killed, source)
    monkeypatch.undo()
    run(killed, source)
    for dataset in ("bars", "actions", "quarantine"):
        assert killed.history(dataset).equals(clean.history(dataset)), dataset


# ------------------------------------------------------------------------------------------ doubts


def test_adjusted_closes_that_do_not_follow_are_told(store: Store) -> None:
    closes = [100.0, 101.0, 102.0]
    bars = [bar(place, close) for place, close in enumerate(closes)]
    source = Provider(bars, adjusted=[50.0, 50.5, 51.0], archive=True)
    assert run(store, source).problems == ()
    source.adjusted = [98.0, 99.0, 102.0]
    report = run(store, source, 51)
    assert report.problems[0].instrument == "A"
    assert "adjusted closes of A (by 2.0%) do not follow" in messages(report)
    assert 'source.adjusted_close = "derive"' in messages(report)
    source.actions = [action(2, "dividend", 102 * 1.02 - 102)]
    assert "do not follow" not in messages(
        run(store, replace(source, adjusted=[100 / 1.02, 101 / 1.02, 102.0]), 52)
    )


def test_old_bars_of_a_source_that_should_grow_are_told(store: Store) -> None:
    source = Provider([bar(1, 10.0)])
    assert run(store, source, now=night(1) + timedelta(days=29)).problems == ()
    report = run(store, source, now=night(1) + timedelta(days=40))
    assert "newest bar of source 'provider' is of 2024-01-03" in messages(report)
    assert "--as-of 2024-01-03" in messages(report)
    source.archive = True
    assert run(store, source, now=night(1) + timedelta(days=40)).problems == ()


def test_prices_of_two_kinds_in_one_history_are_told(store: Store) -> None:
    run(store, Provider([bar(place, 10.0) for place in range(5)]))
    other = Provider([bar(place, 10.0) for place in range(3, 8)], name="files")
    other.price_basis = "split_adjusted"
    report = run(store, other)
    assert "the store's bars of A are raw, those of source 'files' are split_adjusted" in (
        messages(report)
    )
    whole = Provider([bar(place, 10.0) for place in range(8)], name="files")
    whole.price_basis = "split_adjusted"
    assert "would mix" not in messages(run(store, whole))
    assert pc.unique(store.read("bars")["price_basis"]).to_pylist() == ["split_adjusted"]
