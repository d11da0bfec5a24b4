"""The LSTM recurrence of a whole fleet and its gradient: the one hot loop of the library.

Owns the per-step arithmetic on every backend. Never touches losses, optimisers or data.

A *lane* is one network; lanes run side by side in batched matrix products. The three weight
arrays of a Keras LSTM are kept as one, `weights (lane, units + feature + 1, 4·units)`: the
recurrent kernel, then the input kernel, then the bias, which is met by a constant 1 that
`with_bias` appends to the inputs. Gates stand in Keras' order: input, forget, cell, output.

Why the input product stands inside the loop and the gates are computed again on the way back,
where cuDNN does neither: on a CPU the loop is bound by memory traffic, not by arithmetic. Reading
`feature` numbers a step instead of `4·units`, and storing only h and c, is 1.8 times as fast
(benchmarks/recurrence.py).
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


def _gate_constants(units: int) -> tuple[Tensor, Tensor]:
    """Scale and offset that turn one tanh into all four gates: sigmoid(z) = ½ tanh(z/2) + ½."""
    scale = np.full(4 * units, 0.5, np.float32)
    offset = np.full(4 * units, 0.5, np.float32)
    scale[2 * units : 3 * units] = 1.0
    offset[2 * units : 3 * units] = 0.0
    return ops.convert_to_tensor(scale), ops.convert_to_tensor(offset)


def forward(inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Run every lane over its windows.

    Args:
        inputs: `(time, lane, window, feature + 1)`, see `with_bias`.
        weights: `(lane, units + feature + 1, 4·units)`.

    Returns:
        Hidden states and cell states, `(time, lane, window, units)` each, from zero states.

    Source: Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000).
    """
    units = weights.shape[-1] // 4
    scale, offset = _gate_constants(units)

    def step(carry: tuple[Tensor, Tensor], x: Tensor) -> tuple[Any, Any]:
        hidden, cell = carry
        z = ops.matmul(ops.concatenate([hidden, x], axis=-1), weights)
        gates = ops.tanh(z * scale) * scale + offset
        enter, forget = gates[..., :units], gates[..., units : 2 * units]
        candidate, leave = gates[..., 2 * units : 3 * units], gates[..., 3 * units :]
        cell = forget * cell + enter * candidate
        hidden = leave * ops.tanh(cell)
        return (hidden, cell), (hidden, cell)

    zero = ops.zeros((*inputs.shape[1:3], units), dtype=inputs.dtype)
    _, (hidden, cell) = ops.scan(step, (zero, zero), inputs)
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
        gradient: of the loss by `hidden`, `(time, lane, window, units)`.

    Returns:
        Gradient of the loss by `weights`, in its shape. Lanes never mix.

    Source: Werbos (1990), written out for the LSTM.
    """
    units = weights.shape[-1] // 4
    scale, offset = _gate_constants(units)
    recurrent = ops.transpose(weights[:, :units], (0, 2, 1))
    zero = ops.zeros_like(hidden[:1])
    before = ops.concatenate([zero, hidden[:-1]], axis=0)
    cell_before = ops.concatenate([zero, cell[:-1]], axis=0)

    def step(carry: tuple[Tensor, Tensor, Tensor], x: tuple[Tensor, ...]) -> tuple[Any, Any]:
        d_hidden, d_cell, d_weights = carry
        features, h_before, c_before, c, upstream = x
        seen = ops.concatenate([h_before, features], axis=-1)
        tanh = ops.tanh(ops.matmul(seen, weights) * scale)
        gates = tanh * scale + offset
        enter, forget = gates[..., :units], gates[..., units : 2 * units]
        candidate, leave = gates[..., 2 * units : 3 * units], gates[..., 3 * units :]
        tanh_c = ops.tanh(c)
        d_hidden = d_hidden + upstream
        d_cell = d_cell + d_hidden * leave * (1.0 - tanh_c * tanh_c)
        d_gates = ops.concatenate(
            [d_cell * candidate, d_cell * c_before, d_cell * enter, d_hidden * tanh_c], axis=-1
        )
        d_z = d_gates * ((1.0 - tanh * tanh) * (scale * scale))
        d_weights = d_weights + ops.matmul(ops.transpose(seen, (0, 2, 1)), d_z)
        return (ops.matmul(d_z, recurrent), d_cell * forget, d_weights), None

    start = (zero[0], zero[0], ops.zeros_like(weights))
    xs = (inputs, before, cell_before, cell, gradient)
    (_, _, d_weights), _ = ops.scan(step, start, xs, reverse=True)
    return d_weights
