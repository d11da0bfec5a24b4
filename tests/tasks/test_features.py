"""Features and targets against slow loops, literal numbers, and time itself."""

from collections.abc import Callable
from dataclasses import replace
from math import exp, isnan, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_models.features import FEATURES
from tasks.features import (
    Floats,
    Series,
    daily_variance,
    features,
    first_complete,
    next_returns,
    padded,
    targets,
    variance_floor,
)
from tests.tasks.markets import Prices, garch, series_of

EPSILON = 3e-7


def in_a_market(series: Series, seed: int) -> Series:
    """The series beside a market that is made up."""
    random = np.random.default_rng(seed)
    return replace(
        series,
        market_variance=random.uniform(0.1, 4.0, len(series)),
        market_return=random.normal(scale=0.01, size=len(series)),
    )


RANGED = in_a_market(series_of(garch(1, 200)), 1)
CLOSES = in_a_market(series_of(garch(2, 200).close_only()), 2)
WITH_GAPS = series_of(
    garch(3, 60),
    sessions=np.delete(CLOSES.sessions[:66], [5, 6, 20, 33, 40, 41]),
)


def array(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def mean_variance(series: Series, row: int, window: int) -> float:
    """The mean of the last `window` variances, summed one by one; NaN before there are as many."""
    if row + 1 < window:
        return np.nan
    total = 0.0
    for back in range(window):
        total += float(series.variance[row - back])
    return total / window


def moving_return(series: Series, row: int, window: int) -> float:
    if row + 1 < window:
        return np.nan
    return sum(float(series.log_return[row - back]) for back in range(window))


def ewma(series: Series, row: int) -> float:
    """Decay 0.94 over all rows so far, started at the mean of the first 22; unknown is zero."""
    known = [0.0 if isnan(v) else float(v) for v in series.variance]
    if row + 1 < 22:
        return np.nan
    level = sum(known[:22]) / 22
    for value in known[: row + 1]:
        level = 0.94 * level + 0.06 * value
    return level


def market(series: Series) -> tuple[Floats, Floats]:
    assert series.market_variance is not None
    assert series.market_return is not None
    return series.market_variance, series.market_return


def trailing_mean(values: Floats, row: int, window: int) -> float:
    return float(np.mean(values[row - window + 1 : row + 1])) if row + 1 >= window else np.nan


SLOW: dict[str, Callable[[Series, int], float]] = {
    "log_return": lambda s, t: s.log_return[t],
    "abs_return": lambda s, t: abs(s.log_return[t]),
    "return_sign": lambda s, t: np.sign(s.log_return[t]),
    "return_5": lambda s, t: moving_return(s, t, 5),
    "return_22": lambda s, t: moving_return(s, t, 22),
    "log_variance_1": lambda s, t: np.log(s.variance[t] + EPSILON),
    "log_variance_5": lambda s, t: np.log(mean_variance(s, t, 5) + EPSILON),
    "log_variance_22": lambda s, t: np.log(mean_variance(s, t, 22) + EPSILON),
    "log_variance_66": lambda s, t: np.log(mean_variance(s, t, 66) + EPSILON),
    "log_variance_126": lambda s, t: np.log(mean_variance(s, t, 126) + EPSILON),
    "log_variance_ewma": lambda s, t: np.log(ewma(s, t) + EPSILON),
    "market_return": lambda s, t: market(s)[1][t],
    "market_abs_return": lambda s, t: abs(market(s)[1][t]),
    "market_return_5": lambda s, t: 5 * trailing_mean(market(s)[1], t, 5),
    "market_log_variance_1": lambda s, t: np.log(market(s)[0][t]),
    "market_log_variance_5": lambda s, t: np.log(trailing_mean(market(s)[0], t, 5)),
    "market_log_variance_22": lambda s, t: np.log(trailing_mean(market(s)[0], t, 22)),
}


def test_every_feature_has_a_slow_definition() -> None:
    assert tuple(SLOW) == FEATURES


@pytest.mark.parametrize("series", [RANGED, CLOSES], ids=["ranges", "closes"])
@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_equals_its_slow_definition(name: str, series: Series) -> None:
    fast = features(series, EPSILON)[:, FEATURES.index(name)]
    slow = [SLOW[name](series, row) for row in range(len(series))]
    np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("series", "first"), [(RANGED, 125), (CLOSES, 126)])
