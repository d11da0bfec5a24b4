"""The compiled arithmetic of a fleet: a few updates of every lane, and predictions.

Owns loss, gradient, clipping and AdamW, lane by lane. Never touches scheduling or NumPy state.

Every function here is one XLA program of fixed shapes. Lanes share nothing but the batched
products: each has its own loss, its own gradient norm, its own update count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from lstm_models.compiled import compiled
from lstm_models.fleet_config import FleetConfig
from lstm_models.recurrence import Tensor, backward, forward, with_bias

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
CHECKED_WINDOWS = 8
"""Windows of a lane in one piece of a check."""


class Weights(NamedTuple):
    """One weight array of every lane, and AdamW's running mean and mean square of its gradient."""

    value: Tensor
    mean: Tensor
    square: Tensor


class Lanes(NamedTuple):
    """What training changes.

    `recurrence (lane, units + feature + 1, 4·units)`, `head (lane, units + 1, lead)`, and the
    count of updates so far, `(lane,)`.
    """

    recurrence: Weights
    head: Weights
    updates: Tensor


class Data(NamedTuple):
    """What training reads.

    `inputs (lane, row, feature + 1)`, standardised; `targets (lane, row, lead)`, NaN outside the
    fit rows; `check_targets`, the same, NaN outside the early-stop rows.
    """

    inputs: Tensor
    targets: Tensor
    check_targets: Tensor


def _gather(rows: Tensor, starts: Tensor, lookback: int) -> Tensor:
    """Windows `(time, lane, window, column)` of `rows (lane, row, column)`."""
    lanes, length, columns = rows.shape
    lane = np.arange(lanes, dtype=np.int32)[None, :, None] * length
    step = np.arange(lookback, dtype=np.int32)[:, None, None]
    return ops.take(ops.reshape(rows, (lanes * length, columns)), starts[None] + lane + step, 0)


