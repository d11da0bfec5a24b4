"""From bars and forecasts to the two fans of an instrument: its price, and its volatility.

Owns the step from target units to what a person reads. Never touches the store or a drawing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np

from tasks.features import daily_variance
from tasks.report.fan import Fan
from tasks.report.prices import Prices
from tasks.report.run_view import HISTORY, Row
from tasks.report.typography import price_decimals

SESSIONS_A_YEAR = 252

Floats = np.ndarray[Any, np.dtype[np.float64]]


def price_fan(instrument: str, prices: Prices, forecasts: Sequence[Row]) -> Fan | None:
    """Recent closes, and close · exp(mean, lower, upper) of the `log_return` forecasts by lead.

    Closes are shown on the basis of the cutoff: those before a split are divided by its ratio.
    None where no bar is known up to the cutoff.
    """
    known = prices.sessions <= np.datetime64(forecasts[0]["cutoff"])
    if not known.any():
        return None
    close = split_adjusted(prices)[known][-HISTORY:]
    last = float(close[-1])
    return Fan(
        name=f"{instrument}, closing price",
        sessions=_dates(prices.sessions[known][-HISTORY:]),
        history=tuple(close.tolist()),
        targets=tuple(row["target_session"] for row in forecasts),
        mean=tuple(last * _exp(row["mean"]) for row in forecasts),
        lower=tuple(last * _exp(row["lower"]) for row in forecasts),
        upper=tuple(last * _exp(row["upper"]) for row in forecasts),
        level=forecasts[0]["level"],
        decimals=price_decimals(last),
    )


def volatility_fan(instrument: str, prices: Prices, forecasts: Sequence[Row]) -> Fan | None:
    """Recent realised volatility and its forecast by lead, in per cent a year.

    Dots are single sessions; the line is the mean over as many sessions as the last lead covers,
    so that its last point and the last lead speak of the same length of time. None where no
    variance is known up to the cutoff.
    """
    variance = realised_variance(prices)
    known = (prices.sessions <= np.datetime64(forecasts[0]["cutoff"])) & np.isfinite(variance)
    if not known.any():
        return None
    variance = variance[known]
    line = trailing_mean(variance, forecasts[-1]["lead"])
    return Fan(
        name=f"{instrument}, daily volatility, annualised",
        sessions=_dates(prices.sessions[known][-HISTORY:]),
        history=tuple(_annual_percent(np.sqrt(line))[-HISTORY:].tolist()),
        daily=tuple(_annual_percent(np.sqrt(variance))[-HISTORY:].tolist()),
        targets=tuple(row["target_session"] for row in forecasts),
        mean=tuple(100 * annual_volatility(row) for row in forecasts),
        lower=tuple(100 * annual_bound(row["lower"]) for row in forecasts),
        upper=tuple(100 * annual_bound(row["upper"]) for row in forecasts),
        level=forecasts[0]["level"],
        decimals=1,
        unit="%",
        from_cutoff=False,
        floor=0.0,
        axis="% a year",
    )


def split_adjusted(prices: Prices) -> Floats:
    """(time,) closes on the basis of the last bar: divided by the ratio of every later split.

    Prices that their provider adjusted already are returned as they are.
    """
    close = prices.close.copy()
    if prices.price_basis == "raw":
        for session, ratio in prices.splits:
            if np.datetime64(session) <= prices.sessions[-1]:
                close[prices.sessions < np.datetime64(session)] /= ratio
    return close


def realised_variance(prices: Prices) -> Floats:
    """(time,) daily variance as the target `log_volatility` has it; NaN where it is not known.

    The squared return of a session without all four prices leaves dividends out.
    """
    returns = np.diff(np.log(split_adjusted(prices)), prepend=np.nan)
    return daily_variance(prices.open, prices.high, prices.low, prices.close, returns)[0]


def trailing_mean(values: Floats, length: int) -> Floats:
    """(time,) mean of the last `length` values; NaN where there are fewer."""
    result = np.full(len(values), np.nan)
    if len(values) >= length:
        windows = np.lib.stride_tricks.sliding_window_view(values, length)
        result[length - 1 :] = windows.mean(axis=-1)
    return result


def annual_volatility(row: Row) -> float:
    """A forecast's bias-corrected daily volatility, times √252; a fraction a year.

    A row without that column falls back to exp(mean/2), which leans low.
    """
    daily: float | None = row["volatility"]
    return annual_bound(row["mean"]) if daily is None else daily * math.sqrt(SESSIONS_A_YEAR)


def annual_bound(log_variance: float) -> float:
    """exp(bound/2)·√252. A bound is a quantile, and quantiles need no bias correction."""
    return _exp(log_variance / 2) * math.sqrt(SESSIONS_A_YEAR)


def _annual_percent(daily: Floats) -> Floats:
    result: Floats = 100 * math.sqrt(SESSIONS_A_YEAR) * daily
    return result


def _exp(value: float) -> float:
    """The exponential, which answers ∞ instead of raising for an absurdly wide bound."""
    return math.exp(value) if value < 700 else math.inf


def _dates(sessions: np.ndarray[Any, np.dtype[np.datetime64]]) -> tuple[date, ...]:
    return tuple(sessions.astype("datetime64[D]").tolist())
