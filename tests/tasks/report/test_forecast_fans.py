"""What a person reads on a fan follows from the forecast by a formula anyone can check."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from tasks.report.forecast_fans import price_fan, split_adjusted, trailing_mean, volatility_fan
from tasks.report.prices import Prices

START = date(2005, 2, 22)


def prices(close: list[float], **changes: Any) -> Prices:  # noqa: ANN401
    array = np.array(close)
    sessions = np.array([START + timedelta(days=i) for i in range(len(close))], "datetime64[D]")
    known: dict[str, Any] = {
        "sessions": sessions,
        "open": array,
        "high": array * 1.01,
        "low": array * 0.99,
        "close": array,
        "price_basis": "raw",
        "splits": (),
    }
    return Prices(**(known | changes))


def row(lead: int, cutoff: date, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "lead": lead,
        "cutoff": cutoff,
        "target_session": cutoff + timedelta(days=lead),
        "mean": 0.01 * lead,
        "lower": -0.02 * lead,
        "upper": 0.03 * lead,
        "level": 0.9,
        "volatility": None,
    } | changes


def test_price_fan_is_the_last_close_times_exp_of_the_forecast() -> None:
    cutoff = START + timedelta(days=2)
    fan = price_fan("X", prices([10.0, 11.0, 12.0, 99.0]), [row(1, cutoff), row(2, cutoff)])
    assert fan is not None
    assert fan.history == (10.0, 11.0, 12.0)  # what came after the cutoff is not shown
    assert fan.mean == pytest.approx([12 * math.exp(0.01), 12 * math.exp(0.02)])
    assert fan.lower == pytest.approx([12 * math.exp(-0.02), 12 * math.exp(-0.04)])
    assert fan.upper == pytest.approx([12 * math.exp(0.03), 12 * math.exp(0.06)])
    assert fan.targets == (cutoff + timedelta(days=1), cutoff + timedelta(days=2))
    assert fan.level == 0.9


def test_a_split_in_the_window_makes_no_false_fall() -> None:
    split = ((START + timedelta(days=2), 2.0),)
    close = [100.0, 102.0, 51.5, 52.0]
    assert split_adjusted(prices(close, splits=split)) == pytest.approx([50.0, 51.0, 51.5, 52.0])
    adjusted = prices(close, splits=split, price_basis="split_adjusted")
    assert split_adjusted(adjusted) == pytest.approx(close)


def test_a_split_after_the_last_bar_is_not_felt_yet() -> None:
    close = [100.0, 102.0]
    later = ((START + timedelta(days=9), 2.0),)
    assert split_adjusted(prices(close, splits=later)) == pytest.approx(close)


def test_volatility_fan_is_annualised_in_per_cent() -> None:
    cutoff = START + timedelta(days=5)
    mean = math.log(0.02**2)
    rows = [
        row(h, cutoff, mean=mean, lower=mean - 1, upper=mean + 1, volatility=0.021) for h in (1, 2)
    ]
    fan = volatility_fan("X", prices([100.0] * 6), rows)
    assert fan is not None
    year = 100 * math.sqrt(252)
    assert fan.mean == pytest.approx([0.021 * year] * 2)
    assert fan.lower == pytest.approx([0.02 * math.exp(-0.5) * year] * 2)
    assert fan.upper == pytest.approx([0.02 * math.exp(0.5) * year] * 2)
    daily = math.sqrt(0.5) * math.log(1.01 / 0.99) * year  # Garman-Klass with open equal to close
    assert fan.daily == pytest.approx([daily] * 6)
    assert fan.history[1:] == pytest.approx([daily] * 5)
    assert math.isnan(fan.history[0])  # one session is not yet two
    assert not fan.from_cutoff


def test_without_ranges_volatility_is_the_absolute_return() -> None:
    cutoff = START + timedelta(days=2)
    gone = np.full(3, np.nan)
    bars = prices([100.0, 110.0, 99.0], open=gone, high=gone, low=gone)
    fan = volatility_fan("X", bars, [row(1, cutoff, mean=-8.0, lower=-9.0, upper=-7.0)])
    assert fan is not None
    year = 100 * math.sqrt(252)
    assert fan.daily == pytest.approx([math.log(1.1) * year, -math.log(0.9) * year])


def test_no_bar_up_to_the_cutoff_means_no_chart() -> None:
    before = START - timedelta(days=9)
    assert price_fan("X", prices([10.0]), [row(1, before)]) is None
    assert volatility_fan("X", prices([10.0]), [row(1, before)]) is None


def test_an_absurd_bound_is_infinite_and_no_error() -> None:
    fan = price_fan("X", prices([10.0]), [row(1, START, upper=1e6)])
    assert fan is not None
    assert fan.upper == (math.inf,)


def test_trailing_mean_equals_the_plain_loop() -> None:
    values = np.random.default_rng(3).normal(size=30)
    slow = [np.nan if i < 4 else values[i - 4 : i + 1].mean() for i in range(30)]
    np.testing.assert_allclose(trailing_mean(values, 5), slow)
    assert np.isnan(trailing_mean(values[:3], 5)).all()
