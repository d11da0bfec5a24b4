"""The default night, as `make nightly` runs it: real bars, real training, and the same again."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tasks.due import data_fingerprint
from tasks.history import load_series
from tasks.market import market_sample
from tasks.sessions import CalendarConfig, Calendars
from tasks.sources.config import SourceConfig
from tasks.store import Store
from tests.flows.test_run_night import nightly

TRAINED = ("AAPL", "GOOG", "IBM", "MSFT")
STAMPS = ["run_id", "made_at", "known_at"]
DERIVED = (
    "bars",
    "actions",
    "quarantine",
    "models",
    "statistics",
    "scores",
    "comparisons",
    "forecasts",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("default")


@pytest.fixture(scope="module")
def first(folder: Path) -> dict[str, Any]:
    answer, _ = nightly(folder)
    return answer


@pytest.fixture(scope="module")
def store(first: dict[str, Any], folder: Path) -> Store:
    assert first["trained"] == 8
    return Store.open(folder / "store", create=False)


def of(table: pa.Table, **equal: object) -> pa.Table:
    for column, value in equal.items():
        table = table.filter(pc.equal(table[column], value))
    return table


def test_every_instrument_is_forecast_for_the_next_sessions(
    first: dict[str, Any], store: Store
) -> None:
    assert (first["session"], first["partial"]) == ("2013-03-01", False)
    forecasts = store.read("forecasts")
    for name in (*TRAINED, "FB"):
        for target in ("log_return", "log_volatility"):
            rows = of(forecasts, instrument=name, target=target)
            assert rows["lead"].to_pylist() == [1, 2, 3, 4, 5]
            assert rows["target_session"].to_pylist() == [date(2013, 3, d) for d in range(4, 9)]
            assert pc.all(pc.less(rows["lower"], rows["mean"])).as_py()
            assert pc.all(pc.less(rows["mean"], rows["upper"])).as_py()


def test_the_instrument_with_too_little_history_gets_a_baseline_and_is_told_why(
    store: Store,
) -> None:
    rows = of(store.read("forecasts"), instrument="FB")
    assert set(zip(*(rows[c].to_pylist() for c in ("target", "method")), strict=True)) == {
        ("log_return", "zero"),
        ("log_volatility", "har"),
    }
    assert all("196 sessions of history, the LSTM needs" in r for r in rows["reason"].to_pylist())
    models = of(store.read("models"), instrument="FB")
    assert set(models["status"].to_pylist()) == {"not_trained"}


def test_the_lstm_is_trained_and_scored_beside_every_baseline_on_the_same_pairs(
    store: Store,
) -> None:
    models, scores = store.read("models"), store.read("scores")
    family = {
        "log_return": {"zero", "drift", "ar"},
        "log_volatility": {"ewma", "har", "harx", "harx_long", "harx_market"},
    }
    for name in TRAINED:
        for target, baselines in family.items():
            (model,) = of(models, instrument=name, target=target).to_pylist()
            assert model["status"] == "trained"
            assert model["early_stop_mse"] <= model["initial_early_stop_mse"]
            tested = of(scores, instrument=name, target=target, segment="test", lead=1)
            methods = set(tested["method"].to_pylist())
            assert methods == baselines | {"lstm", "combination", "published"}
            for fold in set(tested["fold"].to_pylist()):
                assert len(set(of(tested, fold=fold)["count"].to_pylist())) == 1
            published = of(tested, method="published")
            assert set(published["fold"].to_pylist()) == set(tested["fold"].to_pylist())


def test_every_model_has_read_the_market_of_all_five(store: Store) -> None:
    everyone = (*TRAINED, "FB")
    (refit,) = set(store.read("models")["refit_session"].to_pylist())
    calendars = Calendars.load(CalendarConfig())
    known = calendars.default.close(refit) + SourceConfig().lag
    series = load_series(
        store,
        everyone,
        calendars,
        as_of=known,
        last=refit,
        market=market_sample(everyone, calendars),
    )
    alone = load_series(store, everyone, calendars, as_of=known, last=refit)
    for row in of(store.read("models"), status="trained").to_pylist():
        assert row["data_fingerprint"] == data_fingerprint(series[row["instrument"]])
        assert row["data_fingerprint"] != data_fingerprint(alone[row["instrument"]])


def test_intervals_cover_about_what_they_promise(store: Store) -> None:
    scores = of(store.read("scores"), segment="test", method="published")
    pairs = scores["count"].to_numpy()
    coverage = float((scores["coverage"].to_numpy() * pairs).sum() / pairs.sum())
    assert 0.76 <= coverage <= 0.84


def test_the_same_night_again_changes_no_forecast_and_adds_no_row(
    first: dict[str, Any], store: Store, folder: Path
) -> None:
    rows = {name: store.history(name).num_rows for name in DERIVED}
    latest = pq.read_table(folder / "store/latest/forecasts.parquet")
    page = (folder / "store/latest/report.html").read_text()
    again, _ = nightly(folder)
    assert again["rows"] == first["rows"]
    assert {name: store.history(name).num_rows for name in DERIVED} == rows
    assert pq.read_table(folder / "store/latest/forecasts.parquet").equals(latest)
    for name in (*TRAINED, "FB"):
        assert name in page


def test_the_day_before_knows_nothing_of_the_day_after(store: Store, folder: Path) -> None:
    later = store.read("forecasts").drop_columns(STAMPS)
    answer, _ = nightly(folder, as_of="2013-02-28")
    assert {row["cutoff"] for row in answer["rows"]} == {"2013-02-28"}
    assert answer["trained"] == 0, "the models of the last refit serve both nights"
    both = store.read("forecasts").drop_columns(STAMPS)
    as_of = later["as_of"][0]
    assert both.filter(pc.equal(both["as_of"], as_of)).equals(later)
    assert both.num_rows == 2 * later.num_rows
