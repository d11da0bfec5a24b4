"""What the library needs to know of the device it computes on: which, how much memory, how wide.

Owns devices and the memory a lane takes there. Never touches what is computed on them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import keras

from lstm_models.fleet import rounded
from lstm_models.updates import check_stride, checked_windows

if TYPE_CHECKING:
    from lstm_models.fleet_config import FleetConfig

WIDEST = 1024
"""Lanes beyond which a wider program is not worth its memory."""
SHARE = 0.7
"""Part of a GPU's free memory that lanes may fill: the rest is programs, pieces and other users."""
_FLOAT, _UNCOUNTED = 4, 1.1


def gpus() -> tuple[str, ...]:
    """The GPUs that Keras' backend computes on, by the backend's names for them."""
    if keras.backend.backend() == "jax":
        import jax  # noqa: PLC0415 - only the backend in use is loaded

        return tuple(str(one) for one in jax.devices() if one.platform in ("gpu", "cuda", "rocm"))
    import tensorflow as tf  # noqa: PLC0415 - only the backend in use is loaded

    return tuple(one.name for one in tf.config.list_physical_devices("GPU"))


def let_memory_grow() -> None:
    """Let TensorFlow take a GPU's memory as it needs it, not all of it at once.

    For the start of a process: once TensorFlow has used a GPU it is too late, and nothing happens.
    JAX has no such switch while it runs; XLA_PYTHON_CLIENT_PREALLOCATE=false does it before.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf  # noqa: PLC0415 - only the backend in use is loaded

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # in use already: it keeps what it was started with
            return


def free_memory() -> int | None:
    """Bytes that are free on the GPU that fleets run on; None without one, or where nobody says."""
    if not gpus():
        return None
    if keras.backend.backend() == "jax":
        import jax  # noqa: PLC0415 - only the backend in use is loaded

        stats = jax.devices()[0].memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else int(limit - stats.get("bytes_in_use", 0))
    return _said_by_driver(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0])


def _said_by_driver(gpu: str) -> int | None:
    """Free bytes of one GPU, by number or UUID; TensorFlow tells only what it took itself."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    answer = subprocess.run(  # noqa: S603 - a fixed question to the driver's own tool
        [command, f"--id={gpu}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"],
        check=False,
        capture_output=True,
        text=True,
    )
    mebibytes = answer.stdout.strip()
    return int(mebibytes) * 2**20 if answer.returncode == 0 and mebibytes.isdigit() else None


def lane_bytes(config: FleetConfig, *, rows: int, features: int, leads: int) -> int:
    """The memory that one more lane takes while it trains, not less than is measured.

    Counted, in float32: its data (inputs, targets of the fit and of the early-stop rows, a class
    network's offsets); its weights, which go in and come out with two moments each, and their
    gradient; and what one update keeps of its windows: the inputs and, per step and unit, the
    states, the states before them, the gradient that reaches them, and the head's copy.

    Args:
        config: of the fleet.
        rows: of a series.
        features: of a series, without the bias' 1.
        leads: columns of its targets.
    """
    outputs, state = config.outputs(leads), config.directions * config.units
    offsets = 0 if config.kind == "many_to_many" else outputs
    data = rounded(rows + check_stride(config)) * (features + 1 + 2 * leads + offsets)
    weights = config.directions * (config.units + features + 1) * 4 * config.units
    weights += (state + 1) * outputs
    windows = max(config.windows_per_update, checked_windows(config))
    kept = 2 * config.directions * (features + 1)
    # Where the loss stands at the last step alone, no gradient and no output is kept per step.
    kept += 8 * state + 6 * outputs if config.dense else 5 * state
    counted = data + 8 * weights + config.lookback * windows * kept
    return int(_FLOAT * _UNCOUNTED * counted)


def fitting_width(config: FleetConfig, *, rows: int, features: int, leads: int) -> int:
    """How many lanes one program should hold on the device at hand.

    On a CPU, `config.width`. On a GPU a power of two: the largest up to `WIDEST` whose lanes
    fit into `SHARE` of its free memory. It takes so little of a large GPU that what others use
    there seldom changes it; the width decides the kernels, and they the last bits of results.

    Args: see `lane_bytes`.
    """
    free = free_memory()
    if free is None:
        return config.width
    fitting = int(SHARE * free) // lane_bytes(config, rows=rows, features=features, leads=leads)
    return 1 << (min(max(fitting, 1), WIDEST).bit_length() - 1)
