"""Rows of tables, compared a column at a time: their order, their equality and their hashes.

Owns the vectorised comparisons that facts are judged by. Never touches what a column means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

RELATIVE_TOLERANCE = 1e-9
"""Numbers that differ by less, relative to the larger, are one value: providers recompute."""

_WIDEST_CODE = 2**62
_MOST_TEXT = 2**30
"""Bytes of texts that one Arrow array surely holds."""

_NULL_BITS = np.uint64(0x9E3779B97F4A7C15)

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint64]


def ordered(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """`table` sorted by the columns `names`, nulls first, equal rows as they were."""
    return take(table, np.argsort(codes_of(table, names), kind="stable"))


def match(rows: pa.Table, stored: pa.Table, key: Sequence[str]) -> Codes:
    """For each of `rows` the position in `stored` of a row with its key, or -1."""
    if not stored.num_rows:
        return np.full(rows.num_rows, -1, dtype=np.int64)
    both = pa.concat_tables([stored.select(key), rows.select(key)])
    codes = codes_of(both, key)
    there, wanted = codes[: stored.num_rows], codes[stored.num_rows :]
    ranked = np.argsort(there, kind="stable")
    place = np.minimum(np.searchsorted(there[ranked], wanted), len(there) - 1)
    position: Codes = np.where(there[ranked][place] == wanted, ranked[place], -1)
    return position


def agree(
    left: pa.Table,
    right: pa.Table,
    names: Sequence[str],
    tolerance: float = RELATIVE_TOLERANCE,
) -> Mask:
    """For each row whether `left` and `right` hold the same in all columns `names`.

    Numbers are the same within `tolerance`, relative to the larger; null is the same as null only.
    """
    same: Mask = np.ones(left.num_rows, dtype=bool)
    for name in names:
        one, other = left[name], right[name]
        equal = pc.equal(one, other)
        if pa.types.is_floating(one.type):
            largest = pc.max_element_wise(pc.abs(one), pc.abs(other))
            apart = pc.abs(pc.subtract(one, other))
            close = pc.less_equal(apart, pc.multiply(largest, tolerance))
            equal = pc.or_(equal, pc.and_(close, pc.is_finite(largest)))
        neither = pc.and_(pc.is_null(one), pc.is_null(other))
        same &= as_mask(pc.or_(pc.fill_null(equal, False), neither))
    return same


def row_hashes(table: pa.Table, names: Sequence[str]) -> pa.Array:
    """A hash of 16 hexadecimal digits per row over the columns `names`.

    The same on every machine and with every version of the libraries: texts by BLAKE2, numbers by
    their bits (one zero, one null), lists by their JSON, mixed by SplitMix64 (Steele, Lea & Flood,
    2014).
    """
    state: Bits = np.zeros(table.num_rows, dtype=np.uint64)
    for name in names:
        state = _mixed(state ^ _bits(table[name]))
    digits = state.astype(">u8").tobytes().hex().encode("ascii")
    offsets = np.arange(0, len(digits) + 1, 16, dtype=np.int32)
    return pa.StringArray.from_buffers(table.num_rows, pa.py_buffer(offsets), pa.py_buffer(digits))


def _mixed(state: Bits) -> Bits:
    with np.errstate(over="ignore"):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


def _bits(column: pa.ChunkedArray) -> Bits:
    kind = column.type
    if pa.types.is_nested(kind):
        column = pa.chunked_array(
            [[json.dumps(value) for value in column.to_pylist()]], pa.string()
        )
        kind = column.type
    if pa.types.is_string(kind):
        encoded = _encoded(column)
        words = [
            int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            for word in encoded.dictionary.to_pylist()
        ]
        table = np.array([*words, 0], dtype=np.uint64)
        bits: Bits = table[_numpy(pc.fill_null(encoded.indices, len(words)))]
    elif pa.types.is_floating(kind):
        numbers = _numpy(pc.fill_null(column, 0.0)) + 0.0  # minus zero becomes zero
        bits = np.ascontiguousarray(numbers).view(np.uint64)
    else:
        bits = _integers(column).astype(np.uint64)
    if column.null_count:
        bits = np.where(as_mask(pc.is_null(column)), _NULL_BITS, bits)
    return bits


def codes_of(table: pa.Table, names: Sequence[str]) -> Codes:
    """An integer per row whose order is the rows' order by the columns `names`, nulls first.

    Equal integers are equal rows. Columns are texts, dates, instants, integers or booleans.
    """
    codes: Codes = np.zeros(table.num_rows, dtype=np.int64)
    if not table.num_rows:
        return codes
    widest = 1
    for name in names:
        column, width = _column_codes(table[name])
        if widest * width > _WIDEST_CODE:
            found, codes = np.unique(codes, return_inverse=True)
            widest = len(found)
        if widest * width > _WIDEST_CODE:
            found, column = np.unique(column, return_inverse=True)
            width = len(found)
        codes = codes * width + column
        widest *= width
    return codes


def _column_codes(column: pa.ChunkedArray) -> tuple[Codes, int]:
    """Codes from 1 on, 0 for null, and how many there may be."""
    if pa.types.is_string(column.type):
        encoded = _encoded(column)
        words = encoded.dictionary
        rank = np.zeros(len(words) + 1, dtype=np.int64)
        rank[_numpy(pc.sort_indices(words))] = np.arange(1, len(words) + 1)
        indices = encoded.indices
        if indices.null_count:
            indices = pc.fill_null(indices, len(words))
        return rank[_numpy(indices)], len(words) + 1
    codes = _integers(column)
    if not column.null_count:
        least, greatest = int(codes.min()), int(codes.max())
        return codes - (least - 1), greatest - least + 2
    absent = as_mask(pc.is_null(column))
    present = codes[~absent]
    codes = codes - (present.min() if len(present) else 0)
    codes = np.where(absent, 0, codes + 1)
    return codes, int(codes.max()) + 1


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Texts as positions in one dictionary.

    Encoded as a whole: to unify a dictionary per chunk takes time with chunks × words, minutes for
    the ids of a year of nights.
    """
    if column.nbytes > _MOST_TEXT:
        column = column.cast(pa.large_string())
    return pc.dictionary_encode(column.combine_chunks())


def _integers(column: pa.ChunkedArray) -> Codes:
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    column = column.cast(pa.int64())
    numbers: Codes = _numpy(pc.fill_null(column, 0) if column.null_count else column)
    return numbers


def starts_of(codes: Codes) -> Mask:
    """Where in sorted `codes` a new value begins."""
    starts: Mask = np.ones(len(codes), dtype=bool)
    starts[1:] = codes[1:] != codes[:-1]
    return starts


def take(table: pa.Table, positions: Codes) -> pa.Table:
    """The rows at `positions`; the table itself where these are all of its rows in order."""
    if np.array_equal(positions, np.arange(table.num_rows)):
        return table
    return table.combine_chunks().take(positions)


def as_mask(values: pa.ChunkedArray | pa.Array) -> Mask:
    """Arrow booleans without nulls as NumPy's."""
    mask: Mask = _numpy(values)
    return mask


def _numpy(values: pa.ChunkedArray | pa.Array) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = (
        values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
    )
    return array
