"""Restatements: bars that one commit multiplied by one factor, as providers do after a split.

Owns the search for factors. Never touches the store or dates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PRICES = ("open", "high", "low", "close")
FEWEST = 5
"""Bars that share a factor by less than this many are shown one by one."""

_TOLERANCE = 1e-5
_LOOSE = 1e-3
_PRECISION = 1e-6
_DIGITS = 7
_COARSEST = 0.05
"""What rounding may come to, relatively: a penny stock's grid is coarse."""

_DECIMALS = 6
_MOST_FACTORS = 50


@dataclass(frozen=True)
class Restated:
    """Bars of one commit whose prices all changed by one factor.

    Attributes:
        places: their positions, axis (bar).
        factor: new price per old price.
        volume: new volume per old volume, 1 / factor as a rule; None where it stayed.
        volume_fits: whether the bar's volume is explained by that; axis (bar).
    """

    places: Places
    factor: float
    volume: float | None
    volume_fits: Mask


def restatements(
    pairs: Mapping[str, tuple[Floats, Floats]], told: Mask, known_at: Places
) -> list[Restated]:
    """The restatements among revised bars.

    Args:
        pairs: open, high, low, close and volume before and after; axis (bar) each, NaN: none.
        told: the bars that changed; axis (bar).
        known_at: when each became known: those with one value are of one commit; axis (bar).
    """
    found = []
    for instant in np.unique(known_at[told]):
        rest = np.flatnonzero(told & (known_at == instant))
        slack = _rounding(pairs, rest)
        for _ in range(_MOST_FACTORS):  # histories between dividends have a factor each
            if len(rest) < FEWEST:
                break
            mine = _of_one_factor(pairs, rest, slack)
            if len(mine) < FEWEST:
                break
            found.append(_restated(pairs, mine, slack))
            rest = np.setdiff1d(rest, mine)
    return found


def _of_one_factor(
    pairs: Mapping[str, tuple[Floats, Floats]], rest: Places, slack: float
) -> Places:
    """The bars that share the commonest factor; none where it is 1 but for rounding."""
    factor = _commonest(pairs, rest)
    if not np.isfinite(factor):
        return rest[:0]
    mine = rest[_fits(pairs, rest, factor, slack, _LOOSE)]
    if not len(mine):
        return mine
    old, new = (side[mine] for side in pairs["close"])
    factor = new.sum() / old.sum()
    least = max(_TOLERANCE, 2 * slack * (1 + factor) / float(np.median(np.abs(old))))
    if abs(factor - 1) <= least:
        return rest[:0]
    return rest[_fits(pairs, rest, factor, slack, _TOLERANCE)]


def _restated(pairs: Mapping[str, tuple[Floats, Floats]], mine: Places, slack: float) -> Restated:
    old, new = (side[mine] for side in pairs["close"])
    factor = float(new.sum() / old.sum())
    doubt = 3 * slack * (1 + factor) / float(new.mean()) / np.sqrt(len(mine))
    factor = _simplest(factor, max(doubt, _PRECISION))
    before, after = (side[mine] for side in pairs["volume"])
    stayed = _same(before, after, 1.0)
    scaled = _same(before, after, 1 / factor)
    volume = 1 / factor if (scaled & ~stayed).any() else None
    return Restated(mine, factor, volume, stayed | scaled)


def _simplest(factor: float, doubt: float) -> float:
    """The number, or the inverse of one, with the fewest digits that `factor` may be."""
    for digits in range(1, _DIGITS):
        for simple in (float(f"{factor:.{digits}g}"), 1 / float(f"{1 / factor:.{digits}g}")):
            if abs(simple / factor - 1) <= doubt:
                return simple
    return factor


def _same(before: Floats, after: Floats, factor: float) -> Mask:
    neither = np.isnan(before) & np.isnan(after)
    near = np.abs(after - before * factor) <= np.maximum(1.0, 1e-3 * np.abs(after))
    return np.asarray(neither | near, dtype=bool)


def _commonest(pairs: Mapping[str, tuple[Floats, Floats]], rest: Places) -> float:
    """The factor that most closes share, from the bars with the median one or near it."""
    old, new = (side[rest] for side in pairs["close"])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(new / old)
    ratio = ratio[np.isfinite(ratio)]
    if not len(ratio):
        return float("nan")
    bins, counts = np.unique(np.round(ratio, 3), return_counts=True)
    near = ratio[np.abs(ratio - bins[np.argmax(counts)]) <= 1e-3]
    return float(np.exp(np.median(near)))


def _fits(
    pairs: Mapping[str, tuple[Floats, Floats]],
    rest: Places,
    factor: float,
    slack: float,
    tolerance: float,
) -> Mask:
    """Bars all of whose prices are `factor` times what they were, but for rounding."""
    fits = np.ones(len(rest), dtype=bool)
    for name in PRICES:
        old, new = (side[rest] for side in pairs[name])
        neither = np.isnan(old) & np.isnan(new)
        bound = tolerance * np.abs(new) + np.minimum(slack * (1 + factor), _COARSEST * np.abs(new))
        fits &= neither | (np.abs(new - old * factor) <= bound)
    return fits


def _rounding(pairs: Mapping[str, tuple[Floats, Floats]], rest: Places) -> float:
    """Half a unit of the last decimal that prices are written with; 0 where they have many."""
    prices = np.concatenate([side[rest] for name in PRICES for side in pairs[name]])
    prices = prices[np.isfinite(prices)]
    for decimals in range(_DECIMALS + 1):
        if np.allclose(np.round(prices, decimals), prices, rtol=1e-9, atol=1e-9):
            return 0.5 * 10.0**-decimals
    return 0.0
