"""From the store's bars and actions to one `Series` per instrument, as known at an instant.

Owns the as-of read and the alignment of rows, actions and sessions. Never touches features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.actions import align_actions, total_log_returns
from tasks.features import Series, daily_variance
from tasks.market import with_market
from tasks.sessions import Calendars
from tasks.store import Store

_COLUMNS = ("instrument", "session", "open", "high", "low", "close", "price_basis")


def load_series(
    store: Store,
    instruments: Sequence[str],
    calendars: Calendars,
    *,
    as_of: datetime,
    last: date,
    versions: Mapping[str, int] | None = None,
    market: Sequence[str] = (),
) -> dict[str, Series]:
    """Each instrument's history as known at `as_of`, up to the session `last`.

    Args:
        store: holds `bars` and `actions`.
        instruments: whose.
        calendars: of all.
        as_of: whose knowledge.
        last: the last session.
        versions: of the datasets, where they are pinned.
        market: instruments that stand for the markets, see `tasks.market.market_sample`; none
            leaves every instrument alone.

    Returns:
        Series by instrument, in sorted order; an instrument without a bar is left out.

    Raises:
        StoreError: if the store cannot be read.
    """
    names = sorted({*instruments, *market})
    bars = store.read("bars", as_of=as_of, instruments=names, versions=versions, columns=_COLUMNS)
    actions = store.read("actions", as_of=as_of, instruments=names, versions=versions)
    limit = pa.scalar(last, pa.date32())
    bars = bars.filter(pc.less_equal(bars["session"], limit)).combine_chunks()
    actions = actions.filter(pc.less_equal(actions["session"], limit)).combine_chunks()
    bar_rows, action_rows = _rows_of(bars), _rows_of(actions)
    found = {
        name: _series(
            name,
            bars.slice(*bar_rows[name]),
            actions.slice(*action_rows.get(name, (0, 0))),
            calendars,
        )
        for name in names
        if name in bar_rows
    }
    wanted = {name: found[name] for name in sorted(instruments) if name in found}
    sample = {name: found[name] for name in sorted(market) if name in found}
    return with_market(wanted, sample, calendars) if sample else wanted


def _rows_of(table: pa.Table) -> dict[str, tuple[int, int]]:
    """Offset and length of each instrument's rows in a table sorted by instrument."""
    names = np.asarray(table["instrument"].to_pylist(), dtype=object)
    if len(names) == 0:
        return {}
    first = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    ends = np.append(first[1:], len(names))
    return {str(names[a]): (int(a), int(b - a)) for a, b in zip(first, ends, strict=True)}


def _series(name: str, bars: pa.Table, actions: pa.Table, calendars: Calendars) -> Series:
    sessions = bars["session"].to_numpy().astype("datetime64[D]")
    basis = bars["price_basis"][-1].as_py()
    steps = align_actions(
        sessions,
        actions["session"].to_numpy().astype("datetime64[D]"),
        np.asarray(actions["action"].to_pylist(), dtype=str),
        _numbers(actions, "value"),
        basis,
    )
    open_, high, low, close = (
        _numbers(bars, column) for column in ("open", "high", "low", "close")
    )
    log_return = total_log_returns(close, sessions, steps.split_ratio, steps.dividend, basis)
    variance, has_range = daily_variance(open_, high, low, close, log_return)
    held = calendars.of(name).all_sessions
    return Series(
        instrument=name,
        sessions=sessions,
        ordinals=np.searchsorted(held, sessions).astype(np.int64),
        close=close,
        log_return=log_return,
        variance=variance,
        has_range=has_range,
    )


def _numbers(table: pa.Table, column: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
    return values
