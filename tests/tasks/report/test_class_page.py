"""The page shows the class kinds beside the paths, and nothing of what a night did not forecast."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from tasks.report.content import _earned
from tasks.report.page import render_report, run_picture
from tasks.report.run_view import Missing, view_run
from tasks.report.typography import prose
from tasks.scoreboard import pool
from tasks.store import Store
from tests.tasks.example_store import INSTRUMENTS
from tests.tasks.report.class_rows import class_forecasts, class_scores, night
from tests.tasks.report.page_tree import Element, Tree

EVERY = ("many_to_many", "direction", "quantile_class")


def tree(store: Store) -> Element:
    return Tree(render_report(view_run(store), store_url=store.url)).root


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Element:
    return tree(night(tmp_path_factory.mktemp("page") / "store"))


def summary(page: Element, slug: str) -> dict[str, Element]:
    """Instrument → row, of the table above the instruments."""
    (region,) = (
        div for div in page.all("div") if div.attributes.get("aria-labelledby") == f"{slug}-table"
    )
    rows = next(region.all("tbody")).all("tr")
    return {next(row.all("a")).text(): row for row in rows}


def values(element: Element) -> list[float]:
    return [float(data.attributes["value"] or "") for data in element.all("data")]


def scored(kind: str, instrument: str, method: str) -> dict[str, float]:
    rows = pool(class_scores([kind], [instrument]))
    (row,) = (row for row in rows if row["method"] == method)
    return row


def test_direction_says_the_probability_beside_how_often_it_rose(page: Element) -> None:
    rows = summary(page, "direction")
    assert tuple(rows) == INSTRUMENTS
    for forecast in class_forecasts(["direction"]):
        row = rows[forecast["instrument"]]
        assert values(row)[0] == forecast["probability_up"]
        assert " ".join(prose(forecast["reason"]).split()) in row.text()
        assert "Baseline: Frequencies" in row.text()
    lstm, base = (scored("direction", "IBM", m) for m in ("lstm", "frequencies"))
    skill = 1 - lstm["log_loss"] / base["log_loss"]
    shown = [skill, lstm["brier"], lstm["accuracy"], base["accuracy"], lstm["auc"]]
    assert values(rows["IBM"])[2:] == pytest.approx(shown)
    usual = values(rows["IBM"])[1]
    assert round(usual * 259) == pytest.approx(usual * 259)  # rises of 260 bars
    caption = f"Line: it rose in {100 * usual:.1f} % of 259 sessions known"
    assert caption in page.text()


def test_deciles_say_both_ends_and_both_skills(page: Element) -> None:
    rows = summary(page, "quantile_class")
    for forecast in class_forecasts(["quantile_class"]):
        row = rows[forecast["instrument"]]
        low, *_, high = forecast["probabilities"]
        assert values(row)[:2] == [low, high]
        learned = forecast["method"] == "lstm"
        badge = "LSTM" if learned else "Baseline: Climatology"
        assert next(row.all("span")).text() == badge
    lstm, base = (scored("quantile_class", "AAPL", m) for m in ("lstm", "climatology"))
    skills = [1 - lstm[name] / base[name] for name in ("log_loss", "rps")]
    assert values(rows["AAPL"])[2:] == pytest.approx(skills)
    text = rows["AAPL"].text()
    assert "−2.1 % or less" in text
    assert "more than +2.2 %" in text
    assert values(rows["FB"])[2:] == []  # no scores


def test_small_columns_of_all_instruments_are_on_one_scale(page: Element) -> None:
    rows = class_forecasts(["quantile_class"])
    highest = max(max(row["probabilities"]) for row in rows)
    for forecast in rows:
        row = summary(page, "quantile_class")[forecast["instrument"]]
        heights = [float(r.attributes["height"] or "") for r in row.all("rect", class_="column")]
        expected = [20 * p / highest for p in forecast["probabilities"]]
        assert heights == pytest.approx(expected, abs=0.06)


def test_every_class_is_drawn_and_written_for_an_instrument(page: Element) -> None:
    section = next(page.all("section", id="instrument-1"))
    charts = list(section.all("svg", class_="classes"))
    assert len(charts) == 2
    assert [len(list(chart.all("rect", class_="column"))) for chart in charts] == [1, 10]
    (aapl,) = class_forecasts(["quantile_class"], ["AAPL"])
    tables = [t for t in section.all("table") if "Cumulative" in t.text()]
    assert values(tables[0])[::2] == aapl["probabilities"]
    assert "AAPL, probability of each tenth of the next return" in charts[1].text()
    notes = section.text()
    assert "imply a mean return of +0.04 %; 80 % interval −2.08 % to +2.17 %" in notes
    assert "which held 79.7 % of the outcomes scored" in notes
    assert "early-stopping log loss 2.241 after 2.262 at its start" in notes


def test_topics_that_agree_share_a_sentence(page: Element) -> None:
    lede = next(page.all("p", class_="lede")).text()
    assert "60 forecasts for 5 instruments" in lede
    assert "For returns and direction the baseline stands everywhere." in lede
    assert "For deciles the LSTM is published for 2 of 5 instruments." in lede
    assert "On daily returns and direction expect the baseline" in page.text()


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        (("combination", "climatology"), "the combination is published for 1 of 2 instruments."),
        (("lstm", "combination"), "the LSTM or the combination is published everywhere."),
        (("lstm", "lstm"), "the LSTM is published everywhere."),
    ],
)
def test_a_combination_is_not_called_the_lstm(methods: tuple[str, str], sentence: str) -> None:
    rows = class_forecasts(["quantile_class"], ["AAPL", "IBM"])
    forecasts = {
        (row["instrument"], row["target"], row["kind"]): ({**row, "method": method},)
        for row, method in zip(rows, methods, strict=True)
    }
    assert _earned(forecasts) == f"For deciles {sentence}"


def test_ids_are_unique_with_two_kinds_of_one_target(page: Element) -> None:
    tags = ("section", "h2", "h3", "title", "desc")
    ids = [e.attributes["id"] for tag in tags for e in page.all(tag) if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[\w-]+", name or "") for name in ids)


WORDS = {
    "many_to_many": ("Price fan", "Volatility fan", "Mean squared error", "Cumulative log return"),
    "direction": ("Rose before", "AUC", "Rise"),
    "quantile_class": ("Climatology", "Lowest tenth", "Deciles"),
}


@pytest.mark.parametrize("kind", EVERY)
def test_a_night_of_one_kind_shows_nothing_of_the_others(tmp_path: Path, kind: str) -> None:
    store = night(tmp_path, [kind])
    root = tree(store)
    text = root.text()
    for word in WORDS[kind]:
        assert word in text
    for other in set(EVERY) - {kind}:
        for word in WORDS[other]:
            assert word not in text, word
    forecasts = next(root.all("section", id="forecasts"))
    assert len(list(forecasts.all("table"))) == (2 if kind == "many_to_many" else 1)
    for tag in ("figure", "tbody", "dl", "figcaption", "h2", "h3"):
        assert all(element.children for element in root.all(tag))
    assert len(list(root.all("figure"))) == (10 if kind == "many_to_many" else 5)
    picture = run_picture(view_run(store)).decode()
    assert picture.count('class="name"') == (10 if kind == "many_to_many" else 5)


def test_leads_that_count_from_an_older_session_are_marked(tmp_path: Path) -> None:
    old = {"IBM": {"cutoff": date(2013, 2, 27), "target_session": date(2013, 2, 28)}}
    root = tree(night(tmp_path, change=old))
    for slug in ("log_return", "log_volatility", "direction", "quantile_class"):
        rows = summary(root, slug)
        for name, row in rows.items():
            told = ["from Wed 27 Feb"] if name == "IBM" else []
            assert [mark.text() for mark in row.all("span", class_="since")] == told
    # The head is of the others, whose bars are of the run's session.
    text = next(root.all("section", id="forecasts")).text()
    assert "Lead 1, Mon 4 Mar" in text
    assert "Next session, Mon 4 Mar" in text
    assert "its newest bar is of that day" in root.text()
    assert "its newest bar is of that day" not in tree(night(tmp_path / "fresh")).text()


def test_what_is_not_forecast_is_one_line_per_instrument_and_reason(tmp_path: Path) -> None:
    store = night(tmp_path)
    view = view_run(store)
    lost = {key: rows for key, rows in view.forecasts.items() if key[0] != "FB"}
    keys = (key for key in view.forecasts if key[0] == "FB")
    missing = tuple(Missing(*key, "too short") for key in keys)
    page = render_report(replace(view, forecasts=lost, missing=missing), store_url="s")
    forecasts = next(Tree(page).root.all("section", id="forecasts"))
    (row,) = next(list(forecasts.all("table"))[-1].all("tbody")).all("tr")
    assert row.text() == "FBReturn, Volatility, Direction, Decilestoo short"
