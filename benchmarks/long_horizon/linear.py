"""Forecasts without a network: repeat, drift and autoregression, each series on its own.

Owns their fits, on training rows alone. Never touches Keras or scores.

A forecast is the expected change from the last known level, `(window, series, lead)`.
"""

from __future__ import annotations

import numpy as np

from benchmarks.long_horizon.protocol import Floats, Rows, Split, outcomes

LAGS = 5


def repeat(levels: Floats, cutoffs: Rows, horizon: int) -> Floats:
    """No change: the last value is repeated."""
    return np.zeros((len(cutoffs), levels.shape[1], horizon))


def drift(levels: Floats, split: Split, cutoffs: Rows, horizon: int) -> Floats:
    """The mean training change, once per row ahead."""
    mean = (levels[split.train - 1] - levels[0]) / (split.train - 1)
    steps = np.arange(1, horizon + 1)
    return np.broadcast_to(mean[:, None] * steps, (len(cutoffs), len(mean), horizon))


def autoregression(levels: Floats, split: Split, cutoffs: Rows, horizon: int) -> Floats:
    """Direct least squares of each lead's change on a constant and the last `LAGS` changes.

    Fitted on the training windows whose last target is a training row.
    """
    known = np.arange(LAGS, split.train - horizon)
    target = outcomes(levels, known, horizon)
    forecast = np.empty((len(cutoffs), levels.shape[1], horizon))
    for series in range(levels.shape[1]):
        design = _lagged(levels[:, series])
        slopes = np.linalg.lstsq(design[known], target[:, series])[0]
        forecast[:, series] = design[cutoffs] @ slopes
    return forecast


def _lagged(level: Floats) -> Floats:
    """A constant and the last changes, `(row, 1 + LAGS)`; zeros before the first row."""
    change = np.diff(level, prepend=level[0])
    columns = [np.concatenate([np.zeros(lag), change[: len(change) - lag]]) for lag in range(LAGS)]
    return np.stack([np.ones(len(level)), *columns], axis=-1)
