"""The fleet on a GPU beside one core of the CPU: the time loop, a training, and how far they agree.

    python -m benchmarks.gpu [--lanes 512] [--rows 5040] [--json FILE]

On a machine with a CUDA GPU, with TensorFlow or JAX, whichever is there (KERAS_BACKEND chooses).
Without one it says so and measures the CPU at two widths. NOT YET RUN ON A GPU: all that has been
tried is the path without one, on both backends; whoever has one is asked for the table.

- Time loop: forward and backward of `lstm_models.recurrence` at the width that the device would
  have. Useful arithmetic is three products a step; the rate beside it is that of a large float32
  product on the same device. TF32 is off, as in a worker: predictions would lose three decimals.
- Training: lanes of the default recipe on made-up daily bars, with and without compilation, and
  whether the second time gives the same bits.
- Agreement: both devices train the same plain networks for the same number of updates; the
  largest difference of their predictions, in standard deviations of the target. Required: 1e-4.

Owns the measurements, one child process per device. Never touches what is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.worker_child import import_quietly, set_environment

FEATURES, LEADS, STEPS, WINDOWS = 11, 5, 100, 32
EQUAL_UPDATES, COMPARED, REQUIRED = 100, 16, 1e-4
CPU_ALONE = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def main() -> None:
    """Measure the device and the CPU in children, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, help="lanes to train; else 512, on a CPU 32")
    parser.add_argument("--rows", type=int, default=5040, help="daily bars of a lane")
    parser.add_argument("--updates", type=int, default=300, help="most updates of a lane")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options)
        return
    backend = os.environ.get("KERAS_BACKEND") or _backend()
    with tempfile.TemporaryDirectory() as folder:
        device = _measured(Path(folder, "device"), backend, {}, [])
        if not device["gpu"]:
            print("No GPU that", backend, "can use: this measures the CPU, at two widths.")
        width = ["--width", str(device["width"] // 2)] if not device["gpu"] else []
        cpu = _measured(Path(folder, "cpu"), backend, CPU_ALONE, width)
        difference = _difference(Path(folder))
    print(f"{platform.machine()}, Python {platform.python_version()}, Keras on {backend}")
    _print_table([device, cpu])
    verdict = "kept" if 0 <= difference["largest"] <= REQUIRED else "MISSED"
    print(
        f"largest difference of predictions after {EQUAL_UPDATES} updates: "
        f"{difference['largest']:.1e} standard deviations of the target over "
        f"{difference['lanes']} lanes; required {REQUIRED:g}: {verdict}"
    )
    if options.json:
        answer = {"backend": backend, "devices": [device, cpu], "difference": difference}
        options.json.write_text(json.dumps(answer, indent=1))


def _backend() -> str:
    """The backend that is installed, TensorFlow before JAX."""
    for name in ("tensorflow", "jax"):
        if importlib.util.find_spec(name):
            return name
    raise SystemExit("neither TensorFlow nor JAX is installed here: install one of them")


def _measured(
    out: Path, backend: str, environment: dict[str, str], arguments: list[str]
) -> dict[str, Any]:
    """What a child process with this environment measured."""
    command = [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:], "--child", str(out)]
    subprocess.run(
        [*command, *arguments],
        check=True,
        env={**os.environ, "KERAS_BACKEND": backend, **environment},
    )
    found: dict[str, Any] = json.loads(out.with_suffix(".json").read_text())
    return found


def _difference(folder: Path) -> dict[str, float]:
    """The largest difference between the devices' predictions, where both kept the last update.

    Minus one if there is no such lane: nothing was compared.
    """
    import numpy as np

    one, other = (np.load(folder / f"{name}.npz") for name in ("device", "cpu"))
    same = (one["best"] == EQUAL_UPDATES) & (other["best"] == EQUAL_UPDATES)
    error = np.abs(one["predictions"] - other["predictions"]) / one["spread"]
    return {"largest": float(error[same].max(initial=-1.0)), "lanes": int(same.sum())}


def _print_table(columns: list[dict[str, Any]]) -> None:
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "device": lambda m: str(m["device"]),
        "lanes side by side": lambda m: str(m["width"]),
        "time loop, ms a step": lambda m: f"{m['step'] * 1e3:.3f}",
        "useful GFLOP/s": lambda m: f"{m['rate'] / 1e9:,.0f}",
        "large product, GFLOP/s": lambda m: f"{m['product'] / 1e9:,.0f}",
        "share of it": lambda m: f"{m['rate'] / m['product']:.0%}",
        "lanes trained": lambda m: str(m["lanes"]),
        "updates per lane": lambda m: f"{m['updates']:.0f}",
        "training, s": lambda m: f"{m['again']:.1f}",
        "with compilation, s": lambda m: f"{m['first']:.1f}",
        "lanes a second": lambda m: f"{m['lanes'] / m['again']:.2f}",
        "same bits again": lambda m: "yes" if m["same_bits"] else "NO",
    }
    for name, text in rows.items():
        print(f"{name:<26}", *(f"{text(column):>22}" for column in columns))


