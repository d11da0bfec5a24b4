"""What is new of a night, against the night before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tasks import runs
from tasks.news import Changed, Drifted, News, news
from tasks.old_bars import OldBar
from tasks.runs import PinnedRun
from tasks.sessions import Calendars
from tasks.store import Store
from tests.tasks import nights
from tests.tasks.nights import FORECASTS, FRIDAY, THURSDAY, WEDNESDAY, evening

LAG = timedelta(minutes=60)
VOLATILITY = "log_volatility"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def of(store: Store, run: PinnedRun) -> News:
    return news(store, run, forecasts=FORECASTS, calendars=Calendars.load(), lag=LAG)


def test_the_first_night_changes_nothing_but_all_that_is_wrong_is_new(store: Store) -> None:
    nights.bars(store, WEDNESDAY, ["C"])
    nights.bars(store, THURSDAY, ["A", "B"])
    run = nights.pinned(store, THURSDAY)
    nights.forecasts(store, run, methods={("A", VOLATILITY): "lstm"}, drift=[("B", VOLATILITY)])
    told = of(store, run)
    assert (told.before, told.changed) == (None, ())
    assert told.old == (OldBar("C", WEDNESDAY),)
    assert told.drifted == (Drifted("B", VOLATILITY, "many_to_many"),)
    assert (told.forecasts, told.learned) == (12, 1)


def test_only_what_the_night_before_did_not_have_is_news(store: Store) -> None:
    nights.bars(store, WEDNESDAY, ["C"])
    nights.bars(store, THURSDAY, ["A", "B"])
    before = nights.pinned(store, THURSDAY)
    nights.forecasts(
        store,
        before,
        methods={("A", VOLATILITY): "lstm", ("B", VOLATILITY): "lstm"},
        drift=[("B", VOLATILITY)],
        without=["C"],
    )
    runs.close(store, before, now=evening(THURSDAY, 12))
    nights.bars(store, FRIDAY, ["A"])
    run = nights.pinned(store, FRIDAY)
    nights.forecasts(
        store,
        run,
        methods={("A", VOLATILITY): "lstm", ("C", VOLATILITY): "lstm"},
        drift=[("A", VOLATILITY), ("B", VOLATILITY)],
    )
    told = of(store, run)
    assert told.before == str(THURSDAY)
    # C had no forecast on the night before: nothing changed for it.
    assert told.changed == (Changed("B", VOLATILITY, "many_to_many", "lstm", "harx_market"),)
    assert (told.old, told.still_old) == ((OldBar("B", THURSDAY),), 1)
    assert (told.drifted, told.still_drifted) == ((Drifted("A", VOLATILITY, "many_to_many"),), 1)


def test_a_night_that_broke_off_is_not_compared_with(store: Store) -> None:
    nights.finished(store, WEDNESDAY, methods={("A", VOLATILITY): "lstm"})
    nights.bars(store, THURSDAY)
    broken = nights.pinned(store, THURSDAY)
    nights.forecasts(store, broken)
    runs.close(store, broken, now=evening(THURSDAY, 5), failure="broken off: x")
    run = nights.finished(store, FRIDAY, methods={("A", VOLATILITY): "lstm"})
    told = of(store, run)
    assert (told.before, told.changed) == (str(WEDNESDAY), ())


def test_the_same_forecasts_are_one_edition(store: Store) -> None:
    thursday = nights.finished(store, THURSDAY)
    friday = nights.finished(store, FRIDAY)
    assert of(store, friday).edition == of(store, friday).edition != of(store, thursday).edition
