"""Intervals that learn from their own misses: conformal widths times a factor that tracks coverage.

Owns the tracking, at several levels at once, nested. Never touches an error that has not matured.

The width at a cutoff is that of split conformal prediction over a rolling window, times a factor.
When an interval that was given h sessions ago turns out to have missed, the factor grows by
exp(η level); when it held, it shrinks by exp(−η (1 − level)): in balance exactly where the share
that holds is the level. It is the quantile tracking of Angelopoulos, Candès & Tibshirani (2023,
"conformal P control") on the log of the width, with the rolling conformal quantile in the place of
their scorecaster, and an answer that comes h sessions late; adaptive conformal inference (Gibbs &
Candès 2021) moves the level instead, and has nowhere to go once that level is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lstm_models.intervals import (
    MIN_RESIDUALS,
    Bounds,
    Floats,
    Integers,
    Real,
    around,
    check_cutoffs,
    conformal_widths,
    scaled_errors,
)

STEP = 0.03
"""η of lead 1; that of lead h is η / √h, since what overlapping targets tell repeats itself."""
WIDEST = 3.0
"""The factor stays within 1/3 and 3: the rolling window does the rest."""


def adaptive_bounds(
    predictions: Real,
    targets: Real,
    scale: Real,
    cutoffs: Integers,
    *,
    levels: Sequence[float],
    window: int,
    first_row: int | Integers = 0,
    min_residuals: int = MIN_RESIDUALS,
    step: float = STEP,
) -> Bounds:
    """Bound the forecasts made at some cutoffs, at several levels.

    The result at a cutoff t is a function of what had matured by t alone: of lead h the rows s
    with s + h ≤ t. Whichever cutoffs are asked for, and whichever levels beside, a level's factor
    is the same; only where two levels would cross are their widths exchanged (the rearrangement of
    Chernozhukov, Fernández-Val & Galichon 2010), which makes neither worse on average.

    Args:
        predictions: `(..., time, lead)`; lead h is at position h − 1.
        targets: `(..., time, lead)`, NaN where not matured.
        scale: `(..., time)`, positive, known at each row.
        cutoffs: `(cutoff,)` row numbers to bound the forecasts of.
        levels: distinct, each in (0, 1), in any order.
        window: Errors come from the last `window` rows that can have matured.
        first_row: First row whose forecast is out of sample, one for all or `(...)`.
        min_residuals: See `intervals.required_residuals`.
        step: η; 0 gives the rolling conformal interval.

    Returns:
        Bounds with `lower` and `upper` `(level, ..., cutoff, lead)`, levels as given, and
        `residuals (..., cutoff, lead)`.

    Raises:
        ValueError: a level, window, step or cutoff out of range, or axes that do not agree.
    """
    if not levels or len(set(levels)) != len(levels):
        raise ValueError(f"levels must be one or more distinct ones: received {list(levels)}")
    if not 0.0 <= step < 1.0:
        raise ValueError(f"step must be at least 0 and below 1: received {step}")
    sizes = scaled_errors(predictions, targets, scale)
    check_cutoffs(cutoffs, sizes.shape[-2])
    # Of every row up to the last cutoff: the interval of each has answered for itself.
    sizes = sizes[..., : int(np.max(cutoffs, initial=-1)) + 1, :]
    order = np.argsort(levels)
    ascending = [levels[place] for place in order]
    half, counts = conformal_widths(
        sizes, ascending, window=window, first_row=first_row, min_residuals=min_residuals
    )
    for place, level in enumerate(ascending):
        for series in np.ndindex(*sizes.shape[:-2]):
            for lead in range(sizes.shape[-1]):
                at = (*series, slice(None), lead)
                half[(place, *at)] = _tracked(half[(place, *at)], sizes[at], lead + 1, level, step)
    half = np.sort(half, axis=0)[np.argsort(order)]
    return around(predictions, half, counts, scale, cutoffs, place=slice(None))


def _tracked(half: Floats, sizes: Floats, lead: int, level: float, step: float) -> list[float]:
    """Return one series' widths `(time,)` times their factor, the answers to them coming late.

    In plain numbers: for a night's one series this is quicker than any array, and its bits depend
    on nothing beside it.
    """
    eta = step / math.sqrt(lead)
    wider, narrower = math.exp(eta * level), math.exp(-eta * (1.0 - level))
    known = (np.isfinite(half) & np.isfinite(sizes)).tolist()
    came = sizes.tolist()
    factor = 1.0
    given: list[float] = []
    for row, width in enumerate(half.tolist()):
        answered = row - lead
        if answered >= 0 and known[answered]:
            factor *= wider if came[answered] > given[answered] else narrower
            factor = min(max(factor, 1.0 / WIDEST), WIDEST)
        given.append(width * factor)
    return given
