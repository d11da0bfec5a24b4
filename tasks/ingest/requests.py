"""What a source is asked for: which instruments together, and from which session on.

Owns the plan of the requests. Never fetches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from tasks.sessions import Calendars
from tasks.sources.protocol import Source


@dataclass(frozen=True)
class Request:
    """One request, whose rows are judged and committed together.

    Attributes:
        instruments: sorted; None: all that the source has.
        first: the first session asked for; None: from the beginning.
        partial: whether the store has earlier sessions, which are not asked for.
    """

    instruments: tuple[str, ...] | None
    first: date | None = None
    partial: bool = False


def plan(
    source: Source,
    wanted: Sequence[str] | None,
    newest: Mapping[str, date],
    calendars: Calendars,
    *,
    start: date | None,
    overlap_sessions: int,
) -> list[Request]:
    """The requests, the least history first: what tonight needs is in soonest.

    A source that reads whole is asked for everything. Any other is asked, per instrument, for the
    sessions since the newest stored bar and `overlap_sessions` before it, counted on the
    instrument's calendar; where nothing is stored, from `start`. Instruments with the same first
    session share requests of at most `source.batch_size`.

    Args:
        source: who is asked.
        wanted: names; None: all that the source has, in one request.
        newest: instrument → its newest stored session.
        calendars: what sessions are counted on.
        start: the first session ever asked for; None: the source's first.
        overlap_sessions: at least 1.
    """
    if wanted is None:
        return [Request(None, start if source.incremental else None)]
    groups: dict[tuple[date | None, bool], list[str]] = defaultdict(list)
    for name in sorted(set(wanted)):
        first, partial = start, False
        if not source.incremental:
            first = None
        elif name in newest:
            first = _before(newest[name], overlap_sessions, calendars, name)
            partial = start is None or first > start
            first = first if partial else start
        groups[first, partial].append(name)
    latest_first = sorted(groups, key=lambda key: (key[0] or date.min, key[1]), reverse=True)
    return [
        Request(tuple(names), first, partial)
        for first, partial in latest_first
        for names in _batches(groups[first, partial], source.batch_size)
    ]


def _before(newest: date, sessions: int, calendars: Calendars, name: str) -> date:
    """The session so many sessions before `newest`, which need not be one itself."""
    known = calendars.of(name).all_sessions
    place = int(np.searchsorted(known, np.datetime64(newest, "D"))) - sessions
    first: date = known[max(0, place)].astype("datetime64[D]").item()
    return min(first, newest)


def _batches(names: Sequence[str], size: int | None) -> list[Sequence[str]]:
    step = max(1, size or len(names))
    return [names[start : start + step] for start in range(0, len(names), step)]
