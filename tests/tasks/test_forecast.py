"""Tonight's forecasts: what a row says, and what may change a bit of it."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.forecast import forecast_shard
from tasks.gate import Decision
from tasks.kinds import default_baseline
from tasks.store import Store
from tasks.walkforward import (
    Subject,
    all_methods,
    fit_baselines,
    fit_fleet,
    predict_fold,
    subject,
)
from tests.lstm_models.slow_intervals import slow_half_widths
from tests.tasks.markets import (
    ANT,
    HORIZON,
    LAG,
    NOW,
    REFIT,
    ROWS,
    SETTINGS,
    TONIGHT,
    UNIVERSE,
    Night,
    Prices,
    action_row,
    bars_table,
    copy_of,
    exchange,
    forecast_rows,
    forecasts_of,
    model_of,
    request_for,
    series_of,
    train_and_forecast,
)

TARGETS = SETTINGS.targets.names
LEVEL = SETTINGS.evaluation.level
LATE = timedelta(microseconds=1)
AS_OF = exchange().close(TONIGHT) + LAG

Row = dict[str, Any]


@pytest.fixture
def fresh(facts: Store, tmp_path: Path) -> Store:
    """The bars of the universe, nothing trained and nothing forecast."""
    return copy_of(facts, tmp_path / "store")


def decision(target: str, method: str, instrument: str = "ANT") -> Decision:
    return Decision(
        instrument, target, "many_to_many", method, "zero", f"because {method}", 1.0, 0.1, "lstm"
    )


def test_every_instrument_and_target_is_forecast_or_has_a_reason(night: Night) -> None:
    rows = forecast_rows(night.store)
    made = {(row["instrument"], row["target"]) for row in rows}
    missing = {(m.instrument, m.target) for m in night.forecast.not_forecast}
    assert not made & missing
    assert made | missing == {(name, target) for name in UNIVERSE for target in TARGETS}
    assert {name for name, _ in made} == {"ANT", "BEE", "CAT", "FLY", "OWL"}
    assert len(rows) == len(made) * HORIZON == night.forecast.written
    assert {row["forecast_id"] for row in rows} == set(night.forecast.forecast_ids)


def test_a_forecast_is_for_the_sessions_that_follow_its_cutoff(night: Night) -> None:
    for row in forecast_rows(night.store):
        assert row["as_of"] == AS_OF
        assert row["target_session"] == exchange().offset(row["cutoff"], row["lead"])
        if row["instrument"] != "OWL":
            assert row["cutoff"] == TONIGHT < row["target_session"]
    (friday, monday, tuesday) = forecasts_of(forecast_rows(night.store), "ANT", "log_return")
    assert friday["target_session"] == date(2024, 6, 21)
    assert monday["target_session"] == date(2024, 6, 24)
    assert tuesday["target_session"] == date(2024, 6, 25)


def test_an_interval_holds_its_mean(night: Night) -> None:
    for row in forecast_rows(night.store):
        assert row["lower"] < row["mean"] < row["upper"]
        assert row["level"] == LEVEL


def test_only_a_forecast_of_volatility_implies_one(night: Night) -> None:
    for row in forecast_rows(night.store):
        assert (row["volatility"] is None) == (row["target"] == "log_return")
    for row in forecasts_of(forecast_rows(night.store), "ANT", "log_volatility"):
        assert 0.003 < row["volatility"] < 0.05


def tonights(target: str) -> tuple[Subject, Subject]:
    """ANT on its bars up to the refit, and on all of tonight's."""
    refit = subject(series_of(ANT.head(ROWS - 2), last=REFIT), target, SETTINGS)
    return refit, subject(series_of(ANT), target, SETTINGS)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["lstm", "combination", "drift", "har"])
