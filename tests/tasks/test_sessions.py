from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.sessions import CalendarConfig, Calendars, ExchangeCalendar, SessionError, calendar

NYSE = calendar("XNYS")
DAYS = st.dates(date(1990, 1, 1), date(2026, 1, 1))
HOUR = timedelta(hours=1)

# The exchange's own record: https://www.nyse.com/markets/hours-calendars and its history of
# unscheduled closures.
CLOSED = [
    date(2001, 9, 11),  # the attacks
    date(2001, 9, 14),
    date(2012, 10, 29),  # hurricane Sandy
    date(2012, 10, 30),
    date(2018, 12, 5),  # mourning for George H. W. Bush
    date(2024, 3, 29),  # Good Friday
    date(2024, 6, 19),  # Juneteenth
    date(2024, 7, 6),  # a Saturday
]
HELD = [date(2001, 9, 10), date(2001, 9, 17), date(2012, 10, 31), date(2021, 6, 18)]
HALF_DAYS = [date(2023, 11, 24), date(2024, 7, 3), date(2024, 12, 24)]


def as_days(dates: list[date]) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return np.array(dates, dtype="datetime64[D]")


def test_closures_of_the_exchange_are_no_sessions() -> None:
    assert not NYSE.is_session(as_days(CLOSED)).any()
    assert NYSE.is_session(as_days(HELD)).all()
    assert not NYSE.is_session(np.array(["NaT"], dtype="datetime64[D]")).any()
    assert not NYSE.is_session(as_days([date(1789, 5, 1), date(2900, 1, 1)])).any()


def test_2024_had_252_sessions() -> None:
    found = NYSE.sessions(date(2024, 1, 1), date(2024, 12, 31))
    assert len(found) == NYSE.count(date(2024, 1, 1), date(2024, 12, 31)) == 252
    assert found.dtype == np.dtype("datetime64[D]")
    assert (found[0], found[-1]) == (np.datetime64("2024-01-02"), np.datetime64("2024-12-31"))
    assert NYSE.count(date(2024, 1, 5), date(2024, 1, 4)) == 0


def test_half_days_close_three_hours_early() -> None:
    for day in HALF_DAYS:
        assert NYSE.close(day) == datetime(day.year, day.month, day.day, 13, tzinfo=NEW_YORK[day])


def test_closes_follow_daylight_saving() -> None:
    assert NYSE.close(date(2024, 3, 8)) == datetime(2024, 3, 8, 21, tzinfo=UTC)
    assert NYSE.close(date(2024, 3, 11)) == datetime(2024, 3, 11, 20, tzinfo=UTC)
    closes = NYSE.closes(as_days([date(2024, 3, 8), date(2024, 3, 11)]))
    assert closes.astype(str).tolist() == [
        "2024-03-08T21:00:00.000000",
        "2024-03-11T20:00:00.000000",
    ]


def test_the_last_session_is_the_one_closed_and_published() -> None:
    close = NYSE.close(date(2024, 7, 5))  # a Friday after the holiday
    assert NYSE.last_session(close + HOUR, HOUR) == date(2024, 7, 5)
    assert NYSE.last_session(close + HOUR - timedelta(microseconds=1), HOUR) == date(2024, 7, 3)
    assert NYSE.last_session(close + timedelta(days=2)) == date(2024, 7, 5)
    tokyo = timezone(timedelta(hours=9))
    assert NYSE.last_session(close.astimezone(tokyo)) == date(2024, 7, 5)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(SessionError, match="time zone"):
        NYSE.last_session(datetime(2024, 7, 5, 20))  # noqa: DTZ001 - what is refused


@given(DAYS)
def test_session_on_or_before_agrees_with_walking_back(day: date) -> None:
    walked = day
    while walked.weekday() > 4 or not NYSE.is_session(as_days([walked]))[0]:
        walked -= timedelta(days=1)
    assert NYSE.session_on_or_before(day) == walked


@given(DAYS, st.integers(-500, 500))
def test_offset_counts_sessions_and_returns(day: date, n: int) -> None:
    session = NYSE.session_on_or_before(max(day, date(1992, 6, 1)))
    moved = NYSE.offset(session, n)
    assert NYSE.offset(moved, -n) == session
    assert NYSE.ordinal(moved) - NYSE.ordinal(session) == n
    assert NYSE.count(min(session, moved), max(session, moved)) == abs(n) + 1


