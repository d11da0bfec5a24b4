"""Cells of text, a column at a time: what stands for nothing, and what a column read as.

Owns what counts as nothing. Never touches files, numbers, dates or the meaning of a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.storage.rows import as_mask

Mask = npt.NDArray[np.bool_]

MISSING = ("", "-", ".", "na", "n/a", "#n/a", "nan", "null", "none", "nil")
"""What providers write for nothing, in lower case."""


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


def as_names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same for a column of few distinct texts, each looked at once.

    Raises:
        pa.ArrowException: the column holds lists or other things that no text stands for.
    """
    indices, words = distinct(column)
    names = as_text(pa.chunked_array([words])).combine_chunks()
    return pa.chunked_array([names.take(indices)], pa.string())


def distinct(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Cells as positions in the distinct ones; null where there is none.

    Returns:
        The position of every row's cell; axis (row). The distinct cells; axis (word).

    Raises:
        pa.ArrowException: the column holds lists or other things that can't be told apart.
    """
    if pa.types.is_dictionary(column.type):
        encoded = column.unify_dictionaries().combine_chunks()
    else:
        if pa.types.is_string(column.type):
            column = column.cast(pa.large_string())  # 2 GiB of text is not the limit of one array
        encoded = pc.dictionary_encode(column.combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        nothing = pa.array([], encoded.type)
        encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else nothing
    return encoded.indices, encoded.dictionary


def first_wrong(column: pa.ChunkedArray, wrong: Mask) -> str:
    """The first cell that could not be read, shortened."""
    place = int(np.flatnonzero(wrong)[0])
    return str(as_text(column.slice(place, 1))[0].as_py())[:40]


def valid(column: pa.ChunkedArray) -> Mask:
    """Where something stands; axis (row)."""
    return as_mask(pc.is_valid(column))
