"""Where the page lies, that it is the same each time, and what it says of unusual nights."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.publish import publish_latest
from tasks.report.page import LATEST, render_report, run_picture, write_report
from tasks.report.run_view import view_run
from tasks.store import Store
from tests.tasks.example_store import (
    AS_OF,
    CONFIG_HASH,
    NOW,
    RUN_ID,
    example_store,
    forecast_rows,
    rows_table,
    run_row,
)
from tests.tasks.report.page_tree import Element, Tree


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return example_store(tmp_path_factory.mktemp("report") / "store")


def tree(store: Store) -> Element:
    return Tree(render_report(view_run(store), store_url=store.url)).root


def test_the_same_store_gives_the_same_bytes(store: Store) -> None:
    first = render_report(view_run(store), store_url=store.url)
    assert render_report(view_run(Store.open(store.url)), store_url=store.url) == first
    assert run_picture(view_run(store)) == run_picture(view_run(Store.open(store.url)))


def test_the_page_lies_where_it_is_looked_for(tmp_path: Path) -> None:
    store = example_store(tmp_path)
    path = write_report(store, view_run(store, RUN_ID))
    assert path == str(tmp_path / LATEST)
    kept = store.read_file(f"reports/2013-03-01-{CONFIG_HASH[:8]}.html")
    assert kept == store.read_file(LATEST)


@pytest.mark.parametrize("days", [-1, 3], ids=["backfill", "caught up late"])
def test_an_older_session_does_not_take_the_latest_page(tmp_path: Path, days: int) -> None:
    store = example_store(tmp_path)
    publish_latest(store, rows_table("forecasts", [r | {"known_at": NOW} for r in forecast_rows()]))
    write_report(store, view_run(store))
    latest = store.read_file(LATEST)
    past = run_row(
        run_id="past",
        run_key="past",
        session=AS_OF.date() - timedelta(days=1),
        as_of=AS_OF + timedelta(days=days),
        origin="backfill" if days < 0 else "live",
        made_at=NOW + timedelta(hours=1),
        table_versions=json.dumps(store.versions()),
    )
    store.commit_facts("runs", rows_table("runs", [past]), now=NOW)
    assert view_run(store).run["run_id"] == RUN_ID
    path = write_report(store, view_run(store, "past"))
    assert path == str(tmp_path / f"reports/2013-02-28-{CONFIG_HASH[:8]}.html")
    assert "This run forecast nothing." in Path(path).read_text()
    assert store.read_file(LATEST) == latest


def test_the_picture_shows_each_instrument_twice(store: Store) -> None:
    root = ET.fromstring(run_picture(view_run(store)))  # noqa: S314
    names = [e.text for e in root.iter() if e.get("class") == "name"]
    assert names[:2] == ["AAPL, closing price", "AAPL, daily volatility, annualised"]
    assert len(names) == 10


def test_many_rows_of_one_rule_are_counted_and_sampled(tmp_path: Path) -> None:
    store = example_store(tmp_path)
    rows = [
        {
            "quarantine_id": f"many-{i}",
            "source": "bokeh",
            "instrument": "AAPL",
            "rule": "nonpositive_price",
            "reason": f"close {-i} is not positive",
            "row": "{}",
            "op": "hold",
        }
        for i in range(40)
    ]
    store.commit_facts("quarantine", rows_table("quarantine", rows), now=NOW)
    data = next(tree(store).all("section", id="data")).text()
    assert "nonpositive_price, 40 rows, of which the first 3" in data
    assert data.count("is not positive") == 3
    assert data.index("nonpositive_price") < data.index("high_below_low")


def test_many_instruments_are_all_summarised_and_some_drawn(tmp_path: Path) -> None:
    store = example_store(tmp_path)
    template = [row for row in forecast_rows(["IBM"]) if row["target"] == "log_return"]
    more = [
        row | {"instrument": f"X{i:03}", "forecast_id": f"x-{i}-{row['lead']}", "model_id": None}
        for i in range(70)
        for row in template
    ]
    store.append_once("forecasts", rows_table("forecasts", more), now=NOW)
    root = tree(store)
    forecasts = next(root.all("section", id="forecasts"))
    returns = next(forecasts.all("table"))
    assert len(list(next(returns.all("tbody")).all("tr"))) == 75
    assert len(list(root.all("figure"))) == 10  # the others have no bars
    assert "the first 60 instruments by name. The 15 others" in root.text()


def test_the_second_run_says_what_came_since_the_first(tmp_path: Path) -> None:
    store = example_store(tmp_path)
    second = run_row(
        run_id="second",
        run_key="second",
        made_at=NOW + timedelta(hours=1),
        table_versions=json.dumps(store.versions()),
    )
    store.commit_facts("runs", rows_table("runs", [second]), now=NOW)
    data = next(tree(store).all("section", id="data")).text()
    assert "Since the run before this one: 0 new, 0 changed." in data


def test_a_night_of_baselines_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    rows = [row | {"method": "zero"} for row in forecast_rows()]
    store.append_once("forecasts", rows_table("forecasts", rows), now=NOW)
    store.commit_facts("runs", rows_table("runs", [run_row()]), now=NOW)
    root = tree(store)
    assert "A baseline stands for all of them." in next(root.all("p", class_="lede")).text()
    assert list(root.all("figure")) == []  # no bar is known, and still there is a page
