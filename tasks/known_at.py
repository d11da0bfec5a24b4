"""When a fact is taken to have been known, where nobody wrote it down.

Owns the proposal. Never touches the store, which stamps what changed with the true time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.schemas import INSTANT
from tasks.sessions import Calendars
from tasks.storage.rows import codes_of

_KEY = ["instrument", "session"]


def propose(
    rows: pa.Table,
    stored: pa.Table,
    calendars: Calendars,
    *,
    now: datetime,
    lag: timedelta,
    archive: bool = False,
) -> pa.Table:
    """`rows` with `known_at` and `assumed`.

    History that arrives in bulk has no true time: a row of an instrument that the store has no bar
    of, or older than its first bar, is taken as known when its session had closed and the source's
    lag had passed, and is flagged as assumed. Any other row became known now. An archive never
    tells when its rows became known, so all that is new in it is assumed.

    Args:
        rows: with the columns instrument and session (an ex-date that is no session counts as
            the next one).
        stored: the bars in the store; the same columns.
        calendars: when sessions closed.
        now: the instant of the ingest, aware.
        lag: from a close to publication.
        archive: whether the source is one.
    """
    count = rows.num_rows
    everyone = pa.concat_tables([_plain(rows), _plain(stored)])
    code = codes_of(everyone, ("instrument",))
    session = everyone["session"].to_numpy().astype("datetime64[D]")
    never = np.datetime64("9999-12-31", "D")
    first = np.full(int(code.max(initial=-1)) + 1, never)
    np.minimum.at(first, code[count:], session[count:])
    code, session = code[:count], session[:count]
    assumed = (session < first[code]) | archive

    published = np.empty(count, dtype="datetime64[us]")
    _, some = np.unique(code, return_index=True)
    names = rows["instrument"].take(pa.array(some)).to_pylist()
    groups = calendars.grouped(names)
    for calendar, places in groups.items():
        mine = np.isin(code, code[some[places]]) if len(groups) > 1 else np.ones(count, dtype=bool)
        next_one = np.searchsorted(calendar.all_sessions, session[mine])
        next_one = np.minimum(next_one, len(calendar.all_sessions) - 1)
        published[mine] = calendar.all_closes[next_one] + np.timedelta64(lag)
    instant = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us")
    known = np.where(assumed, np.minimum(published, instant), instant)
    known_at = pc.assume_timezone(pa.array(known, pa.timestamp("us")), "UTC").cast(INSTANT)
    return rows.append_column("known_at", known_at).append_column("assumed", pa.array(assumed))


def _plain(table: pa.Table) -> pa.Table:
    schema = pa.schema([("instrument", pa.string()), ("session", pa.date32())])
    return pa.table(table.select(_KEY).columns, schema=schema)
