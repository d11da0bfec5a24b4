"""Small fleets on made-up series that have something to learn; tests share their configs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lstm_models.classes import labels, quantile_edges
from lstm_models.fleet import Fleet
from lstm_models.fleet_config import KINDS, FleetConfig, Kind
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
CONFIGS: dict[Kind, FleetConfig] = {
    "many_to_many": CONFIG,
    "direction": replace(CONFIG, kind="direction"),
    "quantile_class": replace(CONFIG, kind="quantile_class", learning_rate=0.02, patience=6),
}
assert tuple(CONFIGS) == KINDS


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


def returns(series: int, rows: int = ROWS) -> tuple[Floats, Floats]:
    """Inputs of `panel`, and returns `(series, row, 1)` whose sign and size they tell a lot of."""
    inputs, _ = panel(series, rows)
    targets = np.empty((series, rows, 1))
    for place in range(series):
        noise = np.random.default_rng(1000 + place).normal(size=rows)
        x = inputs[place, :, 0]
        before = np.r_[0.0, x[:-1]]
        targets[place, :, 0] = 0.01 * (np.tanh(3.0 * x + before) + 0.3 * noise)
    return inputs, targets


def data_of(kind: Kind, series: int, rows: int = ROWS) -> tuple[Floats, Floats]:
    """Inputs and targets that a kind is trained on."""
    return panel(series, rows) if kind == "many_to_many" else returns(series, rows)


def edges_of(kind: Kind, targets: Floats) -> tuple[float, ...]:
    """Edges of the classes of one series, from its fit rows `(row, 1)`."""
    if kind == "many_to_many":
        return ()
    return (0.0,) if kind == "direction" else tuple(quantile_edges(targets[slice(*FIT), 0], 10))


def members(series: Sequence[int], kind: Kind = "many_to_many") -> list[Member]:
    """Member `m3` stands for series 3."""
    targets = data_of(kind, max(series) + 1)[1]
    return [
        Member(f"m{place}", place, FIT, EARLY_STOP, edges_of(kind, targets[place]))
        for place in series
    ]


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


def log_frequencies(kind: Kind, targets: Floats) -> Floats:
    """Logits of the training frequencies and no slopes, `(series, feature + 1, output)`."""
    outputs = CONFIGS[kind].outputs(1)
    skip = np.zeros((len(targets), FEATURES + 1, outputs))
    for place, returned in enumerate(targets):
        found = labels(returned[slice(*FIT)], edges_of(kind, returned))
        counts = np.array([np.sum(found == label) for label in range(max(outputs, 2))]) + 0.5
        logits = np.log(counts / counts.sum())
        skip[place, -1] = logits[1:] - logits[0] if outputs == 1 else logits
    return skip


def skip_of(config: FleetConfig, inputs: Floats, targets: Floats) -> Floats:
    """The linear path of every series."""
    if config.classes:
        return log_frequencies(config.kind, targets)
    return (linear if config.skip else mean_only)(inputs, targets)


def trained(
    series: Sequence[int], config: FleetConfig = CONFIG, data: tuple[Floats, Floats] | None = None
) -> Fleet:
    """The fleet of these series, its skip path fitted where the config has one."""
    inputs, targets = data or data_of(config.kind, max(series) + 1)
    skip = skip_of(config, inputs, targets)
    return fit(inputs, targets, members(series, config.kind), skip[list(series)], config)


def parameters(fleet: Fleet, name: str) -> bytes:
    """Every fitted bit of a member, and how its training went."""
    one = fleet.select([name])
    arrays = (one.center, one.spread, one.skip, one.scale, one.edges, one.recurrence, one.head)
    return b"".join(array.tobytes() for array in arrays) + repr(one.reports).encode()
