"""One-row bad ticks: a close that jumps away and comes back, while crashes and splits do not.

Owns what makes a jump absurd. Never touches other rules, files or the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.storage.rows import Codes, Mask, codes_of

Floats = npt.NDArray[np.float64]

_TICKS = 2.5
"""A move of at most two steps of the price's own grid is the coarsest a quiet day can be."""

_DECIMALS = 8


@dataclass(frozen=True)
class Jumps:
    """The absurd jumps among some bars; axis (jump).

    Attributes:
        rows: their positions, ascending.
        reasons: why, with the closes.
    """

    rows: Codes
    reasons: npt.NDArray[Any]


def absurd_jumps(
    bars: pa.Table, actions: pa.Table, *, ratio: float, ratio_in_range: float, reverts: float
) -> Jumps:
    """Rows whose close leaves the one before and is left by the one after, and no action tells why.

    A row is absurd if its close moves by more than `ratio` against both neighbours, in opposite
    directions, and these are within `reverts` of each other. It is not absurd

    - if a split or dividend explains either move, in raw prices or already adjusted ones;
    - if its own high and low reach back to the close before or span half the move, unless the
      move exceeds `ratio_in_range`: wild days trade through many prices, bad ticks at one;
    - if the move is at most two steps of the grid that the three prices lie on: a penny stock at
      0.0001 or 0.0002;
    - if the row beside it does the same: a price that swings is not one bad row;
    - if it is an instrument's first or last: nothing tells yet whether it comes back.

    Args:
        bars: one row per instrument and session, sorted by both; positive closes.
        actions: `sources.protocol.ACTIONS`, any order, any instruments.
        ratio: above 1.
        ratio_in_range: above 1.
        reverts: relative.
    """
    none = np.empty(0, dtype=np.int64)
    if bars.num_rows < 3:
        return Jumps(none, none.astype(object))
    close, high, low = (bars[name].to_numpy() for name in ("close", "high", "low"))
    everyone = pa.concat_tables(
        [bars.select(_KEY), actions.select(_KEY).cast(bars.select(_KEY).schema)]
    )
    codes = codes_of(everyone, ("instrument",))
    code, action_code = codes[: bars.num_rows], codes[bars.num_rows :]
    move = np.diff(np.log(close))
    told = np.diff(np.log(close)) + _explained(bars, actions, close, code, action_code)[1:]
    move = np.where(np.abs(told) < np.abs(move), told, move)

    before, after = move[:-1], move[1:]  # into and out of rows 1 … n-2
    alone = (code[2:] == code[:-2]) & (before * after < 0)
    size = np.minimum(np.abs(before), np.abs(after))
    near = np.abs(np.log(close[2:] / close[:-2])) <= np.log1p(reverts)
    reach = 1 + reverts
    in_range = (low[1:-1] <= close[:-2] * reach) & (high[1:-1] >= close[:-2] / reach)
    in_range |= np.log(high[1:-1] / low[1:-1]) >= size / 2
    threshold = np.log(np.where(in_range, max(ratio, ratio_in_range), ratio))
    found = np.flatnonzero(alone & near & (size > threshold)) + 1
    found = found[~_on_grid(close[found - 1], close[found], close[found + 1])]
    found = found[_solitary(found)]
    return Jumps(found, _reasons(close, found))


_KEY = ["instrument", "session"]


def _explained(
    bars: pa.Table, actions: pa.Table, close: Floats, code: Codes, action_code: Codes
) -> Floats:
    """What actions add to the log return into each bar, axis (bar).

    An ex-date without a bar counts for the instrument's next one.
    """
    added = np.zeros(len(close))
    if not actions.num_rows:
        return added
    session = bars["session"].to_numpy().astype("datetime64[D]").astype(np.int64)
    day = actions["session"].to_numpy().astype("datetime64[D]").astype(np.int64)
    place = np.searchsorted(_packed(code, session), _packed(action_code, day))
    inside = np.minimum(place, len(code) - 1)
    felt = (place < len(code)) & (code[inside] == action_code)
    place, value = place[felt], actions["value"].to_numpy()[felt]
    split = actions["action"].to_numpy(zero_copy_only=False)[felt] == "split"
    np.add.at(added, place[split], np.log(value[split]))
    np.add.at(added, place[~split], np.log1p(value[~split] / close[place[~split]]))
    return added


def _packed(code: Codes, day: Codes) -> Codes:
    return code * (1 << 32) + day


def _on_grid(before: Floats, here: Floats, after: Floats) -> Mask:
    """Whether both moves are at most two steps of the coarsest decimal grid of the three prices."""
    quiet = np.zeros(len(here), dtype=bool)
    undecided = np.ones(len(here), dtype=bool)
    for decimals in range(_DECIMALS + 1):
        step = 10.0**-decimals
        prices = np.stack([before, here, after]) / step
        fits = (np.abs(prices - np.round(prices)) < 1e-4).all(axis=0) & undecided
        largest = np.maximum(np.abs(here - before), np.abs(here - after)) / step
        quiet |= fits & (largest <= _TICKS)
        undecided &= ~fits
    return quiet


def _solitary(rows: Codes) -> Mask:
    beside = np.diff(rows) == 1
    lonely: Mask = np.ones(len(rows), dtype=bool)
    lonely[1:] &= ~beside
    lonely[:-1] &= ~beside
    return lonely


def _reasons(close: Floats, rows: Codes) -> npt.NDArray[Any]:
    words = [close[rows + step].astype(str).astype(object) for step in (-1, 0, 1)]
    reasons: npt.NDArray[Any] = (
        "the close goes from " + words[0] + " to " + words[1] + " and back to " + words[2]
    )
    return reasons
