"""Standardisation of features and residuals, fitted on the fit rows and on nothing else.

Owns centres and spreads. Never touches which rows those are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaler:
    """Centre and spread per column: `(column,)` each, spread > 0."""

    center: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.floating]) -> Scaler:
        """Mean and population standard deviation of `values (row, column)`, NaN left out.

        A column that is constant, or all NaN, gets spread 1, so that it scales to 0.
        """
        values = np.asarray(values, dtype=np.float64)
        known = np.isfinite(values)
        count = np.maximum(known.sum(axis=0), 1)
        center = np.where(known, values, 0.0).sum(axis=0) / count
        deviation = np.where(known, values - center, 0.0)
        spread = np.sqrt((deviation**2).sum(axis=0) / count)
        negligible = spread <= 1e-12 * np.maximum(np.abs(center), 1.0)
        return cls(center=center, spread=np.where(negligible, 1.0, spread))

    def scale(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """`(…, column)` in units of the spread."""
        scaled: NDArray[np.float64] = (values - self.center) / self.spread
        return scaled
