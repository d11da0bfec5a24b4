"""Edges of folds and the methods of a class kind, apart from any night."""

from typing import Any

import numpy as np
import pytest

from lstm_models.fleet_config import Kind
from tasks.class_forecasts import (
    BASELINES,
    FittedClasses,
    class_edges,
    edges_of_folds,
    losses,
    scores,
    with_networks,
)
from tasks.evaluate import Evaluated, score_rows, statistics_rows
from tasks.features import Floats
from tasks.folds import Fold
from tasks.kinds import default_baseline, fallbacks, leads, primary_score
from tasks.methods import fit_beside, restore_beside
from tasks.walkforward import subject
from tests.tasks.markets import SETTINGS, garch, series_of

CLASS_KINDS: tuple[Kind, ...] = ("direction", "quantile_class")
EACH_KIND = pytest.mark.parametrize("kind", CLASS_KINDS)


def fold(index: int, *fit: int) -> Fold:
    first, stop = fit
    after = (stop, stop)
    return Fold(index, (first, stop), after, after, after, after)


def returns(rows: int = 200, seed: int = 0) -> Floats:
    drawn: Floats = np.random.default_rng(seed).normal(0.0, 0.01, rows)
    return drawn


def test_edges_come_from_the_fit_rows_of_their_own_fold() -> None:
    drawn = returns()
    folds = (fold(0, 5, 150), fold(1, 5, 100))
    edges, reason = edges_of_folds("quantile_class", drawn, folds)
    assert reason is None
    assert edges == tuple(class_edges("quantile_class", drawn[5:stop]) for stop in (150, 100))
    later = np.where(np.arange(200) < 150, drawn, 7.0)
    assert edges_of_folds("quantile_class", later, folds)[0] == edges


