"""The page tells live skill beside the backtest, and says so where nothing has matured."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.live_scores import live_scores
from tasks.pooled_skill import pooled_skill
from tasks.report.live import NOTHING
from tasks.report.live_chart import SkillPath
from tasks.report.page import render_report
from tasks.report.run_view import view_run
from tasks.store import Store
from tests.tasks.example_store import (
    AS_OF,
    CONFIG_HASH,
    NOW,
    example_store,
    forecast_rows,
    rows_table,
)
from tests.tasks.report.page_tree import Element, Tree


def section(store: Store) -> Element:
    page = Tree(render_report(view_run(store), store_url=store.url)).root
    (found,) = page.all("section", id="live")
    return found


def add_live(store: Store, nights: int) -> None:
    """Forecasts of earlier nights and what came of them; returns of AAPL and IBM."""
    made = [row for row in forecast_rows(["AAPL", "IBM"]) if row["target"] == "log_return"]
    rows: list[dict[str, Any]] = []
    for night in range(nights):
        cutoff = date(2013, 1, 2) + timedelta(days=night)
        old = [
            row
            | {
                "forecast_id": f"{row['forecast_id']} {night}",
                "cutoff": cutoff,
                "target_session": cutoff + timedelta(days=1),
                "mean": 0.01,
                "lstm_mean": 0.03,
                "baseline_mean": 0.0,
                "origin": "backfill" if night == 0 else "live",
            }
            for row in made
        ]
        outcomes = rows_outcomes(len(old))
        rows += [
            row | {name: old[0][name] for name in ("as_of", "run_id", "made_at")}
            for row in live_scores(old, outcomes)
        ]
    store.append_once("scores", rows_table("scores", rows), now=NOW)


def rows_outcomes(count: int) -> Any:  # noqa: ANN401
    import numpy as np

    return np.full(count, 0.02)


def test_a_page_before_anything_has_matured_says_so_in_a_sentence(tmp_path: Path) -> None:
    found = section(example_store(tmp_path))
    assert [one.text() for one in found.all("p")] == [NOTHING]
    assert list(found.all("svg")) == []


def test_live_skill_stands_beside_that_of_the_backtest(tmp_path: Path) -> None:
    store = example_store(tmp_path)
    add_live(store, nights=3)
    found = section(store)
    assert [one.text() for one in found.all("h3")] == ["Return"]
    published, lstm = (one.text() for one in found.all("p"))
    tested = [row for rows in view_run(store).scores.values() for row in rows]
    backtest = {
        one.method: f"{100 * one.skill:+.1f}".replace("-", "\N{MINUS SIGN}").replace("+0.0", "0.0")
        for one in pooled_skill(tested)
        if one.target == "log_return" and one.skill is not None
    }
    # Squared errors of 0.01 against 0.02, of what is published and of the LSTM.
    expected = f"live: 3 sessions, 30 pairs, skill +75.0 % (backtest {backtest['published']} %)"
    assert expected in published
    assert "against Zero" in published
    assert "80 %" in published
    assert "10 of the forecasts were made for past nights" in published
    assert lstm.startswith("LSTM before the gate, live: 3 sessions, 30 pairs, skill +75.0 %")
    (chart,) = found.all("svg")
    assert "2013-01-05: Published +75.0 %, LSTM +75.0 %" in chart.text()
    assert "Backtest" in chart.text()


def test_live_scores_change_no_other_number_of_the_page(tmp_path: Path) -> None:
    store = example_store(tmp_path)
    before = view_run(store)
    add_live(store, nights=2)
    after = view_run(store)
    assert after.scores == before.scores
    assert len(after.live) == 2
    assert (
        store.scan("scores", ["as_of"], among={"config_hash": [CONFIG_HASH]})[0][0].as_py() == AS_OF
    )


def test_a_path_is_one_line_a_method_and_its_scale_holds_all_of_it() -> None:
    sessions = tuple(date(2024, 1, 1) + timedelta(days=i) for i in range(30))
    wild = (float("nan"), 40.0, *[0.01] * 28)
    path = SkillPath("skill", sessions, {"Published": wild, "LSTM": (0.02,) * 30}, 0.015)
    drawn = path.draw(hover=True)
    assert drawn.count("<title>") == 20, "the first ten of a long path are left out"
    assert "4,000" not in drawn
    told = path.describe().replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert told == "Skill up to 2024-01-30: Published +1.0 %; LSTM +2.0 %."
    alone = SkillPath("skill", sessions[:1], {"Published": (0.0,)}, float("nan")).draw(hover=False)
    assert "<circle" in alone
    assert "nan" not in drawn + alone
    with pytest.raises(ValueError, match="LSTM of 'skill' has 2 values, expected 1"):
        SkillPath("skill", sessions[:1], {"LSTM": (0.0, 0.1)}, 0.0)


def test_names_of_lines_that_end_at_the_floor_stay_above_it_and_apart() -> None:
    days = (date(2013, 3, 1), date(2013, 3, 4))
    lines: dict[str, tuple[float, ...]] = {"Published": (0.5, -0.1), "LSTM": (0.0, -0.1)}
    drawn = SkillPath(name="x", sessions=days, lines=lines, backtest=-0.1).draw(hover=False)
    found = re.findall(r'x="[0-9.]+" y="([0-9.]+)">(?:Published|LSTM|Backtest)<', drawn)
    places = sorted(map(float, found))
    assert len(places) == 3
    assert places[-1] <= 190.0
    assert [b - a for a, b in pairwise(places)] == pytest.approx([20.0, 20.0])
