"""Several fetches as one, and the part of one that was asked for.

Owns joining and filtering. Never touches what a row means.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources.protocol import ACTIONS, BARS, DEFECTS, Fetched, SourceProblem
from tasks.storage.rows import agree, as_mask, codes_of, starts_of


def merge(parts: Sequence[Fetched], problems: Sequence[SourceProblem], provenance: str) -> Fetched:
    """All rows of `parts`, in their order; an action that several agree on is kept once."""
    actions, disagreements = _distinct(
        pa.concat_tables([ACTIONS.empty_table(), *(part.actions for part in parts)])
    )
    told = [problem for part in parts for problem in part.problems]
    return Fetched(
        bars=pa.concat_tables([BARS.empty_table(), *(part.bars for part in parts)]),
        original=_originals([part.original for part in parts]),
        actions=actions,
        problems=(*problems, *told, *disagreements),
        provenance=provenance,
        defects=_all_defects(parts),
        adjusted_close=_adjusted(parts),
    )


def between(
    fetched: Fetched, instruments: Collection[str] | None, first: date | None, last: date | None
) -> Fetched:
    """The rows and actions of `instruments` from `first` to `last`, and rows that don't tell."""
    if instruments is None and first is None and last is None:
        return fetched
    rows = _wanted(fetched.bars, instruments, first, last)
    actions = _wanted(fetched.actions, instruments, first, last)
    if pc.all(rows).as_py() and pc.all(actions).as_py():
        return fetched
    return Fetched(
        bars=fetched.bars.filter(rows),
        original=fetched.original.filter(rows),
        actions=fetched.actions.filter(actions),
        problems=fetched.problems,
        provenance=fetched.provenance,
        defects=None if fetched.defects is None else fetched.defects.filter(rows),
        adjusted_close=None
        if fetched.adjusted_close is None
        else fetched.adjusted_close.filter(rows),
    )


def _wanted(
    table: pa.Table, instruments: Collection[str] | None, first: date | None, last: date | None
) -> pa.Array:
    keep = np.ones(table.num_rows, dtype=bool)
    if instruments is not None:
        names = pa.array(sorted(instruments), pa.string())
        keep &= as_mask(pc.is_in(table["instrument"], value_set=names))
        keep |= as_mask(pc.is_null(table["instrument"]))
    sessions = table["session"]
    if first is not None:
        keep &= as_mask(pc.fill_null(pc.greater_equal(sessions, first), True))
    if last is not None:
        keep &= as_mask(pc.fill_null(pc.less_equal(sessions, last), True))
    return pa.array(keep)


def _originals(tables: Sequence[pa.Table]) -> pa.Table:
    if not tables:
        return pa.table({"row": pa.array([], pa.string())})
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    # One file's number is another's text: both become texts.
    clashing = {name for name, found in kinds.items() if len(found) > 1 and not _numbers(found)}
    if clashing:
        tables = [_texts(table, clashing) for table in tables]
    return pa.concat_tables(tables, promote_options="permissive")


def _numbers(kinds: Collection[pa.DataType]) -> bool:
    return all(
        pa.types.is_floating(kind) or (pa.types.is_integer(kind) and kind.bit_width < 64)
        for kind in kinds
    )


def _texts(table: pa.Table, names: Collection[str]) -> pa.Table:
    columns = [
        column
        if name not in names or pa.types.is_string(column.type)
        else pa.array(
            [None if cell is None else json.dumps(cell, default=str) for cell in column.to_pylist()]
            if pa.types.is_nested(column.type)
            else column.cast(pa.string())
        )
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.table(columns, names=table.column_names)


def _all_defects(parts: Sequence[Fetched]) -> pa.Table | None:
    if all(part.defects is None for part in parts):
        return None
    return pa.concat_tables([_defects(part) for part in parts])


def _defects(part: Fetched) -> pa.Table:
    if part.defects is not None:
        return part.defects
    return pa.table([pa.nulls(part.bars.num_rows, pa.string())] * 2, schema=DEFECTS)


def _adjusted(parts: Sequence[Fetched]) -> pa.ChunkedArray | None:
    if all(part.adjusted_close is None for part in parts):
        return None
    chunks: list[pa.Array] = []
    for part in parts:
        if part.adjusted_close is None:
            chunks.append(pa.nulls(part.bars.num_rows, pa.float64()))
        else:
            chunks.extend(part.adjusted_close.chunks)
    return pa.chunked_array(chunks, pa.float64())


def _distinct(actions: pa.Table) -> tuple[pa.Table, tuple[SourceProblem, ...]]:
    """One action per instrument, ex-date and kind; where several disagree, none."""
    if not actions.num_rows:
        return actions, ()
    codes = codes_of(actions, ("instrument", "session", "action"))
    ranked = np.argsort(codes, kind="stable")
    actions, codes = actions.take(ranked), codes[ranked]
    starts = starts_of(codes)
    group = np.cumsum(starts) - 1
    apart = ~agree(actions, actions.take(np.flatnonzero(starts)[group]), ("value",))
    disputed = np.bincount(group, weights=apart) > 0
    problems = tuple(
        SourceProblem(
            row["instrument"],
            f"the {row['action']} of {row['instrument']} on {row['session']} is stated more than "
            "once with different values; none is taken",
        )
        for row in actions.filter(pa.array(starts & disputed[group])).to_pylist()
    )
    return actions.filter(pa.array(starts & ~disputed[group])), problems
