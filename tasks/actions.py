"""Splits and dividends: total returns from prices and actions, and actions from adjusted closes.

Owns the arithmetic of corporate actions on arrays. Never touches files, the store or validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.sessions import Sessions

PriceBasis = Literal["raw", "split_adjusted", "total_return"]
"""What a provider's prices are.

raw: as traded. split_adjusted: past prices (and dividends) restated in today's shares.
total_return: past prices also lowered by the dividends paid since.
"""

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Texts = npt.NDArray[Any]

_FACTOR_TOLERANCE = 5e-5
"""A provider's adjustment factor that moves by less, relatively, did not move: it is rounding."""

_RATIO_TOLERANCE = 1e-5
_SMALLEST_SPLIT = 1.2
_LARGEST_DENOMINATOR = 4


@dataclass(frozen=True)
class StepActions:
    """What happened between one bar and the next of one instrument; axis (time).

    Attributes:
        split_ratio: new shares per old share at each bar; 1 where nothing happened.
        dividend: cash per share in the price units of each bar; 0 where nothing was paid.
    """

    split_ratio: Floats
    dividend: Floats


def align_actions(
    sessions: Sessions,
    action_sessions: Sessions,
    actions: Texts,
    values: Floats,
    price_basis: PriceBasis = "raw",
) -> StepActions:
    """The actions of one instrument at the bars where prices feel them.

    An action whose ex-date has no bar is felt at the next bar. What lies after the last bar is not
    felt yet. A dividend of raw prices that meets a later split before that bar is restated in the
    new shares.

    Args:
        sessions: the bars' sessions, ascending; axis (time).
        action_sessions: ex-dates, any order; axis (action).
        actions: "split" or "dividend"; axis (action).
        values: new shares per old share, or cash per share in the prices' units; axis (action).
        price_basis: what the prices are.
    """
    split_ratio = np.ones(len(sessions))
    dividend = np.zeros(len(sessions))
    place = np.searchsorted(sessions, action_sessions)
    felt = place < len(sessions)
    place, days, values = place[felt], action_sessions[felt], values[felt]
    splits = actions[felt] == "split"
    np.multiply.at(split_ratio, place[splits], values[splits])
    cash = values[~splits].astype(np.float64)
    if price_basis == "raw" and splits.any():
        later = (place[~splits, None] == place[None, splits]) & (
            days[~splits, None] < days[None, splits]
        )
        cash = cash / np.where(later, values[None, splits], 1.0).prod(axis=1)
    np.add.at(dividend, place[~splits], cash)
    return StepActions(split_ratio, dividend)


def total_log_returns(
    close: Floats,
    sessions: Sessions,
    split_ratio: Floats,
    dividend: Floats,
    price_basis: PriceBasis,
) -> Floats:
    """Total log returns, bar to bar: r[t] = ln(s[t] (C[t] + D[t]) / C[t-1]).

    The return with distributions of CRSP (Data Descriptions Guide, "Holding Period Return"), with
    a dividend reinvested at the close of its ex-date. Each step uses its own action only, so an
    action that arrives later changes no bit of an earlier step.

    Args:
        close: in the basis's units; axis (time).
        sessions: strictly ascending, or a step would not be a step; axis (time).
        split_ratio: new shares per old share, 1 for none; axis (time). Ignored unless raw.
        dividend: cash per share in units of `close`, 0 for none; axis (time). Ignored where
            `close` is total_return.
        price_basis: what `close` is.

    Returns:
        Axis (time), natural units; the first is NaN, as nothing came before.

    Raises:
        ValueError: `sessions` are not strictly ascending.
    """
    backward = np.flatnonzero(sessions[1:] <= sessions[:-1])
    if len(backward):
        where = int(backward[0])
        raise ValueError(
            f"sessions must be strictly ascending, received {sessions[where]} before "
            f"{sessions[where + 1]} at position {where}. Sort the bars, one per session."
        )
    returns = np.full(len(close), np.nan)
    if len(close) < 2:
        return returns
    worth = np.asarray(close, dtype=np.float64)
    before = worth[:-1]
    if price_basis != "total_return":
        worth = worth + dividend
    if price_basis == "raw":
        worth = worth * split_ratio
    returns[1:] = np.log(worth[1:] / before)
    return returns


def total_return_closes(close: Floats, returns: Floats) -> Floats:
    """An index of total return that starts at the first close: C[0] exp(r[1] + … + r[t]).

    Args:
        close: axis (time); only the first is used.
        returns: total log returns, axis (time); the first is ignored.
    """
    steps = np.concatenate([[0.0], returns[1:]])[: len(returns)]
    index: Floats = close[:1] * np.exp(np.cumsum(steps))
    return index