def test_a_forecast_is_what_its_method_says_with_errors_since_calibration(
    method: str, target: str, night: Night, tmp_path: Path
) -> None:
    """Against a fleet fitted outside the store, and a loop over the errors that had matured."""
    if method == {"log_return": "har", "log_volatility": "drift"}[target]:
        return
    refit, tonight = tonights(target)
    fold, last = refit.folds[0], ROWS - 1
    first = fold.calibrate[0]
    fleet = fit_fleet([replace(refit, folds=(fold,))], SETTINGS)
    (lstm,) = predict_fold(fleet, [refit.member(fold)], [tonight], [(first, ROWS)])
    means = all_methods(tonight, lstm, first, fit_baselines(refit, fold))[method]

    store = copy_of(night.store, tmp_path)
    request = request_for(store, "ANT", config_hash="another config")
    forecast_shard(request, night.trained.models, [decision(target, method)])
    rows = [row for row in forecast_rows(store, "ANT") if row["config_hash"] == "another config"]
    for row in forecasts_of(rows, "ANT", target):
        lead = row["lead"]
        assert (row["method"], row["reason"]) == (method, f"because {method}")
        assert row["mean"] == means[-1, lead - 1]
        errors = [
            float(tonight.targets[past, lead - 1] - means[past - first, lead - 1])
            for past in range(first, last - lead + 1)
        ]
        sizes = {
            first + past: abs(error) / tonight.scale[first + past]
            for past, error in enumerate(errors)
        }
        assert [one["level"] for one in row["intervals"]] == list(SETTINGS.evaluation.levels)
        assert (row["lower"], row["upper"], row["level"]) == (
            row["intervals"][0]["lower"],
            row["intervals"][0]["upper"],
            LEVEL,
        )
        narrower = 0.0
        for one in row["intervals"]:
            widths = slow_half_widths(sizes, range(first, ROWS), lead, one["level"])
            half = widths[last] * tonight.scale[last]
            assert one["upper"] - row["mean"] == pytest.approx(half, rel=1e-9)
            assert row["mean"] - one["lower"] == pytest.approx(half, rel=1e-9)
            assert half > narrower
            narrower = half
        if target == "log_volatility":
            smearing = sum(np.exp(error) for error in errors) / len(errors)
            variance = np.exp(row["mean"]) * smearing - tonight.epsilon
            assert row["volatility"] == pytest.approx(np.sqrt(variance), rel=1e-12)


def test_what_is_published_is_what_the_gate_decided(night: Night) -> None:
    decided = {(d.instrument, d.target): d for d in night.decisions}
    for row in forecast_rows(night.store):
        found = decided.get((row["instrument"], row["target"]))
        if found is not None:
            assert row["method"] == found.method
            assert row["reason"].startswith(found.reason)
            model = model_of(night.trained.models, row["instrument"], row["target"])
            assert row["model_id"] == model.model_id


def test_forecasting_twice_adds_no_row(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path)
    request = request_for(store, *UNIVERSE, run_id="another run")
    again = forecast_shard(request, night.trained.models, night.decisions)
    assert again.written == 0
    assert again.forecast_ids == night.forecast.forecast_ids
    assert again.not_forecast == night.forecast.not_forecast
    assert store.history("forecasts").num_rows == night.forecast.written


def test_a_run_killed_while_it_writes_is_completed_by_the_next(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copy_of(night.store, tmp_path)
    request = request_for(store, *UNIVERSE, config_hash="another config")
    write = Store.append_once

    def dying(store: Store, dataset: str, rows: pa.Table, **more: Any) -> int:  # noqa: ANN401
        write(store, dataset, rows.slice(0, 7), **more)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "append_once", dying)
        with pytest.raises(RuntimeError, match="killed"):
            forecast_shard(request, night.trained.models, night.decisions)
    rest = forecast_shard(request, night.trained.models, night.decisions)
    assert rest.written == night.forecast.written - 7
    rows = [row for row in forecast_rows(store) if row["config_hash"] == "another config"]
    for row, other in zip(rows, forecast_rows(night.store), strict=True):
        without = {"forecast_id", "config_hash"}
        assert all(row[name] == other[name] for name in row.keys() - without)


