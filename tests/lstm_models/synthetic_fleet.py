"""Small fleets on made-up series that have something to learn; tests share their two configs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lstm_models.fleet import Fleet
from lstm_models.fleet_config import FleetConfig
from lstm_models.training import Member, fit

Floats = NDArray[np.float64]
FEATURES, LEADS, ROWS = 3, 2, 200
FIT, EARLY_STOP = (0, 120), (125, 169)  # the last check window reaches past the end

CONFIG = FleetConfig(
    units=4,
    lookback=8,
    burn_in=2,
    seeds=2,
    learning_rate=0.1,
    warmup_updates=3,
    weight_decay=0.1,
    windows_per_update=8,
    check_every=4,
    patience=2,
    max_updates=80,
    width=4,
)
PLAIN = replace(CONFIG, skip=False, seeds=1)


def panel(series: int, rows: int = ROWS) -> tuple[Floats, Floats]:
    """Inputs `(series, row, feature)` on different scales, and targets `(series, row, lead)`.

    A series is the same however many there are. Its targets need a memory and are not linear.
    """
    inputs, targets = np.empty((series, rows, FEATURES)), np.empty((series, rows, LEADS))
    for place in range(series):
        random = np.random.default_rng(place)
        x = random.normal(size=(rows, FEATURES))
        before = np.vstack([np.zeros((1, FEATURES)), x[:-1]])
        targets[place, :, 0] = 0.02 * (np.abs(x[:, 0]) + 0.5 * x[:, 1] + 0.2 * before[:, 0])
        targets[place, :, 1] = 3.0 + np.sign(before[:, 0]) + 0.3 * x[:, 2]
        targets[place] += [0.002, 0.1] * random.normal(size=(rows, LEADS))
        inputs[place] = x * [1.0, 0.01, 2.0] + [0.0, 0.005, -9.0]
    return inputs, targets


def members(series: Sequence[int]) -> list[Member]:
    """Member `m3` stands for series 3."""
    return [Member(f"m{place}", place, FIT, EARLY_STOP) for place in series]


def linear(inputs: Floats, targets: Floats, stop: int = FIT[1]) -> Floats:
    """Least squares on the rows up to `stop`, `(series, feature + 1, lead)`."""
    fits = []
    for x, y in zip(inputs[:, :stop], targets[:, :stop], strict=True):
        known = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
        fits.append(np.linalg.lstsq(np.c_[x, np.ones(stop)][known], y[known])[0])
    return np.stack(fits)


def mean_only(inputs: Floats, targets: Floats) -> Floats:
    """The mean fit target and no slopes, in the shape of `linear`."""
    skip = np.zeros((len(inputs), FEATURES + 1, LEADS))
    skip[:, -1] = targets[:, : FIT[1]].mean(axis=1)
    return skip


def trained(
    series: Sequence[int], config: FleetConfig = CONFIG, data: tuple[Floats, Floats] | None = None
) -> Fleet:
    """The fleet of these series, its skip path fitted where the config has one."""
    inputs, targets = data or panel(max(series) + 1)
    skip = (linear if config.skip else mean_only)(inputs, targets)
    return fit(inputs, targets, members(series), skip[list(series)], config)


def parameters(fleet: Fleet, name: str) -> bytes:
    """Every fitted bit of a member, and how its training went."""
    one = fleet.select([name])
    arrays = (one.center, one.spread, one.skip, one.scale, one.recurrence, one.head)
    return b"".join(array.tobytes() for array in arrays) + repr(one.reports).encode()
