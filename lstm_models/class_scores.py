"""Statistics of class forecasts: one number per pair of class probabilities and what came.

Owns the formulas. Never decides which pairs count: `scores.ScoreState` and the caller's mask do.

All are the smaller the better except `correct` and `auc`. A pair whose label or whose probability
is missing (NaN) has no statistic: NaN. Formulas and sources are in docs/scores.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Real = NDArray[np.floating[Any]]

PROBABILITY_FLOOR = 1e-12
"""What the log loss takes a smaller probability for, so that no single pair can cost more than
27.6. No baseline comes near it; a network that rounds a probability to zero pays the most."""


def log_loss(probabilities: Real, labels: Real) -> Floats:
    """Return −ln p of the class that came, p at least `PROBABILITY_FLOOR` (Good 1952).

    Args:
        probabilities: `(row, class)`.
        labels: `(row,)` class that came, 0 … class − 1, NaN where unknown.

    Returns:
        `(row,)` in nats.

    Raises:
        ValueError: arrays whose axes do not agree, or a label that is no class.
    """
    happened = _happened(probabilities, labels)
    chosen = np.where(happened == 1.0, probabilities.astype(np.float64), 0.0).sum(axis=-1)
    chosen = _known(chosen, happened, probabilities)
    return np.asarray(-np.log(np.maximum(chosen, PROBABILITY_FLOOR)))


def brier(probabilities: Real, labels: Real) -> Floats:
    """Return Brier's (1950) score: Σₖ (pₖ − oₖ)², with o = 1 for the class that came, else 0.

    Of two classes only the rise is counted, (p − o)², half of the sum over both: the form that is
    in use for a yes-or-no event. So it lies in [0, 1] for two classes and in [0, 2] for more.

    Args, returns and errors as `log_loss`.
    """
    happened = _happened(probabilities, labels)
    squared = (probabilities.astype(np.float64) - happened) ** 2
    return squared[:, 1] if squared.shape[1] == 2 else np.asarray(squared.sum(axis=-1))


def ranked_probability_score(probabilities: Real, labels: Real) -> Floats:
    """Return the mean over the class − 1 edges of (F − O)² (Epstein 1969, Murphy 1971).

    F is the probability at or below the edge, O is 1 if the class that came lies there. Unlike the
    others it knows the order of the classes: one class off costs less than five. Of two classes it
    is `brier`.

    Args, returns and errors as `log_loss`.
    """
    happened = _happened(probabilities, labels)
    difference = np.cumsum(probabilities.astype(np.float64) - happened, axis=-1)[:, :-1]
    return _known((difference**2).mean(axis=-1), happened, probabilities)


def correct(probabilities: Real, labels: Real) -> Floats:
    """Return 1 where the most probable class came, else 0; its mean is the accuracy.

    Of equally probable classes the lowest counts as the forecast.

    Args, returns and errors as `log_loss`.
    """
    happened = _happened(probabilities, labels)
    hit = (np.argmax(probabilities, axis=-1) == labels).astype(np.float64)
    return _known(hit, happened, probabilities)


def auc(probability_of_rise: Real, labels: Real) -> float:
    """Return the area under the ROC curve: how often a rise was given more than a fall.

    Over all pairs of a rise and a fall, the share in which the rise had the higher probability,
    ties counting one half: the Mann–Whitney statistic by mid-ranks (Hanley & McNeil 1982). It is a
    score of many rows together, and no mean of statistics: it does not merge across shards.

    Args:
        probability_of_rise: `(row,)`; any number that grows with it gives the same area.
        labels: `(row,)` 1 for a rise, 0 for none, NaN where unknown: such a row is left out.

    Returns:
        In [0, 1], 0.5 without skill; NaN unless both classes came.

    Raises:
        ValueError: arrays whose axes do not agree, a label other than 0 and 1, or no probability
            at a row that has a label.
    """
    if probability_of_rise.ndim != 1 or labels.shape != probability_of_rise.shape:
        raise ValueError(
            "probabilities of a rise and labels must both be (row,): received shapes "
            f"{probability_of_rise.shape} and {labels.shape}"
        )
    known = ~np.isnan(labels)
    came, given = labels[known], probability_of_rise[known]
    _check_labels(came, 2)
    if np.isnan(given).any():
        raise ValueError(
            f"{np.isnan(given).sum()} of {len(given)} rows with a label have no probability: "
            "leave them out for every method"
        )
    rises = int(came.sum())
    falls = len(came) - rises
    if rises == 0 or falls == 0:
        return float("nan")
    _, place, counts = np.unique(given, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = mid_ranks[place[came == 1.0]].sum()
    return float((rank_sum - rises * (rises + 1) / 2.0) / (rises * falls))


def _happened(probabilities: Real, labels: Real) -> Floats:
    """Return `(row, class)`: 1 for the class that came, 0 for the others, NaN if unknown."""
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(
            "probabilities must be (row, class) of at least 2 classes: received shape "
            f"{probabilities.shape}"
        )
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"labels must be (row,) of the {len(probabilities)} rows of the probabilities: "
            f"received shape {labels.shape}"
        )
    unknown = np.isnan(labels)
    _check_labels(labels[~unknown], probabilities.shape[1])
    happened = labels[:, None] == np.arange(probabilities.shape[1])
    return np.where(unknown[:, None], np.nan, happened)


def _known(statistic: Floats, happened: Floats, probabilities: Real) -> Floats:
    missing = np.isnan(happened).any(axis=-1) | np.isnan(probabilities).any(axis=-1)
    return np.where(missing, np.nan, statistic)


def _check_labels(labels: Real, classes: int) -> None:
    wrong = labels[~np.isin(labels, np.arange(classes))]
    if wrong.size:
        raise ValueError(
            f"labels must be classes 0 … {classes - 1}, or NaN: {wrong.size} are not, "
            f"the first is {wrong[0]}"
        )
