"""Which of several methods may be the best: the Model Confidence Set and the SPA test, from `arch`.

Owns block length, repetitions, and what is asked of losses that do not differ. Never touches
tables; what a seed is made of is the caller's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.significance import MIN_COUNT

Floats = NDArray[np.float64]

REPETITIONS = 1000
"""Bootstrap samples; a p value of 5 % then has a standard error of 0.7 points."""

SAME = 1e-6
"""Losses that never differ by more, relative to the mean loss, are one method under two names:
above what float32 arithmetic does to a loss, below any difference that matters."""


@dataclass(frozen=True)
class ModelSet:
    """What the two tests say of every method.

    Attributes:
        mcs: `(method,)` p value in the Model Confidence Set: the method is in the set of level
            1 − α if it is above α. None: no answer.
        spa: `(method,)` p value that no other method beats this one. None: no answer.
        block: Mean length of a bootstrap block, sessions.
        seed: Of the bootstrap.
        reason: Why there is no answer, or None.
    """

    mcs: tuple[float | None, ...]
    spa: tuple[float | None, ...]
    block: int
    seed: int
    reason: str | None = None


def block_length(count: int, horizon: int) -> int:
    """Return the mean length of the blocks of the stationary bootstrap.

    ⌈count^⅓⌉, the order at which the bootstrap's variance is estimated best (Künsch 1989), and at
    least 2 × horizon, for losses whose targets overlap; at most a third of the count.

    Raises:
        ValueError: `count` or `horizon` is below 1.
    """
    if count < 1 or horizon < 1:
        raise ValueError(
            f"count and horizon must be at least 1: received count={count}, horizon={horizon}"
        )
    # A cube root may come out a hair above the whole number that it is.
    root = math.ceil(math.cbrt(count) - 1e-9)
    return max(1, min(max(root, 2 * horizon), count // 3))


def model_set(
    losses: Floats, *, horizon: int, seed: int, repetitions: int = REPETITIONS
) -> ModelSet:
    """Compute both tests over several methods on the same sessions.

    Model Confidence Set: Hansen, Lunde & Nason (2011), range statistic T_R with its own elimination
    rule. SPA: Hansen (2005), consistent p value, each method in turn the benchmark of all others.
    Both from `arch`, by the stationary bootstrap (Politis & Romano 1994).

    Args:
        losses: `(session, method)` in time order.
        horizon: Sessions that a loss's targets span; see `block_length`.
        seed: Of the bootstrap, from 0; the same gives the same p values.
        repetitions: Bootstrap samples.

    Returns:
        The p values. Methods with the same losses (see `SAME`) share one. Fewer than `MIN_COUNT`
        sessions or 3 blocks, a single method, or a difference that never varies: no answer.

    Raises:
        ValueError: not two axes, or a loss that is not finite.
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"expected losses (session, method): received shape {values.shape}")
    if not np.isfinite(values).all():
        row, method = (int(place[0]) for place in np.nonzero(~np.isfinite(values)))
        raise ValueError(
            f"every loss must be finite: received {values[row, method]} of method {method} at {row}"
        )
    count, methods = values.shape
    block = block_length(max(count, 1), horizon)
    needed = max(MIN_COUNT, 6 * horizon)
    if count < needed:
        return _without(methods, block, seed, f"{count} sessions, {needed} needed")
    representative = _twins(values)
    kept = sorted(set(representative))
    if len(kept) < 2:
        only = "one method alone" if methods < 2 else "identical losses"
        return _without(methods, block, seed, only)
    distinct = values[:, kept]
    for place in range(1, len(kept)):
        differences = distinct[:, place:] - distinct[:, [place - 1]]
        if (np.ptp(differences, axis=0) <= SAME * np.abs(distinct).mean()).any():
            return _without(methods, block, seed, "the losses of two methods differ by a constant")
    mcs = _confidence_set(distinct, block, seed, repetitions)
    spa = [_superior(distinct, place, block, seed, repetitions) for place in range(len(kept))]
    of = [kept.index(one) for one in representative]
    return ModelSet(
        tuple(mcs[place] for place in of), tuple(spa[place] for place in of), block, seed
    )


def _twins(values: Floats) -> list[int]:
    """For each method the first one with the same losses."""
    first: list[int] = []
    for place in range(values.shape[1]):
        apart = np.abs(values[:, :place] - values[:, [place]]).max(axis=0)
        same = np.flatnonzero(apart <= SAME * np.abs(values[:, place]).mean())
        first.append(first[same[0]] if len(same) else place)
    return first


def _confidence_set(losses: Floats, block: int, seed: int, repetitions: int) -> list[float]:
    from arch.bootstrap import MCS  # noqa: PLC0415 - takes seconds, and few nights need it

    test = MCS(losses, size=0.1, reps=repetitions, block_size=block, method="R", seed=seed)
    test.compute()
    found: Any = test.pvalues["Pvalue"].sort_index()
    return [float(p) for p in found]


def _superior(losses: Floats, place: int, block: int, seed: int, repetitions: int) -> float:
    from arch.bootstrap import SPA  # noqa: PLC0415 - the same

    others = np.delete(losses, place, axis=1)
    test = SPA(losses[:, place], others, block_size=block, reps=repetitions, seed=seed)
    test.compute()
    return float(test.pvalues["consistent"])


def _without(methods: int, block: int, seed: int, reason: str) -> ModelSet:
    return ModelSet((None,) * methods, (None,) * methods, block, seed, reason)
