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
from tasks.sources.cells import Read, as_names, as_text, first_wrong, valid
from tasks.sources.config import FieldName
from tasks.sources.dates import Sessions, read_sessions
from tasks.sources.delimited import LINE
from tasks.sources.dialect import Dialect
from tasks.sources.numbers import AmbiguousNumbersError, Marks, find_marks, read_numbers
from tasks.sources.protocol import ACTIONS, BARS, DEFECTS, Fetched, SourceProblem
from tasks.sources.returns import compound
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
        foreign: whether its header is in a language that writes a decimal comma.
    """

    rows: pa.Table
    meaning: Mapping[FieldName, str]
    instrument: str | None
    malformed: Mask
    described: str
    notes: tuple[str, ...] = ()
    foreign: bool = False


def read_table(table: Table, dialect: Dialect | None = None) -> Fetched:
    """The table's bars and stated actions; rows that can't be read are marked, not dropped.

    Args:
        table: as it came.
        dialect: how it is written, as far as it is stated.

    Raises:
        TableError: the session column holds no date, or another no number, or the file leaves open
            how they are written.
    """
    dialect = dialect or Dialect()
    instrument = _instruments(table)
    sessions = _sessions(table, dialect)
    marks = _marks(table, dialect)
    numbers = {name: _numbers(table, name, marks) for name in (*_CELLS, *_MORE_CELLS)}
    wrong: list[tuple[FieldName, Mask]] = [("session", sessions.wrong)]
    wrong += [(name, numbers[name].wrong) for name in _CELLS]
    if dialect.returns is not None:
        returns = _numbers(table, "return", marks, percent=_percent(dialect.returns))
        wrong.append(("return", returns.wrong))
        numbers["close"] = _compounded(instrument, sessions, returns, dialect.returns)
    prices = [numbers[name].values for name in _CELLS]
    bars = pa.table([instrument, sessions.values, *prices], schema=BARS)
    actions, problems = _stated_actions(table, bars, numbers["dividend"], numbers["split"])
    defects, within = _defects(table, wrong, _within_session(bars, sessions.seconds))
    notes = tuple(f"{table.described}: {note}" for note in (*table.notes, *within))
    return Fetched(
        bars=bars,
        original=table.rows,
        actions=actions,
        problems=(*(SourceProblem(table.instrument, note) for note in notes), *problems),
        provenance=table.described,
        defects=defects,
        adjusted_close=numbers["adjusted_close"].values
        if "adjusted_close" in table.meaning
        else None,
    )


def _instruments(table: Table) -> pa.ChunkedArray:
    if table.instrument is not None or "instrument" not in table.meaning:
        told = pa.scalar(table.instrument, pa.string())
        return pa.chunked_array([pa.repeat(told, table.rows.num_rows)])
    name = table.meaning["instrument"]
    try:
        return as_names(table.rows[name])
    except pa.ArrowException as error:
        raise TableError(f"its column {name!r} can't be read ({error})") from error


def _sessions(table: Table, dialect: Dialect) -> Sessions:
    name, form = table.meaning["session"], dialect.date_format
    column = table.rows[name]
    try:
        read = read_sessions(column, form, dialect.timezone)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise TableError(f"its column {name!r} can't be read: {error}") from error
    if read.wrong.any() and read.values.null_count == len(read.values):
        expected = f"dates written as {form}" if form else "dates such as 2024-12-31"
        raise TableError(
            f"its column {name!r} holds no date: expected {expected}, received "
            f"{first_wrong(column, read.wrong)!r}. "
            'State how dates are written, such as source.date_format = "%d/%m/%Y"'
        )
    return read


def _marks(table: Table, dialect: Dialect) -> Marks:
    """How the table writes numbers: what it says in all of its columns."""
    texts = {}
    for meaning in (*_CELLS, *_MORE_CELLS, "return"):
        name = table.meaning.get(meaning)
        if name is not None and pa.types.is_string(table.rows[name].type):
            texts[name] = as_text(table.rows[name])
    known = set(table.meaning.values())
    others = (
        as_text(column)
        for name, column in zip(table.rows.column_names, table.rows.columns, strict=True)
        if name not in known and name != LINE and pa.types.is_string(column.type)
    )
    try:
        return find_marks(
            texts,
            others,
            decimal=dialect.decimal,
            thousands=dialect.thousands,
            foreign=table.foreign,
        )
    except AmbiguousNumbersError as error:
        raise TableError(str(error)) from error


def _numbers(table: Table, meaning: FieldName, marks: Marks, percent: float | None = None) -> Read:
    rows = table.rows.num_rows
    if meaning not in table.meaning:
        return Read(pa.chunked_array([pa.nulls(rows, pa.float64())]), np.zeros(rows, dtype=bool))
    name = table.meaning[meaning]
    column = table.rows[name]
    try:
        read = read_numbers(column, marks, suffixes=meaning == "volume", percent=percent)
    except pa.ArrowException as error:
        raise TableError(f"its column {name!r} can't be read ({error})") from error
    if read.wrong.any() and read.values.null_count == rows:
        raise TableError(
            f"its column {name!r} holds no number: expected {meaning} as 1234.5, received "
            f"{first_wrong(column, read.wrong)!r}. "
            f'If another column holds it, state source.columns = {{{meaning} = "..."}}'
            + ("" if meaning == "close" else ' (an empty name, "", leaves it out)')
        )
    return read


def _percent(returns: str) -> float:
    """What "1 %" is where returns are of this kind."""
    return 1.0 if returns.endswith("_percent") else 0.01


def _compounded(instrument: pa.ChunkedArray, sessions: Sessions, returns: Read, kind: str) -> Read:
    step = pc.fill_null(returns.values, np.nan).to_numpy()
    try:
        closes = compound(instrument, sessions.values, step, kind)
    except ValueError as error:
        raise TableError(str(error)) from error
    values = pa.chunked_array([pa.array(closes, mask=np.isnan(closes))])
    return Read(values, np.zeros(len(closes), dtype=bool))


def _within_session(bars: pa.Table, seconds: npt.NDArray[np.int64] | None) -> Mask | None:
    """Rows of instruments most of whose rows share a session with another time of day's."""
    if seconds is None:
        return None
    session = codes_of(bars, ("instrument", "session"))
    _, session = np.unique(session, return_inverse=True)
    several = np.bincount(np.unique(np.stack([session, seconds]), axis=1)[0]) > 1
    who = codes_of(bars, ("instrument",))
    _, who = np.unique(who, return_inverse=True)
    shared = np.bincount(who, weights=several[session]) > np.bincount(who) / 2
    told = valid(bars["session"]) & valid(bars["instrument"])
    return shared[who] & told if shared.any() else None


