"""The loss of each kind and its slope, lane by lane.

Owns what an output is held against. Never touches the network that gave it, nor an optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from keras import ops

from lstm_models.fleet_config import CLASSES, Kind
from lstm_models.recurrence import Tensor


class Judged(NamedTuple):
    """Outputs held against their targets.

    `total (lane,)` sums the losses, `count (lane,)` says of how many known targets, and `slope
    (time, lane, window, output)` is the derivative of `total` by the outputs, 0 where the target
    is unknown.
    """

    total: Tensor
    count: Tensor
    slope: Tensor


Loss = Callable[[Tensor, Tensor, Tensor], Judged]
"""From outputs `(time, lane, window, output)`, targets `(time, lane, window, column)`, which are
NaN where unknown, and a mask of steps `(time, 1, 1, 1)`."""

_PER_LANE = (0, 2, 3)


def _known(targets: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the target is known, the target with 0 elsewhere, and how many are known per lane."""
    known = ops.logical_and(ops.isfinite(targets), mask > 0)
    count = ops.sum(ops.cast(known, targets.dtype), axis=_PER_LANE)
    return known, ops.where(known, targets, 0.0), count


def squared_error(outputs: Tensor, targets: Tensor, mask: Tensor) -> Judged:
    """Squared error of every lead; a target column per output."""
    known, values, count = _known(targets, mask)
    error = ops.where(known, outputs - values, 0.0)
    return Judged(ops.sum(error * error, axis=_PER_LANE), count, 2.0 * error)


def binary_cross_entropy(outputs: Tensor, targets: Tensor, mask: Tensor) -> Judged:
    """Negative log-likelihood, in nats, of a label 0 or 1 given its logit.

    With z the logit and y the label it is log(1 + exp z) − z·y, of slope sigmoid(z) − y; written
    with |z|, so that no exponential overflows.
    """
    known, labels, count = _known(targets, mask)
    loss = ops.maximum(outputs, 0.0) - outputs * labels
    loss = ops.where(known, loss + ops.log1p(ops.exp(-ops.abs(outputs))), 0.0)
    slope = ops.where(known, ops.sigmoid(outputs) - labels, 0.0)
    return Judged(ops.sum(loss, axis=_PER_LANE), count, slope)


def categorical_cross_entropy(outputs: Tensor, targets: Tensor, mask: Tensor) -> Judged:
    """Negative log-likelihood, in nats, of a class index given the logits of all classes.

    With z the logits and k the class it is log Σ exp z − z_k, of slope softmax(z) − one_hot(k);
    the largest logit is taken out first, so that no exponential overflows.
    """
    known, labels, count = _known(targets, mask)
    classes = np.arange(CLASSES["quantile_class"], dtype=np.float32)
    chosen = ops.cast(ops.equal(labels, classes), outputs.dtype)
    shifted = outputs - ops.max(outputs, axis=-1, keepdims=True)
    powers = ops.exp(shifted)
    normaliser = ops.sum(powers, axis=-1, keepdims=True)
    loss = ops.log(normaliser) - ops.sum(chosen * shifted, axis=-1, keepdims=True)
    slope = ops.where(known, powers / normaliser - chosen, 0.0)
    return Judged(ops.sum(ops.where(known, loss, 0.0), axis=_PER_LANE), count, slope)


LOSSES: Mapping[Kind, Loss] = {
    "many_to_many": squared_error,
    "direction": binary_cross_entropy,
    "quantile_class": categorical_cross_entropy,
}
