"""The adaptive interval by its definition: lists, a loop, nothing from the package."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def slow_half_widths(
    sizes: Mapping[int, float],
    rows: range,
    lead: int,
    level: float,
    *,
    window: int = 252,
    least: int = 50,
    step: float = 0.03,
) -> dict[int, float]:
    """Half widths by row, in units of the scale.

    Args:
        sizes: |error| / scale by row, without those that are unknown; rows after the last one that
            matured do no harm.
        rows: from the first that is out of sample.
        lead: sessions until a row's error is known.
        level: nominal coverage.
        window: rows that errors come from.
        least: errors that an interval needs.
        step: of the factor, at lead 1.
    """
    log_factor, given = 0.0, dict[int, float]()
    for row in rows:
        answered = row - lead
        if answered in given and answered in sizes:
            missed = sizes[answered] > given[answered]
            log_factor += step / math.sqrt(lead) * (missed - (1.0 - level))
            log_factor = min(max(log_factor, -math.log(3.0)), math.log(3.0))
        past = range(max(row - lead - window + 1, rows.start), row - lead + 1)
        matured = sorted(sizes[one] for one in past if one in sizes)
        rank = math.ceil(round((len(matured) + 1) * level, 9))
        if len(matured) >= max(least, rank):
            given[row] = matured[rank - 1] * math.exp(log_factor)
    return given


def sizes_of(
    predictions: NDArray[np.float64], targets: NDArray[np.float64], scale: NDArray[np.float64]
) -> dict[int, float]:
    """|target − prediction| / scale of one series `(row,)`, by row, where known."""
    found = np.abs(targets - predictions) / scale
    return {row: float(size) for row, size in enumerate(found) if np.isfinite(size)}