def _child(options: argparse.Namespace) -> None:
    """Measure the device that this process sees; write numbers and predictions."""
    set_environment()
    import_quietly("keras")
    import numpy as np

    from lstm_models import devices
    from lstm_models.fleet_config import FleetConfig

    devices.let_memory_grow()
    gpus = devices.gpus()
    config = FleetConfig(max_updates=options.updates)
    fitting = devices.fitting_width(config, rows=options.rows, features=FEATURES, leads=LEADS)
    config = replace(config, width=options.width or fitting)
    side = 8192 if gpus else 2048
    product = _product(side, repeats=20 if gpus else 3)
    step = _time_loop(config.width, config.units)
    lanes = options.lanes or (512 if gpus else 32)
    first, fleet, _ = _train(lanes, options.rows, config)
    again, other, _ = _train(lanes, options.rows, config)
    reports = [lane for seeds in fleet.reports for lane in seeds]
    equal = replace(config, max_updates=EQUAL_UPDATES, check_every=EQUAL_UPDATES)
    equal = replace(equal, seeds=1, skip=False)
    _, compared, (inputs, targets) = _train(COMPARED, options.rows, equal)
    cutoffs = np.tile(np.arange(options.rows - 200, options.rows), (COMPARED, 1))
    np.savez(
        options.child.with_suffix(".npz"),
        predictions=compared.predict(inputs, range(COMPARED), cutoffs),
        best=[seeds[0].best_update for seeds in compared.reports],
        spread=np.nanstd(targets, axis=1)[:, None],
    )
    products = config.width * WINDOWS * (config.units + FEATURES + 1) * 4 * config.units
    numbers = {
        "gpu": bool(gpus),
        "device": gpus[0] if gpus else "one core of the CPU",
        "width": config.width,
        "product": product,
        "step": step,
        "rate": 6.0 * products / step,
        "lanes": len(reports),
        "updates": sum(lane.updates for lane in reports) / len(reports),
        "first": first,
        "again": again,
        "same_bits": fleet.recurrence.tobytes() == other.recurrence.tobytes(),
    }
    options.child.with_suffix(".json").write_text(json.dumps(numbers))


def _fastest(function: Callable[..., Any], arguments: tuple[Any, ...], repeats: int = 5) -> float:
    """Seconds of the fastest call, the answer (one number) read back; the first call compiles."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        float(function(*arguments))
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _product(side: int, repeats: int) -> float:
    """Floating-point operations per second of a chain of large float32 products."""
    import numpy as np
    from keras import ops

    from lstm_models.compiled import compiled

    random = np.random.default_rng(0)
    square = random.normal(size=(side, side)).astype(np.float32) / np.sqrt(side, dtype=np.float32)

    def chain(matrix: Any) -> Any:  # noqa: ANN401 - a backend's tensor
        last, _ = ops.scan(
            lambda carry, _: (ops.matmul(matrix, carry), None), matrix, None, length=repeats
        )
        return ops.sum(last)

    seconds = _fastest(compiled(chain), (ops.convert_to_tensor(square),), repeats=3)
    return 2.0 * side**3 * repeats / seconds


def _time_loop(lanes: int, units: int) -> float:
    """Seconds of one step, forward and backward."""
    import numpy as np
    from keras import ops

    from lstm_models.compiled import compiled
    from lstm_models.recurrence import backward, forward

    random = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:  # noqa: ANN401 - a backend's tensor
        return ops.convert_to_tensor(random.normal(0, 0.3, shape).astype(np.float32))

    def both(inputs: Any, weights: Any, gradient: Any) -> Any:  # noqa: ANN401
        states = forward(inputs, weights)
        return ops.sum(backward(inputs, weights, *states, gradient))

    arguments = (
        drawn(STEPS, lanes, WINDOWS, FEATURES + 1),
        drawn(lanes, units + FEATURES + 1, 4 * units),
        drawn(STEPS, lanes, WINDOWS, units),
    )
    return _fastest(compiled(both), arguments) / STEPS


def _train(lanes: int, rows: int, config: Any) -> tuple[float, Any, tuple[Any, Any]]:  # noqa: ANN401
    """Seconds, the fleet of so many lanes, and the inputs and targets it was trained on."""
    import numpy as np

    from lstm_models.baselines import linear_skip
    from lstm_models.training import Member, fit

    count = max(lanes // config.seeds, 1)
    inputs, targets = panel(count, rows)
    stop, end = rows - 800, rows - 540
    members = [Member(f"m{i}", i, (150, stop), (stop + 10, end)) for i in range(count)]
    mask = np.zeros((count, rows), dtype=bool)
    mask[:, 150:stop] = True
    terms = ("log_variance_1", "log_variance_22") if config.skip else ()
    skip = linear_skip(inputs, targets, mask, terms)
    began = time.perf_counter()
    fleet = fit(inputs, targets, members, skip, config)
    return time.perf_counter() - began, fleet, (inputs, targets)


def panel(series: int, rows: int) -> tuple[Any, Any]:
    """Inputs `(series, row, feature)`, as the nightly run's, and targets `(series, row, lead)`.

    Daily returns with an AR(1) log-variance; the targets are its next values and noise.
    """
    import numpy as np
    from scipy.signal import lfilter

    random = np.random.default_rng(0)
    hidden = lfilter([0.2], [1.0, -0.98], random.normal(size=(series, rows)))
    returns = 0.015 * np.exp(0.5 * hidden) * random.normal(size=(series, rows))
    seen = hidden + 0.5 * random.normal(size=(series, rows))

    def mean(values: Any, window: int) -> Any:  # noqa: ANN401 - an array
        return lfilter(np.full(window, 1.0 / window), [1.0], values)

    inputs = [returns, np.abs(returns), np.sign(returns)]
    inputs += [window * mean(returns, window) for window in (5, 22)]
    inputs += [mean(seen, window) for window in (1, 5, 22, 66, 126)]
    inputs += [lfilter([0.06], [1.0, -0.94], seen)]
    targets = np.full((series, rows, LEADS), np.nan)
    for lead in range(1, LEADS + 1):
        targets[:, :-lead, lead - 1] = seen[:, lead:]
    return np.stack(inputs, axis=-1), targets


if __name__ == "__main__":
    main()
