"""A night on data that nothing can be learnt from: a clear answer each, and never a NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lstm_models.fleet_config import KINDS
from tasks.decisions import decide_and_score
from tasks.forecast import ForecastResult, forecast_shard
from tasks.gate import Decision
from tasks.schemas import DATASETS
from tasks.store import Store
from tasks.train import Model, train_shard
from tests.tasks.class_markets import with_kinds
from tests.tasks.markets import SETTINGS, Prices, bars_table, garch, request_for, store_with

ROLLING = with_kinds(
    *KINDS,
    settings=SETTINGS.model_copy(
        update={"evaluation": SETTINGS.evaluation.model_copy(update={"fit_sessions": 130})}
    ),
)
"""With windows that roll, a fit segment can stand still although its price once moved."""


def still(seed: int, first: int, stop: int) -> Prices:
    """Prices that do not move from row `first` up to `stop`."""
    true = garch(seed)
    columns = (true.open.copy(), true.high.copy(), true.low.copy(), true.close.copy())
    for column in columns:
        column[first:stop] = true.close[first]
    return Prices(*columns)


MARKET = {
    "ANT": garch(1),
    "FIT": still(21, 200, 345),
    "FITC": still(22, 200, 345).close_only(),
    "GATE": still(25, 290, 480).close_only(),
    "TEST": still(23, 430, 480),
    "TESTC": still(24, 395, 480).close_only(),
}
"""Fold 0 is fitted on rows 206 to 335 and fold 1 on 166 to 295; fold 1 is tested on 438 to 477."""


@dataclass(frozen=True)
class BadNight:
    store: Store
    models: tuple[Model, ...]
    decisions: tuple[Decision, ...]
    forecast: ForecastResult


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> BadNight:
    store = store_with(
        tmp_path_factory.mktemp("bad"),
        *(bars_table(name, prices) for name, prices in MARKET.items()),
        bars_table("EMU", garch(4), step=2),
        bars_table("FLY", garch(5, 200)),
        bars_table("JAY", garch(7, 1)),
    )
    request = request_for(store, *MARKET, "EMU", "FLY", "JAY", "YAK", settings=ROLLING)
    models = train_shard(request).models
    decisions = decide_and_score(store, models, request)
    return BadNight(store, models, decisions, forecast_shard(request, models, decisions))


def numbers(value: object) -> Iterator[float]:
    """Every float in a cell, however deep it lies."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)


DERIVED = [name for name, dataset in DATASETS.items() if not dataset.fact and name != "runs"]


@pytest.mark.parametrize("dataset", DERIVED)
def test_no_row_holds_a_number_that_is_none(night: BadNight, dataset: str) -> None:
    rows = night.store.read(dataset).to_pylist()
    broken = [
        (row.get("instrument"), row.get("kind"), row.get("target"), row.get("method"), column)
        for row in rows
        for column, cell in row.items()
        if not all(math.isfinite(number) for number in numbers(cell))
    ]
    assert broken == []
    assert rows or dataset not in ("statistics", "scores", "models", "forecasts", "comparisons")


def test_every_instrument_has_a_forecast_of_everything_or_a_reason(night: BadNight) -> None:
    rows = night.store.read("forecasts").to_pylist()
    told = {(row["instrument"], row["kind"], row["target"]) for row in rows}
    told |= {(one.instrument, one.kind, one.target) for one in night.forecast.not_forecast}
    wanted = {
        (name, *forecast)
        for name in (*MARKET, "EMU", "FLY", "JAY", "YAK")
        for forecast in ROLLING.forecasts
    }
    assert told == wanted
    assert all(row["reason"] for row in rows if row["method"] not in ("lstm", "combination"))
    assert all(one.reason for one in night.forecast.not_forecast)


def reasons(night: BadNight, name: str) -> dict[tuple[str, str], str | None]:
    return {(m.kind, m.target): m.reason for m in night.models if m.instrument == name}


def test_fewer_sessions_than_a_fold_needs(night: BadNight) -> None:
    assert set(reasons(night, "FLY").values()) == {"198 sessions of history, the LSTM needs 387"}
    assert {m.status for m in night.models if m.instrument == "FLY"} == {"not_trained"}
    assert not {"FLY", "JAY", "YAK"} & {d.instrument for d in night.decisions}


def test_classes_of_a_fit_segment_that_stands_still(night: BadNight) -> None:
    for name in ("FIT", "FITC"):
        told = reasons(night, name)
        assert told["direction", "log_return"] == (
            "its first 130 known returns hold no rise to learn from"
        )
        assert told["quantile_class", "log_return"] == (
            "its first 130 known returns have 1 distinct values, 10 classes need as many"
        )


def test_means_of_a_fit_segment_that_stands_still(night: BadNight) -> None:
    """The network has learnt that nothing happens, and its forecasts stay numbers."""
    for name in ("FIT", "FITC"):
        scores = night.store.read("scores", instruments=[name]).to_pylist()
        mine = [row for row in scores if row["method"] == "lstm" and row["fold"] == 0]
        assert {row["target"] for row in mine} == {"log_return", "log_volatility"}
        assert all(math.isfinite(row["mse"]) for row in mine)


def test_a_test_that_stands_still_has_a_perfect_baseline_and_no_skill(night: BadNight) -> None:
    """No forecast can beat one without an error, and by how much it is worse has no scale."""
    scores = night.store.read("scores", instruments=["TEST", "TESTC"]).to_pylist()
    newest = [
        row
        for row in scores
        if (row["target"], row["kind"], row["segment"]) == ("log_return", "many_to_many", "test")
        and row["fold"] == 1
    ]
    assert {row["instrument"] for row in newest} == {"TEST", "TESTC"}
    assert {row["mse"] for row in newest if row["method"] == "zero"} == {0.0}
    assert {row["skill"] for row in newest} == {None}


def test_a_gate_that_stands_still_keeps_the_baseline_and_says_why(night: BadNight) -> None:
    (decided,) = (
        d
        for d in night.decisions
        if (d.instrument, d.kind, d.target) == ("GATE", "many_to_many", "log_return")
    )
    assert decided.method == "zero"
    assert "it made no error on" in (decided.reason or "")


def test_without_a_baseline_there_is_nothing_to_be_better_than(night: BadNight) -> None:
    """EMU trades every second session, so no mean variance of its next sessions is ever known."""
    told = reasons(night, "EMU")
    assert told["many_to_many", "log_volatility"] == (
        "2 of 2 seeds diverged; their best weights are used"
    )
    rows: list[dict[str, Any]] = night.store.read("scores", instruments=["EMU"]).to_pylist()
    assert "log_volatility" not in {row["target"] for row in rows}
    statistics = night.store.read("statistics", instruments=["EMU"]).to_pylist()
    assert "log_volatility" not in {row["target"] for row in statistics}
    assert not any(
        d.method in ("lstm", "combination") for d in night.decisions if d.instrument == "EMU"
    )
    missing = {
        (m.kind, m.target): m.reason for m in night.forecast.not_forecast if m.instrument == "EMU"
    }
    assert missing["many_to_many", "log_volatility"]
    assert np.isfinite([row["mse"] for row in rows]).all()
