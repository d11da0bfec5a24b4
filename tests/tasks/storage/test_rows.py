from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.storage.rows import RELATIVE_TOLERANCE, agree, codes_of, match, ordered, row_hashes

WORDS = st.none() | st.sampled_from(["", "a", "ab", "b", "é", "Z"])
DAYS = st.none() | st.dates(date(2020, 1, 1), date(2020, 1, 5))
INSTANTS = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001  Hypothesis takes naive bounds
    datetime(2020, 1, 2),  # noqa: DTZ001
    timezones=st.just(UTC),
)
TABLES = st.lists(st.tuples(WORDS, DAYS, INSTANTS, st.integers(-3, 3)), max_size=12)


def table_of(rows: list[tuple[object, ...]]) -> pa.Table:
    kinds = {
        "word": pa.string(),
        "day": pa.date32(),
        "instant": pa.timestamp("us", tz="UTC"),
        "number": pa.int32(),
    }
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds.values())]
    whole = pa.table(dict(zip(kinds, columns, strict=True)))
    half = len(rows) // 2  # in two chunks, each with a dictionary of its own
    return pa.concat_tables([whole.slice(0, half), whole.slice(half)])


def sort_key(row: tuple[object, ...]) -> tuple[object, ...]:
    """Nulls first, as Python orders what is there."""
    return tuple((value is not None, 0 if value is None else value) for value in row)


@given(TABLES)
def test_order_is_that_of_sorted_tuples(rows: list[tuple[object, ...]]) -> None:
    table = ordered(table_of(rows), ["word", "day", "instant", "number"])
    assert [tuple(row.values()) for row in table.to_pylist()] == sorted(rows, key=sort_key)


@given(TABLES)
def test_equal_codes_are_equal_rows(rows: list[tuple[object, ...]]) -> None:
    codes = codes_of(table_of(rows), ["word", "day", "instant", "number"]).tolist()
    for one, code in zip(rows, codes, strict=True):
        for other, its in zip(rows, codes, strict=True):
            assert (code == its) == (one == other)


def test_codes_that_would_overflow_are_packed_anew() -> None:
    far = [datetime(1700, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)]
    rows = [(a, b, n) for a in far for b in far for n in (1, 2)]
    table = pa.table(
        {
            "a": pa.array([row[0] for row in rows], pa.timestamp("us", tz="UTC")),
            "b": pa.array([row[1] for row in rows], pa.timestamp("us", tz="UTC")),
            "n": pa.array([row[2] for row in rows], pa.int64()),
        }
    )
    shuffled = table.take(np.random.default_rng(0).permutation(len(rows)))
    assert ordered(shuffled, ["a", "b", "n"]).equals(table)


@given(TABLES, TABLES)
def test_match_finds_what_a_dictionary_finds(
    rows: list[tuple[object, ...]], stored: list[tuple[object, ...]]
) -> None:
    stored = list(dict.fromkeys(stored))
    found = match(table_of(rows), table_of(stored), ["word", "day", "instant", "number"])
    index = {row: position for position, row in enumerate(stored)}
    assert found.tolist() == [index.get(row, -1) for row in rows]


NUMBERS = st.none() | st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 5e-10])


@given(NUMBERS, NUMBERS)
def test_numbers_agree_as_math_isclose_says(one: float | None, other: float | None) -> None:
    left, right = (pa.table({"x": pa.array([value], pa.float64())}) for value in (one, other))
    if one is None or other is None:
        expected = one is other
    else:
        expected = math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE)
    assert agree(left, right, ["x"]).tolist() == [expected]


@given(NUMBERS, NUMBERS)
def test_hashes_are_equal_where_values_are(one: float | None, other: float | None) -> None:
    hashes = row_hashes(pa.table({"x": pa.array([one, other], pa.float64())}), ["x"]).to_pylist()
    assert (hashes[0] == hashes[1]) == (one == other)


def slow_hash(row: tuple[str | None, date | None, float | None, bool]) -> str:
    """The hash in Python's integers: SplitMix64 of the values' bits, one after the other."""
    word, day, number, flag = row
    null = 0x9E3779B97F4A7C15
    bits = [
        null
        if word is None
        else int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little"),
        null if day is None else (day - date(1970, 1, 1)).days % 2**64,
        null if number is None else int.from_bytes(struct.pack("<d", number + 0.0), "little"),
        int(flag),
    ]
    state = 0
    for value in bits:
        state = ((state ^ value) + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return f"{state:016x}"


@given(
    st.lists(
        st.tuples(
            st.none() | st.text(max_size=5),
            st.none() | st.dates(date(1900, 1, 1), date(2100, 1, 1)),
            st.none() | st.floats(allow_nan=False),
            st.booleans(),
        )
    )
)
def test_hashes_are_those_of_a_slow_splitmix(
    rows: list[tuple[str | None, date | None, float | None, bool]],
) -> None:
    kinds = [pa.string(), pa.date32(), pa.float64(), pa.bool_()]
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
    table = pa.Table.from_arrays(columns, names=["word", "day", "number", "flag"])
    assert row_hashes(table, table.column_names).to_pylist() == [slow_hash(row) for row in rows]


def test_a_hash_sees_in_which_column_a_value_is() -> None:
    table = pa.table({"a": ["x", "y", None], "b": ["y", "x", None], "c": ["x", "x", "x"]})
    assert len(set(row_hashes(table, ["a", "b"]).to_pylist())) == 3
    assert row_hashes(table, ["a"]).to_pylist() != row_hashes(table, ["a", "c"]).to_pylist()


def test_a_hundred_thousand_rows_do_not_collide() -> None:
    days = pa.array([date(2000, 1, 1) + timedelta(days=n) for n in range(1000)] * 100)
    names = pa.array([f"I{n}" for n in range(100) for _ in range(1000)])
    hashes = row_hashes(pa.table({"name": names, "day": days}), ["name", "day"])
    assert len(hashes.unique()) == 100_000


@pytest.mark.parametrize("kind", [pa.float64(), pa.string(), pa.date32()])
def test_no_rows_have_no_hashes(kind: pa.DataType) -> None:
    assert row_hashes(pa.table({"x": pa.array([], kind)}), ["x"]).to_pylist() == []
