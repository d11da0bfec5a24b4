from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.actions import (
    DerivedActions,
    PriceBasis,
    StepActions,
    align_actions,
    check_adjusted,
    derive_actions,
    total_log_returns,
    total_return_closes,
)

Floats = npt.NDArray[np.float64]

PRICES = st.floats(0.01, 1e4)
RATIOS = st.sampled_from([2.0, 3.0, 1.5, 7.0, 0.1, 1 / 3])


def days(*numbers: int) -> npt.NDArray[np.datetime64]:
    return np.datetime64("2024-01-01", "D") + np.array(numbers, dtype="timedelta64[D]")


def align(
    bars: npt.NDArray[np.datetime64],
    actions: list[tuple[int, str, float]],
    basis: PriceBasis = "raw",
) -> StepActions:
    when = days(*(day for day, _, _ in actions))
    kinds = np.array([kind for _, kind, _ in actions], dtype=object)
    return align_actions(bars, when, kinds, np.array([value for _, _, value in actions]), basis)


def derive(sessions: npt.NDArray[np.datetime64], close: Floats, adjusted: Floats) -> DerivedActions:
    code = np.zeros(len(close), dtype=np.int64)
    return derive_actions(code, sessions, close, adjusted, "raw")


def test_a_holder_of_one_share_earns_what_the_returns_say() -> None:
    """The slow way: hold shares and cash, sell everything at each close."""
    generator = np.random.default_rng(0)
    close = generator.uniform(5, 50, 40)
    split = np.where(generator.random(40) < 0.1, 2.0, 1.0)
    dividend = np.where(generator.random(40) < 0.2, 0.7, 0.0)
    returns = total_log_returns(close, days(*range(40)), split, dividend, "raw")
    for t in range(1, 40):
        shares = 1.0 * split[t]
        wealth = shares * close[t] + shares * dividend[t]
        assert returns[t] == pytest.approx(np.log(wealth / close[t - 1]), abs=1e-14)
    assert np.isnan(returns[0])


def test_a_split_and_a_dividend_leave_no_false_return() -> None:
    close = np.array([100.0, 50.0, 49.0])
    step = align(days(0, 1, 2), [(1, "split", 2.0), (2, "dividend", 1.0)])
    returns = total_log_returns(close, days(0, 1, 2), step.split_ratio, step.dividend, "raw")
    np.testing.assert_allclose(returns[1:], [0.0, 0.0], atol=1e-15)


@pytest.mark.parametrize(
    ("basis", "expected"),
    [
        ("raw", [np.log(2 * 51 / 100), np.log(60 / 50)]),
        ("split_adjusted", [np.log(51 / 100), np.log(60 / 50)]),
        ("total_return", [np.log(50 / 100), np.log(60 / 50)]),
    ],
)
def test_each_basis_counts_only_what_its_prices_leave_out(
    basis: PriceBasis, expected: list[float]
) -> None:
    close = np.array([100.0, 50.0, 60.0])
    split, dividend = np.array([1.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0])
    returns = total_log_returns(close, days(0, 1, 2), split, dividend, basis)
    np.testing.assert_allclose(returns[1:], expected)


@given(st.lists(PRICES, min_size=2, max_size=30), RATIOS, st.floats(0.01, 5), st.data())
def test_a_later_action_changes_no_bit_of_earlier_returns(
    prices: list[float], ratio: float, cash: float, data: st.DataObject
) -> None:
    close, sessions = np.array(prices), days(*range(len(prices)))
    at = data.draw(st.integers(1, len(close) - 1))
    none = align(sessions, [])
    some = align(sessions, [(at, "split", ratio), (at, "dividend", cash)])
    before = total_log_returns(close, sessions, none.split_ratio, none.dividend, "raw")
    after = total_log_returns(close, sessions, some.split_ratio, some.dividend, "raw")
    assert before[1:at].tobytes() == after[1:at].tobytes()
    assert before[at + 1 :].tobytes() == after[at + 1 :].tobytes()
    assert after[at] != before[at]


