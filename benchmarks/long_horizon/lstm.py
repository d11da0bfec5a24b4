"""One LSTM per series: what it reads, what it forecasts, and its one recipe.

Owns features, leads and settings. Never touches the engine, which is `lstm_models`.

The network forecasts the change from the last known level, at every `STEP`-th lead; between them
the forecast is a straight line, from no change at lead 0. (720 outputs a step would be most of the
work; all published horizons are multiples of 24.) Its linear path is zero and its head starts at
zero, so that before the first update it *is* Repeat, and Repeat is a candidate for the best
weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.long_horizon.protocol import Floats, Rows, Split
from lstm_models import training
from lstm_models.fleet import Fleet
from lstm_models.fleet_config import FleetConfig

STEP = 24
SPANS = (1, 5, 22, 66)
"""Rows over which the changes that a network reads are taken."""
RECIPE = FleetConfig(lookback=96, burn_in=24, seeds=2, width=16)
TRIED_ON_VALIDATION = 4
"""Recipes compared on the validation rows: with the level among the features and without, each at
the engine's learning rate and at a third of it. Without it, at the engine's own, was best."""
SCORED_ON_TEST = 1
"""Recipes ever scored on the test rows. Raise it with every other one, whatever came out."""


def features(levels: Floats) -> Floats:
    """What a network reads, `(series, row, feature)`: changes, and the last one's size.

    Never the level: it trends, and test levels lie where no training level did. A change is NaN
    where it reaches before the first row.
    """
    columns = []
    for span in SPANS:
        change = np.full_like(levels, np.nan)
        change[span:] = levels[span:] - levels[:-span]
        columns.append(change)
    return np.stack([*columns, np.abs(columns[0])], axis=-1).transpose(1, 0, 2)


def leads(horizon: int) -> Rows:
    """The leads that a network forecasts: every `STEP`-th, and the last.

    Raises:
        ValueError: if the horizon is below 1.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, received {horizon}")
    return np.unique([*range(STEP, horizon, STEP), horizon])


def fit(
    levels: Floats,
    split: Split,
    horizon: int,
    names: Sequence[str],
    config: FleetConfig = RECIPE,
) -> Fleet:
    """Fit a network per series on the training rows; the validation windows say when it stops.

    A training row has its whole path of targets in the training segment.

    Args:
        levels: `(row, series)`, standardised.
        split: of the rows.
        horizon: rows ahead.
        names: of the series; they seed weights and the order of windows.
        config: of all networks.
    """
    at = leads(horizon)
    targets = np.full((levels.shape[1], len(levels), len(at)), np.nan)
    for place, lead in enumerate(at):
        targets[:, :-lead, place] = (levels[lead:] - levels[:-lead]).T
    stops = split.cutoffs("validation", horizon)
    members = [
        training.Member(
            name,
            series,
            fit=(max(SPANS), split.train - horizon),
            early_stop=(int(stops[0]), int(stops[-1]) + 1),
        )
        for series, name in enumerate(names)
    ]
    inputs = features(levels)
    skip = np.zeros((len(members), inputs.shape[-1] + 1, len(at)))
    return training.fit(inputs, targets, members, skip, config)


def forecast(fleet: Fleet, levels: Floats, cutoffs: Rows, horizon: int) -> Floats:
    """The expected change, `(window, series, lead)`; a line between a network's leads."""
    series = range(levels.shape[1])
    everywhere = np.broadcast_to(cutoffs, (levels.shape[1], len(cutoffs)))
    at_leads = fleet.predict(features(levels), series, everywhere)
    return between(at_leads, leads(horizon)).transpose(1, 0, 2)


def between(at_leads: Floats, at: Rows) -> Floats:
    """Straight lines through 0 at lead 0 and the values at the leads `at`, at every lead.

    Args:
        at_leads: `(…, len(at))`.
        at: increasing, above 0.

    Returns:
        `(…, at[-1])`.
    """
    every = np.arange(1, at[-1] + 1)
    knots = np.concatenate([[0], at])
    values = np.concatenate([np.zeros((*at_leads.shape[:-1], 1)), at_leads], axis=-1)
    right = np.searchsorted(knots, every)
    share = (every - knots[right - 1]) / (knots[right] - knots[right - 1])
    return np.asarray(values[..., right - 1] * (1.0 - share) + values[..., right] * share)
