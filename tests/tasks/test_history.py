"""From facts to series: what was known then, aligned row by row, with its splits and dividends."""

from datetime import date, datetime, timedelta
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.features import Series
from tasks.history import load_series
from tasks.sessions import CalendarConfig, Calendars
from tasks.store import Store
from tests.tasks.markets import (
    LAG,
    NOW,
    TONIGHT,
    Prices,
    action_row,
    bars_table,
    exchange,
    garch,
    series_of,
    sessions_to,
    store_with,
)

ROWS = 30
ANT, BEE = garch(1, ROWS), garch(2, ROWS).close_only()
AS_OF = exchange().close(TONIGHT) + LAG
SESSIONS: list[date] = sessions_to(TONIGHT, ROWS).tolist()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path / "store", bars_table("ANT", ANT), bars_table("BEE", BEE))


def load(
    store: Store,
    *names: str,
    as_of: datetime = AS_OF,
    last: date = TONIGHT,
    calendars: Calendars | None = None,
    **more: Any,  # noqa: ANN401 - passed on
) -> dict[str, Series]:
    calendars = calendars or Calendars(exchange())
    return load_series(store, names or ("ANT", "BEE"), calendars, as_of=as_of, last=last, **more)


def known(session: date) -> datetime:
    return exchange().close(session) + LAG


def commit_actions(store: Store, *rows: dict[str, Any]) -> None:
    store.commit_facts("actions", pa.Table.from_pylist(list(rows)), now=NOW)


def revise(store: Store, row: int, close: float, known_at: datetime) -> None:
    """A bar of ANT whose close changes, known from `known_at` on."""
    bar = bars_table("ANT", ANT, rows=slice(row, row + 1), known_at=known_at)
    bar = bar.set_column(bar.column_names.index("close"), "close", pa.array([close]))
    store.commit_facts("bars", bar, now=known_at)


def assert_same(series: Series, expected: Series) -> None:
    assert (series.instrument, series.has_range) == (expected.instrument, expected.has_range)
    for name in ("sessions", "ordinals", "close", "log_return", "variance"):
        np.testing.assert_array_equal(getattr(series, name), getattr(expected, name))


def test_a_series_holds_its_bars_in_order(store: Store) -> None:
    found = load(store, "BEE", "ANT")
    assert list(found) == ["ANT", "BEE"]
    assert_same(found["ANT"], series_of(ANT, "ANT"))
    assert_same(found["BEE"], series_of(BEE, "BEE"))
    assert (found["ANT"].has_range, found["BEE"].has_range) == (True, False)


def test_an_instrument_without_a_bar_is_left_out(store: Store) -> None:
    assert list(load(store, "YAK", "ANT")) == ["ANT"]
    assert load(store, "YAK") == {}
    assert load(store, as_of=known(SESSIONS[0]) - timedelta(days=1)) == {}


def test_a_single_bar_is_a_series_of_one_row(store: Store) -> None:
    (series,) = load(store, "ANT", last=SESSIONS[0]).values()
    assert len(series) == 1
    assert np.isnan(series.log_return).all()


def test_bars_known_later_are_not_there_yet(store: Store) -> None:
    before = load(store, as_of=known(SESSIONS[-2]))["ANT"]
    assert before.sessions[-1].item() == SESSIONS[-2]
    an_instant_early = load(store, as_of=known(SESSIONS[-1]) - timedelta(microseconds=1))["ANT"]
    assert_same(before, an_instant_early)


def test_sessions_after_the_last_are_cut_off_whatever_is_known(store: Store) -> None:
    cut = load(store, last=SESSIONS[-4])["ANT"]
    assert_same(cut, series_of(ANT.head(ROWS - 3), "ANT", last=SESSIONS[-4]))


