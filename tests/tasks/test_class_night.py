"""A night with all three kinds of network: what each leaves in every dataset, also alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lstm_models.fleet_config import KINDS, Kind
from tasks.class_forecasts import BASELINES
from tasks.decisions import PUBLISHED, decide_and_score
from tasks.features import Floats
from tasks.forecast import forecast_shard
from tasks.gate import Decision, decide
from tasks.methods import fit_beside
from tasks.publish import PARQUET, publish_latest
from tasks.train import train_shard
from tasks.walkforward import Subject, fit_fleet, predict_fold, subject
from tests.lstm_models.slow_intervals import slow_half_widths
from tests.tasks.class_markets import EVERY, ILL, UNIVERSE, class_bars, with_kinds
from tests.tasks.markets import (
    ANT,
    BEE,
    HORIZON,
    REFIT,
    ROWS,
    SETTINGS,
    Night,
    Prices,
    bars_table,
    copy_of,
    forecast_rows,
    payload,
    request_for,
    row_counts,
    series_of,
    store_with,
)

CLASS_KINDS: tuple[Kind, ...] = ("direction", "quantile_class")
DEFAULT = {"direction": "frequencies", "quantile_class": "climatology"}
CLASSES = {"direction": 2, "quantile_class": 10}
TRAINED = {"ANT": ANT, "BEE": BEE, "ILL": ILL}
DATASETS = ("models", "statistics", "scores", "forecasts")
EACH_KIND = pytest.mark.parametrize("kind", CLASS_KINDS)

Row = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A finished night of all kinds; never written to: copy its store."""
    store = store_with(tmp_path_factory.mktemp("night"), *class_bars())
    request = request_for(store, *UNIVERSE, settings=EVERY)
    trained = train_shard(request)
    decisions = decide_and_score(store, trained.models, request)
    forecast = forecast_shard(request, trained.models, decisions)
    return Night(store, request, trained, decisions, forecast)


def rows_of(night: Night, dataset: str, kind: str, *instruments: str) -> list[Row]:
    rows = payload(night.store.read(dataset, instruments=instruments or None))
    return [row for row in rows if row["kind"] == kind]


def test_every_kind_has_rows_in_every_dataset(whole: Night) -> None:
    for dataset in DATASETS:
        kinds = {row["kind"] for row in whole.store.read(dataset).to_pylist()}
        assert kinds == set(KINDS), dataset
    assert {(d.kind, d.target) for d in whole.decisions} == set(EVERY.forecasts)


def test_each_kind_has_a_fleet_and_a_file_of_its_own(whole: Night) -> None:
    files = {
        kind: {row["checkpoint"] for row in rows_of(whole, "models", kind)} - {None}
        for kind in KINDS
    }
    assert [len(of_kind) for of_kind in files.values()] == [1, 1, 1]
    assert len(set().union(*files.values())) == 3


@EACH_KIND
def test_a_class_kind_forecasts_the_next_session_and_all_its_classes(
    kind: Kind, whole: Night
) -> None:
    rows = rows_of(whole, "forecasts", kind)
    assert {row["instrument"] for row in rows} == (
        set(UNIVERSE) if kind == "direction" else set(UNIVERSE) - {"OCT"}
    )
    for row in rows:
        assert (row["target"], row["lead"], row["volatility"]) == ("log_return", 1, None)
        assert len(row["probabilities"]) == CLASSES[kind] == len(row["edges"]) + 1
        assert sum(row["probabilities"]) == pytest.approx(1.0, abs=1e-6)
        assert min(row["probabilities"]) > 0.0
        assert np.all(np.diff(row["edges"]) > 0.0)
        assert row["lower"] < row["mean"] < row["upper"]
        if kind == "direction":
            assert row["edges"] == [0.0]
            assert row["probability_up"] == row["probabilities"][1]
        else:
            assert row["probability_up"] is None


