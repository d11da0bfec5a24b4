"""Intervals from a forecast's own past errors, and the correction for exponentiating a mean log.

Owns split-conformal bounds and Duan smearing, both from matured errors only. Never fits a model.

Maturity is strict: at cutoff t the error of the lead-h forecast made at row s counts only if
s + h <= t. A target that matures later cannot change a bit of the bounds at t.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

MIN_RESIDUALS = 50


class Bounds(NamedTuple):
    """Intervals per cutoff and lead.

    Attributes:
        lower: `(..., cutoff, lead)` in the target's units; NaN where there is no interval.
        upper: The same.
        residuals: `(..., cutoff, lead)` matured residuals it rests on. No interval where there are
            fewer than `required_residuals`, or where the prediction or its scale is missing.
    """

    lower: Floats
    upper: Floats
    residuals: NDArray[np.int64]


def required_residuals(level: float, min_residuals: int = MIN_RESIDUALS) -> int:
    """Return how many residuals an interval at this level needs.

    Below level / (1 − level) of them the finite-sample quantile does not exist at all (the
    conformal interval would be infinite); `min_residuals` is the larger floor that keeps the
    interval from hanging on its one or two largest residuals.
    """
    _check_level(level)
    return max(min_residuals, math.ceil(level / (1.0 - level) - 1e-9))


def conformal_bounds(
    predictions: Real,
    targets: Real,
    scale: Real,
    cutoffs: Integers,
    *,
    level: float,
    window: int,
    first_row: int | Integers = 0,
    min_residuals: int = MIN_RESIDUALS,
) -> Bounds:
    """Bound the forecasts made at some cutoffs by the quantile of scaled errors that had matured.

    Split conformal prediction with locally weighted residuals (Lei et al. 2018, §5.2) over a
    rolling window: prediction ± scale[t] × the k-th smallest of |target − prediction| / scale,
    k = ceil((n + 1) × level) of n residuals. Symmetric on purpose: it always contains the mean,
    and it rests on one order statistic of n instead of two of each tail's few, which matters
    because overlapping targets leave far fewer than n independent residuals.

    Args:
        predictions: `(..., time, lead)`; lead h is at position h − 1.
        targets: `(..., time, lead)`, NaN where not matured.
        scale: `(..., time)`, positive, known at each row: the instrument's recent volatility
            (for log returns exp(log_variance_22 / 2)), or ones.
        cutoffs: `(cutoff,)` row numbers to bound the forecasts of.
        level: Probability that the interval should hold, in (0, 1).
        window: The residuals come from the last `window` rows that can have matured.
        first_row: First row whose forecast is out of sample, one for all or `(...)`.
        min_residuals: See `required_residuals`.

    Raises:
        ValueError: a level, window or cutoff out of range, or axes that do not agree.
    """
    required = required_residuals(level, min_residuals)
    if scale.shape != predictions.shape[:-1]:
        raise ValueError(
            f"scale must have the predictions' shape without the leads, {predictions.shape[:-1]}: "
            f"received {scale.shape}"
        )
    usable_scale = np.where(scale > 0.0, scale, np.nan).astype(np.float64)
    # Rows that have not matured are in here too, with whatever they hold; they are never picked.
    with np.errstate(invalid="ignore", over="ignore"):
        residuals = np.abs(targets.astype(np.float64) - predictions) / usable_scale[..., None]
    half = np.full((*predictions.shape[:-2], len(cutoffs), predictions.shape[-1]), np.nan)
    counts = np.zeros(half.shape, dtype=np.int64)
    for lead, matured in _matured(residuals, predictions, cutoffs, window, first_row):
        counts[..., lead] = np.isfinite(matured).sum(axis=-1)
        # The nudge undoes rounding: 0.7 × 10 is 7, not 7.000000000000001 and so the 8th.
        rank = np.ceil((counts[..., lead] + 1) * level - 1e-9).astype(np.int64)
        ordered = np.sort(matured, axis=-1)
        picked = np.take_along_axis(ordered, np.clip(rank - 1, 0, window - 1)[..., None], axis=-1)
        half[..., lead] = np.where(counts[..., lead] >= required, picked[..., 0], np.nan)
    half *= usable_scale[..., cutoffs, None]
    centre = predictions[..., cutoffs, :].astype(np.float64)
    return Bounds(centre - half, centre + half, counts)


def duan_smearing(
    predictions: Real,
    targets: Real,
    cutoffs: Integers,
    *,
    window: int,
    first_row: int | Integers = 0,
    min_residuals: int = MIN_RESIDUALS,
) -> Floats:
    """Return the factor by which exp(mean log) falls short of the mean, from matured errors.

    Duan (1983): the mean of exp(target − prediction), over the same rows as `conformal_bounds`.

    Args:
        predictions: `(..., time, lead)` of a logarithm.
        targets: `(..., time, lead)`, NaN where not matured.
        cutoffs: `(cutoff,)` row numbers.
        window: The errors come from the last `window` rows that can have matured.
        first_row: First row whose forecast is out of sample, one for all or `(...)`.
        min_residuals: Fewer matured errors than this give NaN.

    Returns:
        `(..., cutoff, lead)`, a positive factor.

    Raises:
        ValueError: a window or cutoff out of range, or axes that do not agree.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        ratios = np.exp(targets.astype(np.float64) - predictions)
    factors = np.full((*predictions.shape[:-2], len(cutoffs), predictions.shape[-1]), np.nan)
    for lead, matured in _matured(ratios, predictions, cutoffs, window, first_row):
        present = np.isfinite(matured)
        count = present.sum(axis=-1)
        mean = np.where(present, matured, 0.0).sum(axis=-1) / np.maximum(count, 1)
        factors[..., lead] = np.where(count >= max(min_residuals, 1), mean, np.nan)
    return factors


