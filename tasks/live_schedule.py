"""Which sessions a scheduled night has to do: those missed earlier, then that of the schedule.

Owns that choice, a pure function. Never touches the store or a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from tasks.runs import PinnedRun
from tasks.sessions import ExchangeCalendar


@dataclass(frozen=True)
class Agenda:
    """What a scheduled night has to do.

    Attributes:
        session: the last session published before the scheduled start.
        news: whether the session still has to be done; False: it was finished before.
        missed: sessions before it that no run has done, oldest first: they are caught up first.
        left_out: how many more were missed than are caught up; they are older.
    """

    session: date
    news: bool
    missed: tuple[date, ...] = ()
    left_out: int = 0


def agenda(
    runs: Iterable[PinnedRun],
    *,
    calendar: ExchangeCalendar,
    lag: timedelta,
    scheduled: datetime,
    catch_up: int,
) -> Agenda:
    """What there is to do at a scheduled start.

    Missed are the sessions after the newest one that a live run has finished, and which no other
    run (a catch-up, a backfill) has finished since. A first night has missed none.

    Args:
        runs: of this configuration, in any order.
        calendar: the exchange's.
        lag: from a session's close to its publication.
        scheduled: the scheduled start, aware; a run that starts late is still about its session.
        catch_up: most sessions to catch up: the newest are chosen.

    Raises:
        SessionError: the calendar doesn't know the scheduled start.
    """
    session = calendar.last_session(scheduled, lag)
    finished = [run for run in runs if run.status == "finished"]
    live = [run for run in finished if run.origin == "live"]
    # A night of a later session has caught this one up, or a person has: that does.
    past = any(run.session > session for run in live)
    of_it = [run for run in (finished if past else live) if run.session == session]
    news = not any(run.message is None for run in of_it)
    newest = max((run.session for run in live if run.session <= session), default=None)
    if newest is None or newest >= session:
        return Agenda(session, news)
    done = {run.session for run in finished}
    between = calendar.sessions(newest, session).tolist()
    missed = [day for day in between if newest < day < session and day not in done]
    chosen = missed[max(len(missed) - catch_up, 0) :]
    return Agenda(session, news, tuple(chosen), len(missed) - len(chosen))
