"""Pesaran–Timmermann against its definition, a contingency table, and simulated calls."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.test_sizes import direction
from tasks.directional import DirectionalTest, pesaran_timmermann


def of_table(right_up: int, wrong_up: int, wrong_down: int, right_down: int) -> DirectionalTest:
    """Counts of calls: up and it rose, up and it fell, down and it rose, down and it fell."""
    count = right_up + wrong_up + wrong_down + right_down
    return pesaran_timmermann(
        count,
        (right_up + right_down) / count,
        (right_up + wrong_down) / count,
        (right_up + wrong_up) / count,
    )


def test_the_statistic_is_that_of_the_paper() -> None:
    count, p, y, x = 400, 0.56, 0.53, 0.61
    luck = x * y + (1 - x) * (1 - y)
    own = luck * (1 - luck) / count
    estimated = ((2 * y - 1) ** 2 * x * (1 - x) + (2 * x - 1) ** 2 * y * (1 - y)) / count
    estimated += 4 * x * y * (1 - x) * (1 - y) / count**2
    found = pesaran_timmermann(count, p, y, x)
    assert found.statistic == pytest.approx((p - luck) / math.sqrt(own - estimated))
    assert found.p_value == pytest.approx(stats.norm.sf(found.statistic))
    assert found.advantage == pytest.approx(p - luck)


@given(st.lists(st.integers(2, 200), min_size=4, max_size=4))
def test_its_square_is_the_chi_squared_of_the_table(cells: list[int]) -> None:
    found = of_table(*cells)
    table = np.array(cells).reshape(2, 2)
    count = table.sum()
    independent = stats.chi2_contingency(table, correction=False).statistic
    assert found.statistic is not None
    assert found.statistic**2 == pytest.approx(independent * count / (count - 1), abs=1e-9)
    assert (found.statistic > 0) == (cells[0] * cells[3] > cells[1] * cells[2])


def test_folds_merge_into_the_test_of_all_pairs() -> None:
    generator = np.random.default_rng(0)
    folds = []
    for size, chance in ((120, 0.5), (80, 0.7), (45, 0.4)):
        came = generator.uniform(size=size) < chance
        calls = generator.uniform(size=size) < 0.5 + 0.2 * came
        folds.append((size, (came == calls).mean(), came.mean(), calls.mean()))
    sizes = [fold[0] for fold in folds]
    merged = [sum(fold[0] * float(fold[k]) for fold in folds) / sum(sizes) for k in (1, 2, 3)]
    pairs = sum(sizes)
    found = pesaran_timmermann(pairs, *merged)
    assert found.count == pairs == 245
    right, rose, called = (round(pairs * share) for share in merged)
    both = (right + rose + called - pairs) // 2
    whole = of_table(both, called - both, rose - both, pairs - rose - called + both)
    assert found.statistic == pytest.approx(whole.statistic)
    assert found.advantage == pytest.approx(whole.advantage)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((100, 0.6, 0.6, 1.0), "every call was a rise"),
        ((100, 0.4, 0.6, 0.0), "every call was a fall"),
        ((100, 0.3, 1.0, 0.3), "every outcome was a rise"),
        ((100, 0.7, 0.0, 0.3), "every outcome was a fall"),
        ((300, 1 / 3, 1 / 3, 1.0 - 1e-16), "every call was a rise"),
        ((7, 4 / 7, 3 / 7, 3 / 7), "7 pairs, 8 needed"),
        ((0, 0.0, 0.0, 0.0), "0 pairs, 8 needed"),
    ],
)
def test_what_cannot_be_tested_is_said(
    arguments: tuple[int, float, float, float], reason: str
) -> None:
    found = pesaran_timmermann(*arguments)
    assert (found.statistic, found.p_value, found.reason) == (None, 1.0, reason)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="accuracy must be a share from 0 to 1: received nan"):
        pesaran_timmermann(10, math.nan, 0.5, 0.5)
    with pytest.raises(ValueError, match="called_rises must be a share from 0 to 1: received 1.5"):
        pesaran_timmermann(10, 0.5, 0.5, 1.5)
    with pytest.raises(ValueError, match="count must be at least 0: received -1"):
        pesaran_timmermann(-1, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="accuracy=0.9 with rises=0.5 .* expected 0.3 to 0.7"):
        pesaran_timmermann(100, 0.9, 0.5, 0.8)


def test_size_is_the_level_and_a_small_edge_is_found() -> None:
    rates = direction(1, sessions=500, repetitions=600, seed=1, edge=0.15)
    # Of 600 draws at 5 %, the standard error is 0.9 %.
    assert 0.02 <= rates.size <= 0.08
    assert rates.power >= 0.9


def test_calls_of_overlapping_returns_are_not_for_this_test() -> None:
    """Why docs/scores.md keeps it to one session ahead."""
    assert direction(10, sessions=500, repetitions=200, seed=1).size > 0.15
