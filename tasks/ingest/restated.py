"""Histories that a provider restated as a whole, as it does after a split: fetched again at once.

Owns how a restatement shows in the sessions asked for twice, and the second fetch. Never judges a
row, or writes one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.erased import without
from tasks.ingest.stored import first_sessions
from tasks.sources.merge import merge
from tasks.sources.protocol import Fetched, Source, SourceError, SourceProblem
from tasks.storage.rows import as_mask, codes_of, match, starts_of
from tasks.store import Store

_OLDEST = 5
"""How many of the common bars are looked at: a restatement reaches the oldest ones."""

_SHARE = 0.6
"""How many of these must share the factor: one of them may be a bad row."""

_NEAR = 0.25
"""How near the others must be to it, relative to how far it moved."""

_KEY = ("instrument", "session")


@dataclass(frozen=True)
class Again:
    """What a second fetch came to.

    Attributes:
        fetched: the first fetch, with the whole histories in place of the restated parts, and
            without the instruments held back.
        whole: instruments whose whole history came.
        problems: which are held back, and why.
    """

    fetched: Fetched
    whole: frozenset[str] = frozenset()
    problems: tuple[SourceProblem, ...] = ()


def restated(bars: pa.Table, stored: pa.Table, tolerance: float) -> dict[str, float]:
    """Instrument → the factor by which the oldest bars that both tables have moved.

    Args:
        bars: `sources.protocol.BARS`, in any order.
        stored: instrument, session and close, one row each.
        tolerance: relative; a factor nearer to 1 is none.
    """
    keys = pa.table(bars.select(_KEY).columns, schema=stored.select(_KEY).schema)
    close = bars["close"].to_numpy()
    place = match(keys, stored, _KEY)
    both = np.flatnonzero((place >= 0) & (np.nan_to_num(close) > 0))
    if not len(both):
        return {}
    codes = codes_of(keys.take(pa.array(both)), _KEY)
    both = both[np.argsort(codes, kind="stable")]
    moved = np.log(close[both] / stored["close"].to_numpy()[place[both]])
    names = keys["instrument"].take(pa.array(both))
    starts = np.flatnonzero(starts_of(codes_of(pa.table({"name": names}), ("name",))))
    found = {}
    for begin, end in zip(starts, [*starts[1:], len(both)], strict=True):
        some = moved[begin : min(end, begin + _OLDEST)]
        factor = float(np.median(some))
        near = np.abs(some - factor) <= _NEAR * abs(factor)
        if abs(factor) > tolerance and near.mean() >= _SHARE:
            found[names[int(begin)].as_py()] = float(np.exp(factor))
    return found


def fetch_again(
    store: Store,
    source: Source,
    fetched: Fetched,
    factors: Mapping[str, float],
    start: date | None,
) -> Again:
    """The whole history of every instrument in `factors`, in place of the part that came.

    An instrument whose whole history does not come is left out altogether, so that no history
    mixes prices of two scales; the next ingest sees the same restatement and tries again.

    Args:
        store: tells how far back a history must reach.
        source: asked again.
        fetched: the first fetch.
        factors: as `restated` found them.
        start: the first session ever asked for.
    """
    names = sorted(factors)
    rest = without(fetched, names)
    try:
        second = _only(source.fetch(names, start), names)
    except SourceError as error:
        return Again(rest, problems=_held_back(factors, str(error)))
    stored_first = first_sessions(store, names)
    need, have = _ends(fetched.bars), _ends(second.bars)
    whole: set[str] = set()
    problems: list[SourceProblem] = []
    for name in names:
        one = {name: factors[name]}
        if name not in have:
            problems += _held_back(one, "nothing of it came")
            continue
        (begin, end), (_, newest) = have[name], need[name]
        if begin > stored_first[name]:
            why = f"it came from {begin} on, the store's begins on {stored_first[name]}"
            problems += _held_back(one, why)
        elif end < newest:
            problems += _held_back(one, f"it came until {end} only, and a part until {newest}")
        else:
            whole.add(name)
    told = [one for one in second.problems if one not in fetched.problems]
    merged = merge([replace(rest, problems=()), _only(replace(second, problems=()), whole)], [], "")
    merged = replace(merged, problems=(*fetched.problems, *told), provenance=fetched.provenance)
    return Again(merged, frozenset(whole), tuple(problems))


def _held_back(factors: Mapping[str, float], why: str) -> tuple[SourceProblem, ...]:
    return tuple(
        SourceProblem(
            name,
            f"the source restated its bars of {name} (×{factor:.6g}), and its whole history could "
            f"not be fetched again: {why.rstrip('.')}. Nothing of it is stored until that works, "
            "for its history would mix prices of two scales; the next ingest tries again. If the "
            f"source has no more, run fleetcast erase --instrument {name} and ingest anew.",
        )
        for name, factor in factors.items()
    )


def _only(fetched: Fetched, names: Collection[str]) -> Fetched:
    """The rows and actions of `names`, without those that do not say whose they are."""
    wanted = pa.array(sorted(names), pa.string())
    rows = pa.array(as_mask(pc.is_in(fetched.bars["instrument"], value_set=wanted)))
    defects, adjusted = fetched.defects, fetched.adjusted_close
    return replace(
        fetched,
        bars=fetched.bars.filter(rows),
        original=fetched.original.filter(rows),
        actions=fetched.actions.filter(pc.is_in(fetched.actions["instrument"], value_set=wanted)),
        defects=None if defects is None else defects.filter(rows),
        adjusted_close=None if adjusted is None else adjusted.filter(rows),
    )


def _ends(bars: pa.Table) -> dict[str, tuple[date, date]]:
    """Instrument → the first and the last session among its rows with a close."""
    usable = bars.filter(pc.and_(pc.is_valid(bars["close"]), pc.is_valid(bars["session"])))
    ends = usable.group_by("instrument").aggregate([("session", "min"), ("session", "max")])
    return {
        row["instrument"]: (row["session_min"], row["session_max"])
        for row in ends.to_pylist()
        if row["instrument"] is not None
    }
