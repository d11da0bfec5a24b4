"""Scalers against NumPy's own statistics, and columns that have none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lstm_models.scaling import Scaler

values = arrays(
    np.float64, (20, 2), elements=st.one_of(st.floats(-1e3, 1e3), st.sampled_from([np.nan, np.inf]))
)


@given(values)
def test_centre_and_spread_equal_numpy_on_the_finite_values(column: np.ndarray) -> None:
    scaler = Scaler.fit(column)
    for place in range(2):
        finite = column[np.isfinite(column[:, place]), place]
        mean, spread = (finite.mean(), finite.std()) if len(finite) else (0.0, 0.0)
        assert scaler.center[place] == pytest.approx(mean, rel=1e-9, abs=1e-9)
        if spread > 1e-9:
            assert scaler.spread[place] == pytest.approx(spread, rel=1e-6, abs=1e-9)
        assert scaler.spread[place] > 0.0


def test_scaled_fit_rows_have_mean_zero_and_deviation_one() -> None:
    rows = np.random.default_rng(0).normal(5.0, [1e-3, 1e4], size=(500, 2))
    scaled = Scaler.fit(rows).scale(rows)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.1, -9.123456789, 1e12, 1e-30])
def test_a_constant_column_scales_to_zero_not_to_noise(constant: float) -> None:
    scaler = Scaler.fit(np.full((777, 1), constant))
    assert scaler.spread.tolist() == [1.0]
    assert abs(scaler.scale(np.array([[constant]]))[0, 0]) <= 1e-12 * max(abs(constant), 1.0)


def test_a_column_without_any_value_scales_like_itself() -> None:
    scaler = Scaler.fit(np.full((5, 1), np.nan))
    assert (scaler.center.tolist(), scaler.spread.tolist()) == ([0.0], [1.0])


def test_float32_rows_are_summed_in_float64() -> None:
    rows = (1e4 + np.random.default_rng(1).normal(size=(10_000, 1))).astype(np.float32)
    scaler = Scaler.fit(rows)
    assert scaler.center[0] == pytest.approx(rows.astype(np.float64).mean(), rel=1e-12)
    assert scaler.center.dtype == scaler.spread.dtype == np.float64
