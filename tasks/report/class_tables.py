"""The tables of one instrument whose classes were forecast: each class, and each method's scores.

Owns their cells. Never touches the store or HTML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tasks.directional import pesaran_timmermann
from tasks.report.run_view import Row
from tasks.report.score_tables import (
    CANDIDATES,
    LSTM,
    PUBLISHED,
    Cell,
    Group,
    Head,
    Line,
    Table,
    method_name,
    methods_of,
    skill_cell,
)
from tasks.report.typography import THIN, count, number, percent

_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "direction": {
        "log_loss": "Log loss",
        "log_loss_skill": "Skill",
        "brier": "Brier",
        "accuracy": "Accuracy",
        "auc": "AUC",
        "timing": "Timing, p",
    },
    "quantile_class": {
        "log_loss": "Log loss",
        "log_loss_skill": "Skill",
        "rps": "RPS",
        "rps_skill": "Skill",
        "accuracy": "Accuracy",
    },
}
_DECIMALS = {"log_loss": 4, "brier": 4, "rps": 4, "auc": 3}
_PAIRS = ("first_cutoff", "last_cutoff", "count")


def edge_texts(edges: Sequence[float]) -> tuple[str, ...]:
    """(edge,) the edges as a change of the price in per cent, told apart by their decimals."""
    values = [100 * math.expm1(edge) for edge in edges]
    texts: tuple[str, ...] = ()
    for decimals in (1, 2, 3):
        texts = tuple(number(value, decimals, signed=True) for value in values)
        if len(set(texts)) == len(texts):
            break
    return texts


def class_names(row: Row) -> tuple[str, ...]:
    """(class,) what each class holds, in words."""
    edges = [f"{text}{THIN}%" for text in edge_texts(row["edges"])]
    between = (f"{low} to {high}" for low, high in pairwise(edges))
    return (f"{edges[0]} or less", *between, f"more than {edges[-1]}")


def probability_table(row: Row) -> Table:
    """One line per class: its probability, and that of it or a lower one."""
    lines, total = [], 0.0
    for name, probability in zip(class_names(row), row["probabilities"], strict=True):
        total += probability
        cells = (Cell(percent(probability, 1), probability), Cell(percent(total, 1), total))
        lines.append(Line(name, cells))
    heads = (Head("Probability"), Head("Cumulative"))
    return Table("Next session’s change", heads, (Group("", tuple(lines)),))


def score_of(scores: Sequence[Row], method: str, name: str) -> Cell:
    """One score of a method; the name of a score with `_skill`: against the default baseline.

    A skill needs both to have been scored on the same pairs.
    """
    row = next((one for one in scores if one["method"] == method), None)
    if row is None:
        return Cell.absent()
    if name.endswith("_skill"):
        against = next((one for one in scores if one["method"] == row["baseline"]), None)
        score = name.removesuffix("_skill")
        if against is None or any(row[of] != against[of] for of in _PAIRS):
            return Cell.absent()
        return skill_cell(row[score], against[score])
    if name == "timing":
        return _timing(row)
    if row[name] is None or math.isnan(row[name]):
        return Cell.absent()
    if name == "accuracy":
        return Cell(percent(row[name], 1), row[name])
    return Cell(number(row[name], _DECIMALS[name]), row[name])


def _timing(row: Row) -> Cell:
    """The p value of Pesaran and Timmermann; a dash where all calls were alike."""
    accuracy, rises, called = (row.get(one) for one in ("accuracy", "rises", "called_rises"))
    if accuracy is None or rises is None or called is None:
        return Cell.absent()
    test = pesaran_timmermann(row["count"], accuracy, rises, called)
    if test.statistic is None:
        return Cell.absent()
    return Cell(number(test.p_value, 3), test.p_value)


def class_scores(scores: Sequence[Row]) -> tuple[Table, ...]:
    """One line per method, with skill against the default baseline; nothing of no scores.

    The lowest log loss of a method is marked.
    """
    if not scores:
        return ()
    columns, methods = _COLUMNS[scores[0]["kind"]], methods_of(scores)
    default = scores[0]["baseline"]
    lowest = min(row["log_loss"] for row in scores if row["method"] != PUBLISHED)

    def line(method: str) -> Line:
        cells = [score_of(scores, method, name) for name in columns]
        if method == default:
            cells = [
                Cell.absent() if name.endswith("_skill") else cell
                for name, cell in zip(columns, cells, strict=True)
            ]
        if cells[0].value == lowest:
            cells[0] = Cell(cells[0].text, cells[0].value, "best")
        return Line("LSTM before the gate" if method == LSTM else method_name(method), tuple(cells))

    pairs = count(scores[0]["count"])
    groups = (
        Group(
            f"{pairs} pairs scored; skill against {method_name(default)}",
            tuple(line(m) for m in methods if m in CANDIDATES),
        ),
        Group("Baselines", tuple(line(m) for m in methods if m not in CANDIDATES)),
    )
    heads = tuple(Head(text) for text in columns.values())
    return (Table("Out of sample", heads, tuple(one for one in groups if one.lines)),)