def test_a_forecast_of_means_has_no_classes(whole: Night) -> None:
    for row in rows_of(whole, "forecasts", "many_to_many"):
        assert row["probability_up"] is row["probabilities"] is row["edges"] is None
    for row in rows_of(whole, "scores", "many_to_many"):
        for name in ("log_loss", "brier", "accuracy", "auc", "rps"):
            assert row[name] is None


@EACH_KIND
def test_what_was_known_by_the_gate_alone_is_published(kind: Kind, whole: Night) -> None:
    decided = {d.instrument: d for d in whole.decisions if d.kind == kind}
    assert set(decided) == set(TRAINED) | ({"OCT"} if kind == "direction" else set())
    for row in rows_of(whole, "forecasts", kind, *decided):
        assert row["method"] == decided[row["instrument"]].method
        assert row["reason"] == decided[row["instrument"]].reason


def test_the_statistics_in_the_store_give_the_gates_decisions(whole: Night) -> None:
    statistics = whole.store.read("statistics")
    rule = SETTINGS.evaluation.gate_rule
    assert decide(statistics, rule, horizon=HORIZON) == whole.decisions


def outside(kind: Kind, name: str) -> Subject:
    """An instrument on its bars up to the refit, made without a store."""
    prices = TRAINED[name].head(ROWS - 2)
    return subject(series_of(prices, name, last=REFIT), "log_return", EVERY, kind)


def class_of(value: float, edges: Sequence[float]) -> int:
    return sum(value > edge for edge in edges)


def slow_scores(chances: Floats, returns: Floats, edges: Sequence[float]) -> dict[str, float]:
    """Every score of a class kind, pair by pair."""
    sums = dict.fromkeys(("log_loss", "brier", "accuracy", "rps"), 0.0)
    classes = len(edges) + 1
    for p, value in zip(chances, returns, strict=True):
        came = class_of(value, edges)
        sums["log_loss"] -= np.log(p[came])
        squares = [(p[k] - (k == came)) ** 2 for k in range(classes)]
        sums["brier"] += squares[1] if classes == 2 else sum(squares)
        sums["accuracy"] += max(range(classes), key=lambda k: (p[k], -k)) == came
        sums["rps"] += np.mean([(sum(p[: k + 1]) - (came <= k)) ** 2 for k in range(classes - 1)])
    return {name: total / len(returns) for name, total in sums.items()}


@EACH_KIND
@pytest.mark.parametrize("name", ["ANT", "ILL"])
def test_scores_and_statistics_equal_a_loop_over_predictions_made_outside_the_store(
    name: str, kind: Kind, whole: Night
) -> None:
    one = outside(kind, name)
    fleet = fit_fleet([one], EVERY)
    stored = {
        (row["fold"], row["segment"], row["method"]): row
        for row in rows_of(whole, "scores", kind, name)
        if row["method"] != PUBLISHED
    }
    losses = {
        (row["fold"], row["segment"], row["method"], row["cutoff"]): row["loss"]
        for row in rows_of(whole, "statistics", kind, name)
    }
    assert {key[0] for key in stored} == {0, 1, 2}
    for fold in one.folds:
        for segment, (first, stop) in (("gate", fold.gate), ("test", fold.test)):
            if first == stop:
                continue
            (lstm,) = predict_fold(fleet, [one.member(fold)], [one], [(first, stop)])
            predicted = fit_beside(one, fold).predict(one, lstm, first)
            assert {"lstm", "combination", "frequencies"} <= set(predicted.probabilities)
            assert set(predicted.probabilities) <= {"lstm", "combination", *BASELINES[kind]}
            returns = one.targets[first:stop, 0]
            known = np.isfinite(returns)
            edges = one.edges[fold.index]
            for method, chances in predicted.probabilities.items():
                row = stored[fold.index, segment, method]
                expected = slow_scores(chances[known], returns[known], edges)
                means = predicted.means[method][known, 0]
                expected["mse"] = float(np.mean((means - returns[known]) ** 2))
                if kind == "direction":
                    del expected["rps"]
                for score, value in expected.items():
                    assert row[score] == pytest.approx(value, rel=1e-9), (method, score)
                assert row["count"] == known.sum()
                assert row["baseline"] == DEFAULT[kind]
                own = stored[fold.index, segment, DEFAULT[kind]]["log_loss"]
                if method == DEFAULT[kind]:
                    assert row["skill"] is None
                else:
                    assert row["skill"] == pytest.approx(1 - row["log_loss"] / own, abs=1e-12)
            three = {"lstm", "combination", DEFAULT[kind]}
            for method in predicted.probabilities if segment == "test" else three:
                for place in np.flatnonzero(known):
                    cutoff = one.series.sessions[first + place].item()
                    chance = predicted.probabilities[method][place]
                    loss = -np.log(chance[class_of(returns[place], edges)])
                    assert losses.pop((fold.index, segment, method, cutoff)) == pytest.approx(loss)
    assert losses == {}