def check_adjusted(returns: Floats, adjusted_close: Floats) -> float:
    """The largest relative error of derived total-return closes against a provider's.

    Both are made equal at the last bar, as providers restate the past.

    Args:
        returns: total log returns, axis (time); the first is ignored.
        adjusted_close: the provider's, positive; axis (time).
    """
    if len(returns) < 2:
        return 0.0
    derived = np.cumsum(np.concatenate([[0.0], returns[1:]]))
    stated = np.log(adjusted_close)
    apart = (derived - derived[-1]) - (stated - stated[-1])
    return float(np.abs(np.expm1(apart)).max())


@dataclass(frozen=True)
class DerivedActions:
    """Actions that explain a provider's adjusted closes; axis (action), instrument by instrument.

    Attributes:
        position: the row, among those given, on whose session the action falls.
        action: "split" or "dividend".
        value: new shares per old share, or cash per share in the close's units.
    """

    position: Positions
    action: Texts
    value: Floats


def derive_actions(
    instrument_code: Positions,
    sessions: Sessions,
    close: Floats,
    adjusted_close: Floats,
    price_basis: PriceBasis,
) -> DerivedActions:
    """The actions that a provider's adjusted closes imply.

    With the factor f = adjusted/close and x = f[t]/f[t-1]: a ratio such as 2, 3/2 or 1/10 is a
    split; anything else is a dividend of D = C[t] (x - 1), the cash that `total_log_returns` needs
    to return what the provider's adjusted closes return. Where the provider reinvests at the
    previous close, that is the same return by a slightly different D. A factor that leaves for one
    row and comes back is a bad cell, not an action.

    Args:
        instrument_code: whose row it is; axis (row).
        sessions: axis (row); a row with NaT is passed over.
        close: axis (row); NaN and what is not positive is passed over.
        adjusted_close: the provider's; axis (row); as `close`.
        price_basis: raw, or split_adjusted, whose factors hold no splits.
    """
    usable = (close > 0) & (adjusted_close > 0) & np.isfinite(close) & np.isfinite(adjusted_close)
    rows = np.flatnonzero(usable & ~np.isnat(sessions))
    rows = rows[np.lexsort((sessions[rows], instrument_code[rows]))]
    same_day = np.zeros(len(rows), dtype=bool)
    same_day[1:] = (np.diff(instrument_code[rows]) == 0) & (
        sessions[rows[1:]] == sessions[rows[:-1]]
    )
    rows = rows[~same_day]
    factor = adjusted_close[rows] / close[rows]
    code = instrument_code[rows]
    good = ~_leaves_and_returns(factor, code)
    rows, factor, code = rows[good], factor[good], code[good]
    if len(rows) < 2:
        return DerivedActions(rows[:0], np.empty(0, dtype=object), np.empty(0))

    ratio = factor[1:] / factor[:-1]
    moved = (np.abs(ratio - 1) > _FACTOR_TOLERANCE) & (code[1:] == code[:-1])
    rows, ratio = rows[1:][moved], ratio[moved]
    split = np.zeros(len(rows), dtype=bool)
    if price_basis == "raw":
        # A factor that falls pays nothing back: only a ratio of shares explains it.
        split = (ratio < 1) | _is_simple(ratio)
        simple = np.where(ratio < 1, 1 / ratio, ratio) * 12  # 12 = lcm of the denominators
        exact = np.round(simple) / 12
        exact = np.where(ratio < 1, 1 / exact, exact)
        ratio = np.where(_is_simple(ratio), exact, ratio)
    # In prices already adjusted for splits a falling factor has no meaning: it is left out, and
    # the check against the provider's closes reports it.
    meant = split | (ratio > 1)
    rows, ratio, split = rows[meant], ratio[meant], split[meant]
    return DerivedActions(
        position=rows.astype(np.int64),
        action=np.where(split, "split", "dividend").astype(object),
        value=np.where(split, ratio, close[rows] * (ratio - 1)),
    )


def _is_simple(ratio: Floats) -> npt.NDArray[np.bool_]:
    """Whether a ratio, or its inverse, is p/q with a small q, and large enough to be a split."""
    upward = np.where(ratio < 1, 1 / ratio, ratio)
    simple = np.zeros(len(ratio), dtype=bool)
    for denominator in range(1, _LARGEST_DENOMINATOR + 1):
        scaled = upward * denominator
        simple |= np.abs(scaled - np.round(scaled)) <= _RATIO_TOLERANCE * scaled
    return simple & (upward >= _SMALLEST_SPLIT)


def _leaves_and_returns(factor: Floats, code: Positions) -> npt.NDArray[np.bool_]:
    gone = np.zeros(len(factor), dtype=bool)
    if len(factor) >= 3:
        back = np.abs(factor[2:] / factor[:-2] - 1) <= _FACTOR_TOLERANCE
        away = np.abs(factor[1:-1] / factor[:-2] - 1) > _FACTOR_TOLERANCE
        gone[1:-1] = back & away & (code[2:] == code[:-2])
    return gone
