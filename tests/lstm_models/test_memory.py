"""Memory of a process that fits one fleet after the other: it stays what the first fits took."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WARM_UP, MORE = 10, 50
A_FIT = 1_000_000
"""Bytes that one fit holds while it runs (4 lanes, 8,192 rows, 8 columns of float32), and no more
than a program that is compiled again for every fit would leave behind."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells the memory")
def test_memory_does_not_grow_over_fifty_fits() -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.lstm_models.fits_in_a_row", str(WARM_UP), str(MORE)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    warm, after = map(int, child.stdout.split())
    assert after - warm < MORE * A_FIT / 5
