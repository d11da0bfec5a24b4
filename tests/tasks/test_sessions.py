from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.exchanges import record_of
from tasks.sessions import (
    CalendarConfig,
    Calendars,
    ExchangeCalendar,
    SessionError,
    calendar,
    missing_counts,
    missing_sessions,
)

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


def days(*dates: str) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return np.array(dates, dtype="datetime64[D]")


def test_the_holidays_of_the_sixties_are_on_record() -> None:
    shut = days(
        "1960-11-08",  # Election Day
        "1961-12-25",
        "1963-11-25",  # the funeral of John F. Kennedy
        "1968-04-09",  # mourning for Martin Luther King
        "1968-06-12",  # the Wednesdays of the paper crisis
        "1969-02-21",  # Washington's birthday, observed
        "1969-07-21",  # the moon
    )
    assert not NYSE.is_session(shut).any()
    assert NYSE.is_session(days("1961-12-26", "1968-06-11", "1968-06-13", "1969-07-22")).all()
    assert not calendar("XLON").is_session(days("1966-12-26", "1969-12-25", "1969-12-26")).any()


def test_building_a_calendar_leaves_pandas_as_it_was() -> None:
    from pandas.tseries.holiday import AbstractHolidayCalendar

    record_of.__wrapped__("XNYS")
    assert str(AbstractHolidayCalendar.start_date.date()) == "1970-01-01"


@pytest.mark.parametrize(
    ("after", "next_one"),
    [
        ("2001-09-10", "2001-09-17"),  # the attacks
        ("2012-10-26", "2012-10-31"),  # hurricane Sandy
        ("2018-12-04", "2018-12-06"),  # George H. W. Bush
        ("2025-01-08", "2025-01-10"),  # Jimmy Carter
        ("2024-07-02", "2024-07-03"),  # a half day counts like any other
        ("2024-07-03", "2024-07-05"),
        ("2024-11-27", "2024-11-29"),
    ],
)
def test_a_horizon_is_counted_in_sessions(after: str, next_one: str) -> None:
    assert NYSE.offset(date.fromisoformat(after), 1) == date.fromisoformat(next_one)
    five_ahead = NYSE.offset(date.fromisoformat(after), 5)
    assert NYSE.count(date.fromisoformat(next_one), five_ahead) == 5


@pytest.mark.parametrize(
    ("name", "session", "close"),
    [
        ("XLON", "2024-12-24", "12:30"),
        ("XASX", "2024-12-24", "03:10"),  # 14:10 in Sydney
        ("XHKG", "2024-12-24", "04:00"),
        ("XPAR", "2024-12-24", "13:05"),
        ("XTKS", "2024-11-01", "06:00"),
        ("XTKS", "2024-11-05", "06:30"),  # half an hour longer from that day on
        ("XNYS", "1992-12-24", "19:00"),
        ("XNYS", "1974-01-07", "20:00"),  # daylight saving in January: the oil crisis
    ],
)
def test_half_days_and_changes_of_hours_elsewhere(name: str, session: str, close: str) -> None:
    day = date.fromisoformat(session)
    assert f"{calendar(name).close(day):%Y-%m-%d %H:%M}" == f"{session} {close}"


@pytest.mark.parametrize(
    ("name", "session", "close"),
    [
        # New York changes its clocks on 2024-03-10 and 11-03, London on 03-31 and 10-27, Sydney
        # on 04-07 and 10-06, Tokyo never.
        ("XNYS", "2024-03-08", "21:00"),
        ("XLON", "2024-03-08", "16:30"),
        ("XNYS", "2024-03-11", "20:00"),
        ("XLON", "2024-03-11", "16:30"),
        ("XNYS", "2024-03-28", "20:00"),
        ("XLON", "2024-04-02", "15:30"),
        ("XNYS", "2024-10-28", "20:00"),
        ("XLON", "2024-10-25", "15:30"),
        ("XLON", "2024-10-28", "16:30"),
        ("XNYS", "2024-11-01", "20:00"),
        ("XNYS", "2024-11-04", "21:00"),
        ("XLON", "2024-11-04", "16:30"),
        ("XASX", "2024-04-05", "05:00"),
        ("XASX", "2024-04-08", "06:00"),
        ("XTKS", "2024-03-11", "06:00"),
    ],
)
def test_around_a_change_of_clocks_a_minute_decides(name: str, session: str, close: str) -> None:
    exchange, day = calendar(name), date.fromisoformat(session)
    hour, minute = map(int, close.split(":"))
    published = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC) + HOUR
    assert exchange.last_session(published + timedelta(minutes=1), HOUR) == day
    assert exchange.last_session(published, HOUR) == day
    early = published - timedelta(minutes=1)
    assert exchange.last_session(early, HOUR) == exchange.offset(day, -1)