@pytest.mark.parametrize("names", [("ANT",), ("BEE", "FLY")])
def test_an_instruments_forecasts_do_not_depend_on_its_company(
    names: tuple[str, ...], night: Night, fresh: Store
) -> None:
    train_and_forecast(request_for(fresh, *names), night.decisions)
    assert forecast_rows(fresh) == forecast_rows(night.store, *names)


def add_the_future(store: Store) -> None:
    """Facts that became known after tonight's as_of: bars, a correction and actions."""
    late = AS_OF + LATE
    wild = ANT.corrupted(0)
    upcoming = bars_table("ANT", wild, last=exchange().offset(TONIGHT, 7), rows=slice(-7, None))
    store.commit_facts("bars", upcoming, now=NOW)
    store.commit_facts(
        "bars", bars_table("ANT", wild, rows=slice(300, 400), known_at=late), now=late
    )
    actions = [
        action_row("ANT", TONIGHT, "split", 3.0, late),
        action_row("ANT", exchange().offset(TONIGHT, 1), "split", 3.0, AS_OF),
    ]
    store.commit_facts("actions", pa.Table.from_pylist(actions), now=NOW)


def test_what_became_known_after_as_of_changes_no_bit_of_a_forecast(
    night: Night, fresh: Store
) -> None:
    add_the_future(fresh)
    train_and_forecast(request_for(fresh, "ANT"), night.decisions)
    assert forecast_rows(fresh) == forecast_rows(night.store, "ANT")


def test_a_run_that_starts_late_still_forecasts_from_its_own_session(
    night: Night, tmp_path: Path
) -> None:
    store = copy_of(night.store, tmp_path)
    tomorrow = exchange().offset(TONIGHT, 1)
    bars = bars_table("ANT", ANT.corrupted(0), last=tomorrow, rows=slice(-1, None))
    store.commit_facts("bars", bars, now=NOW)
    late = replace(request_for(store, "ANT"), as_of=exchange().close(tomorrow) + LAG)
    forecast_shard(late, night.trained.models, night.decisions)
    rows = [row for row in forecast_rows(store, "ANT") if row["as_of"] == late.as_of]
    for row, other in zip(rows, forecast_rows(night.store, "ANT"), strict=True):
        without = {"forecast_id", "as_of"}
        assert all(row[name] == other[name] for name in row.keys() - without)


def correct_yesterdays_bar(store: Store) -> None:
    """Another close within the range, known from `AS_OF` on: after the refit."""
    corrected = replace(ANT, close=ANT.close.copy())
    corrected.close[-2] = (ANT.high[-2] + ANT.low[-2]) / 2
    bar = bars_table("ANT", corrected, rows=slice(-2, -1), known_at=AS_OF)
    assert store.commit_facts("bars", bar, now=AS_OF).known_at == AS_OF


def test_a_correction_known_by_as_of_changes_forecasts_but_not_the_model(
    night: Night, fresh: Store
) -> None:
    correct_yesterdays_bar(fresh)
    both = [decision(target, "lstm") for target in TARGETS]
    train_and_forecast(request_for(fresh, "ANT"), both)
    rows = forecast_rows(fresh)
    honest = forecast_rows(night.store, "ANT")
    assert {row["model_id"] for row in rows} == {row["model_id"] for row in honest}
    assert not {row["forecast_id"] for row in rows} & {row["forecast_id"] for row in honest}
    width = [forecasts_of(found, "ANT", "log_return")[0]["upper"] for found in (rows, honest)]
    assert width[0] != width[1]


