from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from tasks.live_schedule import Agenda, agenda
from tasks.runs import Origin, PinnedRun, Status
from tasks.sessions import calendar

LAG = timedelta(hours=1)
THURSDAY = date(2013, 3, 7)
EVENING = datetime(2013, 3, 7, 23, 30, tzinfo=UTC)
"""Half an hour past six in New York, when Thursday's session has been published."""


def ran(
    day: int, origin: Origin = "live", status: Status = "finished", message: str | None = None
) -> PinnedRun:
    session = date(2013, 3, day)
    return PinnedRun(
        run_id=f"{session}-{origin}",
        run_key="key",
        session=session,
        as_of=EVENING,
        origin=origin,
        status=status,
        config_hash="config",
        code_version="1",
        table_versions={},
        shards={},
        made_at=EVENING,
        message=message,
    )


def planned(
    *runs: PinnedRun, scheduled: datetime = EVENING, catch_up: int = 5, lag: timedelta = LAG
) -> Agenda:
    return agenda(runs, calendar=calendar("XNYS"), lag=lag, scheduled=scheduled, catch_up=catch_up)


def march(*days: int) -> tuple[date, ...]:
    return tuple(date(2013, 3, day) for day in days)


def test_a_first_night_has_nothing_to_catch_up() -> None:
    assert planned() == Agenda(THURSDAY, news=True)
    assert planned(ran(4, "backfill"), ran(5, status="failed")) == Agenda(THURSDAY, news=True)


def test_the_night_after_a_finished_one_has_one_session_to_do() -> None:
    assert planned(ran(6)) == Agenda(THURSDAY, news=True)


def test_sessions_that_were_missed_come_first_in_order_without_weekends() -> None:
    assert planned(ran(1)) == Agenda(THURSDAY, news=True, missed=march(4, 5, 6))


def test_only_a_live_run_ends_what_is_missed_and_a_backfill_stands_for_its_own_session() -> None:
    assert planned(ran(1), ran(5, "backfill")).missed == march(4, 6)
    assert planned(ran(1), ran(5, status="failed")).missed == march(4, 5, 6)
    assert planned(ran(1), ran(5, status="pinned")).missed == march(4, 5, 6)


def test_of_too_many_the_newest_are_caught_up_and_the_others_counted() -> None:
    plan = planned(ran(1), catch_up=2)
    assert (plan.missed, plan.left_out) == (march(5, 6), 1)
    plan = planned(ran(1), catch_up=0)
    assert (plan.missed, plan.left_out) == ((), 3)


@pytest.mark.parametrize("message", [None, "training of shard-0001 failed"])
def test_a_session_that_is_done_is_no_news_unless_something_of_it_lacks(
    message: str | None,
) -> None:
    plan = planned(ran(7, message=message), ran(1))
    assert plan == Agenda(THURSDAY, news=message is not None)


def test_a_holiday_and_an_early_hour_bring_no_new_session() -> None:
    sunday = datetime(2013, 3, 10, 22, 30, tzinfo=UTC)
    assert not planned(ran(8), scheduled=sunday).news
    before_the_lag = datetime(2013, 3, 8, 21, 59, tzinfo=UTC)
    assert planned(ran(7), scheduled=before_the_lag) == Agenda(THURSDAY, news=False)


def test_a_late_start_is_about_the_session_of_its_schedule() -> None:
    """A run that was due on Thursday, and is started after Friday's was done, changes nothing."""
    assert planned(ran(8), ran(7)) == Agenda(THURSDAY, news=False)
    assert planned(ran(8), ran(5)) == Agenda(THURSDAY, news=True, missed=march(6))
    # Friday's night has caught Thursday up: again it would be published after Friday, as newer.
    assert planned(ran(8), ran(7, "backfill"), ran(6)) == Agenda(THURSDAY, news=False)


def test_a_backfill_of_tonight_is_not_its_live_run() -> None:
    assert planned(ran(7, "backfill"), ran(6)).news
