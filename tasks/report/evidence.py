"""What the test segments say of the methods of one topic: is anything better, and is it luck.

Owns the cells of that table. Never touches the store, HTML or a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from tasks.discoveries import discoveries
from tasks.report.score_tables import CANDIDATES, Cell, Group, Head, Line, Table, method_name
from tasks.report.typography import count, number, percent

SET_LEVEL = 0.1
"""A method whose p value in the Model Confidence Set is above this may be the best."""


def evidence_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """One line per method, beside the default baseline; None without rows.

    A column that says nothing of any method is left out.

    Args:
        rows: of `comparisons`, of one company, target and kind.
    """
    pooled = [row for row in rows if row["instrument"] is None]
    default = next((row["baseline"] for row in pooled if row["method"] == row["baseline"]), None)
    if default is None:
        return None
    own = [row for row in pooled if row["baseline"] == default]
    better = discoveries(rows)
    heads = (
        f"Skill against {method_name(default)}",
        "t",
        "p",
        "Knows more, p",
        "Best, p",
        "Better on",
    )

    def line(row: Mapping[str, Any]) -> Line:
        key = (row["target"], row["kind"], row["method"], row["baseline"])
        skill = Cell.absent() if row["method"] == default else _skill(row["skill"])
        found = better.get(key)
        on = Cell.absent() if found is None else Cell("{} of {}".format(*found), found[0])
        cells = (skill, _number(row["dm_t"], 2), *map(_p, (row["dm_p"], row["cw_p"])))
        best = _p(row["mcs_p"])
        if best.value is not None and best.value > SET_LEVEL:
            best = Cell(best.text, best.value, "best")
        return Line(method_name(row["method"]), (*cells, best, on))

    order = {name: place for place, name in enumerate(CANDIDATES)}
    own.sort(key=lambda row: (order.get(row["method"], len(order)), row["method"]))
    first, lines = own[0], tuple(line(row) for row in own)
    told = [any(of.cells[place].value is not None for of in lines) for place in range(len(heads))]
    span = f"{first['first_cutoff'].isoformat()} to {first['last_cutoff'].isoformat()}"
    what = f"{count(max(row['sessions'] for row in own))} sessions, {span}"
    return Table(
        "Evidence",
        tuple(Head(text) for text in compress(heads, told)),
        (
            Group(
                f"{what}; every instrument weighs the same",
                tuple(Line(of.label, tuple(compress(of.cells, told))) for of in lines),
            ),
        ),
    )


def _skill(value: float | None) -> Cell:
    if value is None:
        return Cell.absent()
    text = percent(value, 1, signed=True)
    tone = "" if text[0].isdigit() else "better" if value > 0 else "worse"
    return Cell(text, value, tone)


def _number(value: float | None, decimals: int) -> Cell:
    return Cell.absent() if value is None else Cell(number(value, decimals), value)


def _p(value: float | None) -> Cell:
    return Cell("<0.001", value) if value is not None and value < 0.0005 else _number(value, 3)
