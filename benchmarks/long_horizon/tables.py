"""The tables, in Markdown.

Owns rows, columns and formats. Never touches data, nor what the figures mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.long_horizon import published
from benchmarks.long_horizon.experiment import AR, DRIFT, GATE, LSTM, REPEAT, Outcome
from benchmarks.long_horizon.gate import Comparison

METHODS = (REPEAT, DRIFT, AR, LSTM, GATE)


def validation_table(outcomes: Sequence[Outcome]) -> str:
    """MSE / MAE over all validation windows: what a recipe may be chosen by."""
    rows = {
        name: [_cell(outcome.validation[name].scores()) for outcome in outcomes]
        for name in METHODS[:-1]
    }
    return _table(["", *(str(outcome.horizon) for outcome in outcomes)], rows)


def scores_table(outcomes: Sequence[Outcome], *, batch: int, beside_published: bool) -> str:
    """MSE / MAE of the test windows, a column per horizon."""
    rows: dict[str, list[str]] = {}
    if beside_published:
        rows["Repeat, published"] = [_told(published.REPEAT, one.horizon) for one in outcomes]
    for name in METHODS:
        rows[name] = [_cell(one.tested[name].scores(batch=batch)) for one in outcomes]
    if beside_published:
        rows["DLinear, published"] = [_told(published.DLINEAR, one.horizon) for one in outcomes]
    return _table(["MSE / MAE", *(str(outcome.horizon) for outcome in outcomes)], rows)


def evidence_table(outcomes: Sequence[Outcome]) -> str:
    """The LSTM against Repeat, on validation and on test, and what the gate made of it."""
    rows: dict[str, list[str]] = {}
    for one in outcomes:
        published_of = sum(decision.method == "lstm" for decision in one.gate)
        moved = sum(lane.best_update > 0 for lane in one.lanes)
        rows[f"{one.horizon}, validation"] = [
            *_evidence(one.on_validation),
            f"{moved} of {len(one.lanes)}",
            f"LSTM for {published_of} of {len(one.gate)} series",
        ]
        if one.on_test is not None:
            rows[f"{one.horizon}, test"] = [*_evidence(one.on_test), "", ""]
    columns = ("windows", "apart", "skill", "t, p", "networks that left Repeat", "gate")
    return _table(["", *columns], rows)


def _evidence(comparison: Comparison) -> list[str]:
    test = comparison.test
    figures = "none"
    if test.statistic is not None:
        chance = "< 0.01" if test.p_value < 0.01 else f"{test.p_value:.2f}"
        figures = f"{test.statistic:.2f}, {chance}"
    return [str(comparison.windows), str(comparison.apart), f"{test.mean:+.1%}", figures]


def _cell(scores: tuple[float, float]) -> str:
    return f"{scores[0]:.4f} / {scores[1]:.4f}"


def _told(figures: Mapping[int, tuple[float, float]], horizon: int) -> str:
    return "{:.3f} / {:.3f}".format(*figures[horizon]) if horizon in figures else "–"


def _table(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
