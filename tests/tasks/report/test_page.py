"""The page says what the store holds, as text that is never markup, and needs nothing else."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.report.page import render_report
from tasks.report.run_view import view_run
from tasks.report.typography import prose
from tasks.scoreboard import pool
from tasks.store import Store
from tests.tasks.example_store import (
    CONFIG_HASH,
    INSTRUMENTS,
    example_store,
    forecast_rows,
    score_rows,
)
from tests.tasks.report.page_tree import Element, Tree

HOSTILE = '<script>alert("x")</script>&amp;'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return example_store(tmp_path_factory.mktemp("report") / "store")


@pytest.fixture(scope="module")
def page(store: Store) -> Element:
    return tree(store)


def tree(store: Store) -> Element:
    return Tree(render_report(view_run(store), store_url=store.url)).root


def section_of(page: Element, instrument: str) -> Element:
    """The part of the page that shows one instrument in full."""
    return next(
        section
        for section in page.all("section")
        if (section.attributes.get("id") or "").startswith("instrument-")
        and next(section.all("h2")).text() == instrument
    )


def panel(page: Element, instrument: str, target: str) -> dict[str, dict[str, list[Element]]]:
    """Heading → label → cells by lead, of one instrument and target."""
    section = section_of(page, instrument)
    place = ["log_return", "log_volatility"].index(target)
    table = list(section.all("table"))[place]
    groups: dict[str, dict[str, list[Element]]] = {}
    for body in table.all("tbody"):
        head, *lines = body.all("tr")
        groups[head.text()] = {next(line.all("th")).text(): list(line.all("td")) for line in lines}
    return groups


def values(cells: list[Element]) -> list[float | None]:
    """The exact number behind each cell, None where it has none."""
    found = [next(cell.all("data"), None) for cell in cells]
    return [None if one is None else float(one.attributes["value"] or "") for one in found]


def scored(instrument: str, target: str, method: str) -> list[dict[str, Any]]:
    rows = [row for row in score_rows([instrument]) if row["target"] == target]
    pooled = [row for row in pool(rows) if row["method"] == method]
    return sorted(pooled, key=lambda row: row["lead"])


def starting(groups: dict[str, Any], start: str) -> Any:  # noqa: ANN401
    (found,) = (value for name, value in groups.items() if name.startswith(start))
    return found


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_forecasts_on_the_page_are_those_in_the_store(page: Element, instrument: str) -> None:
    rows = forecast_rows([instrument])
    returns = [row for row in rows if row["target"] == "log_return"]
    lines = starting(panel(page, instrument, "log_return"), "Forecast")
    for label, name in (("Upper", "upper"), ("Mean", "mean"), ("Lower", "lower")):
        assert values(lines[label]) == [row[name] for row in returns]
    assert lines["Upper"][0].text() == f"+{100 * returns[0]['upper']:.2f} %"
    volatilities = [row for row in rows if row["target"] == "log_volatility"]
    lines = starting(panel(page, instrument, "log_volatility"), "Forecast")
    year = math.sqrt(252)
    assert values(lines["Mean"]) == pytest.approx([r["volatility"] * year for r in volatilities])
    for label, name in (("Upper", "upper"), ("Lower", "lower")):
        expected = [math.exp(row[name] / 2) * year for row in volatilities]
        assert values(lines[label]) == pytest.approx(expected)


@pytest.mark.parametrize("target", ["log_return", "log_volatility"])
def test_errors_skill_and_coverage_are_the_pooled_scores(page: Element, target: str) -> None:
    groups = panel(page, "IBM", target)
    errors = starting(groups, "Mean squared error")
    names = {"LSTM before the gate": "lstm", "Published": "published", "Combination": "combination"}
    baselines = {"Zero": "zero", "Drift": "drift", "AR": "ar"}
    if target == "log_volatility":
        baselines = {
            "HAR": "har",
            "HARX": "harx",
            "HARX long": "harx_long",
            "HARX market": "harx_market",
            "EWMA": "ewma",
        }
    assert set(errors) == {*names, *baselines}
    mse = {}
    for label, method in (names | baselines).items():
        mse[label] = [row["mse"] for row in scored("IBM", target, method)]
        assert values(errors[label]) == mse[label]
    for heading, label in (
        ("Skill of what is published", "Published"),
        ("Skill of the LSTM before", "LSTM before the gate"),
    ):
        skills = starting(groups, heading)
        assert set(skills) == set(baselines)
        for baseline, cells in skills.items():
            against = zip(mse[label], mse[baseline], strict=True)
            expected = [1 - ours / theirs for ours, theirs in against]
            assert values(cells) == pytest.approx(expected)
            for cell, skill in zip(cells, expected, strict=True):
                shown = cell.text()
                assert ("+" in shown) == (skill >= 0.0005)
                assert ("−" in shown) == (skill <= -0.0005)
    published = scored("IBM", target, "published")
    assert values(groups["Reliability"]["Pairs scored"]) == [row["count"] for row in published]
    coverage = values(groups["Reliability"]["Coverage, aim 80 %"])
    assert coverage == [row["coverage"] for row in published]


def test_the_lowest_error_of_each_lead_is_marked(page: Element) -> None:
    errors = starting(panel(page, "AAPL", "log_volatility"), "Mean squared error")
    for lead in range(5):
        best = {
            name
            for name, cells in errors.items()
            if next(cells[lead].all("data")).attributes.get("class") == "best"
        }
        lowest = min(values([cells[lead]])[0] or math.inf for cells in errors.values())
        assert best == {n for n, cells in errors.items() if values([cells[lead]]) == [lowest]}


def test_the_summary_names_method_reason_and_skill_of_every_forecast(page: Element) -> None:
    forecasts = next(page.all("section", id="forecasts"))
    tables = [list(table.all("tr"))[1:] for table in forecasts.all("table")]
    assert [len(rows) for rows in tables] == [5, 5]
    for target, lines in zip(("log_return", "log_volatility"), tables, strict=True):
        rows = [row for row in forecast_rows() if row["target"] == target and row["lead"] == 1]
        for line, row in zip(lines, rows, strict=True):
            text = line.text()
            assert next(line.all("th")).text() == row["instrument"]
            badge = next(line.all("span")).text()
            assert (badge == "LSTM") == (row["method"] == "lstm")
            assert " ".join(prose(row["reason"]).split()) in text
    aapl = tables[1][0]
    lstm, base = (
        [row["mse"] for row in scored("AAPL", "log_volatility", m)] for m in ("lstm", "harx_market")
    )
    shown = [float(d.attributes["value"] or "") for d in aapl.all("data")]
    assert shown[-1] == pytest.approx(1 - sum(lstm) / sum(base))


def test_an_instrument_without_scores_has_its_reason_and_chart(page: Element) -> None:
    section = section_of(page, "FB")
    text = section.text()
    assert "196 sessions are too few to train and judge a network" in text
    assert "No out-of-sample score." in text
    assert "LSTM not trained: 196 sessions, and 752 are needed." in text
    assert "Mean squared error" not in text
    assert len(list(section.all("figure"))) == 2


def test_the_head_says_what_was_known_and_pinned(page: Element, store: Store) -> None:
    assert next(page.all("h1")).text() == "After the close of Friday 1 March 2013"
    facts = {d.text() for d in next(page.all("dl")).all("dd")}
    assert {"2013-03-01 22:00 UTC", CONFIG_HASH, store.url, "version 1", "live"} <= facts
    pinned = json.loads(view_run(store).run["table_versions"])
    assert ", ".join(f"{name} {pinned[name]}" for name in sorted(pinned)) in facts
    lede = next(page.all("p", class_="lede")).text()
    assert "50 forecasts for 5 instruments, up to 5 sessions ahead" in lede
    assert "For returns the baseline stands everywhere" in lede
    assert "published for 3 of 5 instruments" in lede
    assert "On daily returns expect the baseline" in page.text()


def test_quarantine_shows_rules_reasons_and_rows_as_they_came(page: Element) -> None:
    data = next(page.all("section", id="data")).text()
    assert "high_below_low, 2 rows" in data
    assert "high 198.1 is below low 199.6" in data
    assert "'<b>soon</b>' is not a date" in data
    assert '"Note": "<script>alert(1)</script>"' in data
    assert "1,236 bars of 5 instruments" in data
    assert "All are new: this is the store's first run." in data


def test_charts_have_the_closes_and_the_fan_of_the_store(page: Element) -> None:
    charts = list(page.all("svg", class_="fan"))
    assert len(charts) == 10
    for chart in charts:
        assert chart.attributes["role"] == "img"
        for mark in ("past", "band", "mean"):
            assert len(list(chart.all("path", class_=mark))) == 1
        assert len(list(chart.all("rect", class_="hit"))) == 65
    aapl = charts[0].text()
    assert "AAPL, closing price" in aapl
    upper = 430.47 * math.exp(forecast_rows(["AAPL"])[4]["upper"])
    assert f"{upper:.2f}" in aapl


def test_what_a_source_calls_an_instrument_is_never_markup(tmp_path: Path) -> None:
    store = example_store(tmp_path, rename={"AAPL": HOSTILE})
    page = render_report(view_run(store), store_url="<u>store</u>")
    root = Tree(page).root
    assert list(root.all("script")) == []
    assert list(root.all("b")) == []
    assert list(root.all("u")) == []
    headings = {h.text() for h in root.all("h2")}
    assert HOSTILE in headings
    ids = [
        e.attributes["id"]
        for tag in ("section", "h2", "h3", "title", "desc")
        for e in root.all(tag)
        if "id" in e.attributes
    ]
    assert len(ids) == len(set(ids))
    assert all(name and re.fullmatch(r"[\w-]+", name) for name in ids)


def test_every_reference_on_the_page_leads_somewhere(page: Element) -> None:
    every = [e for tag in ("section", "h2", "h3", "title", "desc", "div") for e in page.all(tag)]
    ids = {e.attributes.get("id") for e in every}
    links = {a.attributes["href"] for a in page.all("a")}
    assert links
    assert {link.removeprefix("#") for link in links if link} <= ids
    for tag in ("section", "div", "svg"):
        for element in page.all(tag):
            for name in (element.attributes.get("aria-labelledby") or "").split():
                assert name in ids


def test_tables_are_readable_without_sight(page: Element) -> None:
    for table in page.all("table"):
        heads = list(table.all("th"))
        assert heads
        assert all(head.attributes.get("scope") for head in heads)
        for body in table.all("tbody"):
            assert all(list(row.all("th")) for row in body.all("tr"))


def test_the_page_needs_nothing_from_elsewhere(store: Store) -> None:
    page = render_report(view_run(store), store_url=store.url)
    assert re.findall(r"(?:https?:)?//[\w.]", page) == []
    assert "url(" not in page
    assert "@import" not in page
    root = Tree(page).root
    assert [e.attributes["href"] for e in root.all("link")] == ["data:,"]
    assert not any(list(root.all(tag)) for tag in ("script", "img", "iframe"))
    (policy,) = (
        e for e in root.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert (policy.attributes["content"] or "").startswith("default-src 'none'")
