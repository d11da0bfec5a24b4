"""Intervals from a forecast's own past errors, and the correction for exponentiating a mean log.

Owns split-conformal bounds and Duan smearing, both from matured errors only. Never fits a model.

Maturity is strict: at cutoff t the error of the lead-h forecast made at row s counts only if
s + h <= t. A target that matures later cannot change a bit of the bounds at t.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
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

    The same window for every cutoff is what `adaptive_intervals` starts from.

    Raises:
        ValueError: a level, window or cutoff out of range, or axes that do not agree.
    """
    sizes = scaled_errors(predictions, targets, scale)
    check_cutoffs(cutoffs, sizes.shape[-2])
    half, counts = conformal_widths(
        sizes, (level,), window=window, first_row=first_row, min_residuals=min_residuals
    )
    return around(predictions, half, counts, scale, cutoffs, place=0)


def scaled_errors(predictions: Real, targets: Real, scale: Real) -> Floats:
    """Return |target − prediction| / scale, `(..., time, lead)`; NaN where one is missing.

    Raises:
        ValueError: axes that do not agree.
    """
    if scale.shape != predictions.shape[:-1]:
        raise ValueError(
            f"scale must have the predictions' shape without the leads, {predictions.shape[:-1]}: "
            f"received {scale.shape}"
        )
    # Rows that have not matured are in here too, with whatever they hold; they are never picked.
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = np.abs(targets.astype(np.float64) - predictions) / _usable(scale)[..., None]
    if sizes.shape != predictions.shape:
        raise ValueError(_different(predictions.shape, sizes.shape))
    return np.asarray(sizes)


def conformal_widths(
    sizes: Floats,
    levels: Sequence[float],
    *,
    window: int,
    first_row: int | Integers = 0,
    min_residuals: int = MIN_RESIDUALS,
) -> tuple[Floats, NDArray[np.int64]]:
    """Return half widths in units of the scale at every row, and how many errors they rest on.

    A list of each series is kept in order while the window moves: a session costs an insertion and
    a removal, not a sort.

    Args:
        sizes: `(..., time, lead)` of `scaled_errors`.
        levels: each in (0, 1).
        window: see `conformal_bounds`, as the others.
        first_row: the same.
        min_residuals: the same.

    Returns:
        `(level, ..., time, lead)`, NaN where there are too few errors, and `(..., time, lead)`.

    Raises:
        ValueError: a level or the window out of range.
    """
    _check_window(window)
    required = [required_residuals(level, min_residuals) for level in levels]
    counted = np.arange(min(window, sizes.shape[-2]) + 1)
    # The nudge undoes rounding: 0.7 × 10 is 7, not 7.000000000000001 and so the 8th.
    ranks = [np.ceil((counted + 1) * level - 1e-9).astype(int).tolist() for level in levels]
    half = np.full((len(levels), *sizes.shape), np.nan)
    counts = np.zeros(sizes.shape, dtype=np.int64)
    first_rows = np.broadcast_to(np.maximum(first_row, 0), sizes.shape[:-2])
    for series in np.ndindex(*sizes.shape[:-2]):
        first = int(first_rows[series])
        for lead in range(sizes.shape[-1]):
            values = sizes[(*series, slice(None), lead)].tolist()
            present = np.isfinite(sizes[(*series, slice(None), lead)]).tolist()
            held: list[float] = []
            found: list[list[float]] = [[] for _ in levels]
            count = []
            for row in range(len(values)):
                new = row - (lead + 1)
                if new >= first and present[new]:
                    bisect.insort(held, values[new])
                if new - window >= first and present[new - window]:
                    del held[bisect.bisect_left(held, values[new - window])]
                n = len(held)
                count.append(n)
                for picked, least, rank in zip(found, required, ranks, strict=True):
                    picked.append(held[rank[n] - 1] if n >= least else math.nan)
            counts[(*series, slice(None), lead)] = count
            half[(slice(None), *series, slice(None), lead)] = found
    return half, counts


def around(
    predictions: Real,
    half: Floats,
    counts: NDArray[np.int64],
    scale: Real,
    cutoffs: Integers,
    *,
    place: int | slice,
) -> Bounds:
    """Return prediction ± scale × half width at the cutoffs, of one level or of all.

    Args:
        predictions: `(..., time, lead)`.
        half: `(level, ..., time, lead)` of `conformal_widths`.
        counts: `(..., time, lead)`, likewise.
        scale: `(..., time)`.
        cutoffs: `(cutoff,)`.
        place: which level: without the axis, or all with it.
    """
    width = half[place][..., cutoffs, :] * _usable(scale)[..., cutoffs, None]
    centre = predictions[..., cutoffs, :].astype(np.float64)
    return Bounds(centre - width, centre + width, counts[..., cutoffs, :])


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
    if ratios.shape != predictions.shape:
        raise ValueError(_different(predictions.shape, ratios.shape))
    for lead, matured in _matured(ratios, cutoffs, window, first_row):
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
    values: Floats, cutoffs: Integers, window: int, first_row: int | Integers
) -> Iterator[tuple[int, Floats]]:
    """Yield per lead position `(..., cutoff, row)`: matured values, NaN where there is none."""
    time, leads = values.shape[-2:]
    _check_window(window)
    check_cutoffs(cutoffs, time)
    first = np.asarray(first_row)[..., None, None]
    for position in range(leads):
        newest = np.asarray(cutoffs)[:, None] - (position + 1)
        rows = newest - np.arange(min(window, time))
        picked = values[..., np.maximum(rows, 0), position]
        usable = (rows >= np.maximum(first, 0)) & np.isfinite(picked)
        yield position, np.where(usable, picked, np.nan)


def check_cutoffs(cutoffs: Integers, time: int) -> None:
    """Raise a ValueError unless every cutoff is one of `time` rows."""
    if len(cutoffs) and (np.min(cutoffs) < 0 or np.max(cutoffs) >= time):
        raise ValueError(
            f"cutoffs must be rows 0 to {time - 1}: received {np.min(cutoffs)} to {np.max(cutoffs)}"
        )


def _check_window(window: int) -> None:
    if window < 1:
        raise ValueError(f"window must be at least 1 row: received {window}")


def _usable(scale: Real) -> Floats:
    return np.where(scale > 0.0, scale, np.nan).astype(np.float64)


def _different(predictions: tuple[int, ...], values: tuple[int, ...]) -> str:
    return (
        f"predictions and targets must have one shape (..., time, lead): received {predictions} "
        f"and targets or scale that broadcast to {values}"
    )


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be above 0 and below 1: received {level}")
