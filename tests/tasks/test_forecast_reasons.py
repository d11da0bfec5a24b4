"""Every reason to publish a baseline, or nothing: a clear answer, and never an exception."""

from pathlib import Path

import numpy as np
import pytest

from tasks.forecast import ForecastResult, NotForecast, forecast_shard
from tasks.settings import TargetsConfig
from tasks.store import Store
from tasks.walkforward import subject
from tests.lstm_models.slow_intervals import slow_half_widths
from tests.tasks.markets import (
    CAT,
    HORIZON,
    REFIT,
    ROWS,
    SETTINGS,
    Night,
    Prices,
    bars_table,
    copy_of,
    forecast_rows,
    forecasts_of,
    garch,
    request_for,
    series_of,
    store_with,
    train_and_forecast,
)

TARGETS = SETTINGS.targets.names
LEVEL = SETTINGS.evaluation.level


def reason_of(result: ForecastResult, instrument: str, target: str) -> str:
    (found,) = (m for m in result.not_forecast if (m.instrument, m.target) == (instrument, target))
    return found.reason


def test_a_young_instrument_gets_a_baseline_and_its_reason(night: Night) -> None:
    rows = forecast_rows(night.store)
    for target, method in (("log_return", "zero"), ("log_volatility", "har")):
        found = forecasts_of(rows, "FLY", target)
        assert len(found) == HORIZON
        for row in found:
            assert row["method"] == method
            why = "200 sessions of history, the LSTM needs 387"
            assert row["reason"] == f"baseline {method}: {why}"


def test_a_fallback_is_fitted_before_the_errors_that_make_its_interval(night: Night) -> None:
    one = subject(series_of(garch(5, 200), "FLY"), "log_volatility", SETTINGS)
    first = 200 - HORIZON - 60
    known = np.arange(200) < first - HORIZON
    known &= np.isfinite(one.inputs[:, 5:8]).all(axis=1)
    design = np.column_stack([one.inputs[:, 5:8], np.ones(200)])
    slopes, *_ = np.linalg.lstsq(design[known], one.targets[known], rcond=None)
    means = design @ slopes
    for row in forecasts_of(forecast_rows(night.store), "FLY", "log_volatility"):
        lead = row["lead"]
        assert row["mean"] == pytest.approx(means[-1, lead - 1], rel=1e-6)
        past = np.arange(first, 200 - lead)
        errors = np.abs(one.targets[past, lead - 1] - means[past, lead - 1])
        sizes = dict(zip(past.tolist(), errors.tolist(), strict=True))
        half = slow_half_widths(sizes, range(first, 200), lead, LEVEL)[199]
        assert row["upper"] - row["mean"] == pytest.approx(half, rel=1e-6)


def test_an_instrument_that_no_model_is_due_for_yet_gets_a_baseline(
    night: Night, tmp_path: Path
) -> None:
    store = copy_of(night.store, tmp_path)
    request = request_for(store, "ANT", config_hash="another config")
    forecast_shard(request, (), night.decisions)
    rows = [row for row in forecast_rows(store, "ANT") if row["config_hash"] == "another config"]
    assert {row["reason"] for row in forecasts_of(rows, "ANT", "log_return")} == {
        "baseline zero: no model of it is due yet"
    }
    assert {row["method"] for row in forecasts_of(rows, "ANT", "log_volatility")} == {"harx_market"}
    assert {row["model_id"] for row in rows} == {None}


def test_without_a_decision_the_default_baseline_is_published(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path)
    request = request_for(store, "ANT", config_hash="another config")
    forecast_shard(request, night.trained.models, ())
    rows = [row for row in forecast_rows(store, "ANT") if row["config_hash"] == "another config"]
    for target, method in (("log_return", "zero"), ("log_volatility", "harx_market")):
        for row in forecasts_of(rows, "ANT", target):
            assert row["method"] == method
            assert row["reason"] == f"baseline {method}: the gate had nothing to judge by"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("instrument", "reason"),
    [
        (
            "GNU",
            "40 sessions of history, the LSTM needs 387; even a baseline's interval needs more "
            "than 60 matured sessions, there are 37",
        ),
        ("HEN", f"its price never moved in {ROWS} sessions"),
        (
            "JAY",
            "1 session of history, the LSTM needs 387; even a baseline's interval needs more than "
            "60 matured sessions, there are 0",
        ),
        (
            "PIG",
            "stale: its bars ended, the last bar is of 2024-05-07, 30 sessions before 2024-06-20. "
            "Was it delisted or renamed? Its history is kept; to name it no more, leave it out of "
            "the universe",
        ),
        ("YAK", "no bars known by 2024-06-20 21:00 UTC"),
    ],
)
def test_what_cannot_be_forecast_says_why(
    instrument: str, reason: str, target: str, night: Night
) -> None:
    assert NotForecast(instrument, target, reason) in night.forecast.not_forecast


