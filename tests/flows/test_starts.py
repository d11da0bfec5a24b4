"""Scheduled starts and their sessions, against what a calendar on the wall says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from flows.config import ScheduleConfig
from flows.starts import Start, last_start, next_start
from tasks.sessions import calendar

XNYS = calendar("XNYS")
LAG = timedelta(minutes=60)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told(start: Start | None) -> tuple[str, date] | None:
    if start is None:
        return None
    return start.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M"), start.session


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # Half past six in New York is 22:30 UTC in summer, and 23:30 in winter.
        ("2024-06-28T22:30", ("2024-06-28 22:30", date(2024, 6, 28))),
        ("2024-06-28T22:29", ("2024-06-27 22:30", date(2024, 6, 27))),
        ("2024-06-30T12:00", ("2024-06-28 22:30", date(2024, 6, 28))),
        ("2024-01-04T23:31", ("2024-01-04 23:30", date(2024, 1, 4))),
        # On Independence Day a night starts, and is about the session before.
        ("2024-07-05T01:00", ("2024-07-04 22:30", date(2024, 7, 3))),
    ],
)
def test_the_last_start_and_the_session_it_was_about(now: str, expected: tuple[str, date]) -> None:
    assert told(last_start(ScheduleConfig(), XNYS, LAG, at(now))) == expected


@pytest.mark.parametrize(
    ("now", "done", "expected"),
    [
        ("2024-06-28T22:30", date(2024, 6, 28), ("2024-07-01 22:30", date(2024, 7, 1))),
        ("2024-06-28T22:29", date(2024, 6, 27), ("2024-06-28 22:30", date(2024, 6, 28))),
        # Without a new session a start stops at once: it is passed over.
        ("2024-07-03T23:00", date(2024, 7, 3), ("2024-07-05 22:30", date(2024, 7, 5))),
        # Unless that session is still to do.
        ("2024-07-03T23:00", date(2024, 7, 2), ("2024-07-04 22:30", date(2024, 7, 3))),
        ("2024-07-03T23:00", None, ("2024-07-04 22:30", date(2024, 7, 3))),
    ],
)
def test_the_next_start_with_something_to_do(
    now: str, done: date | None, expected: tuple[str, date]
) -> None:
    assert told(next_start(ScheduleConfig(), XNYS, LAG, at(now), done)) == expected


def test_several_starts_a_day_and_days_of_the_month_or_of_the_week() -> None:
    often = ScheduleConfig(cron="0,30 7,19 * * *", timezone="UTC")
    assert told(last_start(often, XNYS, LAG, at("2024-06-28T19:10"))) == (
        "2024-06-28 19:00",
        date(2024, 6, 27),
    )
    either = ScheduleConfig(cron="0 7 15 * sun", timezone="UTC")
    found = [
        told(last_start(either, XNYS, LAG, at(f"2024-06-{day}T12:00"))) for day in (14, 15, 16)
    ]
    assert [one and one[0] for one in found] == [
        "2024-06-09 07:00",
        "2024-06-15 07:00",
        "2024-06-16 07:00",
    ]


def test_a_day_that_the_calendar_does_not_know_or_no_month_ever_has() -> None:
    far = at("2200-01-01T00:00")
    assert last_start(ScheduleConfig(), XNYS, LAG, far) is None
    assert next_start(ScheduleConfig(), XNYS, LAG, far, None) is None
    never = ScheduleConfig(cron="0 7 31 2 *")
    assert last_start(never, XNYS, LAG, at("2024-06-28T12:00")) is None
