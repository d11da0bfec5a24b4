"""Classes of a return: intervals of the log return, cut by edges that come from training values.

Owns the rule that puts a value into a class. Never touches probabilities of anything to come.

Of `class` classes there are `class − 1` edges, strictly increasing. Class k holds
edges[k − 1] < y ≤ edges[k], the first and the last without a bound on their outer side. So the one
edge 0 makes the two classes of a direction: 0 is a fall or no change, 1 is a rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
Edges = Sequence[float] | Real


def checked_edges(edges: Edges) -> Floats:
    """Return the edges as `(class − 1,)` float64.

    Raises:
        ValueError: no edge, one that is not finite, or edges that do not strictly increase.
    """
    array = np.asarray(edges, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"edges must be one or more finite numbers (class − 1,): received {edges}")
    if not (np.diff(array) > 0.0).all():
        raise ValueError(f"edges must strictly increase: received {array.tolist()}")
    return array


def quantile_edges(values: Real, classes: int) -> Floats:
    """Cut training values into classes of as equal a count as their ties allow.

    Every cut lies midway between two adjacent distinct values, so tied values share a class and
    none is empty. In turn from the lowest, cut k of K goes where the number of values below it is
    nearest to k·n/K (the lower place of two that are equally near), at least one distinct value
    above the cut before it and with at least one left for every class still to come. Without ties
    these are sample quantiles, and the counts of two classes differ by at most one.

    Args:
        values: `(row,)` values of the fit rows; those that are not finite are left out.
        classes: How many classes, at least 2.

    Returns:
        `(class − 1,)` edges, strictly increasing. On the values given every class is populated.

    Raises:
        ValueError: fewer distinct finite values than classes.
    """
    if classes < 2:
        raise ValueError(f"classes must be at least 2: received {classes}")
    values = np.asarray(values, dtype=np.float64)
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if len(distinct) < classes:
        raise ValueError(
            f"{classes} classes need at least {classes} distinct finite values: "
            f"received {len(distinct)} distinct among {counts.sum()}. Give a longer history, or "
            "leave this series to a forecast without classes"
        )
    below = np.cumsum(counts)
    last_below = np.empty(classes - 1, dtype=np.int64)
    first = 0
    for cut in range(1, classes):
        places = slice(first, len(distinct) - (classes - cut))
        # Compared as integers, classes times too large, so that equally near is exactly that.
        distance = np.abs(classes * below[places] - cut * below[-1])
        last_below[cut - 1] = first + int(np.argmin(distance))
        first = int(last_below[cut - 1]) + 1
    lower, upper = distinct[last_below], distinct[last_below + 1]
    middle = lower / 2.0 + upper / 2.0
    # Between neighbouring floats the middle may round to the upper one, which is not below itself.
    return np.where((lower <= middle) & (middle < upper), middle, lower)


def labels(values: Real, edges: Edges) -> Floats:
    """Return the class of every value, `(…)` like them: 0 … class − 1, NaN where it is NaN.

    Raises:
        ValueError: `edges` are no edges (see `checked_edges`).
    """
    values = np.asarray(values, dtype=np.float64)
    found = np.searchsorted(checked_edges(edges), values, side="left")
    return np.where(np.isnan(values), np.nan, found)


def class_means(values: Real, edges: Edges) -> Floats:
    """Return the mean training value of every class.

    Args:
        values: `(row,)` values of the fit rows; those that are not finite are left out.
        edges: `(class − 1,)`.

    Returns:
        `(class,)`, finite. A class without a value gets the middle of its edges, or its one edge.
    """
    edges = checked_edges(edges)
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    place = np.searchsorted(edges, values, side="left")
    counts = np.bincount(place, minlength=len(edges) + 1)
    totals = np.bincount(place, weights=values, minlength=len(edges) + 1)
    bounds = np.concatenate([edges[:1], edges, edges[-1:]])
    middles = (bounds[:-1] + bounds[1:]) / 2.0
    return np.where(counts > 0, totals / np.maximum(counts, 1), middles)


def implied_mean(probabilities: Real, means: Real) -> Floats:
    """Return the mean that class probabilities imply: Σₖ pₖ mₖ.

    Args:
        probabilities: `(…, class)`.
        means: `(class,)`, of `class_means`.

    Returns:
        `(…)` in the units of the means; NaN where a probability is missing.

    Raises:
        ValueError: another number of classes in one than in the other.
    """
    if means.shape != probabilities.shape[-1:]:
        raise ValueError(
            f"means must be (class,) for the {probabilities.shape[-1]} classes of the "
            f"probabilities: received shape {means.shape}"
        )
    total = np.zeros(probabilities.shape[:-1])
    # Class by class, not a matrix product, so that a row's bits do not depend on the other rows.
    for place, mean in enumerate(means.astype(np.float64)):
        total += probabilities[..., place] * mean
    return total
