"""What is on record of an exchange's sessions and closes, in the package exchange_calendars.

Owns the package's use and the repair of its gaps. Never touches rows, configuration or a count.
"""

from __future__ import annotations

import difflib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Sessions = npt.NDArray[np.datetime64]
"""Session dates, tz-naive, dtype datetime64[D]."""

Instants = npt.NDArray[np.datetime64]
"""UTC instants, dtype datetime64[us]."""

EARLIEST = date(1960, 1, 1)
"""Where records begin, at the earliest: before, exchanges also met on Saturdays."""

_FUTURE = timedelta(days=2 * 365 + 1)
_ONE_AT_A_TIME = threading.Lock()


class SessionError(ValueError):
    """A calendar is unknown, or a date lies outside of it. The message says what is allowed."""


@dataclass(frozen=True)
class Record:
    """The sessions of one exchange, oldest first.

    Attributes:
        sessions: axis (session).
        closes: when each closed, axis (session).
        zone: the exchange's own.
    """

    sessions: Sessions
    closes: Instants
    zone: ZoneInfo


@lru_cache(maxsize=64)
def record_of(name: str) -> Record:
    """What is on record of a calendar, from `EARLIEST` (or its own beginning) to two years ahead.

    Args:
        name: canonical, see `canonical_name`.

    Raises:
        SessionError: the installed libraries can't build it.
    """
    import exchange_calendars  # noqa: PLC0415 - takes a second, and few commands need it

    try:
        with _repaired():
            known = exchange_calendars.get_calendar(name)
            start, end = known.bound_min(), known.bound_max()
            wanted = datetime.now(UTC).date() + _FUTURE
            found = exchange_calendars.get_calendar(
                name,
                start=str(EARLIEST if start is None else max(EARLIEST, start.date())),
                end=str(wanted if end is None else min(wanted, end.date())),
            )
    except (ValueError, NotImplementedError) as error:
        raise SessionError(
            f"The installed exchange_calendars can't build the calendar {name!r}: "
            f"{str(error)[:200]}. Choose another, or update exchange_calendars and pandas."
        ) from error
    sessions = found.sessions.to_numpy().astype("datetime64[D]")
    closes = found.closes.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    return Record(sessions, closes.astype("datetime64[us]"), found.tz)


def canonical_name(name: str) -> str:
    """The canonical name of a calendar: XNYS for NYSE.

    Raises:
        SessionError: there is none of this name; the message lists close ones.
    """
    import exchange_calendars  # noqa: PLC0415 - takes a second, and few commands need it

    known = exchange_calendars.get_calendar_names(include_aliases=True)
    if name in known:
        canonical: str = exchange_calendars.resolve_alias(name)
        return canonical
    close = difflib.get_close_matches(name.upper(), known, n=4, cutoff=0.5)
    hint = f"Did you mean {', '.join(close)}?" if close else "Common ones: XNYS, XLON, XTKS, 24/7."
    raise SessionError(f"There is no exchange calendar {name!r}. {hint}")


@contextmanager
def _repaired() -> Iterator[None]:
    """exchange_calendars as it is meant to work, while a calendar is built.

    pandas leaves out holidays before 1970 unless `AbstractHolidayCalendar.start_date` is set, as
    its documentation says. From 3.1 on it no longer calls the method that the package overrides
    for Orthodox Easter (Athens, Belgrade, Bucharest, Nicosia) and the Hebrew year (Tel Aviv), nor
    asks for weeks that changed (Tel Aviv again).
    """
    import exchange_calendars  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from exchange_calendars import tase_holidays  # noqa: PLC0415
    from exchange_calendars.pandas_extensions.offsets import OrthodoxEaster  # noqa: PLC0415
    from pandas.tseries.holiday import AbstractHolidayCalendar  # noqa: PLC0415

    with _ONE_AT_A_TIME, warnings.catch_warnings():
        # The package calls what the newest pandas deprecates; nothing a caller could change.
        warnings.simplefilter("ignore")
        for offset in (
            OrthodoxEaster,
            tase_holidays._HolidayOffset,
            tase_holidays._YomKippurEveObserved,
        ):
            offset._add_datetime = offset._apply
            offset._add_datetime_ndarray = _one_at_a_time
        exchange_calendars.register_calendar_type("XTAE", _tel_aviv(), force=True)
        before = AbstractHolidayCalendar.start_date
        AbstractHolidayCalendar.start_date = pd.Timestamp(EARLIEST)
        try:
            yield
        finally:
            AbstractHolidayCalendar.start_date = before


def _one_at_a_time(*_: object) -> None:
    raise NotImplementedError  # pandas then asks for each date


@lru_cache(maxsize=1)
def _tel_aviv() -> Any:  # noqa: ANN401 - an untyped package
    """The package's calendar of Tel Aviv, whose weeks began on Sunday until 2026.

    All seven weekdays are worked and what was not held is a holiday: pandas takes one week only.
    """
    import pandas as pd  # noqa: PLC0415
    from exchange_calendars.exchange_calendar_xtae import XTAEExchangeCalendar  # noqa: PLC0415

    class TelAviv(XTAEExchangeCalendar):  # type: ignore[misc]
        @cached_property
        def day(self) -> Any:  # noqa: ANN401
            holidays = self.regular_holidays.holidays().union(pd.DatetimeIndex(self.adhoc_holidays))
            shut = holidays.to_numpy().astype("datetime64[D]")
            days = np.arange(np.datetime64(EARLIEST), np.datetime64("2100-01-01"))
            held = np.is_busday(days, self.weekmask, shut)
            for first, last, weekmask in self.special_weekmasks:
                from_ = days >= (days[0] if first is None else np.datetime64(first, "D"))
                to = days <= (days[-1] if last is None else np.datetime64(last, "D"))
                held = np.where(from_ & to, np.is_busday(days, weekmask, shut), held)
            return pd.offsets.CustomBusinessDay(weekmask="1111111", holidays=days[~held].tolist())

    return TelAviv