def test_every_feature_is_known_from_the_longest_memory_on(series: Series, first: int) -> None:
    assert first_complete(features(series, EPSILON)) == first


@pytest.mark.parametrize("rows", [1, 21, 22, 23, 64, 126, 127, 150, 199])
def test_rows_to_come_change_no_bit_of_a_feature(rows: int) -> None:
    for series in (RANGED, CLOSES):
        shorter = replace(
            series,
            sessions=series.sessions[:rows],
            ordinals=series.ordinals[:rows],
            close=series.close[:rows],
            log_return=series.log_return[:rows],
            variance=series.variance[:rows],
            market_variance=market(series)[0][:rows],
            market_return=market(series)[1][:rows],
        )
        expected = features(series, EPSILON)[:rows]
        assert features(shorter, EPSILON).tobytes() == expected.tobytes()


def test_without_a_market_its_features_stand_still() -> None:
    alone = features(replace(RANGED, market_variance=None, market_return=None), EPSILON)
    shared = [place for place, name in enumerate(FEATURES) if name.startswith("market")]
    assert (alone[21:, shared] == 0.0).all()
    own = [place for place in range(len(FEATURES)) if place not in shared]
    assert alone[:, own].tobytes() == features(RANGED, EPSILON)[:, own].tobytes()


@given(row=st.integers(1, 199), log_return=st.floats(-1, 1), variance=st.floats(1e-9, 1))
def test_a_row_changes_no_feature_before_it(row: int, log_return: float, variance: float) -> None:
    changed = replace(RANGED, log_return=RANGED.log_return.copy(), variance=RANGED.variance.copy())
    changed.log_return[row:], changed.variance[row:] = log_return, variance
    before, after = features(RANGED, EPSILON), features(changed, EPSILON)
    assert after[:row].tobytes() == before[:row].tobytes()
    assert after[row, FEATURES.index("log_return")] == log_return
    assert before[row, FEATURES.index("log_return")] != log_return


def test_garman_klass_against_literal_numbers() -> None:
    variance, has_range = daily_variance(
        open_=array(100.0, 1.0, 10.0),
        high=array(105.0, exp(1), 10.0),
        low=array(98.0, exp(-1), 10.0),
        close=array(103.0, exp(1), 10.0),
        log_return=array(np.nan, 9.0, 0.0),
    )
    assert has_range
    # ½ (ln 105/98)² − 0.386294 (ln 1.03)²; ½ · 2² − (2 ln 2 − 1); a bar that stood still.
    np.testing.assert_allclose(variance, [2.0424939710660456e-3, 3 - 2 * log(2), 0.0], rtol=1e-14)


def test_without_ranges_the_variance_is_the_squared_return() -> None:
    unknown, returns = np.full(3, np.nan), array(np.nan, 0.01, -0.03)
    variance, has_range = daily_variance(unknown, unknown, unknown, array(5, 6, 7), returns)
    assert not has_range
    np.testing.assert_array_equal(variance, [np.nan, 0.01**2, 0.03**2])


@pytest.mark.parametrize(("unknown", "ranged"), [(5, True), (6, False)])
def test_ranges_count_when_95_in_100_rows_have_one(unknown: int, ranged: bool) -> None:
    prices = garch(4, 100)
    prices.high[10 : 10 + unknown] = np.nan
    series = series_of(prices)
    assert series.has_range == ranged
    squared = series.log_return**2
    if ranged:
        np.testing.assert_array_equal(series.variance[10:15], squared[10:15])
        assert not np.isclose(series.variance[20:], squared[20:]).any()
    else:
        np.testing.assert_array_equal(series.variance, squared)


