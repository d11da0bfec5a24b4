from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.identity import content_id, fingerprint

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
# Hypothesis finds the pair that collides, if parts run into one another.
parts = st.lists(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5))


def same(left: object, right: object) -> bool:
    """Equality in which 1, 1.0 and True differ, as ids see it."""
    return repr(left) == repr(right)


@given(parts, parts)
def test_different_content_has_different_ids(left: list[object], right: list[object]) -> None:
    assert (content_id(*left) == content_id(*right)) == same(left, right)


def test_an_id_is_the_hash_of_the_canonical_json() -> None:
    text = b'["AAPL",1,0.1,null,"2024-01-02",{"a":[true],"b":1}]'
    expected = hashlib.sha256(text).hexdigest()[:32]
    assert content_id("AAPL", 1, 0.1, None, date(2024, 1, 2), {"b": 1, "a": [True]}) == expected


def test_an_id_does_not_depend_on_the_hash_seed() -> None:
    code = "from tasks.identity import content_id; print(content_id({'a': 1, 'b': 'x'}))"
    ids = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert ids == {content_id({"b": "x", "a": 1}) + "\n"}


def test_one_instant_has_one_id_in_every_time_zone() -> None:
    instant = datetime(2024, 1, 2, 22, 0, tzinfo=UTC)
    elsewhere = instant.astimezone(timezone(timedelta(hours=9)))
    assert content_id(instant) == content_id(elsewhere)
    assert content_id(instant) == content_id(np.datetime64("2024-01-02T22:00"))
    assert content_id(instant) != content_id(instant + timedelta(microseconds=1))


def test_numpy_and_python_values_have_one_id() -> None:
    assert content_id(np.float64(0.1), np.int64(3), np.str_("x")) == content_id(0.1, 3, "x")
    assert content_id(np.datetime64("2024-01-02")) == content_id(date(2024, 1, 2))
    assert content_id(("a", "b")) == content_id(["a", "b"])


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({1, 2}, "set"),
        (object(), "object"),
        (b"bytes", "bytes"),
        (datetime(2024, 1, 2), "time zone"),  # noqa: DTZ001
        ({1: "a"}, "text keys"),
        (np.datetime64("NaT"), "NaT"),
        (np.arange(3), "fingerprint"),
    ],
)
def test_what_has_no_canonical_form_is_refused_by_name(value: object, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        content_id(value)


def test_a_fingerprint_sees_every_bit_dtype_and_shape() -> None:
    array = np.arange(6.0).reshape(2, 3)
    nudged = array.copy()
    nudged[1, 2] = np.nextafter(nudged[1, 2], np.inf)
    others = [
        nudged,
        array.reshape(3, 2),
        array.astype(np.float32),
        array.view(np.int64),
        array[::-1],
    ]
    assert len({fingerprint(array), *(fingerprint(other) for other in others)}) == 6
    assert fingerprint(array, array) != fingerprint(np.concatenate([array, array]))
    assert fingerprint(np.array([0.0])) != fingerprint(np.array([-0.0]))


def test_a_fingerprint_does_not_see_memory_order_or_byte_order() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert fingerprint(array) == fingerprint(np.asfortranarray(array))
    assert fingerprint(array) == fingerprint(array.astype(">f8"))
    assert fingerprint(array) == fingerprint(np.repeat(array, 2, axis=1)[:, ::2])


def test_objects_have_no_fingerprint() -> None:
    with pytest.raises(TypeError, match="object"):
        fingerprint(np.array(["a", None], dtype=object))
