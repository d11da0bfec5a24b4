"""The time loop of the fleet: ours beside the way cuDNN does it, and the machine's product rate.

    python -m benchmarks.recurrence [--lanes 32] [--windows 32] [--units 32] [--repeats 15]

Both sides run forward and backward on the same numbers, on one core, and must agree. "Outside" has
the input products before the loop, stores the gates for the way back, and makes the weight gradient
of one product after it; "inside" is `lstm_models.recurrence`. Useful arithmetic is three products
per step (forward, and two on the way back), recomputation not counted. "Products alone" are the
four that ours makes, forward, forward again and two back, and nothing else: the least that any
loop of this form could take. Last, the gradient of one whole update of the default recipe, with
freed memory given back to the system, and with it kept (`lstm_models.allocator`).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")
for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import keras  # noqa: E402 - after its environment
import numpy as np  # noqa: E402
from keras import ops  # noqa: E402

from lstm_models.allocator import keep_freed_memory  # noqa: E402
from lstm_models.compiled import compiled  # noqa: E402
from lstm_models.fleet_config import FleetConfig  # noqa: E402
from lstm_models.recurrence import backward, forward  # noqa: E402
from lstm_models.updates import Data, gradients  # noqa: E402

Tensor = Any


def inside(inputs: Tensor, weights: Tensor, gradient: Tensor) -> Tensor:
    """The library's own."""
    hidden, cell = forward(inputs, weights)
    return backward(inputs, weights, hidden, cell, gradient)


def outside(inputs: Tensor, weights: Tensor, gradient: Tensor) -> Tensor:
    """Input products before the loop, gates stored, weight gradient after it."""
    units = weights.shape[-1] // 4
    recurrent = weights[:, :units]
    projected = ops.einsum("tlwf,lfg->tlwg", inputs, weights[:, units:])
    zero = ops.zeros((*inputs.shape[1:3], units))

    def parts(gates: Tensor) -> list[Tensor]:
        return [gates[..., i * units : (i + 1) * units] for i in range(4)]

    def ahead(carry: Any, x: Tensor) -> Any:  # noqa: ANN401
        hidden, cell, _ = carry
        enter, forget, candidate, leave = parts(x + ops.matmul(hidden, recurrent))
        enter, forget, leave = ops.sigmoid(enter), ops.sigmoid(forget), ops.sigmoid(leave)
        candidate = ops.tanh(candidate)
        cell = forget * cell + enter * candidate
        hidden = leave * ops.tanh(cell)
        state = (hidden, cell, ops.concatenate([enter, forget, candidate, leave], -1))
        return state, state

    start = (zero, zero, ops.concatenate([zero] * 4, -1))
    _, (hidden, cell, gates) = ops.scan(ahead, start, projected)

    def back(carry: Any, x: Any) -> Any:  # noqa: ANN401
        d_hidden, d_cell, _ = carry
        kept, c_before, c, upstream = x
        enter, forget, candidate, leave = parts(kept)
        tanh_c = ops.tanh(c)
        d_hidden = d_hidden + upstream
        d_cell = d_cell + d_hidden * leave * (1 - tanh_c**2)
        d_z = ops.concatenate(
            [
                d_cell * candidate * enter * (1 - enter),
                d_cell * c_before * forget * (1 - forget),
                d_cell * enter * (1 - candidate**2),
                d_hidden * tanh_c * leave * (1 - leave),
            ],
            -1,
        )
        d_hidden = ops.matmul(d_z, ops.transpose(recurrent, (0, 2, 1)))
        state = (d_hidden, d_cell * forget, d_z)
        return state, state

    c_before = ops.concatenate([zero[None], cell[:-1]], 0)
    _, (_, _, d_z) = ops.scan(back, start, (gates, c_before, cell, gradient), reverse=True)
    h_before = ops.concatenate([zero[None], hidden[:-1]], 0)
    return ops.einsum("tlwf,tlwg->lfg", ops.concatenate([h_before, inputs], -1), d_z)


