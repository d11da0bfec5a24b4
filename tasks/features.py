"""From an instrument's bars to the arrays its LSTM sees: returns, variances, features, targets.

Owns the definitions of DESIGN's `log_return` and `log_volatility`. Never touches the store,
calendars or fitted parameters; every feature at a row uses that row and earlier ones only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lstm_models.features import FEATURES

Floats = NDArray[np.float64]

EWMA_DECAY = 0.94
LONGEST_MEMORY = 126
"""Rows before the first row whose features are all known, plus one."""
RANGE_EPSILON, RETURN_EPSILON = 0.001, 0.05


@dataclass(frozen=True)
class Series:
    """One instrument's history, one entry per session with a bar, in order.

    Attributes:
        instrument: its name.
        sessions: exchange sessions, `(row,)` datetime64[D].
        ordinals: position of each session on the exchange's calendar, `(row,)`: rows are not
            evenly spaced where a session is missing.
        close: as the provider gave it, `(row,)`.
        log_return: total-return log return into each row, `(row,)`; NaN at the first.
        variance: daily variance, `(row,)`, natural units squared.
        has_range: whether `variance` is Garman–Klass (else squared returns).
        market_variance: of the market that it belongs to, `(row,)`, in the market's unit; None: it
            stands alone, and its market is at rest. See `tasks.market`.
        market_return: mean log return of that market, `(row,)`.
    """

    instrument: str
    sessions: NDArray[np.datetime64]
    ordinals: NDArray[np.int64]
    close: Floats
    log_return: Floats
    variance: Floats
    has_range: bool
    market_variance: Floats | None = None
    market_return: Floats | None = None

    def __len__(self) -> int:
        return len(self.sessions)


def daily_variance(
    open_: Floats, high: Floats, low: Floats, close: Floats, log_return: Floats
) -> tuple[Floats, bool]:
    """Garman–Klass variance where a row has open, high, low and close, else the squared return.

    A row that stands still (high = low) at another price than the row before has no range to speak
    of: closes that were copied into all four columns look like that. A series with ranges in fewer
    than 95 % of its rows uses squared returns throughout: two measures of different scale in one
    series would read as a change of volatility.

    Returns:
        `(row,)` and whether it is Garman–Klass.

    Source: Garman & Klass (1980), eq. 20: ½ (ln H/L)² − (2 ln 2 − 1)(ln C/O)².
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        spread, body = np.log(high / low), np.log(close / open_)
    ranged = 0.5 * spread**2 - (2.0 * np.log(2.0) - 1.0) * body**2
    squared = log_return**2
    copied = (high == low) & (log_return != 0.0)
    known = np.isfinite(ranged) & ~copied
    if len(known) == 0 or known.mean() < 0.95:
        return squared, False
    return np.where(known, np.maximum(ranged, 0.0), squared), True


def variance_floor(series: Series, rows: int) -> float:
    """Epsilon of the log-variance: a small share of the mean daily variance of the first `rows`.

    0.1 % with ranges, 5 % with squared returns, which are often almost zero. It comes from the
    start of the history, which is over before any fold's fit segment ends, so that the target means
    the same in every fold and on every night.
    """
    known = series.variance[:rows]
    known = known[np.isfinite(known)]
    share = RANGE_EPSILON if series.has_range else RETURN_EPSILON
    return float(share * known.mean()) if len(known) else 0.0


