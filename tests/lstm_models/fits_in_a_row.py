"""Fits one fleet after the other and writes down the process' memory; run as a child of a test.

    python -m tests.lstm_models.fits_in_a_row WARM_UP MORE

Writes two numbers, the resident bytes after each of the two rounds. Histories are long and
trainings short: a fit holds about a megabyte, and takes a tenth of a second.
"""

import ctypes
import gc
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from lstm_models.training import fit
from tests.lstm_models.synthetic_fleet import CONFIG, ROWS, linear, members, panel

SERIES, LONG = 4, 8_000


def resident() -> int:
    """Bytes in memory, once what is free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Fit, look, fit more, look again."""
    config = replace(CONFIG, max_updates=8)
    inputs, targets = panel(SERIES, LONG)
    skip, cutoffs = linear(inputs, targets), np.full((SERIES, 1), ROWS)
    for count in map(int, sys.argv[1:]):
        for _ in range(count):
            fleet = fit(inputs, targets, members(range(SERIES)), skip, config)
            fleet.predict(inputs, range(SERIES), cutoffs)
        sys.stdout.write(f"{resident()}\n")


if __name__ == "__main__":
    main()
