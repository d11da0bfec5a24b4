"""Computed ids: the same content gives the same id, on every machine and in every run.

Owns hashing of values and of arrays. Never touches what an id is used for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

FORECAST_CODE_VERSION = "2"
"""Raised with every change of the code that changes a forecast's bytes, and by nothing else."""

_ID_DIGITS = 32


def content_id(*parts: object) -> str:
    """The id of `parts`: the first 32 hexadecimal digits of the SHA-256 of their canonical JSON.

    Args:
        parts: strings, numbers, booleans, None, dates, aware datetimes, NumPy scalars, and lists,
            tuples and string-keyed mappings of these. A date and its ISO text give the same id; so
            do one instant in two time zones, a tuple and a list, and a mapping in any order. `1`
            and `1.0` do not.

    Raises:
        TypeError: a part has no canonical form (a set, an object), or a datetime has no time zone.
    """
    text = json.dumps(
        [_canonical(part) for part in parts],
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:_ID_DIGITS]


def fingerprint(*arrays: np.ndarray[Any, Any]) -> str:
    """The id of `arrays`: SHA-256 over dtype, shape and bytes of each, 32 hexadecimal digits.

    Any axes. Memory order and byte order do not matter; dtype, shape and every bit do.

    Raises:
        TypeError: an array holds Python objects, whose bytes are addresses.
    """
    digest = hashlib.sha256()
    for array in arrays:
        if array.dtype.hasobject:
            raise TypeError(
                f"Expected arrays of numbers, dates or fixed-width text. Received: dtype="
                f"{array.dtype}. Convert it first, for example with array.astype('U')."
            )
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        digest.update(f"{little.dtype.str}{little.shape};".encode("ascii"))
        digest.update(np.ascontiguousarray(little).tobytes())
    return digest.hexdigest()[:_ID_DIGITS]


def _canonical(value: object) -> object:
    if isinstance(value, np.datetime64):
        value = _from_numpy(value)
    elif isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError(
                f"Expected a datetime with a time zone. Received: {value!r}. Give the instant in "
                "UTC: datetime(..., tzinfo=UTC)."
            )
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return _canonical_mapping(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_canonical(item) for item in value]
    raise TypeError(
        "Expected text, numbers, booleans, None, dates, instants, or lists and mappings of these. "
        f"Received: {type(value).__name__} {value!r}. For an array use fingerprint(array)."
    )


def _canonical_mapping(value: Mapping[Any, Any]) -> dict[str, object]:
    wrong = [key for key in value if not isinstance(key, str)]
    if wrong:
        raise TypeError(f"Expected a mapping with text keys. Received: key {wrong[0]!r}.")
    return {key: _canonical(item) for key, item in value.items()}


def _from_numpy(value: np.datetime64) -> date:
    """A date of a datetime64[D]; a finer unit is an instant in UTC, as the tables hold it."""
    if np.isnat(value):
        raise TypeError("Expected a date or an instant. Received: NaT.")
    if np.datetime_data(value.dtype)[0] in ("Y", "M", "W", "D"):
        day: date = value.astype("datetime64[D]").item()
        return day
    instant: datetime = value.astype("datetime64[us]").item()
    return instant.replace(tzinfo=UTC)
