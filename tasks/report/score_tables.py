"""The score table of one instrument and target: errors, skill and coverage, by lead.

Owns what is compared with what, and the cells that say so. Never touches the store or HTML.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Self

from tasks.kinds import primary_score
from tasks.report.run_view import Row
from tasks.report.typography import ABSENT, count, exponent_for, number, percent, power_of_ten

Leads = Sequence[tuple[int, date | None]]
"""Leads with their target sessions, where those are known."""

LSTM, PUBLISHED = "lstm", "published"
_METHODS = {
    PUBLISHED: "Published",
    LSTM: "LSTM",
    "combination": "Combination",
    "zero": "Zero",
    "drift": "Drift",
    "ar": "AR",
    "har": "HAR",
    "harx": "HARX",
    "harx_long": "HARX long",
    "harx_market": "HARX market",
    "ewma": "EWMA",
    "frequencies": "Frequencies",
    "climatology": "Climatology",
    "logit": "Logit",
}
LEARNED = (LSTM, "combination")
"""Methods that an LSTM has a part in."""
CANDIDATES = (PUBLISHED, *LEARNED)


@dataclass(frozen=True)
class Cell:
    """One number of a table: its text, the exact value behind it, and how it is marked."""

    text: str
    value: float | int | None = None
    tone: str = ""

    @classmethod
    def absent(cls) -> Self:
        """The cell of a number that is not known."""
        return cls(ABSENT)


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Rows of a table that share a heading, which may be empty."""

    label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Head:
    """What a column is of, and the session that it is for, if any."""

    text: str
    session: date | None = None


@dataclass(frozen=True)
class Table:
    """A table of an instrument's part: the head of its first column, of the others, its rows."""

    corner: str
    heads: tuple[Head, ...]
    groups: tuple[Group, ...]


def method_name(method: str) -> str:
    """What people call a method; a name that is not known here is its own."""
    return _METHODS.get(method, method)


def methods_of(scores: Sequence[Row]) -> list[str]:
    """The methods that were scored: candidates first, then baselines in their known order."""
    order = {method: i for i, method in enumerate(_METHODS)}
    return sorted({row["method"] for row in scores}, key=lambda m: (order.get(m, len(order)), m))


def _table(scores: Sequence[Row]) -> dict[str, dict[int, Row]]:
    return {
        name: {row["lead"]: row for row in scores if row["method"] == name}
        for name in methods_of(scores)
    }


def score_groups(scores: Sequence[Row], leads: Leads) -> tuple[Group, ...]:
    """Errors of every method, skill against every baseline, and coverage; nothing of no scores."""
    if not scores:
        return ()
    table = _table(scores)
    baselines = [method for method in table if method not in CANDIDATES]
    labels = {
        PUBLISHED: "Skill of what is published, against",
        LSTM: "Skill of the LSTM before the gate, against",
    }
    if _errors(table.get(PUBLISHED)) == _errors(table.get(LSTM)):
        labels = {LSTM: "Skill of the LSTM, which is what is published, against"}
    skills = (
        Group(
            label, tuple(_skill_line(table[method], against, table, leads) for against in baselines)
        )
        for method, label in labels.items()
        if method in table
    )
    return (_mse_group(table, leads), *skills, _reliability(table, leads))


def _errors(rows: Mapping[int, Row] | None) -> dict[int, float]:
    return {lead: row["mse"] for lead, row in (rows or {}).items()}


def _skill_line(
    rows: Mapping[int, Row], against: str, table: Mapping[str, Mapping[int, Row]], leads: Leads
) -> Line:
    cells = (_skill_at(rows, table[against], lead) for lead, _ in leads)
    return Line(method_name(against), tuple(cells))


