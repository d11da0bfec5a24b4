"""How old an instrument's newest bar is for a run, in sessions of its own exchange.

Owns that count, and whose bars are old. Never touches prices or forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa

from tasks.runs import PinnedRun
from tasks.sessions import Calendars, ExchangeCalendar, SessionError
from tasks.store import Store

_LOOK_BACK = timedelta(days=31)
"""A newest bar from before that is old on every calendar, so older ones are not read."""


@dataclass(frozen=True)
class OldBar:
    """An instrument without a bar of the session that was due.

    Attributes:
        instrument: whose.
        newest: the session of its newest bar; None: it has none, or none of the last month.
    """

    instrument: str
    newest: date | None


def sessions_old(
    newest: date, calendar: ExchangeCalendar, *, session: date, as_of: datetime, lag: timedelta
) -> int:
    """Sessions of its own exchange, published by the run's `as_of`, that came after `newest`.

    On the evening of a day in New York, Tokyo's session of that date is old, and that of what
    trades around the clock is not over.
    """
    try:
        due = min(session, calendar.last_session(as_of, lag))
    except SessionError:  # its calendar is not known for so long
        due = session
    return max(calendar.count(newest, due) - 1, 0)


def old_bars(
    store: Store, run: PinnedRun, calendars: Calendars, lag: timedelta
) -> tuple[OldBar, ...]:
    """The instruments of a run's plan whose newest bar was old for it, by name.

    Args:
        store: holds the bars; what became known after the run is left out.
        run: whose plan.
        calendars: of the instruments.
        lag: from a session's close to its publication.

    Raises:
        StoreError: the store can't be read.
    """
    names = sorted(name for shard in run.shards.values() for name in shard)
    bars: pa.Table = store.read(
        "bars",
        as_of=run.as_of,
        instruments=names,
        between={"session": (run.session - _LOOK_BACK, run.session)},
        columns=["instrument", "session"],
    )
    ends = bars.group_by("instrument").aggregate([("session", "max")]).to_pylist()
    newest = {row["instrument"]: row["session_max"] for row in ends}
    return tuple(
        OldBar(name, newest.get(name))
        for name in names
        if name not in newest
        or sessions_old(
            newest[name],
            calendars.of(name),
            session=run.session,
            as_of=run.as_of,
            lag=lag,
        )
    )
