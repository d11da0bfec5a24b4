"""What `benchmarks.scale` and `benchmarks.gpu` conclude from their numbers."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import EQUAL_UPDATES, _difference
from benchmarks.resident import resident, watched
from benchmarks.scale import Measured, judged
from benchmarks.scale_shard import instrument, operations
from lstm_models.fleet_config import FleetConfig
from tasks.features import LONGEST_MEMORY, features, first_complete, targets, variance_floor

ROOT = Path(__file__).resolve().parents[1]
SIZE = Measured(
    lanes=200,
    processes=1,
    shards=1,
    load_average=0.5,
    wall=60.0,
    start_core=3.0,
    core_per_lane=0.20,
    updates_per_lane=70.0,
    gflops=50.0,
    product_share=0.5,
    peak_gib=1.0,
    checkpoint_mib=4.0,
    write=0.1,
    load=0.1,
    forecast=2.0,
    walk_forward_core=0.0,
)


def test_sizes_are_held_against_what_is_required() -> None:
    large = replace(SIZE, lanes=5000, core_per_lane=0.22, wall=1300.0, peak_gib=3.9, forecast=9.8)
    small = replace(SIZE, lanes=20, core_per_lane=0.9)
    said = "\n".join(judged([small, SIZE, large]))
    assert "relative to 200 lanes: 5,000: 1.10" in said
    assert "peak memory at 5,000 lanes: 3.90 GiB, limit 4: kept" in said
    assert "training at 5,000 lanes: 21.67 min, limit 20: MISSED" in said
    assert "load and forecast at 5,000 lanes: 9.90 s, limit 10: kept" in said
    assert "relative" not in "\n".join(judged([small, SIZE]))


def test_an_instrument_is_the_same_whoever_draws_it_and_its_volatility_clusters() -> None:
    one = instrument(7, 3000)
    assert one.variance.tobytes() == instrument(7, 3000).variance.tobytes()
    assert one.variance.tobytes() != instrument(8, 3000).variance.tobytes()
    assert one.has_range
    epsilon = variance_floor(one, 500)
    inputs = features(one, epsilon)
    assert first_complete(inputs) <= LONGEST_MEMORY
    known = slice(first_complete(inputs), -1)
    ahead = targets(one, "log_volatility", 1, epsilon)[known, 0]
    recent = inputs[known, 7]
    assert np.corrcoef(recent, ahead)[0, 1] > 0.4


def test_operations_are_those_of_the_products() -> None:
    config = FleetConfig(units=2, lookback=3, burn_in=0, windows_per_update=5)
    forward = 2 * 3 * 5 * ((2 + 4 + 1) * 8 + (2 + 1) * 6)
    assert operations(config, features=4, leads=6) == 3 * forward


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells the memory")
def test_memory_of_children_counts() -> None:
    code = "b = bytearray(150_000_000); b[::4096] = b'x' * len(b[::4096]); print(1); input()"
    with (
        watched() as peak,
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        alone = resident(os.getpid())
        while peak.bytes < alone + 150_000_000:  # a hang here is the failure
            time.sleep(0.05)
        child.communicate(b"\n")
    assert resident(child.pid) == 0


def test_only_lanes_that_kept_the_last_update_are_compared(tmp_path: Path) -> None:
    last = EQUAL_UPDATES
    for name, best, shift in (("device", [last, last, 0], 0.0), ("cpu", [last, 0, 0], 2e-4)):
        predictions = np.ones((3, 4, 2)) + shift * np.array([1.0, 50.0, 90.0])[:, None, None]
        np.savez(
            tmp_path / f"{name}.npz",
            predictions=predictions,
            best=best,
            spread=np.full((3, 1, 2), 2.0),
        )
    found = _difference(tmp_path)
    assert found["lanes"] == 1
    assert found["largest"] == pytest.approx(1e-4)
    np.savez(
        tmp_path / "cpu.npz", predictions=predictions, best=[0, 0, 0], spread=np.ones((3, 1, 2))
    )
    assert _difference(tmp_path) == {"largest": -1.0, "lanes": 0}