def _defects(
    table: Table, wrong: Sequence[tuple[FieldName, Mask]], within: Mask | None
) -> tuple[pa.Table | None, tuple[str, ...]]:
    """The first thing that could not be read in each row, and what to say of the table."""
    if within is None and not table.malformed.any() and not any(mask.any() for _, mask in wrong):
        return None, ()
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
    notes: tuple[str, ...] = ()
    if within is not None:
        here = within & untouched
        rule[here] = "duplicate_session"
        reason[here] = "several rows of one session, at different times of the day"
        notes = (
            f"{int(here.sum())} of its rows are of times within a session, and are held. Expected "
            "one row a session: aggregate them to daily bars",
        )
    columns = [pa.array(rule, pa.string()), pa.array(reason, pa.string())]
    return pa.table(columns, schema=DEFECTS), notes


def _stated_actions(
    table: Table, bars: pa.Table, dividend: Read, split: Read
) -> tuple[pa.Table, tuple[SourceProblem, ...]]:
    """What the dividend and split columns say; 0 (and a split of 1) says that nothing happened."""
    told = as_mask(pc.and_(pc.is_valid(bars["instrument"]), pc.is_valid(bars["session"])))
    found: list[pa.Table] = []
    problems: list[SourceProblem] = []
    for kind, read in (("dividend", dividend), ("split", split)):
        if kind not in table.meaning:
            continue
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
    return pa.concat_tables([ACTIONS.empty_table(), *found]), tuple(problems)


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
