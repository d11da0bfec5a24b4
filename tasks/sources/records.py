"""A provider's rows as bars and actions, where the provider's way of writing is known.

Owns the reading of such cells: ISO dates, numbers with a decimal point. Never touches the network,
and finds nothing out: `tasks.sources.files` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources.answers import TryAgainError
from tasks.sources.config import FieldName
from tasks.sources.protocol import ACTIONS, BARS, DEFECTS, Fetched, SourceProblem
from tasks.storage.rows import as_mask

Mask = npt.NDArray[np.bool_]

MALFORMED = "row"
"""The column that holds a row that is no record."""

_MISSING = pa.array(["", ".", "-", "nan", "null", "none", "n/a", "na"], pa.string())
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:$|[T ])"
_YEARS = (1600, 2200)
_CELLS: tuple[FieldName, ...] = ("open", "high", "low", "close", "volume")
_MOST_NAMES = 100


def as_records(rows: Sequence[object]) -> pa.Table:
    """Objects of a JSON answer as texts: a column per name, `MALFORMED` for what is no object.

    Raises:
        TryAgainError: the rows have more than 100 different names, so they are no rows of a table.
    """
    names = {name: None for row in rows if isinstance(row, dict) for name in row}
    if len(names) > _MOST_NAMES:
        raise TryAgainError(f"expected rows of a table, received rows of {len(names)} names")
    columns = {
        _clean(name): [as_cell(row.get(name)) if isinstance(row, dict) else None for row in rows]
        for name in names
    }
    if any(not isinstance(row, dict) for row in rows):
        columns[MALFORMED] = [None if isinstance(row, dict) else as_cell(row) for row in rows]
    if not columns:  # no row, or none with a cell
        columns[MALFORMED] = ["{}" for _ in rows]
    return pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})


def as_cell(value: object) -> str | None:
    """A JSON value as text, null as nothing."""
    if value is None:
        return None
    return _clean(value if isinstance(value, str) else json.dumps(value))


def _clean(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")


def read_records(
    rows: pa.Table, meaning: Mapping[FieldName, str], instrument: str, malformed: Mask | None = None
) -> Fetched:
    """The bars of one instrument, and the actions that its rows state.

    Args:
        rows: texts as they came; a column that `meaning` names and that is not there is empty.
        meaning: meaning → column.
        instrument: whose rows they are.
        malformed: rows that are no records; axis (row). None: those with a text in `MALFORMED`.
    """
    count = rows.num_rows
    if malformed is None:
        malformed = np.zeros(count, dtype=bool)
        if MALFORMED in rows.column_names:
            malformed = as_mask(pc.is_valid(rows[MALFORMED]))
    cells = {name: _cells(rows, column) for name, column in meaning.items()}
    sessions = _dates(cells["session"])
    numbers = {
        name: _numbers(cells.get(name, pa.nulls(count, pa.string())))
        for name in (*_CELLS, "adjusted_close", "dividend", "split")
    }
    bars = pa.table(
        [pa.repeat(pa.scalar(instrument), count), sessions, *(numbers[name] for name in _CELLS)],
        schema=BARS,
    )
    checked: list[tuple[FieldName, pa.Array]] = [("session", sessions)]
    checked += [(name, numbers[name]) for name in _CELLS if name in meaning]
    actions, problems = _actions(bars, cells, numbers)
    return Fetched(
        bars=bars,
        original=rows,
        actions=actions,
        problems=problems,
        defects=_defects(malformed, [(meaning[name], name, cells[name], v) for name, v in checked]),
        adjusted_close=pa.chunked_array([numbers["adjusted_close"]])
        if "adjusted_close" in meaning
        else None,
    )


def _cells(rows: pa.Table, column: str) -> pa.Array:
    if column not in rows.column_names:
        return pa.nulls(rows.num_rows, pa.string())
    text = pc.utf8_trim_whitespace(rows[column].combine_chunks())
    missing = pc.is_in(pc.utf8_lower(text), value_set=_MISSING)
    return pc.if_else(missing, pa.scalar(None, pa.string()), text)


def _numbers(cells: pa.Array) -> pa.Array:
    number = pc.fill_null(pc.match_substring_regex(cells, _NUMBER), False)
    values = pc.if_else(number, cells, pa.scalar(None, pa.string())).cast(pa.float64())
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))


def _dates(cells: pa.Array) -> pa.Array:
    """The dates as written, whatever time and zone follow."""
    looks = pc.fill_null(pc.match_substring_regex(cells, _DATE), False)
    text = pc.utf8_slice_codeunits(cells, 0, 10)
    days = pc.strptime(
        pc.if_else(looks, text, pa.scalar(None, pa.string())),
        format="%Y-%m-%d",
        unit="s",
        error_is_null=True,
    )
    # What was no day of its month comes out as another day.
    same = pc.equal(pc.strftime(days, format="%Y-%m-%d"), text)
    within = pc.and_(pc.greater_equal(pc.year(days), _YEARS[0]), pc.less(pc.year(days), _YEARS[1]))
    keep = pc.fill_null(pc.and_(same, within), False)
    return pc.if_else(keep, days, pa.scalar(None, days.type)).cast(pa.date32())


def _defects(
    malformed: Mask, checked: Iterable[tuple[str, FieldName, pa.Array, pa.Array]]
) -> pa.Table:
    """The first thing that could not be read in each row."""
    rule: npt.NDArray[Any] = np.full(len(malformed), None, dtype=object)
    reason = rule.copy()
    rule[malformed] = "malformed_line"
    reason[malformed] = "it is no row with named cells"
    for column, name, cells, values in checked:
        wrong = as_mask(pc.and_(pc.is_valid(cells), pc.is_null(values)))
        for place in np.flatnonzero(wrong & (rule == None)):  # noqa: E711 - cell by cell
            kind = "a date" if name == "session" else "a finite number"
            rule[place] = "not_a_date" if name == "session" else "not_a_number"
            reason[place] = f"{column} is {cells[int(place)].as_py()[:40]!r}, not {kind}"
    return pa.table([pa.array(rule, pa.string()), pa.array(reason, pa.string())], schema=DEFECTS)


def _actions(
    bars: pa.Table, cells: Mapping[FieldName, pa.Array], numbers: Mapping[FieldName, pa.Array]
) -> tuple[pa.Table, tuple[SourceProblem, ...]]:
    """Stated dividends and splits; 0, and a split of 1, says that nothing happened."""
    found: list[pa.Table] = [ACTIONS.empty_table()]
    problems: list[SourceProblem] = []
    dated = as_mask(pc.is_valid(bars["session"]))
    for kind in ("dividend", "split"):
        name: FieldName = "dividend" if kind == "dividend" else "split"
        if name not in cells:
            continue
        value = numbers[name].to_numpy(zero_copy_only=False)
        wrong = as_mask(pc.is_valid(cells[name])) & ~(value >= 0)
        if wrong.any():
            first = bars.slice(int(np.flatnonzero(wrong)[0]), 1).to_pylist()[0]
            problems.append(
                SourceProblem(
                    first["instrument"],
                    f"{first['instrument']}: {int(wrong.sum())} cells of its {kind}s are no "
                    f"positive number (the first on {first['session']}); these say nothing.",
                )
            )
        places = np.flatnonzero(dated & (value > 0) & ((value != 1) | (kind != "split")))
        rows = bars.select(["instrument", "session"]).take(pa.array(places))
        columns = [*rows.columns, pa.repeat(pa.scalar(kind), len(places)), value[places]]
        found.append(pa.table(columns, schema=ACTIONS))
    return pa.concat_tables(found), tuple(problems)
