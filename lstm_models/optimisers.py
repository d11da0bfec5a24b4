"""The optimisers, lane by lane: AdamW, RMSprop, and the clip before either.

Owns one step from gradient to weights. Never touches losses; a lane never reads another's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from keras import ops

from lstm_models.fleet_config import FleetConfig, Optimizer
from lstm_models.recurrence import Tensor

BETA_1, BETA_2, RHO, EPSILON = 0.9, 0.999, 0.9, 1e-7


class Weights(NamedTuple):
    """One weight array of every lane, and running means of its gradient and of its square.

    All `(lane, …, row, column)`; the last row is a bias. RMSprop leaves `mean` at zero.
    """

    value: Tensor
    mean: Tensor
    square: Tensor


Optimiser = Callable[[Weights, Tensor, Tensor, FleetConfig], Weights]
"""From weights, their gradient, the lanes' count of updates with this one `(lane,)`, and config."""


def clipped(gradients: tuple[Tensor, ...], limit: float) -> tuple[Tensor, ...]:
    """Gradients of all arrays of a lane, shrunk together to norm `limit` where theirs is larger."""
    square = sum(ops.sum(g * g, tuple(range(1, len(g.shape)))) for g in gradients)
    shrink = limit / ops.maximum(ops.sqrt(square), limit)
    return tuple(g * _per_lane(shrink, g) for g in gradients)


def adamw(weights: Weights, gradient: Tensor, step: Tensor, config: FleetConfig) -> Weights:
    """One AdamW update per lane.

    Source: Loshchilov & Hutter (2019), arXiv:1711.05101. As in Keras, epsilon joins the root before
    its bias correction ("epsilon hat" in Kingma & Ba, 2015, §2).
    """
    step = _per_lane(step, gradient)
    mean = BETA_1 * weights.mean + (1.0 - BETA_1) * gradient
    square = BETA_2 * weights.square + (1.0 - BETA_2) * gradient * gradient
    correction = ops.sqrt(1.0 - ops.power(BETA_2, step)) / (1.0 - ops.power(BETA_1, step))
    change = correction * mean / (ops.sqrt(square) + EPSILON) + _decay(weights, config)
    return Weights(weights.value - _rate(step, config) * change, mean, square)


def rmsprop(weights: Weights, gradient: Tensor, step: Tensor, config: FleetConfig) -> Weights:
    """One RMSprop update per lane, with AdamW's decoupled decay and warm-up.

    Source: Tieleman & Hinton (2012), lecture 6.5. As in Keras, epsilon stands under the root, and
    the running mean of squares, which starts at zero, is not corrected for that.
    """
    step = _per_lane(step, gradient)
    square = RHO * weights.square + (1.0 - RHO) * gradient * gradient
    change = gradient / ops.sqrt(square + EPSILON) + _decay(weights, config)
    return Weights(weights.value - _rate(step, config) * change, weights.mean, square)


OPTIMISERS: Mapping[Optimizer, Optimiser] = {"adamw": adamw, "rmsprop": rmsprop}


def _rate(step: Tensor, config: FleetConfig) -> Tensor:
    """Learning rate of an update: a linear warm-up, then constant."""
    return config.learning_rate * ops.minimum(step / max(config.warmup_updates, 1), 1.0)


def _decay(weights: Weights, config: FleetConfig) -> Tensor:
    """Decoupled weight decay of everything but the bias in the last row."""
    decayed = np.full((weights.value.shape[-2], 1), config.weight_decay, np.float32)
    decayed[-1] = 0.0
    return decayed * weights.value


def _per_lane(numbers: Tensor, like: Tensor) -> Tensor:
    """`(lane,)` as an array that meets `(lane, …)`."""
    return ops.reshape(numbers, (-1, *(1,) * (len(like.shape) - 1)))