def test_tel_aviv_began_its_weeks_on_sunday_until_2026() -> None:
    tel_aviv = calendar("XTAE")
    assert tel_aviv.is_session(days("2025-12-28", "2026-01-04", "2026-01-05", "2026-01-09")).all()
    assert not tel_aviv.is_session(days("2025-12-26", "2026-01-02", "2026-01-11")).any()
    assert tel_aviv.offset(date(2025, 12, 25), 1) == date(2025, 12, 28)
    # Purim, Passover and its seventh day, Independence Day, Rosh Hashanah, Yom Kippur.
    shut = days("2022-03-17", "2024-04-23", "2024-04-29", "2024-05-14", "2024-10-03", "2023-09-25")
    assert not tel_aviv.is_session(shut).any()


@pytest.mark.parametrize("name", ["ASEX", "XBEL", "XBSE", "XCYS"])
def test_orthodox_easter_is_a_holiday_where_it_is_one(name: str) -> None:
    easter = days("2021-04-30", "2021-05-03", "2024-05-03", "2024-05-06")
    assert not calendar(name).is_session(easter).any()
    assert calendar(name).is_session(days("2024-04-30", "2024-05-08")).all()


def test_the_week_of_currencies_has_five_days_that_end_at_midnight() -> None:
    currencies = calendar("24/5")
    week = currencies.sessions(date(2024, 12, 21), date(2024, 12, 29))
    assert week.astype(str).tolist() == [f"2024-12-{day}" for day in (23, 24, 25, 26, 27)]
    assert currencies.close(date(2024, 12, 27)) == datetime(2024, 12, 28, tzinfo=UTC)


def test_a_pattern_names_many_instruments_and_a_name_goes_before_it() -> None:
    config = CalendarConfig(
        overrides={"*.L": "XLON", "*-USD": "24/7", "*": "XTKS", "BTC-USD": "24/5", "?.L": "XASX"}
    )
    calendars = Calendars.load(config)
    names = ["BTC-USD", "ETH-USD", "VOD.L", "A.L", "7203.T", "vod.l"]
    assert [calendars.of(name).name for name in names] == [
        "24/5",
        "24/7",
        "XLON",
        "XLON",  # *.L and ?.L are equally long: the order of the alphabet decides
        "XTKS",
        "XTKS",
    ]
    grouped = calendars.grouped(names)
    assert {found.name: places for found, places in grouped.items()}["24/7"] == [1]
    assert pickle.loads(pickle.dumps(calendars)).of("VOD.L") is calendar("XLON")  # noqa: S301


def test_a_name_with_the_signs_of_a_pattern_is_itself_first() -> None:
    calendars = Calendars.load(CalendarConfig(overrides={"X[A]": "XLON"}))
    assert calendars.of("X[A]").name == "XLON"
    assert calendars.of("XA").name == "XLON"
    assert calendars.of("XB").name == "XNYS"


# Tel Aviv closed for the municipal elections of that day, which nobody has on record.
ELECTIONS = date(2024, 2, 27)


def test_a_closure_that_nobody_has_on_record_can_be_stated() -> None:
    known = calendar("XTAE")
    told = CalendarConfig(closed={"TASE": (ELECTIONS,)}).calendar("XTAE")
    assert known.is_session(days("2024-02-27")).all()
    assert not told.is_session(days("2024-02-27")).any()
    assert told.offset(date(2024, 2, 26), 1) == date(2024, 2, 28)
    assert told != known
    assert told.last_session(known.close(ELECTIONS)) == date(2024, 2, 26)
    assert np.array_equal(np.setdiff1d(known.all_sessions, told.all_sessions), days("2024-02-27"))
    assert told.closes(told.all_sessions[-9:]).tolist() == known.all_closes[-9:].tolist()


def test_a_later_closure_moves_ordinals_after_it_and_none_before() -> None:
    known, told = calendar("XTAE"), calendar("XTAE", closed=[ELECTIONS])
    assert told.ordinal(date(2024, 2, 26)) == known.ordinal(date(2024, 2, 26))
    assert told.ordinal(date(2024, 2, 28)) == known.ordinal(date(2024, 2, 28)) - 1