def test_the_next_night_uses_the_same_model_for_new_forecasts(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path)
    tomorrow = exchange().offset(TONIGHT, 1)
    more = Prices(*(np.append(column, column[-1] * 1.01) for column in vars(ANT).values()))
    bars = bars_table("ANT", more, last=tomorrow, rows=slice(-1, None))
    store.commit_facts("bars", bars, now=NOW)
    request = request_for(store, "ANT", session=tomorrow)
    trained, result = train_and_forecast(request, night.decisions)
    assert trained.trained == 0
    assert result.written == len(TARGETS) * HORIZON
    rows = [row for row in forecast_rows(store, "ANT") if row["cutoff"] == tomorrow]
    before = forecast_rows(night.store, "ANT")
    assert {row["as_of"] for row in rows} == {request.as_of}
    assert {row["model_id"] for row in rows} == {row["model_id"] for row in before}
    for target in TARGETS:
        pairs = zip(
            forecasts_of(rows, "ANT", target), forecasts_of(before, "ANT", target), strict=True
        )
        for row, old in pairs:
            assert row["target_session"] == exchange().offset(old["target_session"], 1)
            assert row["upper"] != old["upper"]


def test_an_id_holds_knowledge_configuration_and_data_but_not_the_run(
    night: Night, tmp_path: Path
) -> None:
    store = copy_of(night.store, tmp_path)
    request = request_for(store, "ANT")

    def ids(**changes: Any) -> set[str]:  # noqa: ANN401
        changed = replace(request, **changes)
        result = forecast_shard(changed, night.trained.models, night.decisions)
        return set(result.forecast_ids)

    mine = ids()
    assert len(mine) == len(TARGETS) * HORIZON
    assert ids(run_id="another", origin="backfill") == mine
    assert not ids(config_hash="another") & mine
    assert not ids(as_of=AS_OF + LATE) & mine
    correct_yesterdays_bar(store)
    assert not ids() & mine


@pytest.mark.parametrize("target", TARGETS)
def test_a_forecast_says_what_stood_beside_it_whatever_was_published(
    target: str, night: Night, tmp_path: Path
) -> None:
    store = copy_of(night.store, tmp_path)
    default = default_baseline("many_to_many", target)
    by_method = {}
    for method in ("lstm", default):
        request = request_for(store, "ANT", config_hash=f"published {method}")
        forecast_shard(request, night.trained.models, [decision(target, method)])
        rows = [row for row in forecast_rows(store, "ANT") if row["config_hash"].endswith(method)]
        by_method[method] = forecasts_of(rows, "ANT", target)
    for one, other in zip(*by_method.values(), strict=True):
        assert one["mean"] == one["lstm_mean"] == other["lstm_mean"]
        assert other["mean"] == other["baseline_mean"] == one["baseline_mean"]
        assert one["baseline"] == other["baseline"] == default
        (_, tonight) = tonights(target)
        assert one["epsilon"] == (tonight.epsilon if target == "log_volatility" else None)


def test_an_instrument_without_a_network_has_none_beside_its_forecast(night: Night) -> None:
    rows = forecast_rows(night.store, "FLY")
    assert rows
    for row in rows:
        assert row["lstm_mean"] is None
        default = default_baseline("many_to_many", row["target"])
        assert row["baseline"] == default
        assert row["baseline_mean"] == (row["mean"] if row["method"] == default else None)


def test_progress_counts_the_forecasts(night: Night, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    request = request_for(copy_of(night.store, tmp_path), "ANT", "BEE")
    forecast_shard(request, night.trained.models, night.decisions, lambda *step: told.append(step))
    assert told == [("forecast", done, 4) for done in range(1, 5)]


def test_recent_coverage_is_that_of_the_intervals_that_would_have_been_given(night: Night) -> None:
    rows = forecast_rows(night.store)
    for target in TARGETS:
        of = [row for row in rows if row["target"] == target]
        assert all(row["drift"] in (True, False) for row in of)
        assert all(0.0 <= row["recent_coverage"] <= 1.0 for row in of)
        # One answer for a forecast, whatever the lead.
        answers = {(row["instrument"], row["recent_coverage"], row["drift"]) for row in of}
        assert len(answers) == len({row["instrument"] for row in of})