@pytest.mark.parametrize(("has_range", "share"), [(True, 0.001), (False, 0.05)])
def test_epsilon_is_a_share_of_the_mean_variance_of_the_first_rows(
    has_range: bool, share: float
) -> None:
    series = replace(RANGED, has_range=has_range, variance=array(np.nan, 1.0, 2.0, 6.0, 1e9))
    assert variance_floor(series, 4) == pytest.approx(share * 3.0, rel=1e-15)


def test_epsilon_ignores_what_comes_after_the_first_rows() -> None:
    corrupted = series_of(garch(1, 200).corrupted(150))
    assert variance_floor(corrupted, 150) == variance_floor(RANGED, 150)
    assert variance_floor(corrupted, 151) != variance_floor(RANGED, 151)


def test_closes_copied_into_every_column_are_closes_only() -> None:
    close = garch(2, 200).close
    copied = series_of(Prices(close, close, close, close))
    assert not copied.has_range
    np.testing.assert_array_equal(copied.variance, CLOSES.variance)


def test_a_bar_that_stands_still_elsewhere_moved_by_its_return() -> None:
    prices = garch(5, 200)
    for column in (prices.open, prices.high, prices.low, prices.close):
        column[150] = 2 * prices.close[149]
    series = series_of(prices)
    assert series.has_range
    assert series.variance[150] == series.log_return[150] ** 2 == pytest.approx(log(2) ** 2)


def test_flat_bars_stay_finite_through_epsilon() -> None:
    prices = garch(5, 200)
    for column in (prices.open, prices.high, prices.low):
        column[150:180] = prices.close[149]
    prices.close[150:180] = prices.close[149]
    series = series_of(prices)
    epsilon = variance_floor(series, 120)
    assert series.has_range
    assert (series.variance[150:180] == 0.0).all()
    assert np.isfinite(features(series, epsilon)[126:]).all()
    volatility = targets(series, "log_volatility", 3, epsilon)
    assert np.isfinite(volatility[:-3]).all()
    assert volatility[160, 0] == log(epsilon)


def test_a_price_that_never_moves_has_no_logarithm_but_no_infinity_either() -> None:
    still = np.full(200, 7.0)
    series = series_of(Prices(still, still, still, still))
    assert variance_floor(series, 120) == 0.0
    assert not np.isinf(features(series, 0.0)).any()
    assert np.isnan(targets(series, "log_volatility", 3, 0.0)).all()
    assert first_complete(features(series, 0.0)) == len(series)


def slow_target(series: Series, target: str, row: int, lead: int) -> float:
    """By looking each session up; the log return needs the last one only, the variance all."""
    place = {int(ordinal): at for at, ordinal in enumerate(series.ordinals)}
    wanted = [place.get(int(series.ordinals[row]) + ahead) for ahead in range(1, lead + 1)]
    if wanted[-1] is None:
        return np.nan
    if target == "log_return":
        return log(series.close[wanted[-1]] / series.close[row])
    found = [at for at in wanted if at is not None]
    if len(found) < lead:
        return np.nan
    return log(sum(float(series.variance[at]) for at in found) / lead + EPSILON)


@pytest.mark.parametrize("target", ["log_return", "log_volatility"])
@pytest.mark.parametrize("series", [RANGED, WITH_GAPS], ids=["whole", "with gaps"])
def test_targets_equal_their_slow_definition(series: Series, target: str) -> None:
    fast = targets(series, target, 5, EPSILON)
    slow = [
        [slow_target(series, target, row, lead) for lead in range(1, 6)]
        for row in range(len(series))
    ]
    np.testing.assert_allclose(fast, slow, rtol=1e-11, atol=1e-13)


