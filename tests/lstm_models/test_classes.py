"""Classes against slow loops: the rule at its edges, ties of every kind, and means."""

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lstm_models.classes import checked_edges, class_means, implied_mean, labels, quantile_edges

Floats = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
CLASSES = 10


def greedy_counts(values: Floats, classes: int) -> list[int]:
    """The rule word by word: the count of every class, from the lowest."""
    distinct = sorted(set(values.tolist()))
    cuts: list[int] = []
    for cut in range(1, classes):
        first = cuts[-1] + 1 if cuts else 1
        allowed = range(first, len(distinct) - (classes - cut) + 1)
        wanted = cut * len(values) / classes
        cuts.append(min(allowed, key=lambda place: abs(sum(values < distinct[place]) - wanted)))
    below = [0, *(int(sum(values < distinct[place])) for place in cuts), len(values)]
    return np.diff(below).tolist()


tied = st.integers(CLASSES, 200).flatmap(
    lambda rows: arrays(np.float64, rows, elements=st.integers(-8, 8).map(lambda i: i / 100))
)


@given(tied.filter(lambda values: len(set(values.tolist())) >= CLASSES))
def test_ties_leave_no_class_empty_and_follow_the_rule(values: Floats) -> None:
    edges = quantile_edges(values, CLASSES)
    assert edges.shape == (CLASSES - 1,)
    assert (np.diff(edges) > 0).all()
    counts = np.bincount(labels(values, edges).astype(int), minlength=CLASSES)
    assert counts.min() > 0
    assert counts.tolist() == greedy_counts(values, CLASSES)


@given(st.integers(2, 12), st.integers(12, 300), st.integers(0, 2**32 - 1))
def test_without_ties_the_classes_are_as_equal_as_can_be(
    classes: int, rows: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=rows)
    edges = quantile_edges(values, classes)
    counts = np.bincount(labels(values, edges).astype(int), minlength=classes)
    assert set(counts.tolist()) <= {math.floor(rows / classes), math.ceil(rows / classes)}
    assert not np.isin(edges, values).any()


def test_many_rows_give_the_quantiles() -> None:
    values = np.random.default_rng(0).standard_t(4, size=20_001)
    expected = np.quantile(values, np.arange(1, CLASSES) / CLASSES)
    np.testing.assert_allclose(quantile_edges(values, CLASSES), expected, atol=2e-3)


def test_an_illiquid_stock_keeps_all_its_classes() -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random(1_000) < 0.8, 0.0, 0.01 * rng.normal(size=1_000))
    edges = quantile_edges(values, CLASSES)
    counts = np.bincount(labels(values, edges).astype(int), minlength=CLASSES)
    assert counts.min() > 0
    # The zeros share a class that nothing else is in, as an edge lies on either side of them.
    assert np.unique(values[labels(values, edges) == labels(np.zeros(1), edges)]).tolist() == [0.0]


def test_as_many_distinct_values_as_classes_get_one_each() -> None:
    values = np.repeat(np.arange(10.0), [500, 1, 1, 1, 1, 1, 1, 1, 1, 7])
    assert quantile_edges(values, CLASSES).tolist() == (np.arange(9) + 0.5).tolist()


@pytest.mark.parametrize("start", [0.0, 1.0, -1.0, 5e-324, 1e-3, -1.7e308])
def test_neighbouring_floats_are_told_apart(start: float) -> None:
    values: list[float] = [start]
    for _ in range(CLASSES - 1):
        values.append(float(np.nextafter(values[-1], math.inf)))
    edges = quantile_edges(np.array(values), CLASSES)
    assert labels(np.array(values), edges).tolist() == list(range(CLASSES))


def test_edges_halfway_between_extremes_do_not_overflow() -> None:
    values = np.array([-1.7e308, 1.6e308, 1.7e308])
    assert labels(values, quantile_edges(values, 3)).tolist() == [0, 1, 2]


