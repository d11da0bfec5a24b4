"""When the schedule starts a night, and which session that one is about: before now, and next.

Owns the reading of `[schedule]` as instants. Never touches a clock: it is told what time it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from flows.cron import parse_cron
from tasks.sessions import ExchangeCalendar, SessionError

if TYPE_CHECKING:
    from flows.config import ScheduleConfig

_FAR = 400
"""Days ahead or back that are looked through: a schedule without a start in them has none."""


@dataclass(frozen=True)
class Start:
    """A scheduled start, aware and in the schedule's time zone, and the session it is about."""

    at: datetime
    session: date


def last_start(
    schedule: ScheduleConfig, calendar: ExchangeCalendar, lag: timedelta, now: datetime
) -> Start | None:
    """The last start that is not after `now`; None where there was none, or nothing to be about.

    Args:
        schedule: cron expression and time zone.
        calendar: the exchange's.
        lag: from a session's close to its publication.
        now: aware.
    """
    starts = (at for at in _starts(schedule, now, -1) if at.astimezone(UTC) <= now)
    return _about(next(starts, None), calendar, lag)


def next_start(
    schedule: ScheduleConfig,
    calendar: ExchangeCalendar,
    lag: timedelta,
    now: datetime,
    done: date | None,
) -> Start | None:
    """The next start after `now` that has a newer session than `done` to do; None: there is none.

    On a day without a session a start finds nothing new and stops: it is passed over.
    """
    for at in _starts(schedule, now, 1):
        if at.astimezone(UTC) > now:
            start = _about(at, calendar, lag)
            if start is None or done is None or start.session > done:
                return start
    return None


def _about(at: datetime | None, calendar: ExchangeCalendar, lag: timedelta) -> Start | None:
    try:
        return None if at is None else Start(at, calendar.last_session(at, lag))
    except SessionError:  # the calendar does not know that day
        return None


def _starts(schedule: ScheduleConfig, now: datetime, step: int) -> Iterator[datetime]:
    """The starts of the days from that of `now` on, one after the other; with -1 backwards."""
    cron, zone = parse_cron(schedule.cron), ZoneInfo(schedule.timezone)
    of_month, of_week = len(cron.days) < 31, len(cron.weekdays) < 7
    times = sorted(((h, m) for h in cron.hours for m in cron.minutes), reverse=step < 0)
    today = now.astimezone(zone).date()
    for day in (today + timedelta(days=step * n) for n in range(_FAR)):
        on_day, on_weekday = day.day in cron.days, day.isoweekday() % 7 in cron.weekdays
        # As cron has it: where both are limited, either will do.
        fits = on_day or on_weekday if of_month and of_week else on_day and on_weekday
        if fits and day.month in cron.months:
            for hour, minute in times:
                yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
