"""Exchange sessions: which dates an exchange held, when they closed, and how to count them.

Owns every step from a date to another by sessions. Never touches rows, files or time of its own:
"now" is always given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.exchanges import (
    Instants,
    Record,
    SessionError,
    Sessions,
    canonical_name,
    record_of,
)

__all__ = [
    "CalendarConfig",
    "Calendars",
    "ExchangeCalendar",
    "Instants",
    "SessionError",
    "Sessions",
    "calendar",
    "missing_counts",
    "missing_sessions",
]

EPOCH = date(1990, 1, 1)
"""Where `ordinal` counts from."""

_AROUND = 15
"""Sessions on either side of a date that say when its exchange usually closes."""


@dataclass(frozen=True)
class ExchangeCalendar:
    """The sessions of one exchange, oldest first.

    Get one with `calendar(name)`. Sessions are tz-naive dates, instants are UTC.

    Attributes:
        name: the calendar's canonical name, such as XNYS.
        all_sessions: every session known, axis (session).
        all_closes: the close of each, axis (session).
        closed: dates that are on record as sessions, but were not held.
        held: dates that are not on record as sessions, but were held.
    """

    name: str
    all_sessions: Sessions = field(compare=False, repr=False)
    all_closes: Instants = field(compare=False, repr=False)
    closed: tuple[date, ...] = ()
    held: tuple[date, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return (calendar, (self.name, self.closed, self.held))

    @property
    def first(self) -> date:
        """The first session known."""
        return _as_date(self.all_sessions[0])

    @property
    def last(self) -> date:
        """The last session known, in the future."""
        return _as_date(self.all_sessions[-1])

    def sessions(self, first: date, last: date) -> Sessions:
        """The sessions from `first` to `last`, both included; axis (session)."""
        return self.all_sessions[self._position(first, "left") : self._position(last, "right")]

    def count(self, first: date, last: date) -> int:
        """How many sessions lie from `first` to `last`, both included; 0 where last < first."""
        return max(0, self._position(last, "right") - self._position(first, "left"))

    def is_session(self, dates: Sessions) -> npt.NDArray[np.bool_]:
        """For each date whether the exchange held it; same shape. NaT is no session."""
        days = np.asarray(dates, dtype="datetime64[D]")
        place = np.minimum(np.searchsorted(self.all_sessions, days), len(self.all_sessions) - 1)
        held: npt.NDArray[np.bool_] = self.all_sessions[place] == days
        return held

    def close(self, session: date) -> datetime:
        """When `session` closed, UTC.

        Raises:
            SessionError: it is no session of this exchange.
        """
        place = self._place(session)
        instant: datetime = self.all_closes[place].astype("datetime64[us]").item()
        return instant.replace(tzinfo=UTC)

    def closes(self, sessions: Sessions) -> Instants:
        """When each of `sessions` closed; same shape.

        Raises:
            SessionError: one is no session of this exchange.
        """
        days = np.asarray(sessions, dtype="datetime64[D]")
        held = self.is_session(days)
        if not held.all():
            self._place(_as_date(days[~held].ravel()[0]))
        closes: Instants = self.all_closes[np.searchsorted(self.all_sessions, days)]
        return closes

    def last_session(self, instant: datetime, lag: timedelta = timedelta(0)) -> date:
        """The last session whose close plus `lag` is not after `instant`.

        Args:
            instant: aware, in any zone.
            lag: how long after its close a session's bar is published.

        Raises:
            SessionError: no session had closed by then, or the calendar ends before.
        """
        if instant.tzinfo is None:
            raise SessionError(
                f"Expected an instant with a time zone. Received: {instant.isoformat()}. "
                "Add one, such as datetime(..., tzinfo=UTC)."
            )
        limit = np.datetime64((instant - lag).astimezone(UTC).replace(tzinfo=None), "us")
        place = int(np.searchsorted(self.all_closes, limit, side="right")) - 1
        if place < 0:
            raise SessionError(
                f"No session of {self.name} had closed by {instant.isoformat()} less {lag}. "
                f"Its first session is {self.first}."
            )
        if (latest := limit.astype("datetime64[D]").item()) > self.last:
            raise self._outside(latest)
        return _as_date(self.all_sessions[place])

    def session_on_or_before(self, day: date) -> date:
        """`day` if it is a session, else the last one before it.

        Raises:
            SessionError: `day` lies outside the calendar.
        """
        place = self._position(day, "right") - 1
        if place < 0 or day > self.last:
            raise self._outside(day)
        return _as_date(self.all_sessions[place])

    def offset(self, session: date, n: int) -> date:
        """The session `n` sessions after `session`; before it where `n` is negative.

        Raises:
            SessionError: `session` is none of this exchange, or the answer lies outside of the
                calendar.
        """
        place = self._place(session) + n
        if not 0 <= place < len(self.all_sessions):
            raise SessionError(
                f"{self.name} knows no session {n} sessions from {session}. Expected one from "
                f"{self.first} to {self.last}."
            )
        return _as_date(self.all_sessions[place])

    def ordinal(self, session: date) -> int:
        """The number of sessions from `EPOCH` up to, but not including, `session`.

        Before the epoch it is negative. It does not depend on how far back the calendar goes, so
        that dates such as those of refits are anchored for good. A closure that becomes known
        later lowers it by one for every session after the closure, and for none before.

        Raises:
            SessionError: `session` is none of this exchange.
        """
        return self._place(session) - self._position(EPOCH, "left")

    def _position(self, day: date, side: Any) -> int:  # noqa: ANN401 - numpy's Literal
        return int(np.searchsorted(self.all_sessions, np.datetime64(day, "D"), side=side))

    def _place(self, session: date) -> int:
        place = self._position(session, "left")
        if place < len(self.all_sessions) and _as_date(self.all_sessions[place]) == session:
            return place
        if not self.first <= session <= self.last:
            raise self._outside(session)
        before, after = self.all_sessions[place - 1], self.all_sessions[place]
        raise SessionError(
            f"{session} ({session:%A}) is no session of {self.name}. The nearest ones are {before} "
            f"and {after}."
        )

    def _outside(self, day: date) -> SessionError:
        return SessionError(
            f"{day} lies outside the calendar {self.name}, which knows sessions from {self.first} "
            f"to {self.last}. Choose a date within, or update the package exchange_calendars."
        )


def calendar(
    name: str = "XNYS", closed: Iterable[date] = (), held: Iterable[date] = ()
) -> ExchangeCalendar:
    """The calendar of an exchange, from 1960 (or as far back as it is known) to two years ahead.

    Args:
        name: a name or alias that exchange_calendars knows: XNYS, NYSE, XLON, 24/7.
        closed: dates that it did not hold, whatever is on record.
        held: dates that it held, whatever is on record; those that are not get the close, in local
            time, of most sessions around them.

    Raises:
        SessionError: the name is unknown (the message lists close ones), the installed libraries
            can't build the calendar, or a date is both held and closed, or held outside of it.
    """
    return _calendar(canonical_name(name), tuple(sorted(set(closed))), tuple(sorted(set(held))))


@lru_cache(maxsize=64)
def _calendar(name: str, closed: tuple[date, ...], held: tuple[date, ...]) -> ExchangeCalendar:
    record = record_of(name)
    sessions, closes = record.sessions, record.closes
    kept = ~np.isin(sessions, _days(closed))
    more = np.setdiff1d(_days(held), sessions)
    if both := sorted(set(closed) & set(held)):
        raise SessionError(f"{name} can't have both held {both[0]} and been closed on it.")
    for day in more:
        if not sessions[0] < day < sessions[-1]:
            raise SessionError(
                f"{day} can't be added to the calendar {name}, which is known from {sessions[0]} "
                f"to {sessions[-1]}. Choose a date within."
            )
    instants = np.array([_usual_close(record, _as_date(day)) for day in more], "datetime64[us]")
    sessions = np.concatenate([sessions[kept], more])
    closes = np.concatenate([closes[kept], instants])
    order = np.argsort(sessions)
    sessions, closes = sessions[order], closes[order]
    sessions.flags.writeable = False
    closes.flags.writeable = False
    return ExchangeCalendar(name, sessions, closes, closed, held)


def _usual_close(record: Record, day: date) -> np.datetime64:
    """When most sessions around `day` closed, in local time, on `day`; UTC."""
    place = int(np.searchsorted(record.sessions, np.datetime64(day, "D")))
    around = slice(max(place - _AROUND, 0), place + _AROUND)
    after_midnight = Counter(
        instant.replace(tzinfo=UTC).astimezone(record.zone).replace(tzinfo=None) - _midnight(one)
        for one, instant in zip(
            record.sessions[around].tolist(), record.closes[around].tolist(), strict=True
        )
    )
    local = _midnight(day) + after_midnight.most_common(1)[0][0]
    instant = local.replace(tzinfo=record.zone).astimezone(UTC)
    return np.datetime64(instant.replace(tzinfo=None), "us")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - local, as wall clocks show it


def _days(dates: Sequence[date]) -> Sessions:
    return np.array(dates, dtype="datetime64[D]")


def _as_date(day: np.datetime64) -> date:
    value: date = day.astype("datetime64[D]").item()
    return value


def missing_sessions(calendar: ExchangeCalendar, sessions: Sessions) -> Sessions:
    """The sessions between the first and the last of `sessions` that are not among them.

    Args:
        calendar: of the exchange.
        sessions: in any order, axis (row); NaT and what is no session tell nothing.

    Returns:
        In order, axis (missing): its length is how many are missing.
    """
    days = np.asarray(sessions, dtype="datetime64[D]")
    days = days[calendar.is_session(days)]
    if not len(days):
        return days
    first, last = np.searchsorted(calendar.all_sessions, [days.min(), days.max()])
    every = calendar.all_sessions[first : last + 1]
    missing = np.ones(len(every), dtype=bool)
    missing[np.searchsorted(every, days)] = False
    return every[missing]


def missing_counts(
    calendar: ExchangeCalendar, codes: npt.NDArray[np.int64], sessions: Sessions
) -> npt.NDArray[np.int64]:
    """How many sessions each instrument of one calendar lacks between its first and its last.

    Args:
        calendar: of the exchange.
        codes: whose row it is, from 0, axis (row).
        sessions: in any order, each once per instrument, axis (row).

    Returns:
        Axis (code), as long as the largest code says; 0 where there is no row.
    """
    days = np.asarray(sessions, dtype="datetime64[D]")
    count = int(codes.max(initial=-1)) + 1
    held = calendar.is_session(days)
    codes, place = codes[held], np.searchsorted(calendar.all_sessions, days[held])
    first, last = np.full(count, len(calendar.all_sessions)), np.full(count, -1)
    np.minimum.at(first, codes, place)
    np.maximum.at(last, codes, place)
    spanned = np.maximum(last - first + 1, 0)
    missing: npt.NDArray[np.int64] = spanned - np.bincount(codes, minlength=count)
    return missing


class CalendarConfig(BaseModel):
    """Which exchange holds an instrument's sessions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: str = Field(
        default="XNYS",
        description="Name of a calendar of exchange_calendars, such as XNYS, XLON or 24/7.",
    )
    overrides: Mapping[str, str] = Field(
        default={},
        description="Instrument, or a pattern such as *.L, = calendar, where it is another. A name "
        "goes before a pattern, a longer pattern before a shorter one.",
    )
    closed: Mapping[str, tuple[date, ...]] = Field(
        default={},
        description="Calendar = dates that its exchange did not hold, where exchange_calendars "
        "does not know it yet.",
    )
    held: Mapping[str, tuple[date, ...]] = Field(
        default={},
        description="Calendar = dates that its exchange held, where exchange_calendars does not "
        "know it yet.",
    )

    @field_validator("default")
    @classmethod
    def _default_is_known(cls, name: str) -> str:
        canonical_name(name)
        return name

    @field_validator("overrides")
    @classmethod
    def _overrides_are_known(cls, overrides: Mapping[str, str]) -> Mapping[str, str]:
        for name in set(overrides.values()):
            canonical_name(name)
        return overrides

    @field_validator("closed", "held")
    @classmethod
    def _calendars_are_known(
        cls, dates: Mapping[str, tuple[date, ...]]
    ) -> Mapping[str, tuple[date, ...]]:
        for name in dates:
            canonical_name(name)
        return dates

    @model_validator(mode="after")
    def _exceptions_agree(self) -> Self:
        for name in {canonical_name(one) for one in (*self.closed, *self.held)}:
            self.calendar(name)
        return self

    def calendar(self, name: str) -> ExchangeCalendar:
        """The calendar of this name, with the dates that are stated of it under any of its names.

        Raises:
            SessionError: as `tasks.sessions.calendar`.
        """
        closed, held = (
            [day for one, days in stated.items() if _same(one, name) for day in days]
            for stated in (self.closed, self.held)
        )
        return calendar(name, closed, held)


