"""Warm start: the weights of an older fleet as the initial weights of a new one.

Owns the change of units between the two. Never touches training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstm_models.fleet import Fleet
from lstm_models.fleet_config import FleetConfig
from lstm_models.networks import Array
from lstm_models.scaling import Scaler

Floats = NDArray[np.float64]


def require_same_network(start: Fleet, *, features: int, outputs: int, config: FleetConfig) -> None:
    """Check that lanes of `start` have the shape of those of a new fleet.

    Raises:
        ValueError: naming what differs.
    """
    old = start.config
    for what, had, wanted in (
        ("kind", old.kind, config.kind),
        ("units", old.units, config.units),
        ("directions", old.directions, config.directions),
        ("seeds", old.seeds, config.seeds),
        ("features", start.center.shape[1], features),
        ("outputs", start.scale.shape[1], outputs),
    ):
        if had != wanted:
            raise ValueError(
                f"a fleet can only start from one of the same network: {what} was {had} in the "
                f"fleet to start from and is to be {wanted}; train without start"
            )


def carried_over(
    start: Fleet,
    name: str,
    seed: int,
    *,
    scaler: Scaler,
    scale: Floats,
    skip: Floats,
) -> tuple[Array, Array]:
    """One lane of `start` in the units of a new member: the same function of raw features.

    Standardisation and output scale are linear, so the new ones fold into the input kernel, its
    bias and the head. What stays the same is the network's own part of the forecast. Where the
    linear path's slopes are the same too (a constant path has none), the head's bias takes up the
    change of its intercept, and the whole forecast stays the same; where they were fitted anew,
    the network goes on beside the new path.

    Args:
        start: the older fleet.
        name: of its member.
        seed: of its lane.
        scaler: of the new member's features.
        scale: new scale `(output,)`.
        skip: new linear path `(feature + 1, output)`.

    Returns:
        Recurrence and head, as `networks.initial_weights` gives them.

    Raises:
        KeyError: if `start` has no such member.
    """
    i = start.index(name)
    units = start.config.units
    recurrence = start.recurrence[i, seed].astype(np.float64)
    moved = (scaler.center - start.center[i]) / start.spread[i]
    for weights in recurrence:
        weights[-1] += moved @ weights[units:-1]
        weights[units:-1] *= (scaler.spread / start.spread[i])[:, None]
    head = start.head[i, seed] * (start.scale[i] / scale)
    if np.array_equal(skip[:-1], start.skip[i, :-1]):
        head[-1] += (start.skip[i, -1] - skip[-1]) / scale
    return recurrence.astype(np.float32), head.astype(np.float32)