def daily_volatility(mean: Real, smearing: Real | float, epsilon: Real | float) -> Floats:
    """Return the daily volatility that a forecast of log (mean daily variance + ε) stands for.

    sqrt(exp(mean) × smearing − ε), and 0 where ε is the larger: the square root of the expected
    mean daily variance, in natural units (0.01 is 1 % a day).

    Args:
        mean: Forecasts of the log, any shape.
        smearing: Factor of `duan_smearing`, broadcastable.
        epsilon: The ε of the target's definition, in units of variance, broadcastable.
    """
    variance = np.exp(mean.astype(np.float64)) * smearing - epsilon
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _matured(
    values: Floats,
    predictions: Real,
    cutoffs: Integers,
    window: int,
    first_row: int | Integers,
) -> Iterator[tuple[int, Floats]]:
    """Yield per lead position `(..., cutoff, window)`: matured values, NaN where there is none."""
    time, leads = predictions.shape[-2:]
    if values.shape != predictions.shape:
        raise ValueError(
            f"predictions and targets must have one shape (..., time, lead): received "
            f"{predictions.shape} and targets or scale that broadcast to {values.shape}"
        )
    if window < 1:
        raise ValueError(f"window must be at least 1 row: received {window}")
    if len(cutoffs) and (np.min(cutoffs) < 0 or np.max(cutoffs) >= time):
        raise ValueError(
            f"cutoffs must be rows 0 to {time - 1}: received {np.min(cutoffs)} to {np.max(cutoffs)}"
        )
    first = np.asarray(first_row)[..., None, None]
    for position in range(leads):
        newest = np.asarray(cutoffs)[:, None] - (position + 1)
        rows = newest - np.arange(window)
        picked = values[..., np.maximum(rows, 0), position]
        usable = (rows >= np.maximum(first, 0)) & np.isfinite(picked)
        yield position, np.where(usable, picked, np.nan)


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be above 0 and below 1: received {level}")