def products_alone(inputs: Tensor, weights: Tensor, gradient: Tensor) -> Tensor:
    """The batched products of every step, each on the last one's result, and nothing else."""
    units = weights.shape[-1] // 4
    recurrent = ops.transpose(weights[:, :units], (0, 2, 1))
    seen = ops.concatenate([gradient[0], inputs[0]], axis=-1)

    def step(_: Tensor, carry: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        touched, total = carry
        ahead = ops.matmul(seen + touched[:, :1, :1], weights)
        again = ops.matmul(seen + ahead[:, :1, :1], weights)
        total = total + ops.matmul(ops.transpose(seen, (0, 2, 1)), again)
        return ops.matmul(again, recurrent), total

    steps = inputs.shape[0]
    return ops.fori_loop(0, steps, step, (gradient[0], ops.zeros_like(weights)))[1]


def update_gradient() -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
    """The gradient of one update of a full program, and numbers to run it on."""
    config, random = FleetConfig(), np.random.default_rng(0)
    rows, features, leads = 2560, 11, 5

    def drawn(*shape: int) -> Tensor:
        return ops.convert_to_tensor(random.normal(0, 0.1, shape).astype(np.float32))

    targets = drawn(config.width, rows, leads)
    data = Data(drawn(config.width, rows, features + 1), targets, targets)
    recurrence = drawn(config.width, 1, config.units + features + 1, 4 * config.units)
    head = drawn(config.width, config.units + 1, leads)
    last = rows - config.lookback
    starts = random.integers(0, last, (config.width, config.windows_per_update))

    def gradient(recurrence: Tensor, head: Tensor, data: Data, starts: Tensor) -> Tensor:
        return gradients(recurrence, head, data, starts, config)[1]

    begins = ops.convert_to_tensor(starts.astype(np.int32))
    return compiled(gradient), (recurrence, head, data, begins)


def best_of(function: Callable[..., Tensor], arguments: tuple[Tensor, ...], repeats: int) -> float:
    """Seconds of the fastest call."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        np.asarray(function(*arguments))
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("lanes", 32), ("windows", 32), ("units", 32), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--features", type=int, default=12)
    a = parser.parse_args()
    whole, its_arguments = update_gradient()
    whole(*its_arguments)
    given_back = best_of(whole, its_arguments, a.repeats)
    keep_freed_memory()  # as every worker does
    kept = best_of(whole, its_arguments, a.repeats)
    random = np.random.default_rng(0)

    def drawn(*shape: int) -> Tensor:
        return ops.convert_to_tensor(random.normal(0, 0.3, shape).astype(np.float32))

    arguments = (
        drawn(a.steps, a.lanes, a.windows, a.features),
        drawn(a.lanes, a.units + a.features, 4 * a.units),
        drawn(a.steps, a.lanes, a.windows, a.units),
    )
    sides = {
        "inside (ours)": compiled(inside),
        "outside (as cuDNN)": compiled(outside),
        "products alone": compiled(products_alone),
    }
    results = [np.asarray(side(*arguments)) for side in sides.values()]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-3, atol=1e-3)
    operations = 3 * 2 * a.lanes * a.windows * (a.units + a.features) * 4 * a.units
    square = random.normal(size=(2048, 2048)).astype(np.float32)
    rate = 2 * 2048**3 / best_of(np.matmul, (square, square), 5)
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, load {os.getloadavg()[0]:.1f}")
    print(f"one large float32 product: {rate / 1e9:.0f} GFLOP/s")
    seconds = {name: best_of(side, arguments, a.repeats) / a.steps for name, side in sides.items()}
    for name, per_step in seconds.items():
        speed = operations / per_step
        print(
            f"{name:<20}{per_step * 1e3:7.2f} ms a step{speed / 1e9:7.0f} GFLOP/s"
            f"{speed / rate:7.0%} of that product"
        )
    ours, theirs, least = seconds.values()
    print(f"ours is {theirs / ours:.2f} times as fast; {ours / least:.2f} times the least")

    print(
        f"gradient of an update: {given_back * 1e3:.0f} ms with freed memory given back, "
        f"{kept * 1e3:.0f} ms with it kept, ratio {given_back / kept:.2f}"
    )


if __name__ == "__main__":
    main()
