"""Tests of loss differences against statsmodels, published critical values and simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from benchmarks.test_sizes import loss_tests
from tasks.significance import (
    MIN_COUNT,
    LossTest,
    clark_west,
    diebold_mariano,
    hac_lags,
    hac_test,
    long_run_variance,
)

Floats = NDArray[np.float64]


def moving_average(generator: np.random.Generator, count: int, order: int) -> Floats:
    """Mean zero, unit variance, autocorrelated like losses of targets that overlap."""
    shocks = generator.normal(size=count + order)
    sums = np.convolve(shocks, np.ones(order + 1), "valid")
    return np.asarray(sums / math.sqrt(order + 1))


def persistent(generator: np.random.Generator, count: int, coefficient: float) -> Floats:
    values = generator.normal(size=count)
    for step in range(1, count):
        values[step] *= math.sqrt(1 - coefficient**2)
        values[step] += coefficient * values[step - 1]
    return values


@pytest.mark.parametrize("lags", [0, 1, 4, 25])
def test_long_run_variance_equals_statsmodels(lags: int) -> None:
    series = moving_average(np.random.default_rng(0), 200, 4) + 0.1
    reference = sm.OLS(series, np.ones(200)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
    )
    assert long_run_variance(series, lags) / 200 == pytest.approx(reference.cov_params()[0, 0])


def test_long_run_variance_equals_a_double_loop() -> None:
    series = np.random.default_rng(1).normal(size=30)
    deviation = series - series.mean()
    for kernel in ("bartlett", "rectangular"):
        total = 0.0
        for left in range(30):
            for right in range(30):
                gap = abs(left - right)
                weight = (1 - gap / 5 if kernel == "bartlett" else 1.0) if gap <= 4 else 0.0
                total += weight * deviation[left] * deviation[right] / 30
        assert long_run_variance(series, 4, kernel) == pytest.approx(total)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40), st.integers(0, 39))
def test_the_bartlett_variance_is_never_negative(series: list[float], lags: int) -> None:
    values = np.array(series)
    size = float((values**2).sum())
    assert long_run_variance(values, min(lags, len(values) - 1)) >= -1e-12 * size


def test_lags_follow_the_stated_rule() -> None:
    assert hac_lags(1008, 5) == math.ceil(1.3 * math.sqrt(1008)) - 1 == 41
    assert hac_lags(100, 60) == 59
    assert hac_lags(10, 60) == 9


def test_p_values_are_near_the_fixed_bandwidth_critical_values() -> None:
    """Kiefer & Vogelsang (2005), table 1, Bartlett, 95 %: 1.6449 + 2.1859 b + 0.3142 b² − …"""
    for share in (0.02, 0.05, 0.1, 0.2):
        critical = 1.6449 + 2.1859 * share + 0.3142 * share**2 - 0.3427 * share**3
        ours = stats.t.ppf(0.95, 1.5 / share) / math.sqrt(1 - share + share**2 / 3)
        assert ours == pytest.approx(critical, rel=0.02)


def test_the_statistic_is_its_formula() -> None:
    series = moving_average(np.random.default_rng(2), 250, 4) + 0.1
    result = hac_test(series, horizon=5)
    assert (result.count, result.lags, result.reason) == (250, 20, None)
    share = 21 / 250
    variance = long_run_variance(series, 20) / (1 - share + share**2 / 3)
    assert result.statistic == pytest.approx(series.mean() / math.sqrt(variance / 250))
    assert result.p_value == pytest.approx(stats.t.sf(result.statistic, 1.5 / share))


@given(st.floats(1e-6, 1e6), st.integers(0, 100))
def test_the_unit_of_the_loss_does_not_matter(unit: float, seed: int) -> None:
    series = np.random.default_rng(seed).normal(size=40)
    one, other = hac_test(series, horizon=3), hac_test(unit * series, horizon=3)
    assert one.statistic == pytest.approx(other.statistic)
    assert one.p_value == pytest.approx(other.p_value)
    flipped = hac_test(-series, horizon=3)
    assert one.p_value + flipped.p_value == pytest.approx(1.0)


@pytest.mark.parametrize("count", [250, 1000])
@pytest.mark.parametrize("shape", ["independent", "overlapping", "persistent"])
def test_hac_size_is_the_level(count: int, shape: str) -> None:
    generator = np.random.default_rng(3)
    draws: dict[str, Callable[[], Floats]] = {
        "independent": lambda: generator.normal(size=count),
        "overlapping": lambda: moving_average(generator, count, 4),
        "persistent": lambda: persistent(generator, count, 0.7),
    }
    rejected = np.mean([hac_test(draws[shape](), horizon=5).p_value <= 0.05 for _ in range(2000)])
    # Of 2,000 draws at 5 %, the standard error is 0.5 %; a normal critical value with the usual
    # 4 (n/100)^(2/9) lags rejects 10 to 12 % of the persistent ones.
    assert 0.03 <= rejected <= 0.075


def test_hac_power_grows_with_the_advantage() -> None:
    generator = np.random.default_rng(4)
    power = [
        np.mean(
            [
                hac_test(moving_average(generator, 1000, 4) + advantage, horizon=5).p_value <= 0.05
                for _ in range(400)
            ]
        )
        for advantage in (0.0, 0.1, 0.2, 0.4)
    ]
    # The mean's standard error is √(5/1000) = 0.07: known-variance powers 5, 41, 88 and 100 %.
    np.testing.assert_allclose(power, [0.05, 0.41, 0.88, 1.0], atol=0.08)


def test_diebold_mariano_equals_its_published_form() -> None:
    generator = np.random.default_rng(5)
    first, second = generator.chisquare(1, size=(2, 80))
    horizon, count = 4, 80
    differences = first - second
    deviation = differences - differences.mean()
    covariances = [deviation[lag:] @ deviation[: count - lag] / count for lag in range(horizon)]
    plain = differences.mean() / math.sqrt((covariances[0] + 2 * sum(covariances[1:])) / count)
    factor = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    result = diebold_mariano(first, second, horizon=horizon)
    assert result.statistic == pytest.approx(plain * math.sqrt(factor))
    assert result.p_value == pytest.approx(2 * stats.t.sf(abs(plain * factor**0.5), count - 1))
    greater = diebold_mariano(first, second, horizon=horizon, alternative="greater")
    assert greater.p_value == pytest.approx(stats.t.sf(result.statistic, count - 1))


def test_diebold_mariano_one_step_ahead_is_a_t_test() -> None:
    first, second = np.random.default_rng(6).chisquare(1, size=(2, 50))
    result = diebold_mariano(first, second, horizon=1)
    reference = stats.ttest_1samp(first - second, 0.0)
    assert result.statistic == pytest.approx(reference.statistic)
    assert result.p_value == pytest.approx(reference.pvalue)


@pytest.mark.parametrize(("count", "horizon"), [(60, 1), (60, 3), (250, 5)])
def test_diebold_mariano_size_is_the_level(count: int, horizon: int) -> None:
    generator = np.random.default_rng(7)
    zeros = np.zeros(count)
    rejected = np.mean(
        [
            diebold_mariano(
                moving_average(generator, count, horizon - 1), zeros, horizon=horizon
            ).p_value
            <= 0.05
            for _ in range(2000)
        ]
    )
    # Harvey, Leybourne & Newbold's own table shows up to 8 % at such counts and horizons.
    assert 0.035 <= rejected <= 0.085


def test_diebold_mariano_finds_a_better_forecast() -> None:
    generator = np.random.default_rng(8)
    found = []
    for _ in range(300):
        better = generator.normal(size=500)
        worse = better + 0.5 * generator.normal(size=500)
        test = diebold_mariano(worse**2, better**2, horizon=1, alternative="greater")
        found.append(test.p_value <= 0.05)
    # Mean 0.25, deviation √(4 × 0.25 + 2 × 0.0625) = 1.06: a true t of 5.3.
    assert np.mean(found) > 0.97


def test_a_negative_rectangular_variance_is_replaced() -> None:
    series = np.tile([1.0, -1.0], 20) + 0.01
    assert long_run_variance(series, 1, "rectangular") < 0
    result = diebold_mariano(series, np.zeros(40), horizon=2)
    assert result.statistic is not None
    assert math.isfinite(result.statistic)
    assert 0 < result.p_value <= 1


@pytest.mark.parametrize(
    ("baseline", "candidate", "reason"),
    [
        (np.ones(100), np.ones(100), "identical losses"),
        (np.arange(100.0), np.arange(100.0), "identical losses"),
        (np.arange(100.0) + 2.0, np.arange(100.0), "the losses differ by a constant"),
        (np.ones(7), np.zeros(7), f"7 differentials, {MIN_COUNT} needed"),
        (np.zeros(0), np.zeros(0), f"0 differentials, {MIN_COUNT} needed"),
    ],
)
def test_what_cannot_be_tested_is_said_and_never_significant(
    baseline: Floats, candidate: Floats, reason: str
) -> None:
    for result in (
        hac_test(baseline - candidate, horizon=2),
        diebold_mariano(baseline, candidate, horizon=2),
    ):
        assert (result.statistic, result.p_value, result.reason) == (None, 1.0, reason)
        assert math.isfinite(result.mean)


def test_two_sided_doubles_the_smaller_tail() -> None:
    series = moving_average(np.random.default_rng(2), 250, 4) + 0.1
    for values in (series, -series):
        one, two = (
            hac_test(values, horizon=5),
            hac_test(values, horizon=5, alternative="two-sided"),
        )
        assert (one.statistic, one.lags) == (two.statistic, two.lags)
        assert two.p_value == pytest.approx(2 * min(one.p_value, 1 - one.p_value))


def test_clark_west_equals_a_regression_on_a_constant() -> None:
    generator = np.random.default_rng(10)
    truth, small = generator.normal(size=300), np.zeros(300)
    large = 0.3 * truth + generator.normal(size=300)
    first, second, apart = (truth - small) ** 2, (truth - large) ** 2, (small - large) ** 2
    found = clark_west(first, second, apart, horizon=3)
    adjusted = first - (second - apart)
    lags = hac_lags(300, 3)
    reference = sm.OLS(adjusted, np.ones(300)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
    )
    share = (lags + 1) / 300
    assert found.mean == pytest.approx(reference.params[0])
    assert found.statistic == pytest.approx(
        reference.tvalues[0] * math.sqrt(1 - share + share**2 / 3)
    )
    # 2 f₁ f₂ of the forecasts: what is left where the small model says zero.
    np.testing.assert_allclose(adjusted, 2 * truth * large)


def test_clark_west_of_a_network_that_is_its_baseline_is_said() -> None:
    same = np.random.default_rng(11).chisquare(1, 50)
    found = clark_west(same, same, np.zeros(50), horizon=1)
    assert (found.statistic, found.p_value, found.reason) == (None, 1.0, "identical losses")
    with pytest.raises(ValueError, match=r"received shapes \(50,\), \(50,\), \(49,\)"):
        clark_west(same, same, same[1:], horizon=1)


@pytest.mark.parametrize("horizon", [1, 5])
def test_sizes_and_powers_where_the_truth_is_known(horizon: int) -> None:
    found = loss_tests(horizon, sessions=500, repetitions=250, seed=12)
    for name, rates in found.items():
        # 250 draws at 5 %: standard error 1.4 %.
        assert 0.01 <= rates.size <= 0.1, name
        # Of Clark–West where the candidate knows something without being better; of the others
        # where it is better by 2.2 %.
        assert rates.power >= 0.15, name


def test_rounding_is_not_an_advantage() -> None:
    generator = np.random.default_rng(9)
    losses = generator.chisquare(1, size=200)
    nudged = losses * (1 + 1e-15 * generator.normal(size=200))
    assert diebold_mariano(losses, nudged, horizon=2).statistic is None


def test_too_short_for_the_horizon_is_said() -> None:
    result = diebold_mariano(np.arange(30.0) % 7, np.zeros(30), horizon=20)
    assert result == LossTest(result.mean, None, 1.0, 30, 0, "30 differentials, 40 needed")


def test_wrong_arguments_are_named() -> None:
    good = np.arange(20.0)
    with pytest.raises(ValueError, match="every loss must be finite: received nan at 3"):
        hac_test(np.where(good == 3, np.nan, good), horizon=1)
    with pytest.raises(ValueError, match="every loss must be finite: received inf at 0"):
        diebold_mariano(np.where(good == 0, np.inf, good), good, horizon=1)
    with pytest.raises(ValueError, match=r"same pairs: received shapes \(20,\) and \(19,\)"):
        diebold_mariano(good, good[1:], horizon=1)
    with pytest.raises(ValueError, match=r"expected one series \(time,\)"):
        hac_test(good.reshape(4, 5), horizon=1)
    with pytest.raises(ValueError, match="horizon=0"):
        hac_test(good, horizon=0)
    with pytest.raises(ValueError, match="horizon must be at least 1: received 0"):
        diebold_mariano(good, good, horizon=0)
    with pytest.raises(ValueError, match="lags must be 0 to 19: received 20"):
        long_run_variance(good, 20)
