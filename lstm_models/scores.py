"""Statistics of forecast–target pairs, and scores: their means, which merge across shards.

Owns the formulas and the mergeable state. Never decides which pairs count: the caller's mask does.

A *statistic* is one number per pair (a squared error); a *score* is the mean of a statistic. All
are the smaller the better except `covered`, whose mean should be the level. error = prediction −
target. Formulas and sources are in docs/scores.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Real = NDArray[np.floating[Any]]


def squared_error(predictions: Real, targets: Real) -> Floats:
    """Return (prediction − target)² per pair, in the target's units squared."""
    return (predictions.astype(np.float64) - targets) ** 2


def qlike(predictions: Real, targets: Real) -> Floats:
    """Return the quasi-likelihood loss of a forecast of log variance against the realised one.

    With f = exp(prediction) and y = exp(target): y/f − ln(y/f) − 1, at least 0, and 0 only where
    they agree (Patton 2011, whose robust loss this is). It grades the variance, so the prediction
    should carry its bias correction: add the log of `duan_smearing`.
    """
    log_ratio = targets.astype(np.float64) - predictions
    return np.asarray(np.expm1(log_ratio) - log_ratio)


def covered(lower: Real, upper: Real, targets: Real) -> Floats:
    """Return 1 where the target lies in [lower, upper], 0 where not, NaN where one is missing."""
    inside = ((targets >= lower) & (targets <= upper)).astype(np.float64)
    missing = np.isnan(lower) | np.isnan(upper) | np.isnan(targets)
    return np.where(missing, np.nan, inside)


def interval_score(lower: Real, upper: Real, targets: Real, *, level: float) -> Floats:
    """Return the interval score of a central interval (Gneiting & Raftery 2007, eq. 43).

    Width, plus 2/α times the distance by which the target falls outside, with α = 1 − level.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be above 0 and below 1: received {level}")
    penalty = 2.0 / (1.0 - level)
    below = np.maximum(lower.astype(np.float64) - targets, 0.0)
    above = np.maximum(targets.astype(np.float64) - upper, 0.0)
    return (upper.astype(np.float64) - lower) + penalty * (below + above)


@dataclass(frozen=True)
class ScoreState:
    """A sum and a count per cell: everything a mean needs, and all that shards have to exchange.

    Attributes:
        total: Sum of the statistic per cell, for example `(member, lead)`.
        count: Pairs summed, of the same shape.
    """

    total: Floats
    count: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.total.shape != self.count.shape:
            raise ValueError(
                f"total and count must have one shape: received {self.total.shape} "
                f"and {self.count.shape}"
            )

    @classmethod
    def zero(cls, shape: tuple[int, ...]) -> Self:
        """Return the state that adds nothing."""
        return cls(np.zeros(shape), np.zeros(shape, dtype=np.int64))

    @classmethod
    def of(cls, statistic: Real, present: NDArray[np.bool_], axis: int | tuple[int, ...]) -> Self:
        """Sum a statistic over axes, counting the pairs that the mask names and no others.

        Args:
            statistic: One number per pair, for example `(member, time, lead)`.
            present: The pairs to score, broadcastable to the statistic: where a target has matured
                and the row belongs to the segment. One mask for every method keeps their pairs
                the same.
            axis: The axes to sum over, usually time.

        Raises:
            ValueError: the statistic is not finite at a pair that is to be scored. A missing
                forecast is an error, never a pair that silently does not count.
        """
        mask = np.broadcast_to(present, statistic.shape)
        broken = mask & ~np.isfinite(statistic)
        if broken.any():
            first = tuple(int(position) for position in np.argwhere(broken)[0])
            raise ValueError(
                f"{broken.sum()} of {mask.sum()} statistics to be scored are not finite, the "
                f"first at {first}: {statistic[first]}. Leave the pair out of `present` for every "
                "method, or give it a prediction"
            )
        total = np.where(mask, statistic, 0.0).sum(axis=axis, dtype=np.float64)
        return cls(np.asarray(total), np.asarray(mask.sum(axis=axis), dtype=np.int64))

    def __add__(self, other: ScoreState) -> ScoreState:
        return ScoreState(self.total + other.total, self.count + other.count)

    def sum(self, axis: int | tuple[int, ...]) -> ScoreState:
        """Merge cells along axes: the score of a group of members, or of all leads."""
        return ScoreState(
            np.asarray(self.total.sum(axis=axis)), np.asarray(self.count.sum(axis=axis))
        )

    def mean(self) -> Floats:
        """Return the score per cell; NaN where no pair was counted."""
        empty = self.count == 0
        return np.where(empty, np.nan, self.total / np.where(empty, 1, self.count))


def skill_score(score: float | None, baseline: float | None) -> float | None:
    """Return 1 − score / baseline, or None where that says nothing.

    None where either is missing or not finite, and where the baseline's score is zero: nothing
    can be better than that, and by how much something is worse has no scale.
    """
    if score is None or baseline is None or not np.isfinite(score) or not np.isfinite(baseline):
        return None
    return None if baseline <= 0.0 else float(1.0 - score / baseline)
