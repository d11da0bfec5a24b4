"""Checkpoints: a fitted fleet, and what goes with it, as one safetensors file with a JSON header.

Owns the format and its checks. Never touches where the bytes are kept, and never a pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from lstm_models.fleet import Fleet
from lstm_models.fleet_config import FleetConfig

FORMAT, VERSION = "fleetcast fleet", 2
_FLEET = ("center", "spread", "skip", "scale", "edges", "recurrence", "head")

Tensors = Mapping[str, NDArray[np.generic]]


class CheckpointError(ValueError):
    """A file that is not a whole, unchanged checkpoint of a version that this code reads."""


def save(
    fleet: Fleet, extra: Tensors | None = None, notes: Mapping[str, Any] | None = None
) -> bytes:
    """One file: the fleet, `extra` arrays under their names, and `notes` in the header.

    The same arguments give the same bytes.

    Raises:
        ValueError: if a name in `extra` is one of the fleet's own.
    """
    tensors = {name: np.ascontiguousarray(getattr(fleet, name)) for name in _FLEET}
    for name, array in (extra or {}).items():
        if name in tensors:
            raise ValueError(f"extra tensor {name!r} has the name of one of the fleet's own")
        tensors[name] = np.ascontiguousarray(array)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "config": asdict(fleet.config),
        "names": list(fleet.names),
        "notes": dict(notes or {}),
    }
    text = json.dumps(header, sort_keys=True)
    # One entry: the order of several is not the same in every file.
    return save_tensors(tensors, metadata={"header": f"{_digest(text, tensors)} {text}"})


def load(data: bytes, source: str = "checkpoint") -> tuple[Fleet, Tensors, Mapping[str, Any]]:
    """Read what `save` wrote: the fleet (without training reports), extra arrays and notes.

    Args:
        data: the file's bytes.
        source: what to call it in an error.

    Raises:
        CheckpointError: for a truncated, changed or foreign file, or another version of the format.
    """
    remedy = "delete it, and the next run trains again"
    try:
        tensors = load_tensors(data)
        metadata = _metadata(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{source} is not a whole safetensors file ({len(data)} bytes: {error}): {remedy}"
        ) from error
    digest, _, text = metadata.get("header", "").partition(" ")
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{source} is a safetensors file, but not a {FORMAT}: {remedy}")
    version = header.get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(
            f"{source} has format version {version}, this code reads up to {VERSION}: "
            "use the newer fleetcast that wrote it"
        )
    if isinstance(version, int) and version < VERSION:
        raise CheckpointError(
            f"{source} has format version {version}, this code reads {VERSION}: {remedy}"
        )
    if digest != _digest(text, tensors):
        raise CheckpointError(f"{source} was changed after it was written: {remedy}")
    fleet = Fleet(
        config=FleetConfig(**header["config"]),
        names=tuple(header["names"]),
        center=tensors.pop("center"),
        spread=tensors.pop("spread"),
        skip=tensors.pop("skip"),
        scale=tensors.pop("scale"),
        edges=tensors.pop("edges"),
        recurrence=tensors.pop("recurrence"),
        head=tensors.pop("head"),
    )
    return fleet, tensors, header["notes"]


def _metadata(data: bytes) -> dict[str, str]:
    """The string metadata of a safetensors file: its first 8 bytes give the JSON header's size."""
    size = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return metadata


def _digest(header: str, tensors: Tensors) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
