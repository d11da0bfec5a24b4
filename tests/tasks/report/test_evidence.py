"""The evidence table says what the comparisons say, of this run's settings and day."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tasks.report.evidence import evidence_table
from tasks.report.page import render_report
from tasks.report.run_view import view_run
from tests.tasks import example_store as example
from tests.tasks.example_store import NOW, rows_table
from tests.tasks.report.class_rows import night

Row = dict[str, Any]


def row(method: str, instrument: str | None = None, baseline: str = "zero", **more: object) -> Row:
    return example._stamps() | {
        "comparison_id": f"{instrument} {method} {baseline}",
        "company": "company",
        "instrument": instrument,
        "target": "log_return",
        "kind": "many_to_many",
        "method": method,
        "baseline": baseline,
        "first_cutoff": date(2009, 1, 5),
        "last_cutoff": date(2013, 2, 22),
        "sessions": 1008,
        "instruments": 2,
        "skill": -0.0123,
        "dm_t": -1.5,
        "dm_p": 0.134,
        "cw_t": None,
        "cw_p": 0.04 if method == "lstm" else None,
        "q_value": None,
        "mcs_p": 0.05,
        **more,
    }


def rows() -> list[Row]:
    same: Row = {
        "skill": 0.0,
        "dm_t": None,
        "dm_p": None,
        "mcs_p": 1.0,
        "reason": "the baseline itself",
    }
    return [
        row("ar"),
        row("zero", **same),
        row("lstm"),
        row("lstm", baseline="ar"),
        row("published", **same),
        row("lstm", "A", q_value=0.05),
        row("lstm", "B", q_value=0.5),
    ]


def test_a_line_per_method_beside_the_default_baseline() -> None:
    table = evidence_table(rows())
    assert table is not None
    (group,) = table.groups
    assert [line.label for line in group.lines] == ["Published", "LSTM", "AR", "Zero"]
    span = "1,008 sessions, 2009-01-05 to 2013-02-22"
    assert group.label == f"{span}; every instrument weighs the same"
    lines = {line.label: line.cells for line in group.lines}
    lstm = [cell.text.replace("\N{NARROW NO-BREAK SPACE}", " ") for cell in lines["LSTM"]]
    assert lstm == ["−1.2 %", "−1.50", "0.134", "0.040", "0.050", "1 of 2"]
    assert lines["LSTM"][0].tone == "worse"
    assert [cell.text for cell in lines["Published"]][1:] == ["—", "—", "—", "1.000", "—"]
    assert [lines[name][4].tone for name in ("Published", "LSTM")] == ["best", ""]
    assert lines["Zero"][0].text == "—"
    assert evidence_table([]) is None


def test_a_column_that_says_nothing_is_left_out_and_a_tiny_p_is_not_zero() -> None:
    table = evidence_table([one | {"cw_p": None, "dm_p": 2e-7} for one in rows()])
    assert table is not None
    heads = [head.text for head in table.heads]
    assert heads == ["Skill against Zero", "t", "p", "Best, p", "Better on"]
    cells = [line.cells for line in table.groups[0].lines]
    assert {len(of) for of in cells} == {len(heads)}
    assert (cells[1][2].text, cells[1][2].value) == ("<0.001", 2e-7)
    assert cells[1][3].text == "0.050"


def test_a_page_shows_the_newest_of_its_own_settings(tmp_path: Path) -> None:
    store = night(tmp_path)
    assert "Evidence" not in render_report(view_run(store), store_url=store.url)
    later = example._stamps()["as_of"] + timedelta(days=3)
    others = [
        row("lstm", comparison_id="other", config_hash="other", skill=0.77),
        row("lstm", comparison_id="later", company="later", as_of=later, skill=0.88),
    ]
    earlier = example._stamps()["as_of"] - timedelta(days=9)
    old = [row("zero", comparison_id="old", company="old", as_of=earlier, sessions=4321)]
    table = rows_table("comparisons", [*rows(), *others, *old])
    store.append_once("comparisons", table, now=NOW)
    view = view_run(store)
    assert {one["company"] for of in view.comparisons.values() for one in of} == {"company"}
    page = render_report(view, store_url=store.url)
    assert page.count("1,008 sessions, 2009-01-05") == 1
    assert "Clark–West" in page
    for absent in ("4,321 sessions", "+77.0", "+88.0"):
        assert absent not in page