@given(arrays(np.float64, 40, elements=st.floats(-1, 1)), st.randoms())
def test_order_and_missing_values_do_not_matter(values: Floats, random: Random) -> None:
    values[:12] = np.linspace(2.0, 3.0, 12)
    spoilt = [*values.tolist(), math.nan, math.inf, -math.inf]
    random.shuffle(spoilt)
    edges = quantile_edges(values, CLASSES)
    assert quantile_edges(np.array(spoilt), CLASSES).tobytes() == edges.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_equal_a_loop_at_and_beside_the_edges(dtype: type[np.floating[Any]]) -> None:
    edges = (-0.5, 0.0, 0.25)
    values: Real = np.array([-9.0, -0.5, -0.4999, -0.0, 0.0, 1e-9, 0.25, 0.2501, np.nan], dtype)
    expected = [
        math.nan if math.isnan(value) else float(sum(value > edge for edge in edges))
        for value in values
    ]
    found = labels(values.reshape(3, 3), edges)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.reshape(expected, (3, 3)))


def test_the_one_edge_zero_makes_a_rise_strictly_above_it() -> None:
    assert labels(np.array([-0.01, 0.0, 1e-12]), (0.0,)).tolist() == [0.0, 0.0, 1.0]


@given(tied, st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True))
def test_class_means_equal_a_loop_and_are_always_finite(values: Floats, cuts: list[int]) -> None:
    edges = np.array(sorted(cuts)) / 100
    values[:3] = math.nan, math.inf, -math.inf
    means = class_means(values, edges)
    values[1:3] = math.nan
    found = labels(values, edges)
    for place in range(len(edges) + 1):
        inside = values[found == place]
        if len(inside):
            assert means[place] == pytest.approx(inside.mean(), abs=1e-15)
        elif place == 0:
            assert means[place] == edges[0]
        elif place == len(edges):
            assert means[place] == edges[-1]
        else:
            assert means[place] == pytest.approx((edges[place - 1] + edges[place]) / 2, abs=1e-15)


def test_the_training_shares_imply_the_training_mean() -> None:
    values = np.random.default_rng(2).normal(size=500)
    edges = quantile_edges(values, CLASSES)
    shares = np.bincount(labels(values, edges).astype(int)) / 500
    assert implied_mean(shares, class_means(values, edges)) == pytest.approx(values.mean())


def test_implied_mean_equals_a_product_row_by_row() -> None:
    rng = np.random.default_rng(3)
    probabilities, means = rng.dirichlet(np.ones(10), size=(4, 6)), rng.normal(size=10)
    together = implied_mean(probabilities, means)
    np.testing.assert_allclose(together, probabilities @ means, rtol=1e-12)
    alone = implied_mean(probabilities[2, 3], means)
    assert alone.tobytes() == together[2, 3].tobytes()
    probabilities[0, 0, 0] = np.nan
    assert np.isnan(implied_mean(probabilities, means)).sum() == 1


def test_too_few_distinct_values_are_counted() -> None:
    values = np.repeat([0.0, 0.01, math.nan], 50)
    with pytest.raises(ValueError, match="at least 10 distinct .* received 2 distinct among 100"):
        quantile_edges(values, 10)
    with pytest.raises(ValueError, match="received 9 distinct among 90"):
        quantile_edges(np.repeat(np.arange(9.0), 10), 10)
    with pytest.raises(ValueError, match="received 0 distinct among 0"):
        quantile_edges(np.empty(0), 2)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="classes must be at least 2: received 1"):
        quantile_edges(np.arange(5.0), 1)
    for broken in ((), (math.nan,), ((0.0, 1.0),)):
        with pytest.raises(ValueError, match="edges must be one or more finite numbers"):
            labels(np.zeros(3), broken)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must strictly increase: received \[0.0, 0.0\]"):
        checked_edges((0.0, 0.0))
    with pytest.raises(ValueError, match=r"for the 3 classes .* received shape \(2,\)"):
        implied_mean(np.ones((4, 3)), np.ones(2))