@pytest.mark.parametrize(("hours", "seen"), [(-1, True), (0, True), (1, False)])
def test_a_revision_counts_from_the_instant_it_is_known(
    store: Store, hours: int, seen: bool
) -> None:
    revise(store, 10, 1234.5, AS_OF + timedelta(hours=hours))
    close = load(store)["ANT"].close
    assert (close[10] == 1234.5) == seen
    np.testing.assert_array_equal(np.delete(close, 10), np.delete(ANT.close, 10))


def test_a_retracted_bar_leaves_a_gap_that_ordinals_show(store: Store) -> None:
    bar = bars_table("ANT", ANT, rows=slice(10, 11), known_at=AS_OF)
    bar = bar.append_column("op", pa.array(["retract"]))
    store.commit_facts("bars", bar, now=AS_OF)
    series = load(store)["ANT"]
    assert len(series) == ROWS - 1
    assert np.diff(series.ordinals).tolist() == [1] * 9 + [2] + [1] * 18
    assert series.log_return[10] == log(ANT.close[11] / ANT.close[9])


def test_returns_run_across_splits_and_dividends(tmp_path: Path) -> None:
    raw = ANT.close.copy()
    raw[12:] /= 2.0
    raw[20:] -= 0.75
    prices = Prices(raw, raw, raw, raw)
    store = store_with(tmp_path, bars_table("ANT", prices))
    commit_actions(
        store,
        action_row("ANT", SESSIONS[12], "split", 2.0, known(SESSIONS[12])),
        action_row("ANT", SESSIONS[20], "dividend", 0.75, known(SESSIONS[20])),
    )
    series = load(store, "ANT")["ANT"]
    np.testing.assert_array_equal(series.close, raw)
    expected = np.log(ANT.close[1:21] / ANT.close[:20])
    np.testing.assert_allclose(series.log_return[1:21], expected, rtol=0, atol=1e-13)
    assert series.log_return[20] == log((raw[20] + 0.75) / raw[19])


def test_an_action_counts_from_the_instant_it_is_known(store: Store) -> None:
    commit_actions(store, action_row("ANT", SESSIONS[12], "dividend", 9.0, AS_OF))
    before = load(store, as_of=AS_OF - timedelta(microseconds=1))["ANT"]
    assert before.log_return[12] == log(ANT.close[12] / ANT.close[11])
    after = load(store)["ANT"]
    assert after.log_return[12] == log((ANT.close[12] + 9.0) / ANT.close[11])
    others = np.delete(np.arange(len(before)), 12)
    np.testing.assert_array_equal(after.log_return[others], before.log_return[others])


def test_an_action_known_before_its_session_moves_nothing_until_then(store: Store) -> None:
    upcoming = exchange().offset(TONIGHT, 3)
    commit_actions(store, action_row("ANT", upcoming, "split", 4.0, known(SESSIONS[0])))
    assert_same(load(store)["ANT"], series_of(ANT, "ANT"))


def test_pinned_versions_hide_what_was_written_later(store: Store) -> None:
    pinned = store.versions()
    commit_actions(store, action_row("ANT", SESSIONS[12], "dividend", 9.0, known(SESSIONS[12])))
    revise(store, 10, 1234.5, AS_OF)
    assert_same(load(store, versions=pinned)["ANT"], series_of(ANT, "ANT"))
    assert load(store)["ANT"].close[10] == 1234.5


def test_sessions_are_counted_on_the_instruments_own_exchange(store: Store) -> None:
    london = Calendars.load(CalendarConfig(overrides={"BEE": "XLON"}))
    found = load(store, calendars=london)
    held = london.of("BEE").all_sessions
    # New York is closed on 2024-05-27 and on 2024-06-19; so is London on the first, not the second.
    missing = held[(held >= found["BEE"].sessions[0]) & (held <= np.datetime64(TONIGHT))]
    steps = np.diff(found["BEE"].ordinals)
    assert steps.sum() == len(missing) - 1
    assert steps[-1] == 2
    assert (np.diff(found["ANT"].ordinals) == 1).all()