def test_ordinals_count_from_1990_whatever_the_calendar_knows_before() -> None:
    assert NYSE.ordinal(date(1990, 1, 2)) == 0
    assert NYSE.ordinal(date(1990, 1, 3)) == 1
    assert NYSE.ordinal(date(1989, 12, 29)) == -1
    later = np.searchsorted(NYSE.all_sessions, np.datetime64("1985-01-01"))
    shorter = ExchangeCalendar("XNYS", NYSE.all_sessions[later:], NYSE.all_closes[later:])
    assert shorter.ordinal(date(2013, 3, 1)) == NYSE.ordinal(date(2013, 3, 1))


def test_a_date_that_is_no_session_is_named_with_its_neighbours() -> None:
    with pytest.raises(SessionError, match=r"2024-07-06 \(Saturday\).*2024-07-05 and 2024-07-08"):
        NYSE.close(date(2024, 7, 6))
    with pytest.raises(SessionError, match="2024-07-06"):
        NYSE.closes(as_days([date(2024, 7, 5), date(2024, 7, 6)]))
    with pytest.raises(SessionError, match="Saturday"):
        NYSE.offset(date(2024, 7, 6), 1)


def test_dates_outside_the_calendar_are_refused() -> None:
    with pytest.raises(SessionError, match="1959-05-01 lies outside the calendar XNYS"):
        NYSE.session_on_or_before(date(1959, 5, 1))
    with pytest.raises(SessionError, match="2999-01-01 lies outside"):
        NYSE.session_on_or_before(date(2999, 1, 1))
    with pytest.raises(SessionError, match="2999-01-01 lies outside"):
        NYSE.last_session(datetime(2999, 1, 1, tzinfo=UTC))
    with pytest.raises(SessionError, match="had closed by"):
        NYSE.last_session(datetime(1900, 1, 1, tzinfo=UTC))
    with pytest.raises(SessionError, match="from 1960"):
        NYSE.offset(date(1990, 1, 2), -100_000)


def test_the_calendar_reaches_from_1960_to_two_years_ahead() -> None:
    today = datetime.now(UTC).date()
    assert NYSE.first.year == 1960
    assert NYSE.last > today + timedelta(days=2 * 365 - 7)


def test_an_alias_is_the_same_calendar_and_survives_pickling() -> None:
    assert calendar("NYSE") is NYSE
    assert pickle.loads(pickle.dumps(NYSE)) is NYSE  # noqa: S301 - our own bytes


def test_around_the_clock_every_day_is_a_session() -> None:
    always = calendar("24/7")
    assert always.count(date(2024, 1, 1), date(2024, 12, 31)) == 366
    assert always.close(date(2024, 7, 6)) == datetime(2024, 7, 7, tzinfo=UTC)


def test_a_calendar_that_is_known_only_in_part_starts_and_ends_there() -> None:
    bombay = calendar("XBOM")
    assert bombay.first.year == 1997
    assert bombay.ordinal(bombay.first) == 0


def test_an_unknown_calendar_is_refused_with_close_names() -> None:
    with pytest.raises(SessionError, match=r"'NYSEE'\. Did you mean NYSE"):
        calendar("NYSEE")
    with pytest.raises(ValidationError, match=r"default\n.*'XNYZ'.*XNYS"):
        CalendarConfig(default="XNYZ")
    with pytest.raises(ValidationError, match=r"overrides\n.*'24-7'"):
        CalendarConfig(overrides={"BTC": "24-7"})


def test_a_calendar_that_the_libraries_can_not_build_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import exchange_calendars

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("implemented by subclasses")

    monkeypatch.setattr(exchange_calendars, "get_calendar", refuse)
    with pytest.raises(SessionError, match=r"can't build the calendar 'XWBO'.*update"):
        calendar("XWBO")


def test_each_instrument_has_its_calendar() -> None:
    calendars = Calendars.load(CalendarConfig(overrides={"BTC": "24/7"}))
    assert calendars.of("BTC").name == "24/7"
    assert calendars.of("AAPL") is calendars.default is NYSE
    assert calendars.grouped(["AAPL", "BTC", None]) == {NYSE: [0, 2], calendar("24/7"): [1]}


NEW_YORK = {day: timezone(timedelta(hours=-4 if 3 < day.month < 11 else -5)) for day in HALF_DAYS}
