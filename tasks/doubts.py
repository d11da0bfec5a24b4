"""What is odd about the bars of an ingest as a whole, though each of them is possible.

Owns these judgements and their words. Never changes or holds a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.actions import PriceBasis, align_actions, check_adjusted, total_log_returns
from tasks.bars import Validated
from tasks.sources.protocol import Fetched, Source, SourceProblem
from tasks.storage.rows import as_mask, codes_of, match, starts_of

TOLERANCE = 5e-3
"""Providers reinvest at the previous close or at that of the ex-date, and round: over decades these
differ by some tenths of a per cent. A missing dividend or split is more."""

_ALIKE = 5
_PRICED = ["instrument", "session", "close"]

STALE = timedelta(days=30)


def doubts(
    source: Source, fetched: Fetched, judged: Validated, stored: pa.Table
) -> tuple[SourceProblem, ...]:
    """Everything odd about the bars of a batch.

    Args:
        source: where the rows came from.
        fetched: what it brought.
        judged: what of that is a bar.
        stored: the bars that the store had of the same instruments.
    """
    if not judged.bars.num_rows:
        return ()
    found = [*_mixed_bases(judged.bars, stored, source), *_restated(judged.bars, stored)]
    if fetched.adjusted_close is not None:
        adjusted = fetched.adjusted_close.take(pa.array(judged.kept))
        found += adjusted_problems(judged.bars, adjusted, fetched.actions, source.price_basis)
    return tuple(found)


def stale(source: Source, newest: date | None, now: datetime) -> tuple[SourceProblem, ...]:
    """That a source which should grow brought only old bars.

    Args:
        source: where the rows came from.
        newest: the newest session of an ingest; None: it had no bar.
        now: the instant of the ingest.
    """
    if source.archive or newest is None or newest >= (now - STALE).date():
        return ()
    message = (
        f"the newest bar of source {source.name!r} is of {newest}, more than {STALE.days} days "
        "ago. If this is history that does not grow, set source.archive = true, or run with "
        f"--as-of {newest}."
    )
    return (SourceProblem(None, message),)


def _mixed_bases(bars: pa.Table, stored: pa.Table, source: Source) -> tuple[SourceProblem, ...]:
    """Instruments whose history would mix prices of two kinds."""
    other = stored.filter(pc.not_equal(stored["price_basis"], source.price_basis))
    mine = pc.is_in(other["instrument"], value_set=pc.unique(bars["instrument"]))
    other = other.filter(mine)
    key = ("instrument", "session")
    plain = pa.table(bars.select(key).columns, schema=other.select(key).schema)
    other = other.filter(pa.array(match(other, plain, key) < 0))
    if not other.num_rows:
        return ()
    names = pc.unique(other["instrument"]).to_pylist()
    message = (
        f"the store's bars of {_some(names)} are {other['price_basis'][0].as_py()}, those of "
        f"source {source.name!r} are {source.price_basis}: one history would mix the two, and "
        "returns where they meet would be false. Correct source.price_basis, or give each "
        "source a store of its own."
    )
    return (SourceProblem(names[0] if len(names) == 1 else None, message),)


def _restated(bars: pa.Table, stored: pa.Table) -> tuple[SourceProblem, ...]:
    """Instruments of which a part of the stored history was restated, as after a split.

    The first bars that came are all the same multiple of what is stored, and the bars before them
    did not come: these stay as they were, and the return where they meet is false.
    """
    bars = pa.table(bars.select(_PRICED).columns, schema=stored.select(_PRICED).schema)
    place = match(bars, stored, ("instrument", "session"))
    both = np.flatnonzero(place >= 0)
    if not len(both):
        return ()
    code = codes_of(bars, ("instrument",))
    old = stored["close"].to_numpy()[place[both]]
    ratio = bars["close"].to_numpy()[both] / old
    first = np.flatnonzero(starts_of(code[both]))
    names = stored["instrument"].to_numpy()
    found: dict[str, float] = {}
    for start, end in zip(first, [*first[1:], len(both)], strict=True):
        some = ratio[start : min(end, start + _ALIKE)]
        here = place[both[start]]
        older = here > 0 and names[here - 1] == names[here]
        if older and abs(some[0] - 1) > TOLERANCE and np.ptp(some) <= TOLERANCE * some[0]:
            found[str(names[here])] = float(some[0])
    if not found:
        return ()
    shown = _some([f"{name} (×{factor:.4g})" for name, factor in found.items()])
    message = (
        f"the source restated its bars of {shown}, but brought only the later part of the history "
        "in the store: the return where the two meet is false. Let the source bring the whole "
        "history of these once."
    )
    return (SourceProblem(next(iter(found)) if len(found) == 1 else None, message),)


def adjusted_problems(
    bars: pa.Table, adjusted_close: pa.ChunkedArray, actions: pa.Table, price_basis: PriceBasis
) -> tuple[SourceProblem, ...]:
    """One problem that names the instruments whose total returns the provider contradicts.

    Args:
        bars: sorted by instrument and session.
        adjusted_close: the provider's, in the same order; null where it has none.
        actions: `sources.protocol.ACTIONS`.
        price_basis: what the prices are.
    """
    usable = as_mask(pc.fill_null(pc.greater(adjusted_close, 0), False))
    bars, stated = bars.filter(pa.array(usable)), adjusted_close.to_numpy()[usable]
    if not bars.num_rows:
        return ()
    starts = np.flatnonzero(starts_of(codes_of(bars, ("instrument",))))
    ends = np.append(starts[1:], bars.num_rows)
    names = bars["instrument"].take(pa.array(starts)).to_pylist()
    session = bars["session"].to_numpy().astype("datetime64[D]")
    close = bars["close"].to_numpy()
    apart: dict[str, float] = {}
    for name, start, end in zip(names, starts, ends, strict=True):
        mine = actions.filter(pc.equal(actions["instrument"], name))
        step = align_actions(
            session[start:end],
            mine["session"].to_numpy().astype("datetime64[D]"),
            mine["action"].to_numpy(),
            mine["value"].to_numpy(),
            price_basis,
        )
        returns = total_log_returns(
            close[start:end], session[start:end], step.split_ratio, step.dividend, price_basis
        )
        error = check_adjusted(returns, stated[start:end])
        if error > TOLERANCE:
            apart[name] = error
    if not apart:
        return ()
    worst = sorted(apart, key=lambda name: -apart[name])
    message = (
        f"the adjusted closes of {_some([f'{name} (by {apart[name]:.1%})' for name in worst])} do "
        f"not follow from the {price_basis} closes and the splits and dividends stated: some of "
        'these are missing or wrong. Set source.adjusted_close = "derive" to take those that the '
        'adjusted closes imply, or "ignore" to leave it so.'
    )
    return (SourceProblem(worst[0] if len(worst) == 1 else None, message),)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
