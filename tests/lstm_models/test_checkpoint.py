"""Checkpoints: exact, deterministic, and never believed when they are not what was written."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as save_tensors

from lstm_models import checkpoint
from lstm_models.checkpoint import VERSION, CheckpointError, load, save
from lstm_models.fleet import Fleet
from lstm_models.fleet_config import CLASSES, KINDS, FleetConfig, Kind
from tests.lstm_models.synthetic_fleet import CONFIGS, data_of, trained

CONFIG = FleetConfig(units=2, lookback=8, burn_in=2, learning_rate=0.1 + 0.2, seeds=2)
NOTES = {"cutoff": "2020-01-31", "levels": [0.8, 0.1 + 0.2], "nested": {"b": 1, "a": None}}
FIELDS = ("center", "spread", "skip", "scale", "edges", "recurrence", "head")


def example() -> tuple[Fleet, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=(3, *shape))

    fleet = Fleet(
        config=CONFIG,
        names=("AAPL/log_return/2020-01-31", "Ünï", "c"),
        center=draw(4),
        spread=draw(4),
        skip=draw(5, 2),
        scale=draw(2),
        edges=np.zeros((3, 0)),
        recurrence=draw(2, 1, 7, 8).astype(np.float32),
        head=draw(2, 3, 2).astype(np.float32),
    )
    fleet.center[0, :3] = [np.nan, -0.0, np.inf]
    extra = {
        "coefficients": random.normal(size=(4, 2)).T,
        "rows": np.arange(5),
        "none": np.zeros(0),
    }
    return fleet, extra


DATA = save(*example(), NOTES)


def rewritten(header: Callable[[dict[str, Any]], None]) -> bytes:
    """The checkpoint with its header changed, and the digest left as it was."""
    size = int.from_bytes(DATA[:8], "little")
    outer = json.loads(DATA[8 : 8 + size])
    digest, _, text = outer["__metadata__"]["header"].partition(" ")
    inner = json.loads(text)
    header(inner)
    outer["__metadata__"]["header"] = f"{digest} {json.dumps(inner, sort_keys=True)}"
    raw = json.dumps(outer).encode()
    return len(raw).to_bytes(8, "little") + raw + DATA[8 + size :]


def test_what_was_saved_is_loaded_to_the_bit() -> None:
    fleet, extra = example()
    loaded, tensors, notes = load(DATA)
    assert (loaded.config, loaded.names, loaded.reports) == (fleet.config, fleet.names, ())
    for field in FIELDS:
        found, expected = getattr(loaded, field), getattr(fleet, field)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()
    assert set(tensors) == set(extra)
    for name, expected in extra.items():
        np.testing.assert_array_equal(tensors[name], expected)
        assert tensors[name].dtype == expected.dtype
    assert notes == NOTES
    assert save(loaded, tensors, notes) == DATA


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_fleet_of_every_kind_comes_back_to_the_bit(kind: Kind) -> None:
    fleet = trained([0, 1], replace(CONFIGS[kind], max_updates=8))
    data = save(fleet)
    loaded, _, _ = load(data)
    assert loaded.config == fleet.config
    assert loaded.config.kind == kind
    inputs, _ = data_of(kind, 2)
    cutoffs = np.tile(np.arange(150, 190), (2, 1))
    expected = fleet.predict(inputs, [0, 1], cutoffs)
    assert loaded.predict(inputs, [0, 1], cutoffs).tobytes() == expected.tobytes()
    for field in FIELDS:
        assert getattr(loaded, field).tobytes() == getattr(fleet, field).tobytes()
    assert loaded.edges.shape == (2, max(CLASSES.get(kind, 1) - 1, 0))
    for changed in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b"x" + data):
        with pytest.raises(CheckpointError, match="the next run trains again"):
            load(changed)


def test_the_same_fleet_gives_the_same_bytes() -> None:
    assert len({save(*example(), NOTES) for _ in range(40)}) == 1
    reordered = dict(reversed(list(NOTES.items())))
    fleet, extra = example()
    assert save(fleet, dict(reversed(list(extra.items()))), reordered) == DATA
    assert save(fleet, extra, NOTES | {"cutoff": "2020-02-03"}) != DATA


def test_nothing_extra_is_needed() -> None:
    _, extra, notes = load(save(example()[0]))
    assert (dict(extra), dict(notes)) == ({}, {})


def test_an_extra_tensor_cannot_take_a_name_of_the_fleet() -> None:
    with pytest.raises(ValueError, match="extra tensor 'scale' has the name"):
        save(example()[0], {"scale": np.zeros(1)})


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_noticed(place: int, flip: int) -> None:
    changed = bytearray(DATA)
    changed[place] ^= flip
    with pytest.raises(CheckpointError, match="it, and the next run trains again|use the newer"):
        load(bytes(changed))


@given(st.integers(0, len(DATA) - 1))
def test_a_truncated_file_is_noticed(length: int) -> None:
    with pytest.raises(CheckpointError, match="not a whole safetensors file.*trains again"):
        load(DATA[:length], source="checkpoints/x.safetensors")


def test_a_changed_tensor_and_a_changed_header_are_noticed() -> None:
    changed = bytearray(DATA)
    changed[-1] ^= 1
    message = "^checkpoints/x.safetensors was changed after it was written: delete it, and the next"
    with pytest.raises(CheckpointError, match=message):
        load(bytes(changed), source="checkpoints/x.safetensors")

    def rename(header: dict[str, Any]) -> None:
        header["names"][1] = "IBM"

    with pytest.raises(CheckpointError, match="was changed after it was written"):
        load(rewritten(rename))
    # The way of rewriting is not itself what is noticed.
    assert load(rewritten(lambda _: None))[0].names == example()[0].names


def test_a_newer_version_is_named_with_the_remedy() -> None:
    newer = rewritten(lambda header: header.update(version=VERSION + 1))
    message = f"has format version {VERSION + 1}, .* up to {VERSION}: use the newer fleetcast"
    with pytest.raises(CheckpointError, match=message):
        load(newer)


def test_an_older_version_is_named_with_the_remedy() -> None:
    older = rewritten(lambda header: header.update(version=VERSION - 1))
    message = f"has format version {VERSION - 1}, this code reads {VERSION}: delete it, and the"
    with pytest.raises(CheckpointError, match=message):
        load(older)


@pytest.mark.parametrize("version", ["2", None, [1]])
def test_a_version_that_is_no_number_is_a_change(version: object) -> None:
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        load(rewritten(lambda header: header.update(version=version)))


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"header": "x"}, {"header": "x [1]"}, {"header": "x {}"}]
)
def test_a_foreign_safetensors_file_is_named(metadata: dict[str, str] | None) -> None:
    foreign = save_tensors({"center": np.zeros(3)}, metadata=metadata)
    with pytest.raises(CheckpointError, match="but not a fleetcast fleet: delete it"):
        load(foreign, source="there.safetensors")


class Bomb:
    """Unpickling one is noticed."""

    exploded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Bomb, "exploded", True))


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"\x00" * 64, b"PK\x03\x04" * 9, pickle.dumps(Bomb())]
)
def test_junk_and_pickles_are_refused_unread(junk: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load(junk)
    assert not Bomb.exploded


def test_checkpoints_never_use_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pickled")

    for name in ("load", "loads", "Unpickler", "dump", "dumps", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert "pickle" not in vars(checkpoint)
    assert load(save(*example(), NOTES))[2] == NOTES
