"""Counting what came of the rows of one batch.

Owns the counts by instrument. Never decides what becomes of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.bars import Validated
from tasks.ingest.report import InstrumentCounts
from tasks.ingest.stored import KEY
from tasks.schemas import DATASETS
from tasks.sessions import Calendars, missing_counts
from tasks.sources.protocol import Fetched
from tasks.storage.rows import Mask, match, starts_of

Counts = npt.NDArray[np.int64]


def count(
    names: Sequence[str],
    fetched: Fetched,
    judged: Validated,
    *,
    new: Mask,
    changed: Mask,
    retracted: pa.Table,
    stored: pa.Table,
    calendars: Calendars,
) -> tuple[InstrumentCounts, ...]:
    """The counts of each of `names`.

    Args:
        names: everyone whose rows or actions came.
        fetched: what came.
        judged: what of it is a bar.
        new: of the judged bars, which the store did not have; axis (bar).
        changed: which differ from the store's; axis (bar).
        retracted: instrument and session of the stored bars that no longer hold.
        stored: instrument and session of the stored bars around the fetched ones.
        calendars: which sessions there should be.

    Raises:
        InvariantError: a row that came is not accounted for.
    """
    everyone = pa.array(names, pa.string())

    def tally(instruments: pa.ChunkedArray) -> Counts:
        place = pc.index_in(instruments.drop_null(), value_set=everyone).to_numpy()
        return np.bincount(place.astype(np.int64), minlength=len(names))

    bars = judged.bars["instrument"]
    ends = _ends(judged.bars)
    flagged = judged.bars["instrument"].filter(pa.array(_flagged(judged)))
    columns = {
        "fetched": tally(fetched.bars["instrument"]),
        "new": tally(bars.filter(pa.array(new))),
        "changed": tally(bars.filter(pa.array(changed))),
        "unchanged": tally(bars.filter(pa.array(~new & ~changed))),
        "quarantined": tally(fetched.bars["instrument"].take(pa.array(judged.held))),
        "agreed_duplicates": tally(fetched.bars["instrument"].take(pa.array(judged.agreed))),
        "retracted": tally(retracted["instrument"]),
        "actions": tally(fetched.actions["instrument"]),
        "flagged": tally(flagged),
        "missing": _missing(names, judged.bars, stored, retracted, calendars),
    }
    return tuple(
        InstrumentCounts(
            instrument=name,
            first_session=ends.get(name, (None, None))[0],
            last_session=ends.get(name, (None, None))[1],
            **{what: int(counts[place]) for what, counts in columns.items()},
        )
        for place, name in enumerate(names)
    )


def _flagged(judged: Validated) -> Mask:
    """Which judged bars have a flag, or several; flagged actions have no close."""
    of_bars = judged.flags.filter(pc.is_valid(judged.flags["close"]))
    mask: Mask = match(_keys(judged.bars), _keys(of_bars), KEY) >= 0
    return mask


def _missing(
    names: Sequence[str],
    bars: pa.Table,
    stored: pa.Table,
    retracted: pa.Table,
    calendars: Calendars,
) -> Counts:
    """Sessions without a bar, from the stored bar before the first that came to the last."""
    everyone = pa.array(names, pa.string())
    came, before = _keys(bars), _keys(stored)
    if before.num_rows:
        before = before.filter(pa.array(match(before, _keys(retracted), KEY) < 0))
        before = before.filter(pa.array(match(before, came, KEY) < 0))
        before = before.filter(pc.is_in(before["instrument"], value_set=everyone))
    both = pa.concat_tables([came, before])
    code = pc.index_in(both["instrument"], value_set=everyone).to_numpy().astype(np.int64)
    session = both["session"].to_numpy().astype("datetime64[D]")
    theirs = slice(came.num_rows, None)
    first = np.full(len(names), np.datetime64("9999-12-31", "D"))
    last = np.full(len(names), np.datetime64("0001-01-01", "D"))
    # What came is sorted: an instrument's first row is its first session.
    begins = np.flatnonzero(starts_of(code[: came.num_rows]))
    ends = np.append(begins[1:], came.num_rows) - 1
    if came.num_rows:
        first[code[begins]], last[code[begins]] = session[begins], session[ends]
    begin = np.full(len(names), np.datetime64("0001-01-01", "D"))
    earlier = session[theirs] < first[code[theirs]]
    np.maximum.at(begin, code[theirs][earlier], session[theirs][earlier])
    begin = np.where(begin > np.datetime64("0001-01-01", "D"), begin, first)
    inside = (session >= begin[code]) & (session <= last[code])
    code, session = code[inside], session[inside]
    missing = np.zeros(len(names), dtype=np.int64)
    for calendar, places in calendars.grouped(names).items():
        position = np.full(len(names), -1, dtype=np.int64)
        position[places] = np.arange(len(places))
        rows = position[code] >= 0
        found = missing_counts(calendar, position[code[rows]], session[rows])
        missing[np.asarray(places)[: len(found)]] = found
    return missing


def _keys(table: pa.Table) -> pa.Table:
    schema = pa.schema([DATASETS["bars"].schema.field(name) for name in KEY])
    return pa.table(table.select(KEY).columns, schema=schema)


def _ends(bars: pa.Table) -> dict[str, tuple[date, date]]:
    ends = bars.group_by("instrument").aggregate([("session", "min"), ("session", "max")])
    return {row["instrument"]: (row["session_min"], row["session_max"]) for row in ends.to_pylist()}
