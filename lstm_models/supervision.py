"""What a lane learns from: residuals of the linear path, or classes with the path as an offset.

Owns how targets become numbers that a loss reads. Never touches weights, nor rows of another
series; which rows may be read is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstm_models.classes import labels
from lstm_models.fleet_config import Kind
from lstm_models.linear_path import linear_path
from lstm_models.scaling import Scaler

Floats = NDArray[np.float64]
Segment = tuple[int, int]


class Supervision(NamedTuple):
    """The numbers of one member.

    `targets (row, column)`, NaN where unknown; `offsets (row, output)` of a class network's logits,
    finite, or None; `scale (output,)`, the unit of the network's outputs.
    """

    targets: Floats
    offsets: Floats | None
    scale: Floats


def residuals(
    features: Floats, targets: Floats, skip: Floats, edges: Sequence[float], fit: Segment
) -> Supervision:
    """What the linear path leaves over, in units of its standard deviation on the fit rows.

    Args:
        features: raw `(row, feature)`.
        targets: `(row, lead)`, NaN where unknown.
        skip: `(feature + 1, lead)`.
        edges: none.
        fit: first row and stop row that the scale is fitted on.
    """
    del edges
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is unknown, as it should be
        left_over = targets - linear_path(features, skip)
    scale = Scaler.fit(left_over[slice(*fit)]).spread
    return Supervision(left_over / scale, None, scale)


def classes(
    features: Floats, targets: Floats, skip: Floats, edges: Sequence[float], fit: Segment
) -> Supervision:
    """The class of every return, and the logits that the linear path gives at its row.

    A row whose path cannot be computed has no target either. The arguments are those of
    `residuals`; `targets (row, 1)` are log returns and `skip (feature + 1, output)` gives logits.
    """
    del fit
    offsets = linear_path(features, skip)
    usable = np.isfinite(targets) & np.isfinite(offsets).all(axis=1, keepdims=True)
    return Supervision(
        np.where(usable, labels(targets, edges), np.nan),
        np.where(usable, offsets, 0.0),
        np.ones(skip.shape[1]),
    )


SUPERVISION: Mapping[Kind, Callable[..., Supervision]] = {
    "many_to_many": residuals,
    "direction": classes,
    "quantile_class": classes,
}
