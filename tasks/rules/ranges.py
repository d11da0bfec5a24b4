"""Highs and lows that no price beside them goes with.

Owns how far a day may reach beyond its open and close. Never touches other rules.

Flash crashes are the look-alikes. In 2010-05-06 and 2015-08-24 lows of 386 members of the S&P 500
lie up to 18 % below open, close and the closes beside; bad lows lie 73 % below, and more.
"""

from __future__ import annotations

import numpy as np

from tasks.rules.config import ValidationConfig
from tasks.rules.panel import FEWEST, NOTHING, PAST, Found, Panel, words
from tasks.storage.rows import Codes

_BAD_DAYS = 5.0
_WIDE_DAYS = 10.0
"""The reach must also be this many times the median range of the days before."""


def bad_ranges(panel: Panel, config: ValidationConfig) -> Found:
    """Bars whose low or high lies `range_ratio` times beyond open, close and the closes beside."""
    return _reaching(panel, config.range_ratio, _BAD_DAYS, strict=False)


def wide_ranges(panel: Panel, config: ValidationConfig) -> Found:
    """The same by `wide_ratio`, where the days before are known and narrow."""
    return _reaching(panel, config.wide_ratio, _WIDE_DAYS, strict=True)


def _reaching(panel: Panel, ratio: float, days: float, *, strict: bool) -> Found:
    with np.errstate(invalid="ignore", divide="ignore"):
        below = panel.low * ratio < np.minimum(panel.open, panel.close)
        above = panel.high > ratio * np.maximum(panel.open, panel.close)
        here = np.flatnonzero(below | above)
        if not len(here):
            return NOTHING
        beside = np.stack(
            [panel.open[here], panel.close[here], _before(panel, here), _after(panel, here)]
        )
        down = np.log(np.fmin.reduce(beside) / panel.low[here])
        up = np.log(panel.high[here] / np.fmax.reduce(beside))
        reach = np.fmax(down, up)
        past = np.log(panel.past(panel.high, here, PAST) / panel.past(panel.low, here, PAST))
    known = np.isfinite(past).sum(axis=1) >= FEWEST
    median = np.zeros(len(here))
    if known.any():
        median[known] = np.nanmedian(past[known], axis=1)
    bad = (reach > np.log(ratio)) & (reach > days * median) & (known | (not strict))
    here, down, up = here[bad], down[bad], up[bad]
    lower = ~(up > down)
    side = np.where(lower, "low ", "high ").astype(object)
    price = np.where(lower, panel.low[here], panel.high[here])
    near = np.where(lower, np.fmin.reduce(beside)[bad], np.fmax.reduce(beside)[bad])
    return Found(here, words("the ", side, price, " is far from the nearest price beside, ", near))


def _before(panel: Panel, here: Codes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.where(panel.first[here], np.nan, panel.close[here - 1])


def _after(panel: Panel, here: Codes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    after = np.minimum(here + 1, len(panel) - 1)
    other = (after == here) | (panel.code[after] != panel.code[here])
    return np.where(other, np.nan, panel.close[after])