@pytest.mark.parametrize("method", ["lstm", "combination", "frequencies"])
@EACH_KIND
def test_a_forecast_is_what_its_method_says_from_the_files_of_the_night(
    kind: Kind, method: str, whole: Night, tmp_path: Path
) -> None:
    one, fold = outside(kind, "ANT"), outside(kind, "ANT").folds[0]
    fleet = fit_fleet([one], EVERY)
    tonight = subject(series_of(ANT), "log_return", EVERY, kind)
    first = fold.calibrate[0]
    (lstm,) = predict_fold(fleet, [one.member(fold)], [tonight], [(first, ROWS)])
    predicted = fit_beside(one, fold).predict(tonight, lstm, first)

    store = copy_of(whole.store, tmp_path)
    request = request_for(store, "ANT", settings=EVERY, config_hash="another config")
    chosen = Decision("ANT", "log_return", kind, method, "-", f"because {method}", 1.0, 0.1, "lstm")
    forecast_shard(request, whole.trained.models, [chosen])
    (row,) = (
        row
        for row in forecast_rows(store, "ANT")
        if row["config_hash"] == "another config" and row["kind"] == kind
    )
    assert (row["method"], row["reason"]) == (method, f"because {method}")
    assert row["probabilities"] == predicted.probabilities[method][-1].tolist()
    assert row["edges"] == list(one.edges[0])
    used = one.targets[fold.fit[0] : fold.early_stop[1], 0]
    means = [
        np.mean([value for value in used if class_of(value, row["edges"]) == place])
        for place in range(CLASSES[kind])
    ]
    assert row["mean"] == pytest.approx(np.dot(means, row["probabilities"]), rel=1e-9)
    errors = tonight.targets[first:-1, 0] - predicted.means[method][:-1, 0]
    sizes = dict(enumerate((np.abs(errors) / tonight.scale[first:-1]).tolist(), start=first))
    widths = slow_half_widths(sizes, range(first, ROWS), 1, EVERY.evaluation.level)
    half = widths[ROWS - 1] * tonight.scale[-1]
    assert row["upper"] - row["mean"] == pytest.approx(half, rel=1e-9)


def test_an_illiquid_instrument_has_no_empty_class(whole: Night) -> None:
    one = outside("quantile_class", "ILL")
    assert np.mean(one.series.log_return[1:] == 0.0) > 0.5
    for fold in one.folds:
        held = one.targets[slice(*fold.fit), 0]
        counts = np.bincount([class_of(value, one.edges[fold.index]) for value in held])
        assert len(counts) == 10
        assert counts.min() >= 1
    statuses = {m.kind: m.status for m in whole.trained.models if m.instrument == "ILL"}
    assert set(statuses.values()) == {"trained"}


