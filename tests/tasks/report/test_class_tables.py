"""Each number of a class table follows from the rows by a formula anyone can check."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tasks.directional import pesaran_timmermann
from tasks.report.class_tables import (
    class_names,
    class_scores,
    edge_texts,
    probability_table,
    score_of,
)
from tasks.scoreboard import pool
from tests.tasks.report.class_rows import class_forecasts
from tests.tasks.report.class_rows import class_scores as score_rows


def scores(kind: str, instrument: str = "IBM") -> list[dict[str, Any]]:
    return pool(score_rows([kind], [instrument]))


def of(rows: list[dict[str, Any]], method: str) -> dict[str, Any]:
    (row,) = (row for row in rows if row["method"] == method)
    return row


def plain(text: str) -> str:
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_edges_are_changes_of_the_price_and_not_log_returns() -> None:
    assert edge_texts([-0.105361, 0.095310]) == ("−10.0", "+10.0")
    assert edge_texts([math.log(0.98), 0.0]) == ("−2.0", "0.0")


def test_edges_that_are_close_get_the_decimals_that_part_them() -> None:
    assert edge_texts([0.00010, 0.00014]) == ("+0.010", "+0.014")
    assert edge_texts([0.0010, 0.0014]) == ("+0.10", "+0.14")
    assert edge_texts([1e-9, 2e-9]) == ("0.000", "0.000")  # no more than three


def test_classes_are_named_by_what_they_hold() -> None:
    row = {"edges": [math.log(0.98), 0.0, math.log(1.03)]}
    names = [plain(name) for name in class_names(row)]
    assert names == ["−2.0 % or less", "−2.0 % to 0.0 %", "0.0 % to +3.0 %", "more than +3.0 %"]


def test_probabilities_add_up_line_by_line() -> None:
    (row,) = class_forecasts(["quantile_class"], ["AAPL"])
    (group,) = probability_table(row).groups
    assert [line.cells[0].value for line in group.lines] == row["probabilities"]
    cumulative = [line.cells[1].value for line in group.lines]
    assert cumulative == pytest.approx(
        [math.fsum(row["probabilities"][: i + 1]) for i in range(10)], abs=1e-12
    )


@pytest.mark.parametrize("kind", ["direction", "quantile_class"])
def test_skill_is_of_the_named_score_against_the_default_baseline(kind: str) -> None:
    rows = scores(kind)
    default = of(rows, rows[0]["baseline"])
    for name in ("log_loss", "rps"):
        lstm = of(rows, "lstm")
        cell = score_of(rows, "lstm", f"{name}_skill")
        assert cell.value == pytest.approx(1 - lstm[name] / default[name])
    assert score_of(rows, "lstm", "log_loss").value == of(rows, "lstm")["log_loss"]


def test_skill_needs_the_same_pairs() -> None:
    rows = scores("direction")
    for row in rows:
        if row["method"] == "lstm":
            row["count"] -= 1
    assert score_of(rows, "lstm", "log_loss_skill").value is None
    assert score_of(rows, "combination", "log_loss_skill").value is not None


def test_a_score_that_is_not_known_is_a_dash() -> None:
    rows = scores("direction")
    of(rows, "lstm")["auc"] = math.nan
    assert score_of(rows, "lstm", "auc").text == "—"
    assert score_of(rows, "lstm", "auc").value is None
    assert score_of(rows, "nobody", "auc").value is None
    assert score_of([], "lstm", "brier").value is None
    assert class_scores([]) == ()


def test_a_table_has_candidates_then_baselines_and_the_best_is_marked() -> None:
    rows = scores("quantile_class", "AAPL")
    (table,) = class_scores(rows)
    assert [head.text for head in table.heads] == ["Log loss", "Skill", "RPS", "Skill", "Accuracy"]
    candidates, baselines = table.groups
    assert [line.label for line in candidates.lines] == [
        "Published",
        "LSTM before the gate",
        "Combination",
    ]
    assert [line.label for line in baselines.lines] == ["Frequencies", "Climatology", "Logit"]
    assert "503 pairs scored; skill against Climatology" in candidates.label
    lines = {line.label: line.cells for group in table.groups for line in group.lines}
    assert [lines["Climatology"][i].text for i in (1, 3)] == ["—", "—"]  # against itself
    assert lines["Frequencies"][1].tone == "worse"
    assert lines["LSTM before the gate"][1].tone == "better"


@pytest.mark.parametrize(
    ("kind", "best"), [("direction", "frequencies"), ("quantile_class", "lstm")]
)
def test_the_lowest_log_loss_is_marked_whoever_has_it(kind: str, best: str) -> None:
    rows = scores(kind)
    lowest = of(rows, best)["log_loss"]
    assert min(row["log_loss"] for row in rows) == lowest
    (table,) = class_scores(rows)
    cells = [line.cells[0] for group in table.groups for line in group.lines]
    assert [cell.tone == "best" for cell in cells] == [cell.value == lowest for cell in cells]


def test_direction_has_its_own_scores() -> None:
    rows = scores("direction", "IBM")
    (table,) = class_scores(rows)
    assert [head.text for head in table.heads] == [
        "Log loss",
        "Skill",
        "Brier",
        "Accuracy",
        "AUC",
        "Timing, p",
    ]
    (line,) = (x for g in table.groups for x in g.lines if x.label == "LSTM before the gate")
    lstm = of(rows, "lstm")
    shown = [cell.value for cell in line.cells]
    assert shown[0] == lstm["log_loss"]
    assert shown[2:5] == [lstm["brier"], lstm["accuracy"], lstm["auc"]]


def test_timing_is_the_test_of_pesaran_and_timmermann_on_the_pooled_shares() -> None:
    rows = scores("direction", "IBM")
    lstm = of(rows, "lstm")
    assert score_of(rows, "lstm", "timing").value is None  # not known
    lstm |= {"count": 500, "accuracy": 0.55, "rises": 0.53, "called_rises": 0.6}
    test = pesaran_timmermann(500, 0.55, 0.53, 0.6)
    assert score_of(rows, "lstm", "timing").value == test.p_value
    lstm |= {"accuracy": 0.53, "called_rises": 1.0}
    assert score_of(rows, "lstm", "timing").text == "—"