def _errors(outputs: Tensor, targets: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Error where the target is known and 0 elsewhere, and how many are known per lane.

    All `(time, lane, window, lead)`; `weight` masks steps, NaN targets mask themselves.
    """
    known = ops.logical_and(ops.isfinite(targets), weight > 0)
    error = ops.where(known, outputs - ops.where(known, targets, 0.0), 0.0)
    return error, ops.sum(ops.cast(known, outputs.dtype), axis=(0, 2, 3))


def _head(hidden: Tensor, head: Tensor) -> Tensor:
    """The same Dense layer at every time step: `(time, lane, window, lead)`."""
    return ops.matmul(with_bias(hidden), head)


def _adamw(weights: Weights, gradient: Tensor, step: Tensor, config: FleetConfig) -> Weights:
    """One AdamW update per lane; the last row of every weight array is a bias and not decayed.

    Source: Loshchilov & Hutter (2019), arXiv:1711.05101; linear warm-up of the rate. As in Keras,
    epsilon joins the root before its bias correction ("epsilon hat" in Kingma & Ba, 2015, §2).
    """
    decayed = np.full((1, weights.value.shape[1], 1), config.weight_decay, np.float32)
    decayed[:, -1] = 0.0
    step = step[:, None, None]
    mean = BETA_1 * weights.mean + (1.0 - BETA_1) * gradient
    square = BETA_2 * weights.square + (1.0 - BETA_2) * gradient * gradient
    correction = ops.sqrt(1.0 - ops.power(BETA_2, step)) / (1.0 - ops.power(BETA_1, step))
    change = correction * mean / (ops.sqrt(square) + EPSILON) + decayed * weights.value
    rate = config.learning_rate * ops.minimum(step / max(config.warmup_updates, 1), 1.0)
    return Weights(weights.value - rate * change, mean, square)


@cache
def training_program(config: FleetConfig) -> Callable[..., tuple[Lanes, Tensor, Tensor]]:
    """Compile: check every lane on its early-stop rows, then update it `check_every` times.

    The program takes `Lanes`, `Data`, `starts (update, lane, window)` and `check_starts (piece,
    lane, window)`. It returns the changed lanes, the early-stop MSE *before* the updates, NaN
    where no target is known, and the training MSE of the last one, `(lane,)` each.
    """
    lookback = config.lookback
    supervised = _from_step(lookback, config.burn_in)
    checked = _from_step(lookback, lookback - check_stride(config))

    def update(lanes: Lanes, data: Data, starts: Tensor) -> tuple[Lanes, Tensor]:
        x = _gather(data.inputs, starts, lookback)
        y = _gather(data.targets, starts, lookback)
        hidden, cell = forward(x, lanes.recurrence.value)
        error, count = _errors(_head(hidden, lanes.head.value), y, supervised)
        count = ops.maximum(count, 1.0)
        d_outputs = 2.0 * error / count[None, :, None, None]
        d_head = ops.einsum("tlwu,tlwo->luo", with_bias(hidden), d_outputs)
        kernel = ops.transpose(lanes.head.value[:, :-1], (0, 2, 1))
        d_hidden = ops.matmul(d_outputs, kernel)
        d_recurrence = backward(x, lanes.recurrence.value, hidden, cell, d_hidden)
        square = ops.sum(d_recurrence * d_recurrence, (1, 2)) + ops.sum(d_head * d_head, (1, 2))
        shrink = config.clip_norm / ops.maximum(ops.sqrt(square), config.clip_norm)
        shrink = shrink[:, None, None]
        step = lanes.updates + 1.0
        recurrence = _adamw(lanes.recurrence, d_recurrence * shrink, step, config)
        head = _adamw(lanes.head, d_head * shrink, step, config)
        return Lanes(recurrence, head, step), ops.sum(error * error, axis=(0, 2, 3)) / count

    def check(lanes: Lanes, data: Data, check_starts: Tensor) -> Tensor:
        # Piece after piece, so that pieces without targets, which a neighbour with more
        # early-stop rows brings along, add an exact zero.
        def step(
            carry: tuple[Tensor, Tensor], starts: Tensor
        ) -> tuple[tuple[Tensor, Tensor], None]:
            hidden, _ = forward(_gather(data.inputs, starts, lookback), lanes.recurrence.value)
            y = _gather(data.check_targets, starts, lookback)
            error, count = _errors(_head(hidden, lanes.head.value), y, checked)
            total = carry[0] + ops.sum(error * error, axis=(0, 2, 3))
            return (total, carry[1] + count), None

        zero = ops.zeros_like(lanes.updates)
        (total, count), _ = ops.scan(step, (zero, zero), check_starts)
        return total / count

    def program(
        lanes: Lanes, data: Data, starts: Tensor, check_starts: Tensor
    ) -> tuple[Lanes, Tensor, Tensor]:
        before = check(lanes, data, check_starts)

        def step(carry: tuple[Lanes, Tensor], drawn: Tensor) -> tuple[tuple[Lanes, Tensor], None]:
            return update(carry[0], data, drawn), None

        (lanes, loss), _ = ops.scan(step, (lanes, ops.zeros_like(before)), starts)
        return lanes, before, loss

    return compiled(program)


@cache
def prediction_program(lookback: int) -> Callable[..., Any]:
    """Compile: the head's output at the last step of each window.

    The program takes `recurrence`, `head`, `inputs (lane, row, feature + 1)` and `starts (lane,
    window)` and returns `(lane, window, lead)`, in residual units.
    """

    def program(recurrence: Tensor, head: Tensor, inputs: Tensor, starts: Tensor) -> Tensor:
        hidden, _ = forward(_gather(inputs, starts, lookback), recurrence)
        return _head(hidden[-1:], head)[0]

    return compiled(program)


def _from_step(lookback: int, first: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """1 from step `first` of a window on, 0 before: `(time, 1, 1, 1)`."""
    return (np.arange(lookback) >= first).astype(np.float32)[:, None, None, None]


def check_stride(config: FleetConfig) -> int:
    """Early-stop rows per check window: half of the supervised steps, so that context is long."""
    return max((config.lookback - config.burn_in) // 2, 1)
