"""One provider's table, of a CSV or a Parquet file, as bars, actions, and what could not be read.

Owns the reading of columns by their meaning. Never touches the file system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.actions import PriceBasis, derive_actions
from tasks.sources.cells import Read, as_text, read_numbers, read_sessions
from tasks.sources.config import FieldName
from tasks.sources.protocol import ACTIONS, BARS, DEFECTS, Fetched, SourceProblem
from tasks.storage.rows import as_mask, codes_of

Mask = npt.NDArray[np.bool_]

_CELLS: tuple[FieldName, ...] = ("open", "high", "low", "close", "volume")
_MORE_CELLS: tuple[FieldName, ...] = ("adjusted_close", "dividend", "split")


class TableError(Exception):
    """A column holds nothing that can be read as what it is. The message says which."""


@dataclass(frozen=True)
class Table:
    """A table as it came, and what its columns mean.

    Attributes:
        rows: as it came.
        meaning: meaning → column of `rows`.
        instrument: whose bars they are, where no column says it.
        malformed: rows whose cells could not be told apart; axis (row).
        described: the table's name, for messages.
        notes: what a person should know of its header.
    """

    rows: pa.Table
    meaning: Mapping[FieldName, str]
    instrument: str | None
    malformed: Mask
    described: str
    notes: tuple[str, ...] = ()


def read_table(table: Table, date_format: str | None) -> Fetched:
    """The table's bars and stated actions; rows that can't be read are marked, not dropped.

    Raises:
        TableError: the session column holds no date, or another no number.
    """
    instrument = _instruments(table)
    sessions = _read(table, "session", date_format)
    numbers = {name: _read(table, name) for name in (*_CELLS, *_MORE_CELLS)}
    prices = [numbers[name].values for name in _CELLS]
    bars = pa.table([instrument, sessions.values, *prices], schema=BARS)
    actions, problems = _stated_actions(table, bars, numbers["dividend"], numbers["split"])
    adjusted = numbers["adjusted_close"].values if "adjusted_close" in table.meaning else None
    notes = (f"{table.described}: {note}" for note in table.notes)
    wrong: list[tuple[FieldName, Mask]] = [("session", sessions.wrong)]
    wrong += [(name, numbers[name].wrong) for name in _CELLS]
    return Fetched(
        bars=bars,
        original=table.rows,
        actions=actions,
        problems=(*(SourceProblem(table.instrument, note) for note in notes), *problems),
        provenance=table.described,
        defects=_defects(table, wrong),
        adjusted_close=adjusted,
    )


def _instruments(table: Table) -> pa.ChunkedArray:
    if table.instrument is not None or "instrument" not in table.meaning:
        return pa.chunked_array([pa.repeat(pa.scalar(table.instrument), table.rows.num_rows)])
    return as_text(table.rows[table.meaning["instrument"]])


def _read(table: Table, name: FieldName, date_format: str | None = None) -> Read:
    rows = table.rows.num_rows
    kind = pa.date32() if name == "session" else pa.float64()
    if name not in table.meaning:
        nothing = pa.chunked_array([pa.nulls(rows, kind)])
        return Read(nothing, np.zeros(rows, dtype=bool))
    column = table.rows[table.meaning[name]]
    try:
        read = read_sessions(column, date_format) if name == "session" else read_numbers(column)
    except (pa.ArrowException, ValueError) as error:
        raise TableError(f"its column {table.meaning[name]!r} can't be read ({error})") from error
    if read.wrong.any() and read.values.null_count == rows:
        example = as_text(column.filter(pa.array(read.wrong)))[0].as_py()
        raise TableError(_explain(table.meaning[name], name, example, date_format))
    return read


def _explain(column: str, name: FieldName, example: str, date_format: str | None) -> str:
    shown = repr(example[:40])
    if name == "session":
        expected = f"dates written as {date_format}" if date_format else "ISO dates (2024-12-31)"
        return (
            f"its column {column!r} holds no date: expected {expected}, received {shown}. "
            'State how dates are written, such as source.date_format = "%d/%m/%Y"'
        )
    return (
        f"its column {column!r} holds no number: expected {name} as 1234.5, received {shown}. "
        f'If another column holds it, state source.columns = {{{name} = "..."}}'
        + ("" if name == "close" else ' (an empty name, "", leaves it out)')
    )


def _defects(table: Table, wrong: Sequence[tuple[FieldName, Mask]]) -> pa.Table:
    """The first thing that could not be read in each row."""
    rule: npt.NDArray[Any] = np.full(table.rows.num_rows, None, dtype=object)
    reason = rule.copy()
    rule[table.malformed] = "malformed_line"
    reason[table.malformed] = "its cells can't be told apart: too many of them, or an open quote"
    untouched = ~table.malformed
    for meaning, mask in wrong:
        places = np.flatnonzero(mask & untouched)
        if not len(places):
            continue
        untouched[places] = False
        cells = as_text(table.rows[table.meaning[meaning]].take(pa.array(places)))
        shown = pc.utf8_slice_codeunits(cells, 0, 40)
        kind = "a date" if meaning == "session" else "a finite number"
        start, end = f"{table.meaning[meaning]} is '", f"', not {kind}"
        rule[places] = "not_a_date" if meaning == "session" else "not_a_number"
        reason[places] = pc.binary_join_element_wise(start, shown, end, "").to_numpy()
    return pa.table([pa.array(rule, pa.string()), pa.array(reason, pa.string())], schema=DEFECTS)


def _stated_actions(
    table: Table, bars: pa.Table, dividend: Read, split: Read
) -> tuple[pa.Table, tuple[SourceProblem, ...]]:
    """What the dividend and split columns say; 0 (and a split of 1) says that nothing happened."""
    told = as_mask(pc.and_(pc.is_valid(bars["instrument"]), pc.is_valid(bars["session"])))
    found: list[pa.Table] = []
    problems: list[SourceProblem] = []
    for kind, read in (("dividend", dividend), ("split", split)):
        value = pc.fill_null(read.values, 0.0).to_numpy()
        happened = (value != 0) & ((value != 1) | (kind != "split"))
        wrong = read.wrong | (value < 0)
        if wrong.any():
            first = bars.slice(int(np.flatnonzero(wrong)[0]), 1).to_pylist()[0]
            problems.append(
                SourceProblem(
                    table.instrument,
                    f"{table.described}: {int(wrong.sum())} cells of its {kind} column are no "
                    f"positive number (the first on {first['session']}); these say nothing",
                )
            )
        places = np.flatnonzero(happened & told & ~wrong)
        rows = bars.select(["instrument", "session"]).take(pa.array(places))
        columns = [*rows.columns, pa.repeat(pa.scalar(kind), len(places)), value[places]]
        found.append(pa.table(columns, schema=ACTIONS))
    return pa.concat_tables(found), tuple(problems)


def implied_actions(fetched: Fetched, price_basis: PriceBasis) -> pa.Table:
    """`ACTIONS` that the adjusted closes imply; stated ones only where there are none of these."""
    if fetched.adjusted_close is None:
        return fetched.actions
    bars = fetched.bars.append_column("adjusted_close", fetched.adjusted_close)
    bars = bars.filter(pc.and_(pc.is_valid(bars["instrument"]), pc.is_valid(bars["session"])))
    derived = derive_actions(
        codes_of(bars, ("instrument",)),
        bars["session"].to_numpy().astype("datetime64[D]"),
        bars["close"].to_numpy(),
        bars["adjusted_close"].to_numpy(),
        price_basis,
    )
    rows = bars.select(["instrument", "session"]).take(pa.array(derived.position))
    actions = pa.array(derived.action, pa.string())
    implied = pa.table([*rows.columns, actions, pa.array(derived.value)], schema=ACTIONS)
    covered = pc.unique(bars["instrument"].filter(pc.is_valid(bars["adjusted_close"])))
    stated = pc.invert(pc.is_in(fetched.actions["instrument"], value_set=covered))
    return pa.concat_tables([implied, fetched.actions.filter(stated)])
