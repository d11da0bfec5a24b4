"""Are a forecast's calls of rise and fall better than luck: the test of Pesaran and Timmermann.

Owns the test, from shares that merge over folds. Never touches tables or probabilities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from tasks.significance import MIN_COUNT


@dataclass(frozen=True)
class DirectionalTest:
    """What the test found.

    Attributes:
        advantage: Share of right calls less the share that luck would have; None without pairs.
        statistic: Its z value, or None where there is nothing to test.
        p_value: Chance of a z at least this large if calls and outcomes were independent.
        count: Calls used.
        reason: Why there is no statistic, or None.
    """

    advantage: float | None
    statistic: float | None
    p_value: float
    count: int
    reason: str | None = None


def pesaran_timmermann(
    count: int, accuracy: float, rises: float, called_rises: float
) -> DirectionalTest:
    """Test, one-sided, that calls of rise and fall go with what came (Pesaran & Timmermann 1992).

    With P the accuracy, y the share of rises and x that of called rises, luck is right a share
    P* = xy + (1 − x)(1 − y) of the time, and z = (P − P*) / √(var P − var P*) with
    var P = P*(1 − P*)/n and
    var P* = ((2y − 1)² x(1 − x) + (2x − 1)² y(1 − y))/n + 4xy(1 − x)(1 − y)/n².
    Multiplied out the difference is 4xy(1 − x)(1 − y)(n − 1)/n². Compared with the normal. Pairs
    count as independent: of one instrument one session ahead, not pooled over instruments that
    share their days.

    Args:
        count: Pairs of a call and an outcome.
        accuracy: Share of calls that were right.
        rises: Share of outcomes that were a rise.
        called_rises: Share of calls that said so.

    Returns:
        The result. Statistic None and p = 1 for fewer than `MIN_COUNT` pairs, or where all calls or
        all outcomes were alike: nothing can go together with what never varies.

    Raises:
        ValueError: a share is not from 0 to 1, a count below 0, or no pairs have these shares.
    """
    shares = {"accuracy": accuracy, "rises": rises, "called_rises": called_rises}
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"{name} must be a share from 0 to 1: received {share}")
    if count < 0:
        raise ValueError(f"count must be at least 0: received {count}")
    if count == 0:
        return DirectionalTest(None, None, 1.0, 0, f"0 pairs, {MIN_COUNT} needed")
    low, high = abs(rises + called_rises - 1.0), 1.0 - abs(rises - called_rises)
    if not low - 1e-9 <= accuracy <= high + 1e-9:
        raise ValueError(
            f"no pairs have accuracy={accuracy} with rises={rises} and "
            f"called_rises={called_rises}: expected {low:.6g} to {high:.6g}"
        )
    luck = called_rises * rises + (1.0 - called_rises) * (1.0 - rises)
    advantage = accuracy - luck
    if count < MIN_COUNT:
        reason = f"{count} pairs, {MIN_COUNT} needed"
        return DirectionalTest(advantage, None, 1.0, count, reason)
    for share, what in ((called_rises, "call"), (rises, "outcome")):
        # A share nearer to an end than one pair in the count is that end, but for rounding.
        if min(share, 1.0 - share) * count < 0.5:
            reason = f"every {what} was a {'rise' if share > 0.5 else 'fall'}"
            return DirectionalTest(advantage, None, 1.0, count, reason)
    product = called_rises * (1.0 - called_rises) * rises * (1.0 - rises)
    statistic = advantage * count / math.sqrt(4.0 * product * (count - 1))
    return DirectionalTest(advantage, statistic, float(special.ndtr(-statistic)), count)
