"""Rows as Parquet files: where they are cut, how they lie, and what the log says of them.

Owns the layout and the log's statistics. Never touches the log, nor which rows are written.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from tasks.schemas import Dataset
from tasks.storage.places import Place
from tasks.storage.rows import starts_of

ROWS_PER_FILE = 50_000
"""What a file should hold at least: with fewer, opening it takes longer than reading it."""

_MOST_ROWS = 2**21
_ROWS_PER_GROUP = 65_536
"""A group of a full year holds some 260 instruments, one of a shard's own file all of it."""

_SPAN = "session"


@dataclass(frozen=True)
class FileCut:
    """How many rows a file should hold, least and most."""

    least: int = ROWS_PER_FILE
    most: int = _MOST_ROWS


def spans_sessions(dataset: Dataset) -> bool:
    """Whether the dataset's files are cut by years of sessions."""
    return _SPAN in dataset.prune


def cut(rows: pa.Table, dataset: Dataset, sizes: FileCut | None = None) -> list[pa.Table]:
    """`rows`, which are sorted by the dataset's `order`, as the tables that become a file each.

    Prices are cut at the turn of years, as many years to a file as make it worth opening. So one
    shard's whole history is a piece of every file, and the newest weeks of all instruments are in
    the newest. Other rows are cut by their order only.
    """
    sizes = sizes or FileCut()
    if not spans_sessions(dataset) or rows.num_rows < 2 * sizes.least:
        return _pieces(rows, sizes)
    year = pc.year(rows[_SPAN]).to_numpy()
    first = int(year.min())
    counts = np.bincount(year - first)
    # Years go into one file until it is full; a last one that is not full joins the one before.
    full = np.zeros(len(counts), dtype=np.uint16)
    held = number = 0
    for place, count in enumerate(counts):
        full[place] = number
        held += int(count)
        if held >= sizes.least:
            held, number = 0, number + 1
    if held and number:
        full[full == number] = number - 1
    file = full[year - first]
    ranked = np.argsort(file, kind="stable")
    begins = np.flatnonzero(starts_of(file[ranked])).tolist()
    parts = []
    rows = rows.combine_chunks()  # else each part would join all chunks anew
    several = [name for name in rows.column_names if not _is_one_text(rows[name])]
    for begin, end in zip(begins, [*begins[1:], rows.num_rows], strict=True):
        part = rows.select(several).take(pa.array(ranked[begin:end]))
        columns = [
            part[name] if name in several else rows[name].slice(begin, end - begin)
            for name in rows.column_names
        ]
        parts += _pieces(pa.table(columns, schema=rows.schema), sizes)
    return parts


def _is_one_text(column: pa.ChunkedArray) -> bool:
    return pa.types.is_string(column.type) and bool(
        pc.all(pc.equal(column, column[0]), skip_nulls=False).as_py()
    )


def _pieces(rows: pa.Table, sizes: FileCut) -> list[pa.Table]:
    count = -(-rows.num_rows // sizes.most)
    if count <= 1:
        return [rows] if rows.num_rows else []
    length = -(-rows.num_rows // count)
    return [rows.slice(start, length) for start in range(0, rows.num_rows, length)]


def write(
    place: Place, dataset: Dataset, parts: Sequence[pa.Table], *, data_change: bool = True
) -> list[AddAction]:
    """Writes each of `parts` as a file that no reader sees until the log names it.

    Args:
        place: the store's.
        dataset: whose rows they are; the tables have its schema.
        parts: as `cut` gives them.
        data_change: whether the table holds other rows afterwards; a compaction's are the same.

    Returns:
        What the log is to be told.

    Raises:
        OSError: one can't be written; none is left then.
    """
    names = [f"part-{uuid.uuid4()}.zstd.parquet" for _ in parts]

    def one(name: str, rows: pa.Table) -> AddAction:
        path = place.inside(f"{dataset.name}/{name}")
        with place.filesystem().open_output_stream(path, compression=None) as stream:
            pq.write_table(
                rows,
                stream,
                compression="zstd",
                row_group_size=_ROWS_PER_GROUP,
                use_dictionary=[
                    field.name
                    for field in dataset.schema
                    if field.name != "row_hash" and not pa.types.is_floating(field.type)
                ],
            )
            size = stream.tell()
        return AddAction(name, size, {}, _now(), data_change, json.dumps(_statistics(rows)))

    try:
        if len(parts) < 2:
            return [one(name, rows) for name, rows in zip(names, parts, strict=True)]
        with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as threads:
            return list(threads.map(one, names, parts))
    except BaseException:
        remove(place, dataset, names)
        raise


def remove(place: Place, dataset: Dataset, names: Sequence[str]) -> None:
    """Removes files of the dataset's folder, those of them that are there."""
    for name in names:
        with contextlib.suppress(OSError):
            place.filesystem().delete_file(place.inside(f"{dataset.name}/{name}"))


def _statistics(rows: pa.Table) -> dict[str, object]:
    """Ranges of the columns that searches go by: names, ids, ops, sessions and instants."""
    least: dict[str, object] = {}
    greatest: dict[str, object] = {}
    nulls: dict[str, int] = {}
    for field in rows.schema:
        if not (_is_name(field) or pa.types.is_temporal(field.type)):
            continue
        ends = pc.min_max(rows[field.name])
        nulls[field.name] = rows[field.name].null_count
        if ends["min"].is_valid:
            least[field.name] = _plain(ends["min"].as_py())
            greatest[field.name] = _plain(ends["max"].as_py())
    return {
        "numRecords": rows.num_rows,
        "minValues": least,
        "maxValues": greatest,
        "nullCount": nulls,
    }


def _is_name(field: pa.Field) -> bool:
    return pa.types.is_string(field.type) and (
        field.name in ("instrument", "source", "name", "op") or field.name.endswith("_id")
    )


def _plain(value: object) -> object:
    """As the log writes it: of instants it keeps milliseconds, and cuts off what is below."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
    return value.isoformat() if isinstance(value, date) else value


def _now() -> int:
    return time.time_ns() // 1_000_000
