"""Cells of text as numbers and dates, a column at a time; what can't be read is told, not raised.

Owns what counts as a number, a date or nothing. Never touches files or the meaning of a column.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.storage.rows import as_mask

Mask = npt.NDArray[np.bool_]

MISSING = ("", "-", ".", "na", "n/a", "#n/a", "nan", "null", "none", "nil")
"""What providers write for nothing, in lower case."""

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$"
_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:$|[T ][0-9:.,]*(?: ?[A-Za-z]{1,5}| ?[+-][0-9:]{2,6})?$)"
_FIRST_DAY, _LAST_DAY = date(1600, 1, 1), date(2200, 1, 1)
"""No exchange is older, and no bar is that new: a date outside is a cell that was misread."""
_BASIC = r"^([0-9]{4})([0-9]{2})([0-9]{2})$"


@dataclass(frozen=True)
class Read:
    """A column as read.

    Attributes:
        values: float64 or date32; null where nothing or nothing readable stood.
        wrong: where something stood that can't be read; axis (row).
    """

    values: pa.ChunkedArray
    wrong: Mask


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells as trimmed texts; what stands for nothing is null.

    Raises:
        pa.ArrowException: the column holds lists or other things that no text stands for.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    nothing = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(MISSING, pa.string()))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), trimmed)


def read_numbers(column: pa.ChunkedArray) -> Read:
    """Finite numbers. NaN and what stands for nothing is null; infinity and text is wrong.

    Raises:
        pa.ArrowException: the column holds lists or other things that are no cells.
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64(), safe=False)
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
        return _finite(values, present=pc.is_valid(values))
    text = as_text(column)
    number = pc.fill_null(pc.match_substring_regex(text, _NUMBER), False)
    values = pc.if_else(number, text, pa.scalar(None, pa.string())).cast(pa.float64())
    return _finite(values, present=pc.is_valid(text))


def _finite(values: pa.ChunkedArray, present: pa.ChunkedArray) -> Read:
    finite = pc.fill_null(pc.is_finite(values), False)
    values = pc.if_else(finite, values, pa.scalar(None, pa.float64()))
    return Read(values, as_mask(present) & ~as_mask(finite))


def read_sessions(column: pa.ChunkedArray, date_format: str | None = None) -> Read:
    """Dates. Of an instant with a zone, the date where it was written.

    Args:
        column: dates, instants, or texts: ISO (2024-12-31, 20241231, with or without a time) or as
            `date_format` says.
        date_format: a format of `datetime.strptime`, for texts. Where no cell fits it, ISO holds:
            files of one folder often differ, and ISO dates can't be mistaken.

    Raises:
        pa.ArrowException: the column holds lists or other things that are no cells.
        ValueError: `date_format` is no format.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            column = pc.local_timestamp(column)
        return _plausible(column.cast(pa.date32(), safe=False), present=pc.is_valid(column))
    text = as_text(column)
    found = _parse_iso(text) if date_format is None else _parse(text, date_format)
    if found.null_count == len(found):
        found = _parse_iso(text)
    return _plausible(found, present=pc.is_valid(text))


def _plausible(days: pa.ChunkedArray, present: pa.ChunkedArray) -> Read:
    within = pc.and_(pc.greater_equal(days, _FIRST_DAY), pc.less_equal(days, _LAST_DAY))
    days = pc.if_else(within, days, pa.scalar(None, pa.date32()))
    return Read(days, as_mask(present) & ~as_mask(pc.is_valid(days)))


def _parse_iso(text: pa.ChunkedArray) -> pa.ChunkedArray:
    iso = pc.fill_null(pc.match_substring_regex(text, _ISO), False)
    basic = pc.replace_substring_regex(text, _BASIC, r"\1-\2-\3")
    return _parse(pc.if_else(iso, pc.utf8_slice_codeunits(text, 0, 10), basic), "%Y-%m-%d")


def _parse(text: pa.ChunkedArray, date_format: str) -> pa.ChunkedArray:
    # Each distinct text once: a panel repeats its dates for every instrument.
    encoded = pc.dictionary_encode(text).unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks)
    words = pd.Series(encoded.dictionary.to_pylist(), dtype="object")
    dates = pd.to_datetime(words, format=date_format, errors="coerce", exact=True)
    if getattr(dates.dtype, "tz", None) is not None:
        dates = dates.dt.tz_localize(None)
    days = pa.array(dates.to_numpy().astype("datetime64[D]"))
    return pa.chunked_array([days.take(encoded.indices)])
