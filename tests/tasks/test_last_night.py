"""What is told of a night, from rows whose counts can be seen at a glance."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import runs
from tasks.last_night import LastNight, SinkState, look_at, nights_of
from tasks.old_bars import OldBar, old_bars, sessions_old
from tasks.run_forecasts import forecasts_of
from tasks.runs import PinnedRun
from tasks.sessions import CalendarConfig, Calendars, calendar
from tasks.sinks.deliveries import note
from tasks.sinks.sink import Edition
from tasks.store import Store
from tests.tasks import nights
from tests.tasks.nights import CONFIG, FORECASTS, FRIDAY, NAMES, THURSDAY, WEDNESDAY, evening

LAG = timedelta(minutes=60)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def look(store: Store, run: PinnedRun, **more: Any) -> LastNight:  # noqa: ANN401
    wanted: dict[str, Any] = {
        "forecasts": FORECASTS,
        "calendars": Calendars.load(),
        "lag": LAG,
        "source": "files",
        "now": evening(FRIDAY, 30),
        "quiet": timedelta(hours=1),
    }
    return look_at(store, run, **wanted | more)


def test_a_complete_night(store: Store) -> None:
    methods = {("A", "log_volatility"): "lstm", ("B", "log_volatility"): "combination"}
    run = nights.finished(store, FRIDAY, methods=methods, drift=[("C", "log_return")])
    nights.scored(store, run, loss=0.9, covered={"A": 1.0, "B": 1.0, "C": 0.0})
    told = look(store, run)
    assert (told.state, told.complete) == ("finished", True)
    assert (told.started, told.ended) == (evening(FRIDAY), evening(FRIDAY, 12))
    assert told.seconds == 720.0
    returns, volatility = told.published
    assert (returns.target, returns.planned, returns.learned, returns.baseline) == (
        "log_return",
        3,
        0,
        3,
    )
    assert (volatility.learned, volatility.baseline, volatility.missing) == (2, 1, ())
    assert (returns.drifted, volatility.drifted) == (("C",), ())
    assert told.ingest is not None
    assert (told.ingest.new, told.ingest.changed, told.ingest.quarantined) == (2, 1, 1)
    assert told.old == ()
    assert told.matured == 3
    (recent,) = told.recent
    assert (recent.target, recent.sessions, recent.pairs) == ("log_return", 1, 3)
    assert recent.skill == pytest.approx(0.1)
    assert recent.coverage == pytest.approx(2 / 3)
    assert recent.level == 0.8


def test_skill_of_late_forgets_what_is_older_than_a_quarter(store: Store) -> None:
    long_ago = nights.finished(store, date(2024, 3, 15))
    nights.scored(store, long_ago, loss=0.0, covered={"A": 1.0})
    run = nights.finished(store, FRIDAY)
    nights.scored(store, run, loss=0.9, covered={"A": 1.0})
    (recent,) = look(store, run).recent
    assert recent.skill == pytest.approx(0.1)


def test_what_is_missing_or_told_makes_a_night_incomplete(store: Store) -> None:
    run = nights.finished(store, FRIDAY, without=["B"])
    told = look(store, run)
    assert [one.missing for one in told.published] == [("B",), ("B",)]
    assert not told.complete
    whole = replace(told, published=())
    assert whole.complete
    assert not replace(whole, run=replace(run, message="training of shard-0001 failed")).complete
    assert whole.ingest is not None
    assert not replace(whole, ingest=replace(whole.ingest, problems=("no B",))).complete
    assert not replace(whole, old=(OldBar("A", None),)).complete
    assert not replace(whole, sinks=(SinkState("sql x", "due", 1),)).complete
    assert not replace(whole, sinks=(SinkState("sql x", "refused", 0),)).complete
    assert replace(whole, sinks=(SinkState("sql x", "delivered", 0),)).complete


def test_old_bars_are_those_that_the_run_could_have_had(store: Store) -> None:
    nights.bars(store, WEDNESDAY, ["A", "B"])
    nights.bars(store, FRIDAY, ["A"])
    run = nights.pinned(store, FRIDAY)
    found = old_bars(store, run, Calendars.load(), LAG)
    assert found == (OldBar("B", WEDNESDAY), OldBar("C", None))
    # Known only after the run was pinned.
    nights.bars(store, FRIDAY, ["B", "C"], minutes=60)
    assert old_bars(store, run, Calendars.load(), LAG) == found
    always = Calendars.load(CalendarConfig(overrides={"A": "24/7"}))
    assert old_bars(store, run, always, LAG) == found, "Friday is not over on that calendar"


def test_age_is_counted_on_the_instruments_own_exchange() -> None:
    tokyo = calendar("XTKS")
    as_of = evening(FRIDAY)
    assert sessions_old(THURSDAY, tokyo, session=FRIDAY, as_of=as_of, lag=LAG) == 1
    new_year = date(2023, 12, 29)
    monday = date(2024, 1, 2)  # New York trades, Tokyo does not
    assert sessions_old(new_year, tokyo, session=monday, as_of=evening(monday), lag=LAG) == 0


def test_a_night_goes_on_while_it_writes_and_is_broken_off_after_that(store: Store) -> None:
    nights.bars(store, FRIDAY)
    run = nights.pinned(store, FRIDAY)
    late = replace(run, made_at=evening(FRIDAY, 90))
    told = look(store, run, now=evening(FRIDAY, 50))
    assert (told.state, told.ended, told.seconds) == ("going_on", None, None)
    assert told.seen == run.made_at
    assert look(store, run, now=evening(FRIDAY, 100)).state == "broken_off"
    nights.forecasts(store, late)
    told = look(store, run, now=evening(FRIDAY, 100))
    assert (told.state, told.seen) == ("going_on", late.made_at)
    failed = runs.close(store, run, now=evening(FRIDAY, 101), failure="broken off: no space left")
    told = look(store, failed, now=evening(FRIDAY, 102))
    assert (told.state, told.ended) == ("broken_off", evening(FRIDAY, 101))
    nights.scored(store, replace(run, made_at=evening(FRIDAY, 110)), loss=1.0, covered={"A": 1.0})
    told = look(store, failed, now=evening(FRIDAY, 111))
    assert (told.state, told.ended, told.seen) == ("going_on", None, evening(FRIDAY, 110))
    assert look(store, failed, now=evening(FRIDAY, 171)).state == "broken_off"


def test_an_ingest_of_another_night_is_not_when_this_one_began(store: Store) -> None:
    nights.finished(store, THURSDAY)
    nights.bars(store, FRIDAY)
    run = nights.pinned(store, FRIDAY)
    assert look(store, run).started == run.made_at
    nights.ingest(store, FRIDAY, minutes=1)
    assert look(store, run).started == evening(FRIDAY, 1)
    nights.ingest(store, FRIDAY, "by hand, when the night was over", minutes=30)
    told = look(store, run)
    assert told.started == evening(FRIDAY, 1)
    assert told.ingest is not None
    assert told.ingest.problems == ()


def test_one_run_of_each_session_the_last_first(store: Store) -> None:
    thursday = nights.finished(store, THURSDAY)
    nights.finished(store, FRIDAY, config_hash="other")
    broken = runs.close(
        store, nights.pinned(store, FRIDAY), now=evening(FRIDAY, 5), failure="broken off: x"
    )
    assert [run.run_id for run in nights_of(store, CONFIG)] == [broken.run_id, thursday.run_id]
    again = nights.pinned(store, FRIDAY, origin="backfill")
    done = runs.close(store, again, now=evening(FRIDAY, 9))
    assert [run.run_id for run in nights_of(store, CONFIG)] == [done.run_id, thursday.run_id]


def test_a_run_that_lost_the_race_for_its_night_is_no_night(store: Store) -> None:
    thursday = nights.finished(store, THURSDAY)
    loser = nights.pinned(store, FRIDAY)
    runs.close(store, loser, now=evening(FRIDAY, 3), failure="x had pinned the same night first")
    assert [run.run_id for run in nights_of(store, CONFIG)] == [thursday.run_id]


def test_sinks_are_those_asked_for_with_all_that_waits(store: Store) -> None:
    before = nights.finished(store, THURSDAY)
    run = nights.finished(store, FRIDAY)
    for one, status in ((before, "due"), (run, "due")):
        edition = Edition.of(one, forecasts_of(store, one))
        note(store, edition, ["sql x", "gone y"], status, now=evening(FRIDAY, 13))  # type: ignore[arg-type]
    edition = Edition.of(run, forecasts_of(store, run))
    note(store, edition, ["sql x"], "delivered", now=evening(FRIDAY, 14))
    told = look(store, run, sinks=("sql x", "new z"))
    assert told.sinks == (SinkState("sql x", "delivered", 1), SinkState("new z", None, 0))
    assert look(store, run).sinks == ()


def test_the_plan_counts_whatever_the_store_holds_beyond_it(store: Store) -> None:
    run = nights.finished(store, FRIDAY)
    kinds = (*FORECASTS, ("direction", "log_return"))
    told = look(store, run, forecasts=kinds)
    assert [one.missing for one in told.published] == [(), (), NAMES]
