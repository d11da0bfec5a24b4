"""The published figures, and whether ours come out at them.

Owns the numbers of table 2 of Zeng et al. (2023), "Are Transformers Effective for Time Series
Forecasting?", arXiv:2205.13504. Never touches data.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.long_horizon.protocol import BATCH, Errors

Scores = tuple[float, float]

HORIZONS = (96, 192, 336, 720)
ROWS = 7588
"""Of the file that they are of."""
REPEAT: Mapping[int, Scores] = {
    96: (0.081, 0.196),
    192: (0.167, 0.289),
    336: (0.305, 0.396),
    720: (0.823, 0.681),
}
"""MSE and MAE by horizon."""
DLINEAR: Mapping[int, Scores] = {
    96: (0.081, 0.203),
    192: (0.157, 0.293),
    336: (0.305, 0.414),
    720: (0.643, 0.601),
}
"""MSE and MAE by horizon; lookback 336, one run."""


def reproduced(horizon: int, repeat: Errors) -> bool:
    """Whether Repeat's errors, scored as the published code does, round to its figures."""
    ours = repeat.scores(batch=BATCH)
    return all(round(own, 3) == told for own, told in zip(ours, REPEAT[horizon], strict=True))
