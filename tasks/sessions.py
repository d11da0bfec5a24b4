"""Exchange sessions: which dates an exchange held, when they closed, and how to count them.

Owns every step from a date to another by sessions. Never touches rows, files or time of its own:
"now" is always given.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

Sessions = npt.NDArray[np.datetime64]
"""Session dates, tz-naive, dtype datetime64[D]."""

Instants = npt.NDArray[np.datetime64]
"""UTC instants, dtype datetime64[us]."""

EPOCH = date(1990, 1, 1)
"""Where `ordinal` counts from."""

_EARLIEST = date(1960, 1, 1)
_FUTURE = timedelta(days=2 * 365 + 1)


class SessionError(ValueError):
    """A calendar is unknown, or a date lies outside of it. The message says what is allowed."""


@dataclass(frozen=True)
class ExchangeCalendar:
    """The sessions of one exchange, oldest first.

    Get one with `calendar(name)`. Sessions are tz-naive dates, instants are UTC.

    Attributes:
        name: the calendar's canonical name, such as XNYS.
        all_sessions: every session known, axis (session).
        all_closes: the close of each, axis (session).
    """

    name: str
    all_sessions: Sessions = field(compare=False, repr=False)
    all_closes: Instants = field(compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return (calendar, (self.name,))

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
        that dates such as those of refits are anchored for good.

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


@lru_cache(maxsize=64)
def calendar(name: str = "XNYS") -> ExchangeCalendar:
    """The calendar of an exchange, from 1960 (or as far back as it is known) to two years ahead.

    Args:
        name: a name or alias that exchange_calendars knows: XNYS, NYSE, XLON, 24/7.

    Raises:
        SessionError: the name is unknown (the message lists close ones), or the installed
            libraries can't build the calendar.
    """
    import exchange_calendars  # noqa: PLC0415 - takes a second, and few commands need it

    canonical = exchange_calendars.resolve_alias(check_calendar_name(name))
    if canonical != name:
        return calendar(canonical)
    # exchange_calendars calls what the newest pandas deprecates; nothing a caller could change.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            known = exchange_calendars.get_calendar(name)
            start, end = known.bound_min(), known.bound_max()
            wanted = datetime.now(UTC).date() + _FUTURE
            found = exchange_calendars.get_calendar(
                name,
                start=str(_EARLIEST if start is None else max(_EARLIEST, start.date())),
                end=str(wanted if end is None else min(wanted, end.date())),
            )
        except (ValueError, NotImplementedError) as error:
            raise SessionError(
                f"The installed exchange_calendars can't build the calendar {name!r}: "
                f"{str(error)[:200]}. Choose another, or update exchange_calendars and pandas."
            ) from error
        return _convert(name, found)


def check_calendar_name(name: str) -> str:
    """`name`, if exchange_calendars knows it.

    Raises:
        SessionError: it doesn't; the message lists close names.
    """
    import exchange_calendars  # noqa: PLC0415 - takes a second, and few commands need it

    known = exchange_calendars.get_calendar_names(include_aliases=True)
    if name in known:
        return name
    close = difflib.get_close_matches(name.upper(), known, n=4, cutoff=0.5)
    hint = f"Did you mean {', '.join(close)}?" if close else "Common ones: XNYS, XLON, XTKS, 24/7."
    raise SessionError(f"There is no exchange calendar {name!r}. {hint}")


def _convert(name: str, found: Any) -> ExchangeCalendar:  # noqa: ANN401 - an untyped package
    sessions = found.sessions.to_numpy().astype("datetime64[D]")
    closes = found.closes.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    closes = closes.astype("datetime64[us]")
    sessions.flags.writeable = False
    closes.flags.writeable = False
    return ExchangeCalendar(name, sessions, closes)


def _as_date(day: np.datetime64) -> date:
    value: date = day.astype("datetime64[D]").item()
    return value


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
        return check_calendar_name(name)

    @field_validator("overrides")
    @classmethod
    def _overrides_are_known(cls, overrides: Mapping[str, str]) -> Mapping[str, str]:
        for name in set(overrides.values()):
            check_calendar_name(name)
        return overrides


@dataclass(frozen=True)
class Calendars:
    """The exchange calendar of every instrument.

    Attributes:
        default: the calendar of all instruments that `overrides` does not name; also the one that
            a run's session is counted on.
        overrides: instrument → its own calendar.
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
        overrides = {one: calendar(name) for one, name in config.overrides.items()}
        return cls(calendar(config.default), overrides)

    def of(self, instrument: str) -> ExchangeCalendar:
        """The calendar of `instrument`."""
        return self.overrides.get(instrument, self.default)

    def grouped(self, instruments: Iterable[str | None]) -> dict[ExchangeCalendar, list[int]]:
        """The positions in `instruments` of those of each calendar; None has the default's."""
        groups: dict[ExchangeCalendar, list[int]] = {}
        for position, instrument in enumerate(instruments):
            found = self.default if instrument is None else self.of(instrument)
            groups.setdefault(found, []).append(position)
        return groups