@pytest.mark.parametrize(
    ("name", "day", "close"),
    [
        ("XNYS", "2024-07-06", "2024-07-06T20:00"),  # a Saturday after a half day
        ("XNYS", "2024-11-30", "2024-11-30T21:00"),
        ("XLON", "2024-03-31", "2024-03-31T15:30"),  # the Sunday on which clocks changed
        ("XTKS", "2024-01-03", "2024-01-03T06:00"),
        ("24/5", "2024-07-06", "2024-07-07T00:00"),
        ("XBOM", "2024-11-03", "2024-11-03T10:00"),
    ],
)
def test_a_session_that_nobody_has_on_record_gets_the_usual_close(
    name: str, day: str, close: str
) -> None:
    known = calendar(name)
    told = calendar(name, held=[date.fromisoformat(day)])
    assert not known.is_session(days(day)).any()
    assert told.is_session(days(day)).all()
    assert told.closes(days(day))[0] == np.datetime64(close, "us")
    assert (np.diff(told.all_sessions) > np.timedelta64(0)).all()
    assert (np.diff(told.all_closes) > np.timedelta64(0)).all()
    before = known.session_on_or_before(date.fromisoformat(day))
    assert told.offset(before, 1) == date.fromisoformat(day)


def test_what_has_come_on_record_since_may_still_be_stated() -> None:
    told = calendar("XNYS", closed=[date(2025, 1, 9)], held=[date(2025, 1, 8)])
    assert np.array_equal(told.all_sessions, NYSE.all_sessions)
    assert np.array_equal(told.all_closes, NYSE.all_closes)


def test_workers_get_the_calendar_that_was_stated() -> None:
    told = calendar("NYSE", closed=[date(2024, 7, 5)], held=[date(2024, 7, 6)])
    assert pickle.loads(pickle.dumps(told)) is told  # noqa: S301 - our own bytes
    assert told == calendar("XNYS", held=[date(2024, 7, 6)], closed=[date(2024, 7, 5)])
    assert told != NYSE


def test_a_date_can_not_be_held_and_closed_or_lie_outside() -> None:
    day = date(2024, 7, 5)
    with pytest.raises(SessionError, match="can't have both held 2024-07-05 and been closed"):
        calendar("XNYS", closed=[day], held=[day])
    with pytest.raises(SessionError, match=r"2999-01-01 can't be added to the calendar XNYS"):
        calendar("XNYS", held=[date(2999, 1, 1)])
    with pytest.raises(ValidationError, match="can't have both held 2024-07-05"):
        CalendarConfig(closed={"NYSE": (day,)}, held={"XNYS": (day,)})
    with pytest.raises(ValidationError, match=r"closed\n.*'XNYZ'.*XNYS"):
        CalendarConfig(closed={"XNYZ": (day,)})


def test_stated_dates_reach_the_instruments_of_their_calendar_only() -> None:
    config = CalendarConfig(overrides={"*.TA": "XTAE"}, closed={"XTAE": (ELECTIONS,)})
    calendars = Calendars.load(config)
    assert not calendars.of("KEN.TA").is_session(days("2024-02-27")).any()
    assert calendars.of("AAPL") is NYSE


@given(st.lists(DAYS, max_size=40), st.booleans())
def test_missing_sessions_are_those_that_a_walk_does_not_find(
    dates: list[date], wrong: bool
) -> None:
    rows = np.array([*dates, *([None] if wrong else [])], dtype="datetime64[D]")
    held = {day for day in dates if day in SESSIONS}
    expected = [day for day in SESSIONS_IN_ORDER if held and min(held) <= day <= max(held)]
    expected = [day for day in expected if day not in held]
    assert missing_sessions(NYSE, rows).tolist() == expected


@given(st.sets(st.tuples(st.integers(0, 3), DAYS), max_size=60))
def test_missing_counts_are_those_of_each_instrument_alone(rows: set[tuple[int, date]]) -> None:
    codes = np.array([code for code, _ in rows], dtype=np.int64)
    sessions = as_days([day for _, day in rows])
    counts = missing_counts(NYSE, codes, sessions)
    alone = [len(missing_sessions(NYSE, sessions[codes == code])) for code in range(len(counts))]
    assert counts.tolist() == alone
    assert len(counts) == max(codes, default=-1) + 1


SESSIONS_IN_ORDER = NYSE.sessions(date(1990, 1, 1), date(2026, 1, 1)).tolist()
SESSIONS = frozenset(SESSIONS_IN_ORDER)

NEW_YORK = {day: timezone(timedelta(hours=-4 if 3 < day.month < 11 else -5)) for day in HALF_DAYS}
