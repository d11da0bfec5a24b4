"""What rows mean: which of them hold at an instant, and which are news against what is stored.

Owns conforming rows to a dataset, and the choice of one row per key. Never touches a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.schemas import Dataset
from tasks.storage.columns import INSTANT, words_of
from tasks.storage.rows import (
    RELATIVE_TOLERANCE,
    Codes,
    agree,
    as_mask,
    codes_of,
    match,
    ordered,
    row_hashes,
    starts_of,
    take,
)


class StoreError(Exception):
    """The store can't do what was asked. The message names the thing and what to do."""


class DamagedError(StoreError):
    """A file of the store is gone or broken: trying again does not help, a person must mend it."""


@dataclass(frozen=True)
class Revision:
    """What a commit adds: `rows` to append, and how many keys are new, changed and unchanged."""

    rows: pa.Table
    new: int
    changed: int
    unchanged: int


def conform(rows: pa.Table, dataset: Dataset, stamps: Mapping[str, object]) -> pa.Table:
    """`rows` in the dataset's columns, types and order.

    A column that is missing is filled from `stamps`, or with null where it may be null. NaN in a
    column that may be null becomes null.

    Raises:
        StoreError: a column is unknown, missing or of another type, or holds a null, a NaN or a
            word that the schema does not allow.
    """
    unknown = [name for name in rows.column_names if name not in dataset.schema.names]
    if unknown:
        raise StoreError(
            f"{dataset.name} has no column {unknown[0]!r}. Expected some of: "
            f"{', '.join(dataset.schema.names)}. Drop or rename it."
        )
    columns = [_conform_column(rows, field, dataset, stamps) for field in dataset.schema]
    return pa.Table.from_arrays(columns, schema=dataset.schema)


def _conform_column(
    rows: pa.Table, field: pa.Field, dataset: Dataset, stamps: Mapping[str, object]
) -> pa.ChunkedArray:
    where = f"{dataset.name}.{field.name}"
    if field.name not in rows.column_names:
        if field.name not in stamps and not field.nullable:
            raise StoreError(f"{where} is missing and may not be null. Add the column.")
        value = pa.scalar(stamps.get(field.name), field.type)
        return pa.chunked_array([pa.repeat(value, rows.num_rows)])
    column = rows[field.name]
    _check_time(column, field, where)
    try:
        # Only instants may lose digits: nanoseconds become microseconds.
        column = column.cast(field.type, safe=field.type != INSTANT)
    except pa.ArrowException as error:
        raise StoreError(
            f"{where} can't hold values of type {rows[field.name].type}: {error}. "
            f"Expected {field.type}."
        ) from error
    return _without_holes(column, field, where)


def _check_time(column: pa.ChunkedArray, field: pa.Field, where: str) -> None:
    """Refuses what a cast would take in silence: a local time as UTC, a time of day as a date."""
    if not pa.types.is_timestamp(column.type):
        return
    if field.type == INSTANT and column.type.tz is None:
        raise StoreError(
            f"{where} has instants without a time zone ({column.type}). Expected {INSTANT}: "
            "localise them first."
        )
    if pa.types.is_date(field.type) and (
        column.type.tz is not None or not column.cast(field.type).cast(column.type).equals(column)
    ):
        raise StoreError(
            f"{where} has instants ({column.type}). Expected the exchange's calendar dates, "
            "without a time of day and a time zone."
        )