def test_folds_older_than_one_that_can_not_fill_its_classes_are_left_out() -> None:
    drawn = returns()
    drawn[:100] = np.tile([0.0, 0.01], 50)
    folds = (fold(0, 0, 200), fold(1, 0, 150), fold(2, 0, 101), fold(3, 0, 60))
    edges, reason = edges_of_folds("quantile_class", drawn, folds)
    assert (len(edges), reason) == (2, None)
    edges, reason = edges_of_folds("quantile_class", drawn, folds[2:])
    assert edges == ()
    assert reason == ("its first 101 known returns have 3 distinct values, 10 classes need as many")


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (-np.abs(returns()), "its first 200 known returns hold no rise to learn from"),
        (np.zeros(20), "its first 20 known returns hold no rise to learn from"),
        (np.abs(returns()), "hold nothing but rises to learn from"),
        (np.full(30, np.nan), "in its first 30 sessions no bar has one of the next session"),
    ],
)
def test_a_direction_needs_both_of_its_classes(drawn: Floats, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        class_edges("direction", drawn)


def test_what_a_kind_is_measured_by() -> None:
    assert default_baseline("many_to_many", "log_volatility") == "harx_market"
    assert default_baseline("direction", "log_return") == "frequencies"
    assert default_baseline("quantile_class", "log_return") == "climatology"
    assert [leads(kind, 7) for kind in ("many_to_many", *CLASS_KINDS)] == [7, 1, 1]
    assert [primary_score(kind) for kind in ("many_to_many", *CLASS_KINDS)] == [
        "mse",
        "log_loss",
        "log_loss",
    ]
    for kind in CLASS_KINDS:
        assert fallbacks(kind, "log_return")[0] == default_baseline(kind, "log_return")
        assert set(fallbacks(kind, "log_return")) <= set(BASELINES[kind])


def test_the_combination_is_the_mean_of_the_network_and_the_default_baseline() -> None:
    rise = np.array([[0.25], [0.75]])
    frequencies = np.array([[0.5, 0.5], [0.5, 0.5]])
    found = with_networks("direction", rise, {"frequencies": frequencies, "logit": frequencies})
    np.testing.assert_array_equal(found["lstm"], [[0.75, 0.25], [0.25, 0.75]])
    np.testing.assert_array_equal(found["combination"], [[0.625, 0.375], [0.375, 0.625]])
    assert "combination" not in with_networks("direction", rise, {"logit": frequencies})


def evaluated(kind: Kind) -> Evaluated:
    """The newest test fold, with noise in place of a network."""
    one = subject(series_of(garch(1)), "log_return", SETTINGS, kind)
    chosen = one.folds[1]
    first, stop = chosen.gate[0], chosen.test[1]
    random = np.random.default_rng(5)
    classes = 2 if kind == "direction" else 10
    noise = random.dirichlet(np.ones(classes), stop - first)
    lstm = noise[:, 1:] if kind == "direction" else noise
    found = fit_beside(one, chosen).predict(one, lstm, first)
    return Evaluated(one, chosen, first, found.means, "model", found.probabilities, found.edges)


@EACH_KIND
def test_all_methods_of_a_class_kind_are_scored_on_the_same_pairs(kind: Kind) -> None:
    done = evaluated(kind)
    rows = score_rows(done)
    assert {row["method"] for row in rows} == set(done.methods)
    for segment in ("gate", "test"):
        pairs = {
            (row["count"], row["first_cutoff"], row["last_cutoff"], row["lead"], row["baseline"])
            for row in rows
            if row["segment"] == segment
        }
        assert len(pairs) == 1
    statistics = statistics_rows(done).to_pylist()
    assert {row["kind"] for row in statistics} == {kind}
    assert {row["method"] for row in statistics if row["segment"] == "test"} == set(done.methods)
    assert {row["difference"] for row in statistics} == {None}


@EACH_KIND
def test_a_missing_probability_is_an_error_and_never_a_pair_without_one(kind: Kind) -> None:
    done = evaluated(kind)
    row = done.fold.test[0] - done.first + 3
    done.probabilities["lstm"][row] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        score_rows(done)


def test_an_unknown_return_has_no_loss() -> None:
    chances = np.full((3, 2), 0.5)
    found = losses(chances, np.array([0.1, np.nan, -0.1]), np.array([0.0]))
    np.testing.assert_allclose(found, [np.log(2), np.nan, np.log(2)])
    means = scores("direction", chances, np.array([0.1, np.nan, -0.1]), np.array([0.0]))
    assert means["log_loss"] == pytest.approx([np.log(2)])
    assert set(means) == {"log_loss", "brier", "accuracy", "auc", "rises", "called_rises"}


@EACH_KIND
def test_what_stands_beside_a_network_comes_back_from_a_checkpoint_bit_for_bit(kind: Kind) -> None:
    one = subject(series_of(garch(1, 1200)), "log_return", SETTINGS, kind)
    chosen = one.folds[0]
    beside = fit_beside(one, chosen)
    back = restore_beside(kind, beside.tensors(), beside.rows())
    lstm = np.full((50, 1 if kind == "direction" else 10), 0.1)
    expected = beside.predict(one, lstm, 900)
    found = back.predict(one, lstm, 900)
    assert set(found.probabilities) == {"lstm", "combination", *BASELINES[kind]}
    for name, chances in expected.probabilities.items():
        assert found.probabilities[name].tobytes() == chances.tobytes()
        assert found.means[name].tobytes() == expected.means[name].tobytes()
    assert found.edges.tobytes() == expected.edges.tobytes()


def test_class_means_are_those_of_the_rows_that_the_network_has_used() -> None:
    one = subject(series_of(garch(1)), "log_return", SETTINGS, "direction")
    chosen = one.folds[0]
    used = one.targets[chosen.fit[0] : chosen.early_stop[1], 0]
    fitted: Any = fit_beside(one, chosen)
    assert isinstance(fitted.fitted, FittedClasses)
    np.testing.assert_allclose(fitted.fitted.means, [used[used <= 0].mean(), used[used > 0].mean()])


def test_a_direction_has_the_shares_that_a_test_of_its_calls_needs() -> None:
    rise = np.array([0.6, 0.7, 0.5, 0.2, 0.9])
    returns = np.array([0.1, -0.1, 0.2, 0.0, np.nan])
    found = scores("direction", np.column_stack([1 - rise, rise]), returns, np.array([0.0]))
    assert found["rises"] == pytest.approx([2 / 4])
    assert found["called_rises"] == pytest.approx([2 / 4])  # a half is no call of a rise
    assert found["accuracy"] == pytest.approx([2 / 4])
    deciles = scores("quantile_class", np.full((5, 10), 0.1), returns, np.linspace(-1, 1, 9))
    assert not {"rises", "called_rises"} & set(deciles)