def test_a_missing_session_blanks_exactly_the_targets_that_need_it() -> None:
    # Sessions 5 and 6 of the calendar are missing: row 4 is session 4, row 5 is session 7.
    returns = targets(WITH_GAPS, "log_return", 5, EPSILON)
    volatility = targets(WITH_GAPS, "log_volatility", 5, EPSILON)
    assert np.isnan(returns[4]).tolist() == [True, True, False, False, False]
    assert np.isnan(volatility[4]).tolist() == [True] * 5
    assert np.isnan(volatility[1]).tolist() == [False, False, False, True, True]
    assert returns[4, 2] == pytest.approx(log(WITH_GAPS.close[5] / WITH_GAPS.close[4]))


@pytest.mark.parametrize("target", ["log_return", "log_volatility"])
def test_a_target_that_has_not_matured_is_unknown(target: str) -> None:
    last = targets(RANGED, target, 3, EPSILON)[-4:]
    assert np.isnan(last).tolist() == [
        [False, False, False],
        [False, False, True],
        [False, True, True],
        [True, True, True],
    ]


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("target", ["log_return", "log_volatility"])
def test_a_history_shorter_than_the_horizon_has_the_targets_it_can(target: str, rows: int) -> None:
    series = series_of(garch(6, rows))
    known = np.isfinite(targets(series, target, 5, EPSILON))
    assert known.sum() == rows * (rows - 1) // 2
    assert features(series, EPSILON).shape == (rows, len(FEATURES))


@given(st.data())
def test_a_row_changes_only_the_targets_that_reach_it(data: st.DataObject) -> None:
    row = data.draw(st.integers(1, len(RANGED) - 1))
    target = data.draw(st.sampled_from(["log_return", "log_volatility"]))
    before = targets(RANGED, target, 3, EPSILON)
    changed = replace(RANGED, log_return=RANGED.log_return.copy(), variance=RANGED.variance.copy())
    changed.log_return[row:], changed.variance[row:] = 0.5, 0.5
    after = targets(changed, target, 3, EPSILON)
    reach = np.arange(len(RANGED))[:, None] + np.arange(1, 4)
    untouched = reach < row
    assert after[untouched].tobytes() == before[untouched].tobytes()
    assert not np.isclose(after[row - 1], before[row - 1]).any()


@pytest.mark.parametrize("series", [RANGED, WITH_GAPS], ids=["whole", "gaps"])
def test_the_next_return_is_that_of_the_next_session_to_the_bit(series: Series) -> None:
    found = next_returns(series)
    for row, value in enumerate(found):
        following = series.ordinals[row] + 1
        at = np.flatnonzero(series.ordinals == following)
        if len(at):
            assert value == series.log_return[at[0]]
        else:
            assert isnan(value)
    np.testing.assert_allclose(found, targets(series, "log_return", 1, EPSILON)[:, 0], atol=1e-12)


def test_returns_that_tie_still_tie_as_next_returns() -> None:
    """Sums and differences would not: log 2 and log 3 are no binary fractions."""
    levels = np.array([1.0, 2.0, 1.0, 3.0, 1.0, 2.0, 6.0, 2.0, 4.0] * 9)
    series = series_of(Prices(levels, levels, levels, levels))
    assert len(set(next_returns(series)[:-1])) == len(set(series.log_return[1:])) == 5
    assert len(set(targets(series, "log_return", 1, EPSILON)[:-1, 0])) > 5


def test_an_unknown_target_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="received 'close'"):
        targets(RANGED, "close", 3, EPSILON)


def test_first_complete_looks_past_the_last_gap() -> None:
    table = np.zeros((6, 2))
    assert first_complete(table) == 0
    table[1, 0] = table[3, 1] = np.nan
    assert first_complete(table) == 4
    table[5, 0] = np.nan
    assert first_complete(table) == 6


def test_padding_keeps_every_array_and_fills_with_unknown() -> None:
    short, long = np.ones((2, 3)), np.full((4, 3), 2.0)
    stacked = padded([short, long])
    assert stacked.shape == (2, 4, 3)
    np.testing.assert_array_equal(stacked[0, :2], short)
    assert np.isnan(stacked[0, 2:]).all()
    np.testing.assert_array_equal(stacked[1], long)
