"""Statistics of class forecasts against slow loops, closed forms and scipy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from lstm_models.class_scores import auc, brier, correct, log_loss, ranked_probability_score
from lstm_models.scores import ScoreState

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], Floats]
STATISTICS: tuple[Statistic, ...] = (log_loss, brier, ranked_probability_score, correct)


def draws(classes: int, rows: int = 40, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), size=rows)
    return probabilities, rng.integers(0, classes, size=rows).astype(np.float64)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_every_statistic_equals_its_definition_pair_by_pair(classes: int) -> None:
    probabilities, labels = draws(classes)
    for row, (given_, came) in enumerate(zip(probabilities.tolist(), labels.tolist(), strict=True)):
        outcome = [float(place == came) for place in range(classes)]
        squares = [(p - o) ** 2 for p, o in zip(given_, outcome, strict=True)]
        assert log_loss(probabilities, labels)[row] == pytest.approx(-math.log(given_[int(came)]))
        expected = squares[1] if classes == 2 else sum(squares)
        assert brier(probabilities, labels)[row] == pytest.approx(expected)
        ranked = [
            (sum(given_[: edge + 1]) - sum(outcome[: edge + 1])) ** 2 for edge in range(classes - 1)
        ]
        assert ranked_probability_score(probabilities, labels)[row] == pytest.approx(
            sum(ranked) / (classes - 1)
        )
        assert correct(probabilities, labels)[row] == float(given_.index(max(given_)) == came)


def test_certainty_is_worth_nothing_or_costs_everything() -> None:
    sure = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    labels = np.array([2.0, 0.0])
    assert log_loss(sure, labels).tolist() == [0.0, -math.log(1e-12)]
    assert brier(sure, labels).tolist() == [0.0, 2.0]
    assert ranked_probability_score(sure, labels).tolist() == [0.0, 1.0]
    assert brier(sure[:, 1:], np.array([1.0, 0.0])).tolist() == [0.0, 1.0]


def test_only_the_ranked_score_knows_how_far_off_a_class_was() -> None:
    sure = np.eye(10)[[4, 4]]
    near, far = np.array([5.0, 5.0]), np.array([9.0, 9.0])
    assert ranked_probability_score(sure, near)[0] == pytest.approx(1 / 9)
    assert ranked_probability_score(sure, far)[0] == pytest.approx(5 / 9)
    assert brier(sure, near).tolist() == brier(sure, far).tolist()


def test_of_two_classes_the_ranked_score_is_briers() -> None:
    probabilities, labels = draws(2)
    np.testing.assert_allclose(
        ranked_probability_score(probabilities, labels), brier(probabilities, labels), rtol=1e-12
    )


@pytest.mark.parametrize("score", [log_loss, brier, ranked_probability_score])
@pytest.mark.parametrize("classes", [2, 5])
@given(data=st.data())
def test_the_true_probabilities_score_best_on_average(
    score: Statistic, classes: int, data: st.DataObject
) -> None:
    weights = arrays(np.float64, classes, elements=st.floats(0.05, 1.0))
    truth, other = data.draw(weights), data.draw(weights)
    truth, other = truth / truth.sum(), other / other.sum()

    def expected(forecast: Floats) -> float:
        every = score(np.tile(forecast, (classes, 1)), np.arange(float(classes)))
        return float(truth @ every)

    assert expected(other) >= expected(truth) - 1e-12
    if np.abs(truth - other).max() > 1e-3:
        assert expected(other) > expected(truth)


def test_of_equally_probable_classes_the_lowest_is_the_forecast() -> None:
    even = np.full((3, 3), 1 / 3)
    assert correct(even, np.array([0.0, 1.0, 2.0])).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_what_is_missing_has_no_statistic_and_changes_no_other(statistic: Statistic) -> None:
    probabilities, labels = draws(4, rows=6)
    whole = statistic(probabilities, labels)
    labels[2] = np.nan
    probabilities[4, 3] = np.nan
    partial = statistic(probabilities, labels)
    assert np.isnan(partial).tolist() == [False, False, True, False, True, False]
    rest = [0, 1, 3, 5]
    assert partial[rest].tobytes() == whole[rest].tobytes()
    state = ScoreState.of(partial, ~np.isnan(labels) & (np.arange(6) != 4), axis=0)
    assert float(state.mean()) == pytest.approx(whole[rest].mean())


@pytest.mark.parametrize("statistic", STATISTICS)
def test_float32_probabilities_are_scored_in_float64(statistic: Statistic) -> None:
    probabilities, labels = draws(10)
    single: NDArray[Any] = probabilities.astype(np.float32)
    found = statistic(single, labels)
    assert found.dtype == np.float64
    assert found.tobytes() == statistic(single.astype(np.float64), labels).tobytes()


coarse = arrays(np.float64, 30, elements=st.integers(0, 6).map(lambda i: i / 6))


@given(coarse, arrays(np.bool_, 30))
def test_auc_is_mann_whitneys_u_with_ties(probabilities: Floats, rises: NDArray[np.bool_]) -> None:
    labels = rises.astype(np.float64)
    found = auc(probabilities, labels)
    if rises.all() or not rises.any():
        assert math.isnan(found)
        return
    up, down = probabilities[rises], probabilities[~rises]
    statistic = mannwhitneyu(up, down, method="asymptotic").statistic
    assert found == pytest.approx(statistic / (len(up) * len(down)), abs=1e-12)
    pairs = [float(a > b) + 0.5 * float(a == b) for a in up for b in down]
    assert found == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_auc_of_perfect_useless_and_reversed_forecasts() -> None:
    labels = np.array([0.0, 0.0, 1.0, 1.0, math.nan])
    order = np.array([0.1, 0.2, 0.3, 0.4, math.nan])
    assert auc(order, labels) == 1.0
    assert auc(1.0 - order, labels) == 0.0
    assert auc(np.full(5, 0.5), labels) == 0.5
    assert auc(np.exp(9 * order), labels) == 1.0


def test_wrong_arguments_are_named() -> None:
    probabilities, labels = draws(3, rows=5)
    with pytest.raises(ValueError, match=r"labels must be \(row,\) of the 5 rows .* \(4,\)"):
        log_loss(probabilities, labels[:4])
    with pytest.raises(ValueError, match=r"at least 2 classes: received shape \(5, 1\)"):
        brier(probabilities[:, :1], labels)
    labels[1:3] = 3.0
    with pytest.raises(ValueError, match=r"classes 0 … 2, or NaN: 2 are not, the first is 3.0"):
        correct(probabilities, labels)
    with pytest.raises(ValueError, match=r"classes 0 … 1, or NaN: 1 are not, the first is 0.5"):
        auc(np.ones(2), np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="1 of 2 rows with a label have no probability"):
        auc(np.array([0.5, math.nan]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"must both be \(row,\): received shapes \(5, 3\)"):
        auc(probabilities, labels)