def features(series: Series, epsilon: float) -> Floats:
    """All columns of `lstm_models.features.FEATURES`, `(row, feature)`; NaN until known."""
    r, v = series.log_return, series.variance
    known = np.isfinite(v)
    filled = np.where(known, v, 0.0)

    def log_mean(window: int) -> Floats:
        mean = _trailing(v, window) / window
        return _log(mean + epsilon)

    ewma = np.full(len(v), np.nan)
    if len(v) >= 22:
        level = float(np.mean(filled[:22]))
        for row in range(len(v)):
            level = EWMA_DECAY * level + (1.0 - EWMA_DECAY) * filled[row]
            ewma[row] = level
        ewma[:21] = np.nan  # the level they start from had not been seen in full
    market = np.ones(len(v)) if series.market_variance is None else series.market_variance
    shared = np.zeros(len(v)) if series.market_return is None else series.market_return
    columns = {
        "log_return": r,
        "abs_return": np.abs(r),
        "return_sign": np.sign(r),
        "return_5": _trailing(r, 5),
        "return_22": _trailing(r, 22),
        "log_variance_1": _log(v + epsilon),
        "log_variance_5": log_mean(5),
        "log_variance_22": log_mean(22),
        "log_variance_66": log_mean(66),
        "log_variance_126": log_mean(LONGEST_MEMORY),
        "log_variance_ewma": _log(ewma + epsilon),
        "market_return": shared,
        "market_abs_return": np.abs(shared),
        "market_return_5": _trailing(shared, 5),
        "market_log_variance_1": _log(market),
        "market_log_variance_5": _log(_trailing(market, 5) / 5),
        "market_log_variance_22": _log(_trailing(market, 22) / 22),
    }
    return np.stack([columns[name] for name in FEATURES], axis=-1)


def targets(series: Series, target: str, horizon: int, epsilon: float) -> Floats:
    """`(row, lead)`: what the next 1 … `horizon` sessions brought; NaN where not (yet) known.

    `log_return` is the cumulative total log return; `log_volatility` the log of the mean daily
    variance over the next h sessions plus `epsilon`, known only where all h sessions are.

    Raises:
        ValueError: for any other target.
    """
    if target not in ("log_return", "log_volatility"):
        raise ValueError(f"target must be 'log_return' or 'log_volatility', received {target!r}")
    rows = len(series)
    out = np.full((rows, horizon), np.nan)
    level = np.cumsum(np.where(np.isfinite(series.log_return), series.log_return, 0.0))
    for lead in range(1, horizon + 1):
        end = np.searchsorted(series.ordinals, series.ordinals + lead)
        held = end < rows
        held[held] = series.ordinals[end[held]] == series.ordinals[held] + lead
        if target == "log_return":
            out[held, lead - 1] = level[end[held]] - level[held]
        elif rows > lead:
            mean = np.full(rows, np.nan)
            mean[:-lead] = sliding_window_view(series.variance[1:], lead).sum(axis=1) / lead
            complete = held & (end - np.arange(rows) == lead)
            out[complete, lead - 1] = _log(mean[complete] + epsilon)
    return out


def next_returns(series: Series) -> Floats:
    """The next session's log return at each row, `(row,)`; NaN where not (yet) known.

    Bit for bit the return of that row, and no difference of sums as in `targets`: returns that tie,
    as in illiquid stocks, must still tie.
    """
    out = np.full(len(series), np.nan)
    follows = np.flatnonzero(np.diff(series.ordinals) == 1)
    out[follows] = series.log_return[follows + 1]
    return out


def first_complete(rows: Floats) -> int:
    """First row from which on every feature is known to the end; `len(rows)` if there is none."""
    unknown = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    return int(unknown[-1]) + 1 if len(unknown) else 0


def padded(arrays: Sequence[Floats]) -> Floats:
    """Stack `(row, column)` arrays of different lengths to `(series, row, column)`, NaN-padded."""
    rows = max(len(array) for array in arrays)
    out = np.full((len(arrays), rows, arrays[0].shape[1]), np.nan)
    for place, array in zip(out, arrays, strict=True):
        place[: len(array)] = array
    return out


def _trailing(values: Floats, window: int) -> Floats:
    """Sum of each row and the `window − 1` before it; NaN where one of them is."""
    out = np.full(len(values), np.nan)
    if len(values) >= window:
        out[window - 1 :] = sliding_window_view(values, window).sum(axis=1)
    return out


def _log(values: Floats) -> Floats:
    """Natural log; −inf and NaN both become NaN (a variance of zero has no log)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values)
    return np.where(np.isfinite(logs), logs, np.nan)
