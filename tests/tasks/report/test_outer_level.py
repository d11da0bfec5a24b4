"""Intervals at more than one level: the outer ones stand around the first, with their coverage."""

import math
from typing import Any

import pytest

from tasks.report.path_figures import PathFigures
from tasks.report.typography import THIN
from tasks.scoreboard import pool
from tests.tasks.example_store import forecast_rows, score_rows

Row = dict[str, Any]
Lines = dict[str, tuple[float | int | None, ...]]


def groups_of(target: str) -> dict[str, Lines]:
    """The groups of a table whose forecasts have an outer interval one unit further out."""

    def wide(row: Row) -> Row:
        first = {"level": 0.8, "lower": row["lower"], "upper": row["upper"]}
        outer = {"level": 0.95, "lower": row["lower"] - 1.0, "upper": row["upper"] + 1.0}
        return row | {"intervals": [first, outer]}

    def scored(row: Row) -> Row:
        first = {"level": 0.8, "coverage": 0.8, "interval_score": 1.0}
        return row | {"intervals": [first, first | {"level": 0.95, "coverage": 0.9375}]}

    forecasts = [wide(row) for row in forecast_rows(["IBM"]) if row["target"] == target]
    scores = [scored(row) for row in pool(score_rows(["IBM"])) if row["target"] == target]
    (table,) = PathFigures.of(forecasts, scores, None).tables()
    return {
        group.label: {line.label: tuple(cell.value for cell in line.cells) for line in group.lines}
        for group in table.groups
    }


@pytest.mark.parametrize("target", ["log_return", "log_volatility"])
def test_the_outer_level_stands_around_the_first(target: str) -> None:
    groups = groups_of(target)
    (lines,) = (lines for label, lines in groups.items() if label.startswith("Forecast"))
    labels = [f"Upper, 95{THIN}%", "Upper", "Mean", "Lower", f"Lower, 95{THIN}%"]
    assert list(lines) == labels
    top, upper, _, lower, bottom = lines.values()
    for outer, inner, sign in ((top, upper, 1.0), (bottom, lower, -1.0)):
        for far, near in zip(outer, inner, strict=True):
            assert near is not None
            moved = near + sign if target == "log_return" else near * math.exp(sign / 2)
            assert far == pytest.approx(moved)
    assert set(groups["Reliability"][f"Coverage, aim 95{THIN}%"]) == {0.9375}