def test_an_instrument_without_whole_horizons_is_not_forecast(night: Night) -> None:
    assert reason_of(night.forecast, "EMU", "log_return") == (
        "no interval: 0 past errors have matured, 50 are needed at level 0.8"
    )
    assert "no baseline could be fitted" in reason_of(night.forecast, "EMU", "log_volatility")


def test_a_stale_forecast_says_so_and_counts_from_its_own_newest_bar(night: Night) -> None:
    assert night.forecast.stale == ("OWL",)
    rows = forecasts_of(forecast_rows(night.store), "OWL", "log_return")
    for row in rows:
        assert row["reason"].endswith("(stale: its newest bar is 2 sessions old)")
        assert row["cutoff"] == REFIT
    assert [row["target_session"].day for row in rows] == [18, 20, 21]
    fresh = [row for row in forecast_rows(night.store) if row["instrument"] != "OWL"]
    assert all("stale" not in row["reason"] for row in fresh)


@pytest.mark.parametrize(("allowed", "forecast"), [(1, False), (2, True)])
def test_staleness_is_allowed_up_to_its_limit(
    allowed: int, forecast: bool, night: Night, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(
        update={"targets": TargetsConfig(horizon=HORIZON, max_stale=allowed)}
    )
    store = copy_of(night.store, tmp_path)
    request = request_for(store, "OWL", settings=settings, config_hash="another config")
    result = forecast_shard(request, night.trained.models, night.decisions)
    assert bool(result.written) == forecast
    assert result.stale == (("OWL",) if forecast else ())


def test_a_level_that_needs_more_errors_than_there_are_gives_no_forecast(
    night: Night, tmp_path: Path
) -> None:
    evaluation = SETTINGS.evaluation.model_copy(update={"levels": (0.99,)})
    settings = SETTINGS.model_copy(update={"evaluation": evaluation})
    request = request_for(copy_of(night.store, tmp_path), "ANT", "FLY", settings=settings)
    result = forecast_shard(request, night.trained.models, night.decisions)
    assert result.written == 0
    assert "62 past errors have matured, 99 are needed at level 0.99" in reason_of(
        result, "ANT", "log_return"
    )
    assert "60 past errors have matured, 99 are needed" in reason_of(result, "FLY", "log_return")


@pytest.mark.parametrize("prices", [CAT, CAT.head(1)], ids=["whole", "one row"])
def test_one_instrument_alone_is_a_universe(prices: Prices, tmp_path: Path) -> None:
    store = store_with(tmp_path, bars_table("CAT", prices))
    _, result = train_and_forecast(request_for(store, "CAT"))
    expected = len(TARGETS) * HORIZON if len(prices) == ROWS else 0
    assert result.written == expected
    assert len(result.not_forecast) == (0 if expected else len(TARGETS))


def test_a_store_without_a_bar_gives_reasons_and_no_exception(tmp_path: Path) -> None:
    _, result = train_and_forecast(request_for(Store.open(tmp_path), "ANT", "YAK"))
    assert (result.written, result.forecast_ids) == (0, ())
    assert {m.reason for m in result.not_forecast} == {"no bars known by 2024-06-20 21:00 UTC"}
    assert len(result.not_forecast) == 4


def test_a_price_that_woke_up_late_gets_a_baseline(tmp_path: Path) -> None:
    asleep = np.full(ROWS - 150, 100.0)
    columns = (np.concatenate([asleep, column]) for column in vars(garch(5, 150)).values())
    store = store_with(tmp_path, bars_table("ANT", Prices(*columns)))
    train_and_forecast(request_for(store, "ANT"))
    rows = forecasts_of(forecast_rows(store), "ANT", "log_return")
    assert len(rows) == HORIZON
    assert rows[0]["reason"] == "baseline zero: its price never moved in its first 120 sessions"