def test_an_action_without_a_bar_is_felt_at_the_next_one() -> None:
    step = align(days(0, 1, 5), [(3, "split", 2.0), (2, "dividend", 1.0), (9, "split", 3.0)])
    assert step.split_ratio.tolist() == [1, 1, 2]
    assert step.dividend.tolist() == [0, 0, 0.5]  # a dollar per old share, of which there are two
    same_day = align(days(0, 1), [(1, "split", 2.0), (1, "dividend", 1.0)])
    assert same_day.dividend.tolist() == [0, 1]  # per new share: it trades split on its ex-date
    adjusted = align(days(0, 1, 5), [(3, "split", 2.0), (2, "dividend", 1.0)], "split_adjusted")
    assert adjusted.dividend.tolist() == [0, 0, 1]  # stated in today's shares already


def test_two_actions_felt_at_one_bar_are_both_felt() -> None:
    step = align(days(0, 9), [(3, "split", 2.0), (4, "split", 3.0), (5, "dividend", 1.0)])
    assert step.split_ratio.tolist() == [1, 6]
    assert step.dividend.tolist() == [0, 1]
    step = align(days(0, 9), [(3, "dividend", 2.0), (5, "dividend", 1.0)])
    assert step.dividend.tolist() == [0, 3]


def test_an_action_on_or_before_the_first_bar_changes_no_return() -> None:
    sessions, close = days(5, 6, 7), np.array([10.0, 11.0, 12.0])
    step = align(sessions, [(1, "split", 2.0), (5, "dividend", 1.0)])
    returns = total_log_returns(close, sessions, step.split_ratio, step.dividend, "raw")
    np.testing.assert_allclose(returns[1:], np.log([1.1, 12 / 11]))


def test_short_histories_have_no_returns() -> None:
    one = np.array([10.0])
    assert np.isnan(total_log_returns(one, days(0), one, one, "raw")).all()
    assert len(total_log_returns(one[:0], days(), one[:0], one[:0], "raw")) == 0
    assert total_return_closes(one, np.array([np.nan])).tolist() == [10.0]
    assert len(total_return_closes(one[:0], one[:0])) == 0
    assert check_adjusted(np.array([np.nan]), one) == 0.0


def test_sessions_out_of_order_are_refused() -> None:
    ones = np.ones(3)
    with pytest.raises(ValueError, match=r"2024-01-03 before 2024-01-02 at position 1"):
        total_log_returns(ones, days(0, 2, 1), ones, ones, "raw")
    with pytest.raises(ValueError, match="strictly ascending"):
        total_log_returns(ones, days(0, 1, 1), ones, ones, "raw")


def test_total_return_closes_start_at_the_first_close() -> None:
    close = np.array([100.0, 50.0, 49.0, 60.0])
    split, dividend = np.array([1, 2.0, 1, 1]), np.array([0, 0, 1.0, 0])
    returns = total_log_returns(close, days(0, 1, 2, 3), split, dividend, "raw")
    index = total_return_closes(close, returns)
    np.testing.assert_allclose(index, [100, 100, 100, 100 * 60 / 49])
    assert total_return_closes(close[:3], returns[:3]).tobytes() == index[:3].tobytes()


def test_the_check_tells_the_largest_relative_error() -> None:
    close = np.array([10.0, 11.0, 12.0])
    returns = total_log_returns(close, days(0, 1, 2), np.ones(3), np.zeros(3), "raw")
    assert check_adjusted(returns, close * 0.3) == pytest.approx(0, abs=1e-15)
    assert check_adjusted(returns, np.array([10.0, 11.0 / 1.02, 12.0])) == pytest.approx(0.02)


