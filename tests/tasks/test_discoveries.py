"""Benjamini–Hochberg against its definition, statsmodels, and simulated instruments."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from benchmarks.test_sizes import false_discoveries
from tasks.discoveries import benjamini_hochberg

P_VALUES = st.lists(st.floats(0.0, 1.0, allow_subnormal=False), min_size=1, max_size=30)


@given(P_VALUES)
def test_it_equals_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="fdr_bh")[1]
    np.testing.assert_allclose(np.array(benjamini_hochberg(p_values), float), expected)


@given(P_VALUES)
def test_the_order_of_instruments_changes_nothing(p_values: list[float]) -> None:
    order = np.random.default_rng(len(p_values)).permutation(len(p_values))
    shuffled = benjamini_hochberg([p_values[place] for place in order])
    straight = benjamini_hochberg(p_values)
    assert list(shuffled) == [straight[place] for place in order]


@given(st.lists(st.one_of(st.none(), st.just(math.nan), st.floats(0, 1)), max_size=12))
def test_what_was_not_tested_does_not_count(p_values: list[float | None]) -> None:
    found = benjamini_hochberg(p_values)
    tested = [p is not None and not math.isnan(p) for p in p_values]
    assert [q is not None for q in found] == tested
    alone = benjamini_hochberg([p for p, known in zip(p_values, tested, strict=True) if known])
    assert [q for q in found if q is not None] == list(alone)
    assert all(q is None or 0.0 <= q <= 1.0 for q in found)


def test_few_instruments_have_a_clear_answer() -> None:
    assert benjamini_hochberg([]) == ()
    assert benjamini_hochberg([None]) == (None,)
    assert benjamini_hochberg([0.03]) == (0.03,)
    assert benjamini_hochberg([0.03, 0.04]) == pytest.approx((0.04, 0.04))
    assert benjamini_hochberg([0.01, 0.5]) == pytest.approx((0.02, 0.5))


def test_a_wrong_p_value_is_named() -> None:
    with pytest.raises(ValueError, match="p values must be from 0 to 1: received 1.2"):
        benjamini_hochberg([0.3, 1.2, None])


def test_the_share_of_false_discoveries_is_kept_and_true_ones_are_found() -> None:
    rates = false_discoveries(5, sessions=500, repetitions=40, seed=2)
    # Half of the instruments are level, so the expected share is half of the 10 %.
    assert rates.size <= 0.1
    easy = false_discoveries(1, sessions=2000, repetitions=10, seed=3)
    assert easy.power >= 0.6
    assert easy.size <= 0.15
