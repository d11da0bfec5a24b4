"""What the store already has of the instruments at hand, and no more of it than is needed.

Owns these bounded reads. Never writes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from tasks.schemas import DATASETS
from tasks.sources.protocol import Fetched
from tasks.storage.rows import match
from tasks.store import Store

PAYLOAD = ("open", "high", "low", "close", "volume", "price_basis")
KEY = DATASETS["bars"].key

_CONTEXT = timedelta(days=120)
"""Some eighty sessions: the past that rules about neighbours ask for, `tasks.rules.panel.PAST`."""

_RECENT = timedelta(days=45)
"""Where the newest bars of all but dead instruments are."""

_LAST = date(9999, 12, 31)
_FIRST = date(1, 1, 1)


@dataclass(frozen=True)
class Stored:
    """What the store has around fetched rows.

    Attributes:
        bars: its bars (instrument, session, open to volume, price_basis), sorted by instrument
            and session, from before the first to after the last fetched session.
        firsts: instrument and session of the first stored bar, or of any that is no later than
            what was fetched of the instrument.
    """

    bars: pa.Table
    firsts: pa.Table


def newest_sessions(store: Store, names: Sequence[str], now: datetime) -> dict[str, date]:
    """Instrument → the session of its newest stored bar, of those that have one."""
    recent = _keys(store, names, (now - _RECENT).date(), _LAST)
    found = _per_instrument(recent, "max")
    older = [name for name in names if name not in found]
    return {**found, **_per_instrument(_keys(store, older, _FIRST, _LAST), "max")}


def first_sessions(store: Store, names: Sequence[str]) -> dict[str, date]:
    """Instrument → the session of its first stored bar, of those that have one."""
    return _per_instrument(_keys(store, names, _FIRST, _LAST), "min")


def stored_around(store: Store, fetched: Fetched, whole: Collection[str] = ()) -> Stored:
    """The stored bars of every instrument that was fetched, around the sessions fetched.

    Args:
        store: read.
        fetched: whose rows and actions say which instruments and sessions.
        whole: instruments of which every stored bar is read.
    """
    rows = _named(fetched.bars)
    everything = _per_instrument(pa.concat_tables([rows, _named(fetched.actions)]), "min")
    names = sorted(set(everything) - set(whole))
    columns = [*KEY, *PAYLOAD]
    parts = [store.read("bars", instruments=sorted(whole), columns=columns)]
    others = rows.filter(pc.is_in(rows["instrument"], value_set=pa.array(names, pa.string())))
    begin = _LAST
    if others.num_rows:
        ends = pc.min_max(others["session"]).as_py()
        begin = max(_FIRST, _shifted(ends["min"], -_CONTEXT))
        span = (begin, _shifted(ends["max"], _CONTEXT))
        parts.append(
            store.read("bars", instruments=names, columns=columns, between={"session": span})
        )
    bars = pa.concat_tables(parts)
    if bars.num_rows and all(part.num_rows for part in parts):
        bars = bars.sort_by([(name, "ascending") for name in KEY])
    firsts = bars.select(KEY)
    known = _per_instrument(firsts, "min")
    unsettled = [name for name in names if known.get(name, _LAST) > everything[name]]
    earlier = _keys(store, unsettled, _FIRST, _shifted(begin, -timedelta(days=1)))
    return Stored(bars, pa.concat_tables([firsts, earlier]))


def absent_from(rows: pa.Table, other: pa.Table) -> pa.Table:
    """The bars in `rows` whose instrument and session `other` does not have."""
    schema = pa.schema([rows.schema.field(name) for name in KEY])
    keys = pa.table(other.select(KEY).columns, schema=schema)
    return rows.filter(pa.array(match(rows, keys, KEY) < 0))


def _keys(store: Store, names: Sequence[str], first: date, last: date) -> pa.Table:
    return store.read(
        "bars", instruments=names, columns=list(KEY), between={"session": (first, last)}
    )


def _named(table: pa.Table) -> pa.Table:
    """Instrument and session of the rows that tell both."""
    schema = pa.schema([DATASETS["bars"].schema.field(name) for name in KEY])
    there = pc.and_(pc.is_valid(table["instrument"]), pc.is_valid(table["session"]))
    return pa.table(table.select(KEY).filter(there).columns, schema=schema)


def _per_instrument(keys: pa.Table, end: str) -> dict[str, date]:
    ends = keys.group_by("instrument").aggregate([("session", end)])
    return dict(
        zip(ends["instrument"].to_pylist(), ends[f"session_{end}"].to_pylist(), strict=True)
    )


def _shifted(day: date, by: timedelta) -> date:
    """`day` moved, but never out of the calendar."""
    least, most = _FIRST - date.min, date.max - day
    return date.min + max(least, day - date.min + by) if by < timedelta(0) else day + min(by, most)
