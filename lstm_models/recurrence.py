"""The LSTM recurrence of a whole fleet and its gradient: the one hot loop of the library.

Owns the per-step arithmetic on every backend. Never touches losses, optimisers or data.

A *lane* is one network; lanes run side by side in batched matrix products. The three weight
arrays of a Keras LSTM are kept as one, `weights (lane, units + feature + 1, 4·units)`: the
recurrent kernel, then the input kernel, then the bias, which is met by a constant 1 that
`with_bias` appends to the inputs. Gates stand in Keras' order: input, forget, cell, output.

Why the input product stands inside the loop and the gates are computed again on the way back,
where cuDNN does neither: on a CPU the loop is bound by memory traffic, not by arithmetic. Reading
`feature` numbers a step instead of `4·units`, and storing only h and c, is 1.5 times as fast
(benchmarks/recurrence.py). And why the loops write their states into one array that they carry:
XLA updates it in place, while the stacked outputs of a scan are copied once more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

Tensor = Any
"""A tensor of whichever backend Keras runs on."""


def with_bias(inputs: Tensor) -> Tensor:
    """Append the constant 1 that meets the bias row: `(…, feature)` to `(…, feature + 1)`."""
    return ops.concatenate([inputs, ops.ones_like(inputs[..., :1])], axis=-1)


def forward(inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Run every lane over its windows, from zero states.

    Args:
        inputs: `(time, lane, window, feature + 1)`, see `with_bias`.
        weights: `(lane, units + feature + 1, 4·units)`.

    Returns:
        Hidden states and cell states, `(time + 1, lane, window, units)` each: the zeros that
        every window starts from, then the states after each step.

    Source: Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000).
    """
    steps, lanes, windows, _ = inputs.shape
    units = weights.shape[-1] // 4

    def step(time: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, cell, all_hidden, all_cell = state
        seen = ops.concatenate([hidden, _at(inputs, time)], axis=-1)
        enter, forget, candidate, leave = _gates(_squashed(seen, weights))
        cell = forget * cell + enter * candidate
        hidden = leave * ops.tanh(cell)
        return hidden, cell, _put(all_hidden, time + 1, hidden), _put(all_cell, time + 1, cell)

    zero = ops.zeros((lanes, windows, units), dtype=inputs.dtype)
    states = ops.zeros((steps + 1, lanes, windows, units), dtype=inputs.dtype)
    _, _, hidden, cell = ops.fori_loop(0, steps, step, (zero, zero, states, states))
    return hidden, cell


def backward(
    inputs: Tensor, weights: Tensor, hidden: Tensor, cell: Tensor, gradient: Tensor
) -> Tensor:
    """Gradient of the weights, by back-propagation through time.

    Args:
        inputs: as given to `forward`.
        weights: as given to `forward`.
        hidden: hidden states that `forward` returned.
        cell: cell states that `forward` returned.
        gradient: of the loss by the hidden state after each step, `(time, lane, window, units)`.

    Returns:
        Gradient of the loss by `weights`, in its shape. Lanes never mix.

    Source: Werbos (1990), written out for the LSTM.
    """
    steps, units = inputs.shape[0], weights.shape[-1] // 4
    recurrent = ops.transpose(weights[:, :units], (0, 2, 1))

    def step(back: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        d_hidden, d_cell, d_weights = state
        time = steps - 1 - back
        seen = ops.concatenate([_at(hidden, time), _at(inputs, time)], axis=-1)
        squashed = _squashed(seen, weights)
        enter, forget, candidate, leave = _gates(squashed)
        tanh_cell = ops.tanh(_at(cell, time + 1))
        d_hidden = d_hidden + _at(gradient, time)
        d_cell = d_cell + d_hidden * leave * (1.0 - tanh_cell * tanh_cell)
        d_gates = (d_cell * candidate, d_cell * _at(cell, time), d_cell * enter)
        slopes = _slopes(squashed)
        pairs = zip((*d_gates, d_hidden * tanh_cell), slopes, strict=True)
        d_z = ops.concatenate([d_gate * slope for d_gate, slope in pairs], axis=-1)
        d_weights = d_weights + ops.matmul(ops.transpose(seen, (0, 2, 1)), d_z)
        return ops.matmul(d_z, recurrent), d_cell * forget, d_weights

    zero = ops.zeros_like(hidden[0])
    start = (zero, zero, ops.zeros_like(weights))
    _, _, d_weights = ops.fori_loop(0, steps, step, start)
    return d_weights


def _squashed(seen: Tensor, weights: Tensor) -> Tensor:
    """One tanh for all four gates, `(lane, window, 4·units)`: sigmoid(z) = ½ tanh(z/2) + ½."""
    halves = np.full(weights.shape[-1], 0.5, np.float32)
    halves[_quarter(weights, 2)] = 1.0
    return ops.tanh(ops.matmul(seen, weights) * halves)


def _gates(squashed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input gate, forget gate, candidate and output gate, `(lane, window, units)` each."""
    enter, forget, candidate, leave = (squashed[..., _quarter(squashed, i)] for i in range(4))
    return 0.5 * enter + 0.5, 0.5 * forget + 0.5, candidate, 0.5 * leave + 0.5


def _slopes(squashed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivative of each gate by its own sum, `(lane, window, units)` each."""
    enter, forget, candidate, leave = (
        1.0 - part * part for part in (squashed[..., _quarter(squashed, i)] for i in range(4))
    )
    return 0.25 * enter, 0.25 * forget, candidate, 0.25 * leave


def _quarter(array: Tensor, index: int) -> slice:
    """Which entries of the last axis belong to a gate."""
    units = array.shape[-1] // 4
    return slice(index * units, (index + 1) * units)


def _at(array: Tensor, time: Tensor) -> Tensor:
    """`array[time]`, as the slice that XLA reads in place."""
    _, lanes, windows, columns = array.shape
    piece = ops.slice(array, (time, 0, 0, 0), (1, lanes, windows, columns))
    return ops.reshape(piece, (lanes, windows, columns))


def _put(array: Tensor, time: Tensor, piece: Tensor) -> Tensor:
    """`array` with `array[time]` replaced, in place."""
    return ops.slice_update(array, (time, 0, 0, 0), piece[None])
