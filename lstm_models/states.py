"""The LSTMs of a lane over its windows: forwards, or both ways, and the states its head reads.

Owns how a lane's one or two directions run as lanes of one recurrence. Never touches heads.

A direction that reads backwards is one more lane whose windows are reversed in time: both
directions of every lane run in one loop, first all that read forwards, then all others.
"""

from __future__ import annotations

from keras import ops

from lstm_models.recurrence import Tensor, backward, forward


def run(windows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden and cell states, before the first step and after each of them.

    They are `(time + 1, direction·lane, window, units)`.

    Args:
        windows: `(time, lane, window, feature + 1)`.
        weights: `(lane, direction, units + feature + 1, 4·units)`.
    """
    return forward(_read(windows, weights), _side_by_side(weights))


def run_back(
    windows: Tensor, weights: Tensor, hidden: Tensor, cell: Tensor, gradient: Tensor
) -> Tensor:
    """Gradient of the weights, in their shape.

    Args:
        windows: as given to `run`.
        weights: as given to `run`.
        hidden: as `run` returned them.
        cell: as `run` returned them.
        gradient: of the loss by the hidden states after each step, so without the first.
    """
    flat = backward(_read(windows, weights), _side_by_side(weights), hidden, cell, gradient)
    lanes, directions, rows, columns = weights.shape
    return ops.transpose(ops.reshape(flat, (directions, lanes, rows, columns)), (1, 0, 2, 3))


def last(hidden: Tensor, directions: int) -> Tensor:
    """What each lane knows after its whole window, `(1, lane, window, direction·units)`."""
    return ops.concatenate(ops.split(hidden[-1:], directions, axis=1), axis=-1)


def last_back(gradient: Tensor, hidden: Tensor, directions: int) -> Tensor:
    """Gradient by the states after each step from that by `last`: zero before the last one."""
    by_direction = ops.concatenate(ops.split(gradient, directions, axis=-1), axis=1)
    return ops.concatenate([ops.zeros_like(hidden[2:]), by_direction], axis=0)


def _read(windows: Tensor, weights: Tensor) -> Tensor:
    """The windows of every direction, `(time, direction·lane, window, feature + 1)`."""
    if weights.shape[1] == 1:
        return windows
    return ops.concatenate([windows, ops.flip(windows, axis=0)], axis=1)


def _side_by_side(weights: Tensor) -> Tensor:
    """`(lane, direction, row, column)` to `(direction·lane, row, column)`."""
    return ops.reshape(ops.transpose(weights, (1, 0, 2, 3)), (-1, *weights.shape[2:]))