def _without_holes(column: pa.ChunkedArray, field: pa.Field, where: str) -> pa.ChunkedArray:
    if pa.types.is_floating(field.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    if column.null_count and not field.nullable:
        first = int(np.flatnonzero(as_mask(pc.is_null(column)))[0])
        raise StoreError(
            f"{where} may not be null or NaN. Received {column.null_count} of {len(column)} such "
            f"rows, the first at position {first}. Leave these rows out."
        )
    words = words_of(field)
    if words:
        wrong = column.filter(pc.invert(pc.is_in(column, value_set=pa.array(words)))).drop_null()
        if len(wrong):
            raise StoreError(
                f"{where} must be one of: {', '.join(words)}. Received: {wrong[0].as_py()!r}."
            )
    return column


def hashed(rows: pa.Table, dataset: Dataset) -> pa.Table:
    """`rows` with their `row_hash`."""
    return _replace(rows, "row_hash", row_hashes(rows, dataset.hashed))


def distinct(rows: pa.Table, dataset: Dataset, tolerance: float = RELATIVE_TOLERANCE) -> pa.Table:
    """`rows` with one row per key, in key order; among rows that agree, the one known first.

    Raises:
        StoreError: two rows of one key disagree. A commit is a set, so neither could win.
    """
    kept = earliest(rows, dataset.key)
    if kept.num_rows < rows.num_rows:
        leader = kept.take(pa.array(match(rows, kept, dataset.key)))
        apart = ~agree(rows, leader, dataset.compared, tolerance)
        if apart.any():
            one = rows.slice(int(np.flatnonzero(apart)[0]), 1).select(dataset.key).to_pylist()[0]
            raise StoreError(
                f"{dataset.name}: one commit holds different rows for the key {_spoken(one)}. "
                "Expected one row per key: decide which is right, or commit them one after another."
            )
    return kept


def revise(
    rows: pa.Table,
    stored: pa.Table,
    dataset: Dataset,
    now: datetime,
    tolerance: float = RELATIVE_TOLERANCE,
) -> Revision:
    """What `rows` add to `stored`: new keys as they are, and changed ones known from now on.

    A change is known later than what it corrects even where this machine's clock lags: at `now`,
    or a microsecond after the latest known of its key, whichever is later.

    Args:
        rows: one row per key, conformed, in key order.
        stored: the latest row per key; it may hold more keys, and only the columns compared.
        dataset: the facts' dataset.
        now: the instant of the commit.
        tolerance: numbers that differ by less, relative to the larger, are the same.
    """
    if not stored.num_rows:
        whole = rows if dataset.key == dataset.order else ordered(rows, dataset.order)
        return Revision(whole, new=rows.num_rows, changed=0, unchanged=0)
    position = match(rows, stored, dataset.key)
    known = np.flatnonzero(position >= 0)
    before = stored.take(position[known])
    differs = np.zeros(rows.num_rows, dtype=bool)
    differs[known] = ~agree(rows.take(known), before, dataset.compared, tolerance)

    changed = rows.filter(pa.array(differs))
    latest = before["known_at"].filter(pa.array(differs[known])).cast(pa.int64())
    commit = pa.scalar(now, INSTANT).cast(pa.int64())
    known_at = pc.max_element_wise(pc.add(latest, 1), commit).cast(INSTANT)
    changed = _replace(changed, "known_at", known_at)
    if "assumed" in changed.column_names:
        changed = _replace(changed, "assumed", pa.repeat(pa.scalar(False), changed.num_rows))
    new = rows.filter(pa.array(position < 0))
    both = pa.concat_tables([new, changed])
    sorted_ = dataset.key == dataset.order and not (new.num_rows and changed.num_rows)
    return Revision(
        rows=both if sorted_ else ordered(both, dataset.order),
        new=new.num_rows,
        changed=changed.num_rows,
        unchanged=rows.num_rows - new.num_rows - changed.num_rows,
    )


def latest(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """One row per key, in key order: the latest by `known_at`; ties go to the greater hash."""
    return take(table, one_per_key(table, key, last=True))


def earliest(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """One row per key, in key order: the earliest by `known_at`; ties go to the lesser hash."""
    return take(table, one_per_key(table, key, last=False))


def holding(table: pa.Table, dataset: Dataset) -> Codes | None:
    """Positions of the rows that hold, one per key, in key order: of facts the latest.

    None where rows of one key have one `known_at` and their hashes, which tell which of them holds,
    are not in the table.
    """
    codes = codes_of(table, dataset.key)
    blind = "row_hash" in dataset.schema.names and "row_hash" not in table.column_names
    if blind:
        ranked = np.sort(codes, kind="stable")
        if not starts_of(ranked).all():
            stamped = np.sort(codes_of(table, [*dataset.key, "known_at"]), kind="stable")
            if not starts_of(stamped).all():
                return None
    return one_per_key(table, dataset.key, last=dataset.fact, codes=codes)


def one_per_key(
    table: pa.Table, key: Sequence[str], *, last: bool, codes: Codes | None = None
) -> Codes:
    """Positions of one row per key, in key order: the latest or the earliest by `known_at`."""
    codes = codes_of(table, key) if codes is None else codes
    if bool((codes[1:] > codes[:-1]).all()):
        return np.arange(len(codes))
    ranked = np.argsort(codes, kind="stable")
    starts = starts_of(codes[ranked])
    if starts.all():
        return ranked
    alone = starts & np.append(starts[1:], True)
    several = ranked[~alone]
    rivals = table.take(several)
    hashes = (
        rivals.select(["row_hash"])
        if "row_hash" in rivals.column_names
        else pa.table({"row_hash": row_hashes(rivals, rivals.column_names)})
    )
    several = several[
        np.lexsort(
            (codes_of(hashes, ("row_hash",)), codes_of(rivals, ("known_at",)), codes[several])
        )
    ]
    first = starts_of(codes[several])
    chosen = several[np.append(first[1:], True) if last else first]
    kept = np.concatenate([ranked[alone], chosen])
    return kept[np.argsort(codes[kept], kind="stable")]


def _replace(table: pa.Table, name: str, column: pa.ChunkedArray | pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


def _spoken(key: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in key.items())
