"""Devices: what is there, and a lane's memory as computed against what a program really takes."""

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_models import devices, training
from lstm_models.devices import SHARE, WIDEST, fitting_width, lane_bytes
from lstm_models.fleet_config import FleetConfig
from lstm_models.training import Member, fit
from lstm_models.updates import training_program

SIZE: dict[str, int] = {"rows": 5040, "features": 12, "leads": 10}
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MANY_WINDOWS = FleetConfig(units=16, lookback=60, burn_in=10, max_updates=2, check_every=1)
LONG_HISTORY = replace(MANY_WINDOWS, units=4, lookback=12, burn_in=4, windows_per_update=8)
BOTH_WAYS = replace(MANY_WINDOWS, kind="quantile_class")
LARGE_STATE = replace(LONG_HISTORY, units=64)


def resident(line: str) -> int:
    """Bytes of this process: `VmRSS` now, or `VmHWM` at most since it was reset."""
    (found,) = [one for one in STATUS.read_text().splitlines() if one.startswith(line)]
    return int(found.split()[1]) * 1024


def on_device(array: Any) -> Any:  # noqa: ANN401 - None stands for what a kind does not read
    return None if array is None else keras.ops.convert_to_tensor(array)


def bytes_taken(monkeypatch: pytest.MonkeyPatch, config: FleetConfig, rows: int) -> float:
    """Bytes per lane of one call of the training program: what goes in, and its peak above that."""
    program: Callable[..., Any] = training_program(config)
    taken: list[int] = []

    def watched(*arguments: Any) -> Any:  # noqa: ANN401 - whatever the trainer gives
        tensors = keras.tree.map_structure(on_device, arguments)
        given = sum(np.asarray(one).nbytes for one in keras.tree.flatten(arguments))
        ctypes.CDLL(None).malloc_trim(0)
        RESET.write_text("5")
        before = resident("VmRSS")
        answer = keras.tree.map_structure(np.asarray, program(*tensors))
        taken.append(given + resident("VmHWM") - before)
        return answer

    monkeypatch.setattr(training, "training_program", lambda _: watched)
    random = np.random.default_rng(0)
    inputs: NDArray[np.float64] = random.normal(size=(1, rows, 3))
    classes, leads = config.kind != "many_to_many", 2
    targets: NDArray[np.float64] = random.normal(size=(1, rows, 1 if classes else leads))
    edges = tuple(np.linspace(-1.0, 1.0, 9)) if classes else ()
    members = [
        Member(f"m{i}", 0, (0, rows - 200), (rows - 200, rows), edges)
        for i in range(config.width // config.seeds)
    ]
    skip = np.zeros((len(members), 4, config.outputs(leads)))
    fit(inputs, targets, members, skip, config)
    return taken[1] / config.width  # the first call compiles, too


@pytest.mark.skipif(not RESET.exists(), reason="the peak of a process is reset through Linux")
@pytest.mark.parametrize(
    ("config", "rows", "width"),
    [
        (MANY_WINDOWS, 900, 64),
        (BOTH_WAYS, 900, 64),
        (LONG_HISTORY, 20_000, 64),
        (LARGE_STATE, 900, 64),
    ],
    ids=["many windows", "both ways", "long history", "large state"],
)
def test_a_lane_takes_what_is_computed_and_not_more(
    monkeypatch: pytest.MonkeyPatch, config: FleetConfig, rows: int, width: int
) -> None:
    measured = bytes_taken(monkeypatch, replace(config, width=width), rows)
    leads = 2 if config.kind == "many_to_many" else 1
    computed = lane_bytes(config, rows=rows, features=3, leads=leads)
    assert measured <= computed <= 2.5 * measured  # JAX keeps fewer copies


def test_a_network_that_reads_both_ways_takes_more() -> None:
    one_way = FleetConfig(kind="quantile_class", bidirectional=False)
    both = replace(one_way, bidirectional=None)
    ratio = lane_bytes(both, **SIZE) / lane_bytes(one_way, **SIZE)
    assert 1.5 < ratio < 2.0


@pytest.mark.skipif(bool(devices.gpus()), reason="this machine has a GPU")
def test_a_cpu_has_the_configured_width() -> None:
    devices.let_memory_grow()
    assert devices.free_memory() is None
    assert fitting_width(FleetConfig(width=24), **SIZE) == 24


@given(free=st.integers(min_value=0, max_value=2**38))
def test_a_gpu_is_filled_with_a_power_of_two_that_fits(free: int) -> None:
    config = FleetConfig()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "free_memory", lambda: free)
        width = fitting_width(config, **SIZE)
    one = lane_bytes(config, **SIZE)
    assert 1 <= width <= WIDEST
    assert width.bit_count() == 1
    assert width == 1 or width * one <= SHARE * free
    assert width == WIDEST or 2 * width * one > SHARE * free - one


@pytest.mark.parametrize(
    ("code", "printed", "expected"),
    [(0, "2048\n", 2**31), (0, "[N/A]\n", None), (6, "No devices were found\n", None)],
)
def test_the_driver_is_asked_for_the_gpu_in_use(
    monkeypatch: pytest.MonkeyPatch, code: int, printed: str, expected: int | None
) -> None:
    asked: list[list[str]] = []

    def answer(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, code, printed, "")

    monkeypatch.setattr(devices, "gpus", lambda: ("GPU:0",))
    monkeypatch.setattr("lstm_models.devices.keras.backend.backend", lambda: "tensorflow")
    monkeypatch.setattr("lstm_models.devices.shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr("lstm_models.devices.subprocess.run", answer)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert devices.free_memory() == expected
    assert "--id=3" in asked[0]
    monkeypatch.setattr("lstm_models.devices.shutil.which", lambda _: None)
    assert devices.free_memory() is None
