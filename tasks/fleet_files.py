"""Members out of the checkpoints that hold them: read as one fleet, or taken out for good.

Owns which file a member is in. Never touches training or what the members forecast.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
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


def instruments_in(data: bytes) -> frozenset[str] | None:
    """Whose networks a checkpoint holds; None where it can't be read."""
    try:
        size = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + size])["__metadata__"]["header"]
        names = json.loads(text.partition(" ")[2])["names"]
        return frozenset(_instrument_of(name) for name in names)
    except (ValueError, KeyError, TypeError):
        return None


def without(data: bytes, instruments: Collection[str], source: str) -> bytes | None:
    """A checkpoint without the networks of `instruments`; None where no other is left.

    The other members keep every bit, and the models that are in them stay as they are.

    Raises:
        CheckpointError: it is damaged.
    """
    from lstm_models import checkpoint as checkpoints  # noqa: PLC0415 - loads TensorFlow

    fleet, extra, notes = checkpoints.load(data, source=source)
    kept = [name for name in fleet.names if _instrument_of(name) not in instruments]
    if not kept:
        return None
    models = notes.get("models", {})
    gone = [one for one, note in models.items() if _instrument_of(note["member"]) in instruments]
    owners = tuple(f"{one}/" for one in gone)
    return checkpoints.save(
        fleet.select(kept),
        {name: array for name, array in extra.items() if not name.startswith(owners)},
        {**notes, "models": {one: note for one, note in models.items() if one not in gone}},
    )


def _instrument_of(member: str) -> str:
    """A member is named by instrument, target and date."""
    return member.rsplit("/", 2)[0]
