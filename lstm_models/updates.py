"""The compiled arithmetic of a fleet: a few updates of every lane, and predictions.

Owns how a program is put together: windows, states, head, loss, optimiser. Never touches
scheduling or what happens between two programs.

Every program is compiled once, for fixed shapes. Lanes share nothing but the batched products:
each has its own loss, its own gradient norm, its own update count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from lstm_models import states
from lstm_models.compiled import compiled
from lstm_models.fleet_config import FleetConfig
from lstm_models.losses import LOSSES, Judged
from lstm_models.optimisers import OPTIMISERS, Weights, clipped
from lstm_models.recurrence import Tensor, with_bias

CHECKED_WINDOWS = 8
"""Windows of a lane in one piece of a check, where each of them checks many rows."""


class Lanes(NamedTuple):
    """What training changes.

    `recurrence (lane, direction, units + feature + 1, 4·units)`, `head (lane, direction·units + 1,
    output)`, and the count of updates so far, `(lane,)`.
    """

    recurrence: Weights
    head: Weights
    updates: Tensor


class Data(NamedTuple):
    """What training reads.

    `inputs (lane, row, feature + 1)`, standardised; `targets (lane, row, column)`, NaN outside the
    fit rows; `check_targets`, the same, NaN outside the early-stop rows; `offsets (lane, row,
    output)`, which the linear path adds to a class network's logits, None where there are none.
    """

    inputs: Tensor
    targets: Tensor
    check_targets: Tensor
    offsets: Tensor | None = None


def gradients(
    recurrence: Tensor, head: Tensor, data: Data, starts: Tensor, config: FleetConfig
) -> tuple[Judged, Tensor, Tensor]:
    """Loss of one set of windows, and the gradient of each lane's mean loss by its weights.

    Args:
        recurrence: weights, see `Lanes`.
        head: weights, see `Lanes`.
        data: see `Data`.
        starts: `(lane, window)`.
        config: of the fleet.

    Returns:
        The loss, with a count of at least 1; the gradients in the shapes of the weights.
    """
    windows = _gather(data.inputs, starts, config.lookback)
    hidden, cell = states.run(windows, recurrence)
    seen = _seen(hidden, config)
    total, count, slope = _judged(seen, head, data, starts, config, check=False)
    count = ops.maximum(count, 1.0)
    d_outputs = slope / count[None, :, None, None]
    d_head = ops.einsum("tlwu,tlwo->luo", with_bias(seen), d_outputs)
    kernel = ops.transpose(head[:, :-1], (0, 2, 1))
    d_hidden = ops.matmul(d_outputs, kernel)
    if not config.dense:
        d_hidden = states.last_back(d_hidden, hidden, config.directions)
    d_recurrence = states.run_back(windows, recurrence, hidden, cell, d_hidden)
    return Judged(total, count, slope), d_recurrence, d_head


def training_program(config: FleetConfig) -> Callable[..., tuple[Lanes, Tensor, Tensor]]:
    """Compile: check every lane on its early-stop rows, then update it `check_every` times.

    The program takes `Lanes`, `Data`, `starts (update, lane, window)` and `check_starts (piece,
    lane, window)`. It returns the changed lanes, the early-stop loss *before* the updates, NaN
    where no target is known, and the training loss of the last one, `(lane,)` each.
    """
    return _training_program(replace(config, seeds=1, skip=True, patience=1, max_updates=1))


@cache
def _training_program(config: FleetConfig) -> Callable[..., tuple[Lanes, Tensor, Tensor]]:
    """The program of all configs that differ only in what it does not read."""
    optimise = OPTIMISERS[config.optimizer]

    def update(lanes: Lanes, data: Data, starts: Tensor) -> tuple[Lanes, Tensor]:
        judged, d_recurrence, d_head = gradients(
            lanes.recurrence.value, lanes.head.value, data, starts, config
        )
        d_recurrence, d_head = clipped((d_recurrence, d_head), config.clip_norm)
        step = lanes.updates + 1.0
        recurrence = optimise(lanes.recurrence, d_recurrence, step, config)
        head = optimise(lanes.head, d_head, step, config)
        return Lanes(recurrence, head, step), judged.total / judged.count

    def check(lanes: Lanes, data: Data, check_starts: Tensor) -> Tensor:
        # Piece after piece, so that pieces without targets, which a neighbour with more
        # early-stop rows brings along, add an exact zero.
        def step(
            carry: tuple[Tensor, Tensor], starts: Tensor
        ) -> tuple[tuple[Tensor, Tensor], None]:
            windows = _gather(data.inputs, starts, config.lookback)
            seen = _seen(states.run(windows, lanes.recurrence.value)[0], config)
            judged = _judged(seen, lanes.head.value, data, starts, config, check=True)
            return (carry[0] + judged.total, carry[1] + judged.count), None

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
    window)` and returns `(lane, window, output)`: in residual units, or logits without offset.
    """

    def program(recurrence: Tensor, head: Tensor, inputs: Tensor, starts: Tensor) -> Tensor:
        hidden, _ = states.run(_gather(inputs, starts, lookback), recurrence)
        return _head(states.last(hidden, recurrence.shape[1]), head)[0]

    return compiled(program)


def check_stride(config: FleetConfig) -> int:
    """Early-stop rows per check window: half of the supervised steps, so that context is long."""
    return max((config.lookback - config.supervised_from) // 2, 1)


def checked_windows(config: FleetConfig) -> int:
    """Windows of a lane in one piece of a check: more of them where each checks fewer rows."""
    return CHECKED_WINDOWS if config.dense else 4 * CHECKED_WINDOWS


def _gather(rows: Tensor, starts: Tensor, steps: int) -> Tensor:
    """Windows `(time, lane, window, column)` of `rows (lane, row, column)`."""
    lanes, length, columns = rows.shape
    lane = np.arange(lanes, dtype=np.int32)[None, :, None] * length
    step = np.arange(steps, dtype=np.int32)[:, None, None]
    return ops.take(ops.reshape(rows, (lanes * length, columns)), starts[None] + lane + step, 0)


def _seen(hidden: Tensor, config: FleetConfig) -> Tensor:
    """The states that the head reads: those of every step, or the last ones of each direction."""
    return hidden[1:] if config.dense else states.last(hidden, config.directions)


def _head(seen: Tensor, head: Tensor) -> Tensor:
    """The same Dense layer at every time step: `(time, lane, window, output)`."""
    return ops.matmul(with_bias(seen), head)


def _judged(
    seen: Tensor, head: Tensor, data: Data, starts: Tensor, config: FleetConfig, *, check: bool
) -> Judged:
    """The head's outputs held against the targets of an update, or those of a check."""
    steps = seen.shape[0]
    starts = starts + (config.lookback - steps)
    outputs = _head(seen, head)
    if data.offsets is not None:
        outputs = outputs + _gather(data.offsets, starts, steps)
    first = config.lookback - check_stride(config) if check else config.supervised_from
    mask = (np.arange(config.lookback) >= first)[-steps:].astype(np.float32)
    targets = _gather(data.check_targets if check else data.targets, starts, steps)
    return LOSSES[config.kind](outputs, targets, mask[:, None, None, None])
