"""What every side is given: features, targets and segments of the instruments, as plain arrays.

Owns the split, the scaling that peers use and the windows they see. Never touches where bars come
from, or any model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lstm_models import baselines
from lstm_models.features import FEATURES
from tasks.features import Series, features, first_complete, variance_floor

Floats = NDArray[np.float64]
Single = NDArray[np.float32]
Segment = tuple[int, int]
"""First row and stop row."""

TARGET = FEATURES.index("log_variance_1")
"""The column whose next values are forecast."""
SHARES = (0.6, 0.2, 0.2)
"""Of the usable rows: fit, early stop, test."""


@dataclass(frozen=True)
class Problem:
    """One forecasting task for all sides.

    Attributes:
        names: of the instruments, `(series,)`.
        inputs: features in the order of `FEATURES`, natural units, `(series, row, feature)`; every
            row is complete.
        lookback: sessions in a window.
        horizon: leads.
        seed: of whatever a side draws.
        limit: stop every training after this many checks; 0 for the sides' own limits.
    """

    names: tuple[str, ...]
    inputs: Floats
    lookback: int
    horizon: int
    seed: int = 0
    limit: int = 0

    @property
    def targets(self) -> Floats:
        """The next `horizon` values of the target, `(series, row, lead)`; NaN where unknown."""
        target = self.inputs[..., TARGET]
        out = np.full((*target.shape, self.horizon), np.nan)
        for lead in range(1, self.horizon + 1):
            out[:, :-lead, lead - 1] = target[:, lead:]
        return out

    @property
    def segments(self) -> Mapping[str, Segment]:
        """Cutoff rows of "fit", "early_stop" and "test": in order, `horizon` rows apart.

        The test rows end `horizon` rows before the last, so that every target is known.
        """
        first, gap = self.lookback - 1, self.horizon
        usable = self.inputs.shape[1] - first - 3 * gap
        fit, stop = (round(usable * share) for share in SHARES[:2])
        ends = (first + fit, first + fit + gap + stop)
        return {
            "fit": (0, ends[0]),
            "early_stop": (ends[0] + gap, ends[1]),
            "test": (ends[1] + gap, self.inputs.shape[1] - gap),
        }

    def rows(self, segment: str) -> NDArray[np.int64]:
        """Cutoff rows of a segment that have a whole window, `(row,)`."""
        first, stop = self.segments[segment]
        return np.arange(max(first, self.lookback - 1), stop)

    @property
    def center(self) -> Floats:
        """Mean of each feature over the fit rows, `(series, 1, feature)`."""
        first, stop = self.segments["fit"]
        mean: Floats = self.inputs[:, first:stop].mean(axis=1, keepdims=True)
        return mean

    @property
    def spread(self) -> Floats:
        """Standard deviation of each feature over the fit rows, `(series, 1, feature)`.

        1 where a feature stands still, as the market's do: here every instrument is alone.
        """
        first, stop = self.segments["fit"]
        deviation: Floats = self.inputs[:, first:stop].std(axis=1, keepdims=True)
        return np.where(deviation > 0.0, deviation, 1.0)

    def scaled(self) -> Single:
        """Standardised inputs for the peers, `(series, row, feature)`."""
        return ((self.inputs - self.center) / self.spread).astype(np.float32)

    def scaled_targets(self) -> Single:
        """Standardised targets for the peers, `(series, row, lead)`."""
        level, spread = self.center[..., [TARGET]], self.spread[..., [TARGET]]
        return ((self.targets - level) / spread).astype(np.float32)

    def unscaled(self, predictions: NDArray[np.floating], series: int) -> Floats:
        """From standardised predictions `(window, lead)` to natural units."""
        level, spread = self.center[series, 0, TARGET], self.spread[series, 0, TARGET]
        natural: Floats = np.asarray(predictions, np.float64) * spread + level
        return natural

    def har(self) -> Floats:
        """Test MSE of HAR, fitted on the fit rows by least squares, `(series,)`."""
        mask = np.zeros(self.inputs.shape[:2], dtype=bool)
        mask[:, slice(*self.segments["fit"])] = True
        fitted = baselines.fit("har", self.inputs, self.targets, mask)
        rows = self.rows("test")
        error = fitted.predict(self.inputs)[:, rows] - self.targets[:, rows]
        mse: Floats = (error**2).mean(axis=(1, 2))
        return mse

    def save(self, path: Path) -> None:
        """Write it for a child process."""
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in vars(self).items()}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Problem:
        """Read what `save` wrote."""
        with np.load(path) as file:
            numbers = {name: int(file[name]) for name in ("lookback", "horizon", "seed", "limit")}
            return cls(tuple(file["names"].tolist()), file["inputs"], **numbers)


def windows(rows: Single, cutoffs: NDArray[np.int64], lookback: int) -> Single:
    """Windows of `rows (row, column)` that end at `cutoffs`, `(window, time, column)`, copied."""
    views = sliding_window_view(rows, lookback, axis=0)[cutoffs - (lookback - 1)]
    return np.ascontiguousarray(views.swapaxes(1, 2))


def inputs_of(series: Series) -> Floats:
    """Complete feature rows of one instrument, `(row, feature)`; none if it has gaps throughout.

    Epsilon, which keeps the log of a variance finite, comes from the first half of the history.
    """
    rows = features(series, variance_floor(series, len(series) // 2))
    return rows[first_complete(rows) :]


def aligned(names: list[str], arrays: list[Floats], *, lookback: int, horizon: int) -> Problem:
    """The problem of several instruments, cut to the newest rows that all of them have.

    Raises:
        ValueError: fewer rows are left than any split needs.
    """
    length = min(len(array) for array in arrays)
    least = 4 * (lookback + horizon)
    if length < least:
        raise ValueError(
            f"every instrument needs {least} complete rows for lookback={lookback}, "
            f"horizon={horizon}; the shortest has {length}: choose others"
        )
    stacked = np.stack([array[len(array) - length :] for array in arrays])
    return Problem(tuple(names), stacked, lookback, horizon)