def test_eight_returns_make_no_ten_classes_and_this_is_said(whole: Night) -> None:
    (model,) = rows_of(whole, "models", "quantile_class", "OCT")
    why = "its first 210 known returns have 8 distinct values, 10 classes need as many"
    assert (model["status"], model["reason"]) == ("not_trained", why)
    (missing,) = whole.forecast.not_forecast
    assert (missing.instrument, missing.kind) == ("OCT", "quantile_class")
    assert "8 distinct values, 10 classes need as many" in missing.reason
    assert [row["status"] for row in rows_of(whole, "models", "direction", "OCT")] == ["trained"]


def test_a_price_that_only_falls_has_no_direction_to_learn_but_a_forecast(tmp_path: Path) -> None:
    falling = np.exp(-np.cumsum(np.random.default_rng(1).uniform(0.001, 0.01, ROWS)))
    store = store_with(tmp_path, bars_table("ANT", Prices(*[falling] * 4).close_only()))
    request = request_for(store, "ANT", settings=with_kinds("direction"))
    (model,) = train_shard(request).models
    assert model.status == "not_trained"
    assert model.reason == "its first 210 known returns hold no rise to learn from"
    result = forecast_shard(request, [model], ())
    assert result.not_forecast == ()
    (row,) = forecast_rows(store)
    assert row["method"] == "frequencies"
    assert row["reason"].startswith("baseline frequencies: its first ")
    assert 0.0 < row["probability_up"] < 0.01


@EACH_KIND
def test_a_young_instrument_gets_a_baselines_probabilities(kind: Kind, whole: Night) -> None:
    (row,) = rows_of(whole, "forecasts", kind, "FLY")
    assert row["method"] == DEFAULT[kind]
    assert row["reason"] == f"baseline {DEFAULT[kind]}: 200 sessions of history, the LSTM needs 387"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_alone_gives_the_same_rows_as_beside_others(
    kind: Kind, whole: Night, tmp_path: Path
) -> None:
    store = store_with(tmp_path, *class_bars())
    names = ("ANT", "ILL", "OCT")
    request = request_for(store, *names, settings=with_kinds(kind))
    models = train_shard(request).models
    forecast_shard(request, models, whole.decisions)
    alone = Night(store, request, whole.trained, whole.decisions, whole.forecast)
    for dataset in DATASETS:
        together = [
            {name: value for name, value in row.items() if name != "checkpoint"}
            for row in rows_of(whole, dataset, kind, *names)
            if row.get("method") != PUBLISHED
        ]
        found = payload(store.read(dataset))
        assert [{n: v for n, v in row.items() if n != "checkpoint"} for row in found] == together
        assert rows_of(alone, dataset, kind) == found


def test_the_night_again_adds_nothing(whole: Night, tmp_path: Path) -> None:
    store = copy_of(whole.store, tmp_path)
    request = request_for(store, *UNIVERSE, settings=EVERY, run_id="another run")
    before = row_counts(store)
    again = train_shard(request)
    assert (again.trained, again.models) == (0, whole.trained.models)
    assert decide_and_score(store, again.models, request) == whole.decisions
    assert forecast_shard(request, again.models, whole.decisions).written == 0
    assert row_counts(store) == before


def test_all_kinds_are_in_the_latest_files(whole: Night, tmp_path: Path) -> None:
    store = copy_of(whole.store, tmp_path)
    publish_latest(store, store.read("forecasts"))
    assert store.local_path is not None
    rows = pq.read_table(store.local_path / PARQUET).to_pylist()
    assert {row["kind"] for row in rows} == set(KINDS)
    assert rows == store.read("forecasts").to_pylist()


def test_progress_counts_the_networks_of_all_fleets(tmp_path: Path) -> None:
    store = store_with(tmp_path, *class_bars())
    told: list[tuple[str, int, int]] = []
    request = request_for(store, "ANT", settings=with_kinds(*CLASS_KINDS))
    train_shard(request, lambda *step: told.append(step))
    for step, total in (("train", 12), ("score", 6)):
        counted = [(done, of) for name, done, of in told if name == step]
        assert counted == [(done, total) for done in range(1, total + 1)]
