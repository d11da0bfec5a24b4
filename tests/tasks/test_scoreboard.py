"""Scores pooled over folds against a direct computation over all their pairs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scoreboard import pool, scoreboard
from tasks.store import Store
from tasks.train import derived_table
from tests.tasks.markets import NOW, Night, copy_of, request_for

Row = dict[str, Any]
CELL = ("instrument", "target", "segment", "method", "lead")


def score(
    errors: Sequence[float],
    *,
    method: str = "lstm",
    fold: int = 1,
    instrument: str = "ANT",
    segment: str = "test",
    made_at: datetime = NOW,
    **more: object,
) -> Row:
    """A row of `scores` over these errors."""
    row: Row = {
        "score_id": f"{instrument} {segment} {method} {fold} {made_at}",
        "evaluation_id": f"model of {instrument}",
        "instrument": instrument,
        "target": "log_return",
        "kind": "many_to_many",
        "lead": 1,
        "method": method,
        "fold": fold,
        "segment": segment,
        "first_cutoff": date(2024, 1, 31) - timedelta(days=fold),
        "last_cutoff": date(2024, 3, 31) - timedelta(days=fold),
        "count": len(errors),
        "mse": float(np.mean(np.square(errors))),
        "baseline": "zero",
        "skill": 0.123 if method != "zero" else None,
        "qlike": None,
        "coverage": None,
        "interval_score": None,
        "level": 0.8,
        "log_loss": None,
        "brier": None,
        "accuracy": None,
        "auc": None,
        "rps": None,
        "rises": None,
        "called_rises": None,
        "config_hash": "config",
        "made_at": made_at,
    }
    return row | more


errors_of_folds = st.lists(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=20), min_size=1, max_size=5
)


@given(errors_of_folds, st.randoms(use_true_random=False))
def test_pooled_scores_equal_a_direct_computation(folds: list[list[float]], random: Any) -> None:  # noqa: ANN401
    rows = []
    for fold, errors in enumerate(folds):
        halves = [error / 2 for error in errors]
        rows += [score(errors, fold=fold), score(halves, method="zero", fold=fold)]
    random.shuffle(rows)
    lstm, zero = pool(rows)
    every = [error for errors in folds for error in errors]
    assert (lstm["method"], zero["method"]) == ("lstm", "zero")
    assert lstm["count"] == zero["count"] == len(every)
    assert lstm["folds"] == len(folds)
    assert lstm["mse"] == pytest.approx(np.mean(np.square(every)), rel=1e-12)
    assert lstm["skill"] == pytest.approx(1 - 4, rel=1e-9)
    assert zero["skill"] is None


def test_skill_comes_from_pooled_errors_and_is_no_mean_of_skills() -> None:
    rows = [
        score([1.0], fold=1),
        score([2.0], method="zero", fold=1),
        score([10.0], fold=2),
        score([10.0], method="zero", fold=2),
    ]
    (lstm, _) = pool(rows)
    assert lstm["skill"] == pytest.approx(1 - 101 / 104)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=5))
def test_means_are_weighted_by_their_pairs(folds: list[tuple[int, float]]) -> None:
    names = ("coverage", "interval_score", "qlike")
    rows = [
        {**score([1.0] * count, fold=fold), **dict.fromkeys(names, value)}
        for fold, (count, value) in enumerate(folds)
    ]
    (pooled,) = pool(rows)
    total = sum(count for count, _ in folds)
    for name in names:
        expected = sum(count * value for count, value in folds) / total
        assert pooled[name] == pytest.approx(expected, rel=1e-12)


def test_a_fold_without_a_figure_is_left_out_of_its_mean_only() -> None:
    rows = [score([1.0] * 10, fold=1, coverage=0.5), score([3.0] * 30, fold=2)]
    (pooled,) = pool(rows)
    assert pooled["coverage"] == 0.5
    assert pooled["qlike"] is None
    assert pooled["mse"] == pytest.approx((10 * 1 + 30 * 9) / 40)


def test_a_row_that_stands_twice_counts_once_and_the_newer_one() -> None:
    later = NOW + timedelta(hours=1)
    older, newer = score([1.0, 1.0]), score([3.0, 3.0], made_at=later)
    for rows in ([older, newer], [newer, older]):
        (pooled,) = pool(rows)
        assert (pooled["count"], pooled["mse"], pooled["folds"]) == (2, 9.0, 1)


def test_a_span_reaches_from_the_first_cutoff_to_the_last() -> None:
    (pooled,) = pool([score([1.0], fold=1), score([1.0], fold=2)])
    assert pooled["first_cutoff"] == date(2024, 1, 29)
    assert pooled["last_cutoff"] == date(2024, 3, 30)


def test_without_its_baseline_a_score_has_no_skill() -> None:
    (pooled,) = pool([score([1.0])])
    assert pooled["skill"] is None


def test_cells_never_mix() -> None:
    rows = [
        score([1.0]),
        score([2.0], instrument="BEE"),
        score([3.0], segment="gate"),
        score([4.0], method="drift"),
        score([5.0], target="log_volatility"),
        score([6.0], lead=2),
    ]
    pooled = pool(rows)
    assert {tuple(row[name] for name in CELL): row["mse"] for row in pooled} == {
        tuple(row[name] for name in CELL): row["mse"] for row in rows
    }
    assert pooled == sorted(pooled, key=lambda row: tuple(row[name] for name in CELL))


def test_of_nothing_comes_nothing() -> None:
    assert pool([]) == []


def store_of(place: Path, *rows: Row, config_hash: str = "config") -> Store:
    store = Store.open(place)
    request = request_for(store, "ANT", config_hash=config_hash)
    store.append_once("scores", derived_table("scores", list(rows), request), now=NOW)
    return store


def test_the_board_shows_tests_and_the_gate_where_there_is_no_test(tmp_path: Path) -> None:
    store = store_of(
        tmp_path,
        score([1.0]),
        score([9.0], segment="gate"),
        score([2.0], segment="gate", fold=0, instrument="BEE"),
    )
    shown = scoreboard(store, ["model of ANT", "model of BEE"], "config")
    assert [(row["instrument"], row["segment"], row["mse"]) for row in shown] == [
        ("ANT", "test", 1.0),
        ("BEE", "gate", 4.0),
    ]


def test_the_board_shows_the_evaluations_asked_for_and_no_others(tmp_path: Path) -> None:
    store = store_of(tmp_path, score([1.0]), score([2.0], instrument="BEE"))
    shown = scoreboard(store, ["model of BEE"], "config")
    assert [row["instrument"] for row in shown] == ["BEE"]
    assert scoreboard(store, [], "config") == []


def test_published_belongs_to_a_configuration_and_the_rest_to_all(tmp_path: Path) -> None:
    rows = [score([1.0], method="published"), score([2.0])]
    store = store_of(tmp_path, *rows)
    other = score([3.0], method="published", config_hash="another config", score_id="other")
    request = replace(request_for(store, "ANT"), config_hash="another config")
    store.append_once("scores", derived_table("scores", [other], request), now=NOW)
    for config_hash, mse in (("config", 1.0), ("another config", 9.0)):
        shown = scoreboard(store, ["model of ANT"], config_hash)
        assert {row["method"]: row["mse"] for row in shown} == {"lstm": 4.0, "published": mse}
    (lstm,) = scoreboard(store, ["model of ANT"], "a third")
    assert lstm["method"] == "lstm"


def test_the_board_of_a_night_pools_its_folds(night: Night, tmp_path: Path) -> None:
    ids = [model.model_id for model in night.trained.models]
    shown = scoreboard(copy_of(night.store, tmp_path), ids, "config")
    rows = [row for row in night.store.read("scores").to_pylist() if row["segment"] == "test"]
    assert {row["instrument"] for row in shown} == {"ANT", "BEE", "CAT", "EMU", "OWL", "PIG"}
    for row in shown:
        cell = tuple(row[name] for name in CELL)
        group = [one for one in rows if tuple(one[name] for name in CELL) == cell]
        assert row["folds"] == len(group) == 2
        total = sum(one["count"] for one in group)
        assert row["count"] == total
        expected = sum(one["count"] * one["mse"] for one in group) / total
        assert row["mse"] == pytest.approx(expected, rel=1e-12)


def test_skill_of_a_class_kind_is_of_its_log_loss() -> None:
    of_classes: dict[str, Any] = {"kind": "direction", "baseline": "frequencies"}
    rows = [
        score([2.0] * count, method=method, fold=fold, log_loss=loss, auc=0.5, **of_classes)
        for method, fold, count, loss in (
            ("lstm", 1, 10, 0.6),
            ("lstm", 2, 30, 0.8),
            ("frequencies", 1, 10, 0.7),
            ("frequencies", 2, 30, 0.7),
        )
    ]
    frequencies, lstm = pool(rows)
    assert lstm["log_loss"] == pytest.approx(0.75)
    assert lstm["skill"] == pytest.approx(1 - 0.75 / 0.7)
    assert (lstm["auc"], lstm["brier"], lstm["mse"]) == (0.5, None, 4.0)
    assert frequencies["skill"] is None


def test_a_kind_without_a_test_is_shown_by_its_gate_beside_one_that_has_one(tmp_path: Path) -> None:
    rows = [
        score([1.0]),
        score([2.0], segment="gate"),
        score([3.0], segment="gate", kind="direction", score_id="another"),
    ]
    shown = scoreboard(store_of(tmp_path, *rows), ["model of ANT"], "config")
    assert [(row["kind"], row["segment"], row["mse"]) for row in shown] == [
        ("direction", "gate", 9.0),
        ("many_to_many", "test", 1.0),
    ]


def test_no_scores_pool_to_none() -> None:
    assert pool([]) == []