@given(st.data())
def test_derived_actions_give_back_the_adjusted_closes(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 25))
    close = np.array(data.draw(st.lists(st.floats(1, 1e3), min_size=size, max_size=size)))
    split, dividend = np.ones(size), np.zeros(size)
    at = data.draw(st.sets(st.integers(1, size - 1), max_size=5))
    for place in at:
        if data.draw(st.booleans()):
            split[place] = data.draw(RATIOS)
        else:
            dividend[place] = close[place] * data.draw(st.floats(0.001, 0.15))
    sessions = days(*range(size))
    returns = total_log_returns(close, sessions, split, dividend, "raw")
    adjusted = total_return_closes(close, returns)
    factor = np.log(adjusted / close)
    leaves = np.abs(np.diff(factor))[:-1] > 1e-6
    returns_at_once = np.abs(factor[2:] - factor[:-2]) < 1e-4
    assume(not np.any(leaves & returns_at_once))  # a bad cell of the provider's, by design
    order = np.array(data.draw(st.permutations(range(size))))
    found = derive(sessions[order], close[order], adjusted[order])
    step = align_actions(sessions, sessions[order][found.position], found.action, found.value)
    again = total_log_returns(close, sessions, step.split_ratio, step.dividend, "raw")
    assert check_adjusted(again, adjusted) < 1e-9


def test_ratios_of_shares_are_splits_and_the_rest_dividends() -> None:
    close = np.array([100.0, 50.0, 33.0, 330.0, 300.0])
    split, dividend = np.array([1, 2.0, 1.5, 0.1, 1]), np.array([0, 0, 0, 0, 30.0])
    sessions = days(0, 1, 2, 3, 4)
    returns = total_log_returns(close, sessions, split, dividend, "raw")
    found = derive(sessions, close, total_return_closes(close, returns))
    assert found.action.tolist() == ["split", "split", "split", "dividend"]
    assert found.value[:3].tolist() == [2.0, 1.5, 0.1]  # exact, not 1.9999999
    assert found.value[3] == pytest.approx(30.0)
    assert found.position.tolist() == [1, 2, 3, 4]


def test_one_bad_cell_is_no_action() -> None:
    close = np.full(6, 10.0)
    adjusted = close * 0.5
    adjusted[2] = 50.0
    assert len(derive(days(*range(6)), close, adjusted).position) == 0


def test_rows_without_numbers_or_sessions_are_passed_over() -> None:
    close = np.array([10.0, np.nan, 10.0, 0.0, 10.0, 10.0])
    adjusted = np.array([5.0, 5.0, 5.0, 5.0, np.nan, 10.0])
    sessions = days(*range(6))
    found = derive(sessions, close, adjusted)
    assert (found.position.tolist(), found.value.tolist()) == ([5], [2.0])
    sessions[5] = np.datetime64("NaT")
    assert len(derive(sessions, close, adjusted).position) == 0


def test_instruments_do_not_mix() -> None:
    code = np.array([1, 0, 1, 0])
    close = np.array([10.0, 10.0, 10.0, 10.0])
    adjusted = np.array([10.0, 1.0, 10.0, 1.0])
    found = derive_actions(code, days(0, 0, 1, 1), close, adjusted, "raw")
    assert len(found.position) == 0


def test_adjusted_prices_imply_dividends_only() -> None:
    close, adjusted = np.array([10.0, 10.0, 10.0]), np.array([4.0, 8.0, 4.0])
    code = np.zeros(3, dtype=np.int64)
    found = derive_actions(code, days(0, 1, 2), close, adjusted, "split_adjusted")
    assert found.action.tolist() == []  # leaves for one row and comes back
    close, adjusted = np.full(4, 10.0), np.array([4.0, 8.0, 8.0, 7.0])
    code = np.zeros(4, dtype=np.int64)
    found = derive_actions(code, days(0, 1, 2, 3), close, adjusted, "split_adjusted")
    assert (found.action.tolist(), found.value.tolist()) == (["dividend"], [10.0])
