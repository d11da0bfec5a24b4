"""Did the intervals hold: coverage with its own uncertainty, and whether it has drifted.

Owns what is counted and how sure the count is. Never touches how an interval is made.

An interval that holds today says something of tomorrow's, and all the more of one that overlaps: so
no standard error here takes sessions for independent. Each is that of a mean of a series in time,
with the long-run variance and the correction of `significance.hac_test`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_models import scores
from lstm_models.intervals import Bounds
from lstm_models.scores import ScoreState
from tasks.features import Floats
from tasks.significance import MIN_COUNT, diebold_mariano, hac_lags, long_run_variance

Row = dict[str, Any]


@dataclass(frozen=True)
class Coverage:
    """A share of intervals that held.

    Attributes:
        share: of all pairs.
        error: its standard error, or None where there are too few sessions for one.
        sessions: that were counted.
    """

    share: float
    error: float | None
    sessions: int


@dataclass(frozen=True)
class Drift:
    """How the intervals of the last sessions did.

    Attributes:
        coverage: share that held, mean over leads.
        drifted: whether it is significantly below the level.
        sessions: that were counted.
    """

    coverage: float
    drifted: bool
    sessions: int


def interval_columns(found: Bounds, truth: Floats, levels: Sequence[float]) -> Row:
    """Columns of `scores`, `(lead,)` each, from bounds over the pairs that have both.

    Args:
        found: `(level, row, lead)`, rows in order of time.
        truth: `(row, lead)`, NaN where unknown.
        levels: of `found`; the first is that of `coverage`, `interval_score`, `coverage_error`.
    """
    share, price = [], []
    for level, lower, upper in zip(levels, found.lower, found.upper, strict=True):
        known = np.isfinite(truth) & np.isfinite(lower)
        inside = np.where(known, scores.covered(lower, upper, truth), 0.0)
        cost = np.where(known, scores.interval_score(lower, upper, truth, level=level), 0.0)
        share.append(ScoreState.of(inside, known, axis=0).mean())
        price.append(ScoreState.of(cost, known, axis=0).mean())
    hits = scores.covered(found.lower[0], found.upper[0], truth)
    errors = [mean_error(hits[:, place], place + 1) for place in range(truth.shape[1])]
    return {
        "coverage": share[0],
        "interval_score": price[0],
        "coverage_error": np.array([np.nan if one is None else one for one in errors]),
        "intervals": [
            [
                {"level": level, "coverage": float(one[lead]), "interval_score": float(two[lead])}
                for level, one, two in zip(levels, share, price, strict=True)
                if np.isfinite(one[lead])
            ]
            for lead in range(truth.shape[1])
        ],
    }


def covered_share(found: Bounds, truth: Floats) -> Floats:
    """Share of the leads whose outcome lay inside at the first level, `(row,)`.

    NaN where an outcome or a bound is unknown.
    """
    return np.asarray(scores.covered(found.lower[0], found.upper[0], truth).mean(axis=1))


def mean_error(series: NDArray[np.floating[Any]], horizon: int) -> float | None:
    """Standard error of the mean of a series `(time,)`, its NaNs left out; None if too few.

    None too where nothing varies: an interval that never misses says nothing of how sure that is.
    """
    values = series[np.isfinite(series)]
    if len(values) < MIN_COUNT or np.ptp(values) == 0.0:
        return None
    lags = hac_lags(len(values), horizon)
    share = (lags + 1) / len(values)
    variance = long_run_variance(values, lags) / (1.0 - share + share**2 / 3.0)
    return math.sqrt(variance / len(values)) if variance > 0.0 else None


def pooled_error(parts: Iterable[tuple[int, float | None]]) -> float | None:
    """Standard error of a mean over parts of (count, standard error), disjoint in time.

    Such parts count as independent: √(Σ n² e²) / Σ n. None if one has none.
    """
    known = [(count, error) for count, error in parts if count]
    errors = [error for _, error in known if error is not None]
    if not known or len(errors) < len(known):
        return None
    total = sum(count for count, _ in known)
    squares = sum((count * error) ** 2 for (count, _), error in zip(known, errors, strict=True))
    return math.sqrt(squares) / total


def overall(sessions: NDArray[Any], covered: Floats, horizon: int) -> Coverage | None:
    """Coverage over instruments and time, or None where nothing is known.

    What instruments share on one day makes them miss together. So the error is that of the sums of
    the sessions, one number each however many instruments it has: of Σ (c − share) over those of a
    session, in time (a ratio estimator, clustered by session). A cutoff that several evaluations of
    an instrument scored counts each time, in one session's sum.

    Args:
        sessions: `(pair,)` cutoffs, in any order.
        covered: `(pair,)` shares of leads that held, of one target and kind, NaN where not known.
        horizon: leads that a share is a mean of.
    """
    known = np.isfinite(covered)
    if not known.any():
        return None
    days, place = np.unique(sessions[known], return_inverse=True)
    share = float(covered[known].mean())
    excess = np.bincount(place, covered[known] - share)
    error = mean_error(np.asarray(excess * (len(days) / int(known.sum()))), horizon)
    return Coverage(share, error, len(days))


def drift(covered: Floats, *, level: float, horizon: int, significance: float) -> Drift | None:
    """Whether the last intervals held significantly less often than their level says.

    One-sided, by `diebold_mariano` with the level in place of a baseline's loss: intervals that are
    right given the past overlap over horizon − 1 sessions and correlate over no more. A longer
    bandwidth would take the very change that is sought for noise.

    Args:
        covered: `(row,)` shares of leads that held, of the last sessions, NaN where not known.
        level: nominal coverage.
        horizon: leads that a share is a mean of.
        significance: level of the test.

    Returns:
        None where no interval has been answered.
    """
    known = covered[np.isfinite(covered)]
    if not len(known):
        return None
    mean = float(known.mean())
    found = diebold_mariano(
        np.full(len(known), level), known, horizon=horizon, alternative="greater"
    )
    # Without variation there is no t: of sessions that all missed, none is needed.
    missed = len(known) >= MIN_COUNT and float(known.max()) < level and np.ptp(known) == 0.0
    return Drift(mean, bool(missed or found.p_value <= significance), len(known))
