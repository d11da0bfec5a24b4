"""Members out of the checkpoints that hold them, as one fleet.

Owns which file a member is read from. Never touches training or what the members forecast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.store import Store

if TYPE_CHECKING:
    from lstm_models.fleet import Fleet


def read_members(store: Store, wanted: Mapping[str, Iterable[str]]) -> Fleet | None:
    """The members of each path as one fleet, in order of the paths; None if there are none.

    Raises:
        StoreError: a checkpoint can't be read.
        CheckpointError: a checkpoint is damaged.
        KeyError: a checkpoint lacks a member.
    """
    from lstm_models import checkpoint as checkpoints  # noqa: PLC0415 - loads TensorFlow

    fleets = [
        checkpoints.load(store.read_file(path), source=path)[0].select(list(dict.fromkeys(names)))
        for path, names in sorted(wanted.items())
    ]
    return joined(fleets) if fleets else None


def joined(fleets: Sequence[Fleet]) -> Fleet:
    """One fleet of the members of all, which are of one config; without training reports."""
    own = {field.name for field in fields(fleets[0])} - {"config", "names", "reports"}
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in fleets]) for name in own
    }
    return replace(
        fleets[0], names=tuple(name for one in fleets for name in one.names), reports=(), **arrays
    )
