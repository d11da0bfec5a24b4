"""How often an instrument rose is counted on total returns, up to the run's session."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

from tasks.report.rises import Rises, rises
from tests.tasks.example_store import rows_table

START = date(2013, 1, 2)


def bars(name: str, closes: list[float], basis: str = "raw") -> list[dict[str, Any]]:
    return [
        {
            "instrument": name,
            "session": START + timedelta(days=i),
            "close": close,
            "price_basis": basis,
        }
        for i, close in enumerate(closes)
    ]


def action(name: str, day: int, what: str, value: float) -> dict[str, Any]:
    session = START + timedelta(days=day)
    return {"instrument": name, "session": session, "action": what, "value": value}


def counted(
    rows: list[dict[str, Any]], *actions: dict[str, Any], last: int = 99
) -> dict[str, Rises]:
    names = {row["instrument"] for row in rows}
    elsewhere = action("ELSE", 1, "split", 2.0)
    table = rows_table("actions", [*actions, elsewhere])
    return rises(rows_table("bars", rows), table, names, START + timedelta(days=last))


def test_only_a_higher_close_is_a_rise() -> None:
    found = counted([*bars("A", [10.0, 11.0, 11.0, 10.0, 12.0]), *bars("B", [5.0, 4.0])])
    assert found == {"A": Rises(2, 4), "B": Rises(0, 1)}
    assert found["A"].share == 0.5


def test_a_dividend_can_make_a_lower_close_a_rise() -> None:
    closes = [10.0, 9.9]
    assert counted(bars("A", closes))["A"].rises == 0
    assert counted(bars("A", closes), action("A", 1, "dividend", 0.2))["A"].rises == 1


def test_a_split_is_no_fall() -> None:
    closes = [100.0, 50.5]
    assert counted(bars("A", closes))["A"].rises == 0
    assert counted(bars("A", closes), action("A", 1, "split", 2.0))["A"].rises == 1
    adjusted = bars("A", [50.0, 50.5], "split_adjusted")
    assert counted(adjusted, action("A", 1, "split", 2.0))["A"].rises == 1


def test_sessions_after_the_runs_own_do_not_count() -> None:
    rows = bars("A", [1.0, 2.0, 3.0, 4.0])
    assert counted(rows, last=2)["A"] == Rises(2, 2)


def test_one_bar_has_no_share() -> None:
    one = counted(bars("A", [1.0]))["A"]
    assert one.steps == 0
    assert math.isnan(one.share)


def test_only_those_asked_for_are_counted() -> None:
    table = rows_table("bars", [*bars("A", [1.0, 2.0]), *bars("B", [1.0, 2.0])])
    actions = rows_table("actions", [action("A", 9, "split", 2.0)])
    assert set(rises(table, actions, ["B"], START + timedelta(days=9))) == {"B"}
    assert rises(table, actions, [], START) == {}