def _mse_group(table: Mapping[str, Mapping[int, Row]], leads: Leads) -> Group:
    values = [row["mse"] for rows in table.values() for row in rows.values()]
    exponent = exponent_for(values)
    smallest = min((v / 10.0**exponent for v in values if v > 0), default=1.0)
    decimals = 3 if smallest >= 1 else 4
    best = {
        lead: min(
            (rows[lead]["mse"] for m, rows in table.items() if lead in rows and m != PUBLISHED),
            default=math.nan,
        )
        for lead, _ in leads
    }

    def cell(row: Row | None) -> Cell:
        if row is None:
            return Cell.absent()
        tone = "best" if row["mse"] == best[row["lead"]] else ""
        return Cell(number(row["mse"] / 10.0**exponent, decimals), row["mse"], tone)

    scale = power_of_ten(exponent)
    return Group(
        f"Mean squared error, out of sample{', ' + scale if scale else ''}",
        tuple(
            Line(
                "LSTM before the gate" if method == LSTM else method_name(method),
                tuple(cell(rows.get(lead)) for lead, _ in leads),
            )
            for method, rows in table.items()
        ),
    )


def _skill_at(rows: Mapping[int, Row], against: Mapping[int, Row], lead: int) -> Cell:
    """Skill at one lead, only where both were scored on the same pairs."""
    ours, theirs = rows.get(lead), against.get(lead)
    same = ("first_cutoff", "last_cutoff", "count")
    if ours is None or theirs is None or any(ours[name] != theirs[name] for name in same):
        return Cell.absent()
    return skill_cell(ours["mse"], theirs["mse"])


def skill_cell(loss: float | None, against: float | None) -> Cell:
    """1 - loss/against, marked as better or worse where the written number shows it."""
    if loss is None or against is None or not against > 0:
        return Cell.absent()
    skill = 1 - loss / against
    text = percent(skill, 1, signed=True)
    tone = "" if text[0].isdigit() else "better" if skill > 0 else "worse"
    return Cell(text, skill, tone)


def lstm_skill(scores: Sequence[Row]) -> Cell:
    """The LSTM's skill before the gate, against the default baseline.

    Of errors averaged over leads: MSE, or log loss where classes are forecast.
    """
    if not scores:
        return Cell.absent()
    loss = primary_score(scores[0]["kind"])
    return skill_cell(
        _mean_loss(scores, LSTM, loss), _mean_loss(scores, scores[0]["baseline"], loss)
    )


def _mean_loss(scores: Sequence[Row], method: str, loss: str) -> float | None:
    values = [row[loss] for row in scores if row["method"] == method]
    return sum(values) / len(values) if values and None not in values else None


def _coverage_at(level: float) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        at = {one["level"]: one["coverage"] for one in row.get("intervals") or []}
        return Cell(percent(at.get(level), 1), at.get(level))

    return cell


def _reliability(table: Mapping[str, Mapping[int, Row]], leads: Leads) -> Group:
    """Test pairs and interval coverage, of what is published where that was scored."""
    rows = next(iter(table.values()))
    covered = next(
        (
            table[m]
            for m in (*CANDIDATES, *table)
            if any(row["coverage"] is not None for row in table.get(m, {}).values())
        ),
        {},
    )

    def line(label: str, of: Mapping[int, Row], write: Callable[[Row], Cell]) -> Line:
        return Line(
            label, tuple(write(of[lead]) if lead in of else Cell.absent() for lead, _ in leads)
        )

    lines = [line("Pairs scored", rows, lambda row: Cell(count(row["count"]), row["count"]))]
    if covered:
        aim = next((row["level"] for row in covered.values() if row["level"] is not None), None)
        label = "Coverage" if aim is None else f"Coverage, aim {percent(aim, 0)}"
        lines.append(
            line(label, covered, lambda row: Cell(percent(row["coverage"], 1), row["coverage"]))
        )
        some = next(iter(covered.values())).get("intervals") or []
        for aim in [one["level"] for one in some[1:]]:
            lines.append(line(f"Coverage, aim {percent(aim, 0)}", covered, _coverage_at(aim)))
    return Group("Reliability", tuple(lines))
