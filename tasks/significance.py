"""Is one forecast's loss really smaller than another's: tests on a series of loss differences.

Owns the long-run variance, the HAC test, Diebold–Mariano and Clark–West. Never touches tables.

A *differential* is loss of the baseline − loss of the candidate: above zero, the candidate is
better. Formulas and sources are in docs/scores.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Real = NDArray[np.floating[Any]]

MIN_COUNT = 8

Alternative = Literal["greater", "two-sided"]
"""Is the candidate better, or do the two differ."""


@dataclass(frozen=True)
class LossTest:
    """What a test of mean differential zero found.

    Attributes:
        mean: Mean differential; above zero the candidate has the smaller loss.
        statistic: Its t value, or None where there is no variation to test against.
        p_value: Chance of a t at least this large if the candidate were no better; 1 without one.
        count: Differentials used.
        lags: Autocovariances used.
        reason: Why there is no statistic, or None.
    """

    mean: float
    statistic: float | None
    p_value: float
    count: int
    lags: int
    reason: str | None = None


def hac_lags(count: int, horizon: int) -> int:
    """Return the autocovariances to use for a series of `count` differentials.

    ceil(1.3 √count) − 1, the bandwidth that Lazarus, Lewis, Stock & Watson (2018) recommend for
    the Bartlett kernel together with fixed-b critical values; at least horizon − 1, over which
    overlapping targets correlate by construction; at most count − 1.

    Raises:
        ValueError: `count` or `horizon` is below 1.
    """
    if count < 1 or horizon < 1:
        raise ValueError(
            f"count and horizon must be at least 1: received count={count}, horizon={horizon}"
        )
    return min(max(horizon, math.ceil(1.3 * math.sqrt(count))), count) - 1


def long_run_variance(
    series: Real, lags: int, kernel: Literal["bartlett", "rectangular"] = "bartlett"
) -> float:
    """Return γ₀ + 2 Σ wⱼ γⱼ over j = 1…lags, the variance of √n × the mean, in units squared.

    γⱼ = (1/n) Σ (xₜ − x̄)(xₜ₋ⱼ − x̄). Bartlett: wⱼ = 1 − j/(lags + 1), never negative (Newey &
    West 1987); rectangular: wⱼ = 1, which can be negative.

    Args:
        series: `(time,)`, equally spaced. Where sessions are missing, the observed ones are taken
            as neighbours ("equal spacing", Datta & Du 2012).
        lags: From 0 to len(series) − 1.
        kernel: The weights.

    Raises:
        ValueError: `lags` out of range, or a value that is not finite.
    """
    values = _checked(series)
    if not 0 <= lags < len(values):
        raise ValueError(f"lags must be 0 to {len(values) - 1}: received {lags}")
    deviation = values - values.mean()
    variance = float(deviation @ deviation)
    for lag in range(1, lags + 1):
        weight = 1.0 - lag / (lags + 1) if kernel == "bartlett" else 1.0
        variance += 2.0 * weight * float(deviation[lag:] @ deviation[:-lag])
    return variance / len(values)


def hac_test(
    differentials: Real, *, horizon: int, alternative: Alternative = "greater"
) -> LossTest:
    """Test that the mean differential is zero, by default against its being above zero.

    t = x̄ / √(V/n) with the Newey–West V, compared not with the normal but with what that ratio
    follows when the bandwidth is a share b = (lags + 1)/n of the sample (Kiefer & Vogelsang 2005),
    in its closed approximation: V is divided by 1 − b + b²/3, the share of it that survives
    subtracting the mean, and Student's t has 1.5/b degrees of freedom, the Bartlett estimate's own
    (Priestley 1981, §6.2).

    Args:
        differentials: `(time,)` in time order, any unit.
        horizon: Sessions that a loss's targets span; see `hac_lags`.
        alternative: One-sided or two-sided.

    Returns:
        The result. Fewer than `MIN_COUNT` differentials, or all of one value (a tie), give
        statistic None and p = 1.

    Raises:
        ValueError: a differential is not finite, or `horizon` is below 1.
    """
    values = _checked(differentials)
    if (undecided := _untestable(values)) is not None:
        return undecided
    count = len(values)
    lags = hac_lags(count, horizon)
    share = (lags + 1) / count
    variance = long_run_variance(values, lags) / (1.0 - share + share**2 / 3.0)
    mean = float(values.mean())
    if variance <= 0.0:
        return LossTest(mean, None, 1.0, count, lags, "the long-run variance is zero")
    statistic = mean / math.sqrt(variance / count)
    p_value = _p_value(statistic, 1.5 / share, alternative)
    return LossTest(mean, statistic, p_value, count, lags)


def diebold_mariano(
    baseline_losses: Real,
    candidate_losses: Real,
    *,
    horizon: int,
    alternative: Alternative = "two-sided",
) -> LossTest:
    """Test that two forecasts have the same expected loss (Diebold & Mariano 1995).

    Rectangular kernel over horizon − 1 autocovariances, the factor of Harvey, Leybourne & Newbold
    (1997), √((n + 1 − 2h + h(h − 1)/n)/n), and Student's t with n − 1 degrees of freedom. Where
    that variance is not positive, Bartlett weights over the same lags replace it.

    Args:
        baseline_losses: `(time,)` in time order.
        candidate_losses: `(time,)`, on the same pairs.
        horizon: Steps ahead of the forecasts.
        alternative: "greater" asks whether the candidate is better, "two-sided" whether they
            differ.

    Returns:
        The result; statistic None and p = 1 for identical losses, a constant difference, or too
        few pairs (fewer than `MIN_COUNT`, or than 2 × horizon).

    Raises:
        ValueError: different lengths, a loss that is not finite, or `horizon` below 1.
    """
    if np.shape(baseline_losses) != np.shape(candidate_losses):
        raise ValueError(
            "losses must be on the same pairs: received shapes "
            f"{np.shape(baseline_losses)} and {np.shape(candidate_losses)}"
        )
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1: received {horizon}")
    baseline, candidate = _checked(baseline_losses), _checked(candidate_losses)
    values = baseline - candidate
    size = float(np.abs([baseline, candidate]).max(initial=0.0))
    if (undecided := _untestable(values, at_least=2 * horizon, size=size)) is not None:
        return undecided
    count, lags = len(values), horizon - 1
    variance = long_run_variance(values, lags, "rectangular")
    if variance <= 0.0:
        variance = long_run_variance(values, lags, "bartlett")
    mean = float(values.mean())
    if variance <= 0.0:
        return LossTest(mean, None, 1.0, count, lags, "the long-run variance is zero")
    correction = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    statistic = mean / math.sqrt(variance / count) * math.sqrt(correction)
    p_value = _p_value(statistic, count - 1, alternative)
    return LossTest(mean, statistic, p_value, count, lags)


def clark_west(
    baseline_losses: Real, candidate_losses: Real, squared_differences: Real, *, horizon: int
) -> LossTest:
    """Test, one-sided, that a forecast that contains another adds something (Clark & West 2007).

    Under the null the candidate's extra coefficients are zero in truth, so estimating them can only
    cost: its loss is larger by the mean of (f₁ − f₂)², the squared difference of the forecasts.
    That cost is taken off before comparing: f = e₁² − (e₂² − (f₁ − f₂)²) is put to `hac_test`. It
    answers whether the larger model knows something, not whether its forecast is the better one.

    Args:
        baseline_losses: `(time,)` squared errors of the smaller model in time order, or their mean
            over leads.
        candidate_losses: `(time,)` those of the model that contains it.
        squared_differences: `(time,)` (f₁ − f₂)², or its mean over the same leads.
        horizon: Sessions that a loss's targets span; see `hac_lags`.

    Returns:
        The result; `mean` is that of f. Statistic None and p = 1 as of `hac_test`.

    Raises:
        ValueError: different lengths, a value that is not finite, or `horizon` below 1.
    """
    series = [baseline_losses, candidate_losses, squared_differences]
    shapes = [np.shape(one) for one in series]
    if len(set(shapes)) > 1:
        raise ValueError(
            "losses and squared differences must be on the same pairs: received shapes "
            f"{', '.join(map(str, shapes))}"
        )
    baseline, candidate, difference = (_checked(one) for one in series)
    return hac_test(baseline - (candidate - difference), horizon=horizon)


def _p_value(statistic: float, degrees: float, alternative: Alternative) -> float:
    tail = float(special.stdtr(degrees, -statistic))
    return tail if alternative == "greater" else 2.0 * min(tail, 1.0 - tail)


def _untestable(
    values: NDArray[np.float64], at_least: int = 0, size: float = 0.0
) -> LossTest | None:
    needed = max(MIN_COUNT, at_least)
    mean = float(values.mean()) if len(values) else 0.0
    if len(values) < needed:
        reason = f"{len(values)} differentials, {needed} needed"
        return LossTest(mean, None, 1.0, len(values), 0, reason)
    # What varies by rounding alone, beside the size of the losses, does not vary.
    if np.ptp(values) <= 1e-12 * max(size, float(np.abs(values).max())):
        same = "identical losses" if mean == 0.0 else "the losses differ by a constant"
        return LossTest(mean, None, 1.0, len(values), 0, same)
    return None


def _checked(series: Real) -> NDArray[np.float64]:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"expected one series (time,): received shape {values.shape}")
    if not np.isfinite(values).all():
        first = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"every loss must be finite: received {values[first]} at {first}")
    return values
