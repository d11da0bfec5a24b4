"""Calibration of class probabilities: does what was given 30 % come 30 % of the time.

Owns the bins, what falls into them, and the reliability. Never decides which pairs count.

A calibration is a table over fixed bins, so that those of two shards, folds or instruments merge
by sums: `merged` of parts equals the calibration of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating[Any]]

BINS: dict[str, tuple[float, ...]] = {
    "direction": (0.35, 0.4, 0.45, 0.475, 0.5, 0.525, 0.55, 0.6, 0.65),
    "quantile_class": (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3),
}
"""Upper ends of all bins but the last, which belong to them: narrow where probabilities of daily
returns lie, about a half for a rise and about a tenth for a decile."""


@dataclass(frozen=True)
class Bin:
    """What fell into one bin.

    Attributes:
        count: pairs of a forecast and a class.
        probability: their mean probability, or None of no pair.
        came: share of them whose class came, or None.
    """

    count: float
    probability: float | None
    came: float | None

    def record(self) -> dict[str, float | None]:
        """As a table holds it."""
        return asdict(self)


def calibration(kind: str, probabilities: Real, labels: Real) -> tuple[Bin, ...]:
    """Sort every probability into the bins of its kind.

    Of `direction` the probability of a rise, one for each row; of more classes that of every class,
    each an event of its own.

    Args:
        kind: a key of `BINS`.
        probabilities: `(row, class)`.
        labels: `(row,)` class that came, NaN where unknown: such a row is left out.

    Returns:
        One entry per bin, lowest first.

    Raises:
        ValueError: a probability is missing where the label is known.
    """
    known = np.isfinite(labels)
    given = probabilities[known].astype(np.float64)
    if not np.isfinite(given).all():
        raise ValueError(
            f"{int((~np.isfinite(given)).any(axis=1).sum())} of {len(given)} rows with a label "
            "have no probability: leave them out for every method"
        )
    happened = (labels[known, None] == np.arange(given.shape[1])).astype(np.float64)
    if given.shape[1] == 2:
        given, happened = given[:, 1:], happened[:, 1:]
    place = np.searchsorted(BINS[kind], given.ravel(), side="left")
    size = len(BINS[kind]) + 1
    counts = np.bincount(place, minlength=size)
    sums = np.bincount(place, given.ravel(), minlength=size)
    came = np.bincount(place, happened.ravel(), minlength=size)
    return tuple(
        _bin(float(n), float(p), float(o)) for n, p, o in zip(counts, sums, came, strict=True)
    )


def merged(parts: Iterable[Sequence[Bin]]) -> tuple[Bin, ...]:
    """The calibration of all pairs together, from those of parts of them.

    Raises:
        ValueError: the parts have different numbers of bins, so are of different kinds.
    """
    bins = list(zip(*parts, strict=True))
    return tuple(
        _bin(
            sum(one.count for one in same),
            sum(one.count * (one.probability or 0.0) for one in same),
            sum(one.count * (one.came or 0.0) for one in same),
        )
        for same in bins
    )


def reliability(bins: Sequence[Bin]) -> float | None:
    """Σ n (p̄ − ō)² / Σ n over the bins: the reliability term of Murphy's (1973) decomposition.

    Zero where what was given came as often; None of no pair. Of ten classes it is the mean over
    the pairs of forecast and class, so a tenth of the sum over classes.
    """
    total = sum(one.count for one in bins)
    squares = (
        one.count * (one.probability - one.came) ** 2
        for one in bins
        if one.probability is not None and one.came is not None
    )
    return sum(squares) / total if total else None


def _bin(count: float, probability: float, came: float) -> Bin:
    return Bin(count, probability / count, came / count) if count else Bin(0.0, None, None)
