"""The published protocol: segments, units, windows and errors.

Owns what is compared with what. Never touches how a forecast is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Segment = Literal["validation", "test"]

BATCH = 32
"""Test windows in a batch of the published code, which leaves out what does not fill one."""


@dataclass(frozen=True)
class Split:
    """70 % of the rows to train on, 10 % to validate, the last 20 % to test, in row order.

    Attributes:
        train: row after the last training row, the first of validation.
        test: first test row.
        rows: of the file.
    """

    train: int
    test: int
    rows: int

    @classmethod
    def of(cls, rows: int) -> Split:
        """The published borders: both shares are rounded down, validation has what is left."""
        return cls(train=int(0.7 * rows), test=rows - int(0.2 * rows), rows=rows)

    def cutoffs(self, segment: Segment, horizon: int) -> Rows:
        """The last known row of every window whose `horizon` targets lie in the segment.

        Raises:
            ValueError: if there is none.
        """
        border, stop = {
            "validation": (self.train, self.test),
            "test": (self.test, self.rows),
        }[segment]
        if stop - border < horizon:
            raise ValueError(
                f"horizon {horizon} does not fit into the {stop - border} rows of the {segment} "
                f"segment ({border} … {stop - 1}): choose a shorter one"
            )
        return np.arange(border - 1, stop - horizon)


@dataclass(frozen=True)
class Errors:
    """Errors of one method, `(window, series)` each, averaged over the steps of a window."""

    squared: Floats
    absolute: Floats

    def scores(self, *, batch: int = 1) -> tuple[float, float]:
        """MSE and MAE over all windows and series.

        Args:
            batch: windows that do not fill the last batch of so many are left out.

        Raises:
            ValueError: if not even one batch is full.
        """
        used = len(self.squared) // batch * batch
        if not used:
            raise ValueError(f"{len(self.squared)} windows do not fill a batch of {batch}")
        return float(self.squared[:used].mean()), float(self.absolute[:used].mean())


def standardised(rates: Floats, split: Split) -> Floats:
    """Each series less its training mean, over its training standard deviation, `(row, series)`.

    Raises:
        ValueError: if a series is constant over the training rows.
    """
    train = rates[: split.train]
    spread = train.std(axis=0)
    if not np.all(spread > 0.0):
        raise ValueError(
            f"series {int(np.argmin(spread))} is constant over the {split.train} training rows: "
            "it has no unit to be scored in"
        )
    return np.asarray((rates - train.mean(axis=0)) / spread)


def outcomes(levels: Floats, cutoffs: Rows, horizon: int) -> Floats:
    """The changes from each cutoff to the next `horizon` rows, `(window, series, lead)`."""
    ahead = np.lib.stride_tricks.sliding_window_view(levels[1:], horizon, axis=0)[cutoffs]
    return np.asarray(ahead - levels[cutoffs][..., None])


def errors(levels: Floats, cutoffs: Rows, forecast: Floats) -> Errors:
    """Score forecast changes `(window, series, lead)`, in the units of `levels (row, series)`."""
    missed = outcomes(levels, cutoffs, forecast.shape[-1]) - forecast
    return Errors((missed**2).mean(axis=-1), np.abs(missed).mean(axis=-1))
