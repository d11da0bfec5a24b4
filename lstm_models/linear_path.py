"""The frozen linear path beside a network, evaluated row by row.

Owns its arithmetic only. Never touches how its coefficients were fitted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def linear_path(features: NDArray[np.floating], coefficients: Floats) -> Floats:
    """Linear map `(row, feature)` to `(row, output)`; `coefficients (feature + 1, output)`.

    Summed column by column: a matrix product may round a row differently when the number of rows
    changes, and a forecast must not depend on how many are asked for at once. A column whose
    coefficients are zero is not read, so that what it holds, or lacks, does not matter.
    """
    total = np.broadcast_to(coefficients[-1], (len(features), coefficients.shape[1])).copy()
    for column, slopes in zip(features.T.astype(np.float64), coefficients[:-1], strict=True):
        if np.any(slopes):
            with np.errstate(invalid="ignore"):  # ∞ − ∞ is unknown, as it should be
                total += column[:, None] * slopes
    return total
