"""Which of many instruments show something, when so many were looked at.

Owns the adjustment of p values. Never touches how they came about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

DISCOVERY = 0.1
"""The q value up to which an instrument counts as one that a method is better on: of those so
called, one in ten or fewer are expected not to be."""


def benjamini_hochberg(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Adjust p values of many tests (Benjamini & Hochberg 1995): q = min over p' ≥ p of p' m/rank.

    Calling a discovery whatever has q ≤ α keeps the expected share of false ones among all
    discoveries at α or below, with tests that are independent or positively dependent, as those of
    instruments that share their days are.

    Args:
        p_values: One per instrument, in any order; None or NaN: it could not be tested.

    Returns:
        In the same order, None where there was no test. Those without one do not count among the m;
        with one test q is p, with none all are None.

    Raises:
        ValueError: a p value outside 0 to 1.
    """
    from scipy import stats  # noqa: PLC0415 - slow to import, and most readers of q need it not

    known = [place for place, p in enumerate(p_values) if p is not None and not math.isnan(p)]
    adjusted: list[float | None] = [None] * len(p_values)
    if not known:
        return tuple(adjusted)
    tested = np.array([p_values[place] for place in known], dtype=np.float64)
    wrong = tested[(tested < 0.0) | (tested > 1.0)]
    if len(wrong):
        raise ValueError(f"p values must be from 0 to 1: received {wrong[0]}")
    for place, q in zip(known, stats.false_discovery_control(tested, method="bh"), strict=True):
        adjusted[place] = float(q)
    return tuple(adjusted)


def discoveries(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, ...], tuple[int, int]]:
    """On how many instruments a method is better than a baseline, and of how many.

    Args:
        rows: of `comparisons`; those pooled over instruments are ignored.

    Returns:
        By target, kind, method and baseline.
    """
    counts: dict[tuple[str, ...], tuple[int, int]] = {}
    for row in rows:
        if row["instrument"] is not None:
            key = (row["target"], row["kind"], row["method"], row["baseline"])
            found, of = counts.get(key, (0, 0))
            better = row["q_value"] is not None and row["q_value"] <= DISCOVERY
            counts[key] = (found + better, of + 1)
    return counts