def _same(name: str, other: str) -> bool:
    return canonical_name(name) == canonical_name(other)


@dataclass(frozen=True)
class Calendars:
    """The exchange calendar of every instrument.

    Attributes:
        default: the calendar of all instruments that `overrides` does not name; also the one that
            a run's session is counted on.
        overrides: instrument, or pattern of instruments as in `fnmatch`, → its own calendar.
    """

    default: ExchangeCalendar
    overrides: Mapping[str, ExchangeCalendar] = field(default_factory=dict)

    @classmethod
    def load(cls, config: CalendarConfig | None = None) -> Calendars:
        """The calendars that `config` names.

        Raises:
            SessionError: the installed libraries can't build one of them.
        """
        config = config or CalendarConfig()
        overrides = {one: config.calendar(name) for one, name in config.overrides.items()}
        return cls(config.calendar(config.default), overrides)

    def of(self, instrument: str) -> ExchangeCalendar:
        """The calendar of `instrument`: by its name, else by the longest pattern that fits it."""
        if instrument in self.overrides:
            return self.overrides[instrument]
        fitting = (one for one in self._patterns if fnmatchcase(instrument, one))
        found = next(fitting, None)
        return self.default if found is None else self.overrides[found]

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        """Longest first; of equally long ones in the order of the alphabet."""
        patterns = (one for one in self.overrides if any(sign in one for sign in "*?["))
        return tuple(sorted(patterns, key=lambda one: (-len(one), one)))

    def grouped(self, instruments: Iterable[str | None]) -> dict[ExchangeCalendar, list[int]]:
        """The positions in `instruments` of those of each calendar; None has the default's."""
        groups: dict[ExchangeCalendar, list[int]] = {}
        for position, instrument in enumerate(instruments):
            found = self.default if instrument is None else self.of(instrument)
            groups.setdefault(found, []).append(position)
        return groups
