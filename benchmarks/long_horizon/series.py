"""The exchange rates: reading the file, and its bad ticks.

Owns the file's format and the rule by which a tick is called bad. Never touches splits or scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NAMES = ("AU", "GB", "CA", "CH", "CN", "JP", "NZ", "SG")
"""Columns in the order that the data's authors give; Lai et al. (2018), LSTNet."""

SMALLEST_JUMP = 0.05
LARGEST_REMAINDER = 0.2
"""A bad tick: a log change of more than 5 % of which the next row takes back all but a fifth."""


class BadTick(NamedTuple):
    """One cell: its 0-based row, its series and the log change into it."""

    row: int
    series: int
    jump: float


def read(path: Path) -> Floats:
    """Read the rates.

    Args:
        path: comma-separated numbers without a header, a column per series.

    Returns:
        `(row, series)`, currency units.

    Raises:
        ValueError: if it has another number of columns, or a rate that is not above 0.
    """
    rates: Floats = np.loadtxt(path, delimiter=",", ndmin=2)
    if rates.shape[1] != len(NAMES):
        raise ValueError(
            f"{path.name} has {rates.shape[1]} columns, expected {len(NAMES)}: "
            f"{', '.join(NAMES)}, comma-separated and without a header"
        )
    if not (np.isfinite(rates) & (rates > 0.0)).all():
        row, series = np.argwhere(~(np.isfinite(rates) & (rates > 0.0)))[0]
        raise ValueError(
            f"every rate must be a finite number above 0, received {rates[row, series]} in row "
            f"{row} of {NAMES[series]}"
        )
    return rates


def bad_ticks(rates: Floats) -> tuple[BadTick, ...]:
    """Find single rows that jump away and come back, `SMALLEST_JUMP` and `LARGEST_REMAINDER`.

    The rule reads the row after the tick, which nobody had at its close: it cleans a history, and
    is no part of a forecast. A tick that follows a bad one is measured from the value before it.

    Args:
        rates: `(row, series)`, above 0.

    Returns:
        In order of rows, then of series.
    """
    logs = np.log(rates)
    found = []
    for series in range(rates.shape[1]):
        known = logs[0, series]
        for row in range(1, len(logs) - 1):
            jump, after = logs[row, series] - known, logs[row + 1, series] - known
            if abs(jump) > SMALLEST_JUMP and abs(after) <= LARGEST_REMAINDER * abs(jump):
                found.append(BadTick(row, series, float(jump)))
            else:
                known = logs[row, series]
    return tuple(sorted(found))


def without(rates: Floats, ticks: tuple[BadTick, ...]) -> Floats:
    """Replace each bad tick by the value before it; `(row, series)`."""
    cleaned = rates.copy()
    for row, series, _ in ticks:
        cleaned[row, series] = cleaned[row - 1, series]
    return cleaned
