"""Statistics against slow loops and closed forms; states merged in any way against direct means."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lstm_models.scores import (
    ScoreState,
    covered,
    interval_score,
    qlike,
    skill_score,
    squared_error,
)

finite = st.floats(-1e3, 1e3, allow_nan=False)


def test_squared_error_equals_a_loop() -> None:
    rng = np.random.default_rng(0)
    predictions, targets = rng.normal(size=(2, 3, 4, 2))
    for place in np.ndindex(predictions.shape):
        expected = (predictions[place] - targets[place]) ** 2
        assert squared_error(predictions, targets)[place] == expected


def test_squared_error_of_float32_is_computed_in_float64() -> None:
    prediction, target = np.full(1, -9.123456, np.float32), np.full(1, -9.123457, np.float32)
    exact = (float(prediction[0]) - float(target[0])) ** 2
    assert squared_error(prediction, target)[0] == exact


@given(arrays(np.float64, 5, elements=finite.map(lambda x: x / 100)))
def test_qlike_is_pattons_formula_and_zero_only_at_the_truth(difference: np.ndarray) -> None:
    prediction = np.full(5, -9.0)
    target = prediction + difference
    ratio = np.exp(target) / np.exp(prediction)
    np.testing.assert_allclose(
        qlike(prediction, target), ratio - np.log(ratio) - 1, rtol=1e-6, atol=1e-11
    )
    assert (qlike(prediction, target) >= 0).all()
    assert qlike(prediction, prediction).tolist() == [0.0] * 5


def test_qlike_is_smallest_at_the_mean_variance() -> None:
    rng = np.random.default_rng(1)
    variances = np.exp(rng.normal(size=20_000))
    grid = np.linspace(-0.5, 1.5, 201)
    scores = [qlike(np.full(20_000, guess), np.log(variances)).mean() for guess in grid]
    assert grid[int(np.argmin(scores))] == pytest.approx(math.log(variances.mean()), abs=0.01)


def test_interval_score_and_coverage_on_worked_numbers() -> None:
    lower, upper = np.array([0.0, 0.0, 0.0, 0.0]), np.array([2.0, 2.0, 2.0, 2.0])
    targets = np.array([1.0, 2.0, -0.5, 3.0])
    assert covered(lower, upper, targets).tolist() == [1.0, 1.0, 0.0, 0.0]
    np.testing.assert_allclose(
        interval_score(lower, upper, targets, level=0.8), [2.0, 2.0, 2 + 10 * 0.5, 2 + 10 * 1.0]
    )


def test_a_missing_bound_is_not_a_miss() -> None:
    missing = np.array([np.nan, 0.0, 0.0])
    assert np.isnan(
        covered(missing, np.array([1.0, np.nan, 1.0]), np.array([0.5, 0.5, np.nan]))
    ).all()


def test_interval_score_prefers_the_true_quantiles() -> None:
    draws = np.random.default_rng(2).normal(size=40_000)
    grid = np.linspace(0.8, 1.8, 51)
    scores = [
        interval_score(
            np.full_like(draws, -half), np.full_like(draws, half), draws, level=0.8
        ).mean()
        for half in grid
    ]
    assert grid[int(np.argmin(scores))] == pytest.approx(1.2816, abs=0.06)


@given(
    arrays(np.float64, (2, 12, 3), elements=finite),
    arrays(np.bool_, (2, 12, 3)),
    st.lists(st.integers(0, 12), max_size=4),
)
def test_merged_in_pieces_equals_direct(
    statistic: np.ndarray, present: np.ndarray, cuts: list[int]
) -> None:
    direct = ScoreState.of(statistic, present, axis=1)
    edges = [0, *sorted(cuts), 12]
    merged = ScoreState.zero((2, 3))
    for start, stop in itertools.pairwise(edges):
        merged += ScoreState.of(statistic[:, start:stop], present[:, start:stop], axis=1)
    assert np.array_equal(merged.count, direct.count)
    np.testing.assert_allclose(merged.total, direct.total, rtol=1e-9, atol=1e-9)
    for member, lead in np.ndindex(2, 3):
        values = statistic[member, present[member, :, lead], lead]
        if len(values):
            assert direct.mean()[member, lead] == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
        else:
            assert np.isnan(direct.mean()[member, lead])


@given(
    arrays(np.float64, (6, 9, 2), elements=finite),
    arrays(np.bool_, (6, 9, 2)),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
    st.permutations(range(4)),
)
def test_shards_merged_in_any_order_equal_the_score_of_all_members(
    statistic: np.ndarray, present: np.ndarray, shard_of: list[int], order: list[int]
) -> None:
    merged = ScoreState.zero((2,))
    for shard in order:
        mine = np.flatnonzero(np.array(shard_of) == shard)
        own = ScoreState.of(statistic[mine], present[mine], axis=1)
        assert own.count.shape == (len(mine), 2)
        merged += own.sum(axis=0)
    direct = ScoreState.of(statistic, present, axis=(0, 1))
    assert np.array_equal(merged.count, direct.count)
    np.testing.assert_allclose(merged.total, direct.total, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(merged.mean(), direct.mean(), rtol=1e-9, atol=1e-9)


def test_a_group_is_its_pairs_not_the_mean_of_its_means() -> None:
    state = ScoreState(np.array([2.0, 9.0]), np.array([1, 9]))
    assert float(state.sum(axis=0).mean()) == pytest.approx(1.1)


def test_a_missing_forecast_is_an_error_and_a_missing_target_is_not() -> None:
    statistic = np.array([[1.0, np.nan, 4.0]])
    assert ScoreState.of(statistic, np.array([[True, False, True]]), axis=1).mean() == [2.5]
    with pytest.raises(ValueError, match=r"1 of 3 statistics .* first at \(0, 1\): nan"):
        ScoreState.of(statistic, np.array([[True, True, True]]), axis=1)


def test_a_row_mask_covers_every_lead() -> None:
    statistic = np.arange(12.0).reshape(1, 4, 3)
    rows = np.array([[True, False, False, True]])
    state = ScoreState.of(statistic, rows[..., None], axis=1)
    assert state.mean().tolist() == [[4.5, 5.5, 6.5]]


def test_states_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        ScoreState(np.zeros(2), np.zeros(3, dtype=np.int64))


def test_skill_against_something_and_against_nothing() -> None:
    assert skill_score(0.9, 1.0) == pytest.approx(0.1)
    assert skill_score(1.2, 1.0) == pytest.approx(-0.2)
    assert skill_score(0.0, 0.0) is None
    assert skill_score(1.0, 0.0) is None
    assert skill_score(None, 1.0) is None
    assert skill_score(1.0, float("nan")) is None
    assert skill_score(float("inf"), 1.0) is None


def test_a_level_outside_its_range_is_refused() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match=r"level must be above 0 and below 1: received 1\.0"):
        interval_score(one, one, one, level=1.0)
