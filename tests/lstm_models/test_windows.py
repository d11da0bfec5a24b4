"""Windows cover what they should, once each, and depend on names, seeds and lengths only."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_models.windows import checks, generator, passes, tiles

lookbacks = st.integers(1, 40)


@given(data=st.data(), lookback=lookbacks, first=st.integers(0, 50), extra=st.integers(0, 150))
def test_tiles_supervise_rows_once_and_stay_inside(
    data: st.DataObject, lookback: int, first: int, extra: int
) -> None:
    burn_in = data.draw(st.integers(0, lookback - 1))
    phase = data.draw(st.integers(0, min(lookback - burn_in, extra + 1) - 1))
    stop = first + lookback + extra
    starts = tiles(first, stop, lookback, burn_in, phase)
    assert starts.dtype == np.int32
    assert starts.min() >= first
    assert starts.max() + lookback <= stop
    supervised = (starts[:, None] + np.arange(burn_in, lookback)).ravel()
    # One run of rows without gap or repetition, and less than a window's steps short of the end.
    expected = np.arange(first + phase + burn_in, supervised[-1] + 1)
    assert supervised.tolist() == expected.tolist()
    assert stop - 1 - supervised[-1] < lookback - burn_in


@given(data=st.data(), lookback=st.integers(1, 12), extra=st.integers(0, 30))
def test_over_the_phases_every_row_after_the_burn_in_is_supervised(
    data: st.DataObject, lookback: int, extra: int
) -> None:
    burn_in = data.draw(st.integers(0, lookback - 1))
    first, stop = 5, 5 + lookback + extra
    drawn = islice(passes(first, stop, lookback, burn_in, generator("a")), 3000)
    starts = np.unique(list(drawn))
    assert starts.min() >= first
    assert starts.max() + lookback <= stop
    supervised = np.unique(starts[:, None] + np.arange(burn_in, lookback))
    assert supervised.tolist() == list(range(first + burn_in, stop))


def test_a_pass_holds_every_tile_once_in_an_order_of_its_own() -> None:
    lookback, burn_in, stop = 8, 2, 200
    windows = passes(0, stop, lookback, burn_in, generator("a"))
    orders = []
    for _ in range(20):
        head = next(windows)
        whole = tiles(0, stop, lookback, burn_in, head % (lookback - burn_in))
        order = [head, *islice(windows, len(whole) - 1)]
        assert sorted(order) == whole.tolist()
        orders.append(order)
    assert {order[0] % (lookback - burn_in) for order in orders} == set(range(6))
    assert any(order != sorted(order) for order in orders)


@given(data=st.data(), lookback=lookbacks, length=st.integers(1, 120))
def test_checks_cover_every_row_exactly_once(
    data: st.DataObject, lookback: int, length: int
) -> None:
    stride = data.draw(st.integers(1, lookback))
    first = data.draw(st.integers(lookback - stride, 200))
    starts = checks(first, first + length, lookback, stride)
    assert starts.min() >= 0
    judged = (starts[:, None] + np.arange(lookback - stride, lookback)).ravel()
    assert judged[:length].tolist() == list(range(first, first + length))
    assert len(judged) - length < stride


def test_streams_depend_on_names_alone() -> None:
    def draws(*names: str | int) -> list[int]:
        return list(islice(passes(0, 300, 20, 4, generator(*names)), 50))

    assert draws("AAPL", 0, "windows") == draws("AAPL", 0, "windows")
    others = [("AAPL", 1, "windows"), ("IBM", 0, "windows"), ("AAPL", 0, "initial weights")]
    for names in others:
        assert draws(*names) != draws("AAPL", 0, "windows")
    # Two names are not their concatenation.
    assert generator("ab", "c").random() != generator("a", "bc").random()
    np.random.default_rng().random()
    assert generator("AAPL", 0).random() == generator("AAPL", 0).random()


def test_a_stream_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert generator("AAPL", 0, "windows").integers(0, 1000, 5).tolist() == [
        370,
        138,
        121,
        817,
        732,
    ]


def test_too_few_rows_are_named_with_the_remedy() -> None:
    problem = r"lookback=8 steps does not fit into 7 rows \(3 … 9\)"
    message = f"{problem}: shorten lookback or give more history"
    with pytest.raises(ValueError, match=message):
        next(passes(3, 10, 8, 2, generator("a")))
    assert next(passes(3, 11, 8, 2, generator("a"))) == 3
