"""Baselines against statsmodels, arch and plain least squares, and what they must never do."""

import numpy as np
import pytest
import statsmodels.api as sm
from arch.univariate import HARX
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.tsa.ar_model import AutoReg

from lstm_models.baselines import (
    AR_LAGS,
    BASELINES,
    DEFAULT_BASELINE,
    FALLBACKS,
    FORMS,
    fit,
    linear_skip,
)
from lstm_models.features import FEATURES, columns

Floats = NDArray[np.float64]
LEADS = 3
TIME = 400


def panel(seed: int = 0, members: int = 3, time: int = TIME) -> tuple[Floats, Floats]:
    """Correlated inputs on different scales, and targets that they explain in part."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(members, time, 1))
    inputs = rng.normal(size=(members, time, len(FEATURES))) + 2.0 * common
    inputs = inputs * np.geomspace(1e-2, 1.0, len(FEATURES)) - np.linspace(0, 9, len(FEATURES))
    slopes = rng.normal(size=(members, len(FEATURES), LEADS))
    targets = inputs @ slopes + rng.normal(size=(members, time, LEADS))
    return inputs, targets


def everything(inputs: Floats) -> NDArray[np.bool_]:
    return np.ones(inputs.shape[:2], dtype=np.bool_)


@pytest.mark.parametrize("name", ["har", "harx", "harx_long"])
def test_regressions_equal_statsmodels(name: str) -> None:
    inputs, targets = panel()
    rows = everything(inputs)
    rows[:, 300:] = False
    fitted = fit(name, inputs, targets, rows)
    predictions = fitted.predict(inputs)
    for member in range(len(inputs)):
        design = sm.add_constant(inputs[member][:, columns(FORMS[name].columns)], prepend=False)
        for lead in range(LEADS):
            reference = sm.OLS(targets[member, :300, lead], design[:300]).fit()
            np.testing.assert_allclose(
                fitted.coefficients[member, :, lead], reference.params, rtol=1e-5, atol=1e-6
            )
            np.testing.assert_allclose(
                predictions[member, :, lead], reference.predict(design), rtol=1e-6, atol=1e-6
            )


def test_har_equals_arch() -> None:
    series = np.cumsum(np.random.default_rng(1).normal(size=600)) * 0.1 - 9.0
    inputs = np.full((1, 600, len(FEATURES)), np.nan)
    for length in (1, 5, 22):
        means = np.convolve(series, np.ones(length) / length, "valid")
        inputs[0, length - 1 :, columns((f"log_variance_{length}",))[0]] = means
    targets = np.full((1, 600, 1), np.nan)
    targets[0, :-1, 0] = series[1:]
    fitted = fit("har", inputs, targets, everything(inputs))
    reference = HARX(series, lags=[1, 5, 22], rescale=False).fit(disp="off").params.to_numpy()
    np.testing.assert_allclose(fitted.coefficients[0, [3, 0, 1, 2], 0], reference[:4], rtol=1e-4)


def test_ar_equals_statsmodels_one_step_ahead() -> None:
    rng = np.random.default_rng(2)
    returns = 0.01 * rng.normal(size=500)
    for step in range(1, 500):
        returns[step] += 0.3 * returns[step - 1]
    inputs = np.full((1, 500, len(FEATURES)), np.nan)
    inputs[0, :, columns(("log_return",))[0]] = returns
    targets = np.full((1, 500, 2), np.nan)
    targets[0, :-1, 0] = returns[1:]
    targets[0, :-2, 1] = returns[1:-1] + returns[2:]
    fitted = fit("ar", inputs, targets, everything(inputs))
    # The last row has no second lead and so does not count for the first either.
    reference = AutoReg(returns[:-1], lags=AR_LAGS).fit().params
    np.testing.assert_allclose(fitted.coefficients[0, -1, 0], reference[0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(fitted.coefficients[0, :-1, 0], reference[1:], rtol=1e-5)
    lags = np.stack([returns[4 - lag : 498 - lag] for lag in range(AR_LAGS)], axis=1)
    direct = np.linalg.lstsq(np.c_[lags, np.ones(494)], targets[0, 4:498, 1])[0]
    np.testing.assert_allclose(fitted.coefficients[0, :, 1], direct, rtol=1e-5, atol=1e-9)


def test_zero_drift_and_ewma_are_what_they_say() -> None:
    inputs, targets = panel()
    rows = everything(inputs)
    rows[:, 250:] = False
    assert (fit("zero", inputs, targets, rows).predict(inputs) == 0.0).all()
    means = targets[:, :250].mean(axis=1)
    drift = fit("drift", inputs, targets, rows).predict(inputs)
    np.testing.assert_allclose(drift, np.broadcast_to(means[:, None], drift.shape), rtol=1e-12)
    ewma = inputs[..., columns(("log_variance_ewma",))]
    recentred = ewma + (targets[:, :250] - ewma[:, :250]).mean(axis=1)[:, None]
    np.testing.assert_allclose(
        fit("ewma", inputs, targets, rows).predict(inputs), recentred, rtol=1e-9
    )


@pytest.mark.parametrize("name", FORMS)
def test_what_comes_later_changes_no_bit(name: str) -> None:
    inputs, targets = panel()
    rows = everything(inputs)
    rows[:, 300:] = False
    before = fit(name, inputs, targets, rows)
    corrupt_inputs, corrupt_targets = inputs.copy(), targets.copy()
    corrupt_inputs[:, 350:] = 1e6
    corrupt_targets[:, 300:] = -1e6
    after = fit(name, corrupt_inputs, corrupt_targets, rows)
    assert before.coefficients.tobytes() == after.coefficients.tobytes()
    first, second = before.predict(inputs), after.predict(corrupt_inputs)
    assert first[:, :350].tobytes() == second[:, :350].tobytes()


@pytest.mark.parametrize("name", [name for name in FORMS if name != "zero"])
def test_a_fit_on_the_future_would_be_seen(name: str) -> None:
    inputs, targets = panel()
    rows = everything(inputs)
    corrupt = targets.copy()
    corrupt[:, 300:] = -1e6
    honest, leaked = fit(name, inputs, targets, rows), fit(name, inputs, corrupt, rows)
    assert not np.array_equal(honest.coefficients, leaked.coefficients)


@pytest.mark.parametrize("name", FORMS)
def test_company_padding_and_length_change_no_bit(name: str) -> None:
    inputs, targets = panel(members=4)
    rows = everything(inputs)
    together = fit(name, inputs, targets, rows)
    predictions = together.predict(inputs)
    order = np.array([2, 0, 3, 1])
    shuffled = fit(name, inputs[order], targets[order], rows[order])
    assert shuffled.coefficients.tobytes() == together.coefficients[order].tobytes()
    pad = ((0, 0), (37, 12), (0, 0))
    padded = np.pad(inputs[1:2], pad, constant_values=np.nan)
    alone = fit(
        name,
        padded,
        np.pad(targets[1:2], pad, constant_values=np.nan),
        np.pad(rows[1:2], pad[:2], constant_values=False),
    )
    assert alone.coefficients.tobytes() == together.coefficients[1:2].tobytes()
    later = alone.predict(padded)[:, 37:-12]
    start = FORMS[name].lags - 1
    assert later[:, start:].tobytes() == predictions[1:2, start:].tobytes()
    assert together.predict(inputs[:, :211]).tobytes() == predictions[:, :211].tobytes()


@pytest.mark.parametrize("name", FORMS)
def test_constant_and_repeated_columns_stay_finite(name: str) -> None:
    inputs, targets = panel()
    inputs[0] = -9.21
    targets[0] = -9.0
    inputs[1] = inputs[1, :, :1]
    fitted = fit(name, inputs, targets, everything(inputs))
    assert fitted.fitted.all()
    assert np.isfinite(fitted.coefficients).all()
    if name in {"har", "harx", "harx_long", "drift", "ar"}:
        np.testing.assert_allclose(fitted.predict(inputs)[0, 10:], -9.0, rtol=1e-12)
        jump = inputs[:, -20:].copy()
        jump[0] += 1.0
        np.testing.assert_allclose(fitted.predict(jump)[0, 10:], -9.0, rtol=1e-12)


@given(st.floats(-20.0, 20.0), st.integers(120, 300))
@settings(deadline=None, max_examples=40)
def test_a_constant_column_gets_no_slope_from_its_rounding(value: float, time: int) -> None:
    _, targets = panel(members=1, time=time)
    inputs = np.full((1, time, len(FEATURES)), value)
    fitted = fit("harx_long", inputs, targets, everything(inputs))
    assert (fitted.coefficients[0, :-1] == 0.0).all()
    np.testing.assert_allclose(fitted.coefficients[0, -1], targets[0].mean(axis=0), rtol=1e-12)


def test_repeated_columns_share_the_slope_of_one() -> None:
    inputs, targets = panel(members=1)
    one, five, month = columns(("log_variance_1", "log_variance_5", "log_variance_22"))
    inputs[..., five] = inputs[..., month] = inputs[..., one]
    slopes = fit("har", inputs, targets, everything(inputs)).coefficients[0, :-1]
    single = linear_skip(inputs, targets, everything(inputs), ("log_variance_1",))[0, one]
    np.testing.assert_allclose(slopes, np.broadcast_to(single / 3, slopes.shape), rtol=1e-5)


@given(rows_present=st.integers(0, 220), name=st.sampled_from(sorted(FORMS)))
@settings(deadline=None, max_examples=60)
def test_too_few_rows_are_said_so_and_never_fitted(rows_present: int, name: str) -> None:
    inputs, targets = panel(members=2, time=230)
    targets[0, rows_present:] = np.nan
    fitted = fit(name, inputs, targets, everything(inputs))
    usable = max(rows_present - (FORMS[name].lags - 1), 0)
    assert fitted.rows[0] == usable
    assert fitted.fitted[0] == (usable >= FORMS[name].min_rows)
    predictions = fitted.predict(inputs)[:, FORMS[name].lags - 1 :]
    assert np.isfinite(predictions[0]).all() == fitted.fitted[0]
    assert np.isnan(predictions[0]).all() != fitted.fitted[0]
    assert np.isfinite(predictions[1]).all()


def test_a_missing_input_gives_no_prediction_and_no_fit_row() -> None:
    inputs, targets = panel()
    month = columns(("log_variance_22",))[0]
    inputs[0, :21, month] = np.nan
    fitted = fit("har", inputs, targets, everything(inputs))
    assert fitted.rows.tolist() == [TIME - 21, TIME, TIME]
    missing = np.asarray(np.isnan(fitted.predict(inputs)).all(axis=-1))
    assert missing[0].tolist() == [True] * 21 + [False] * (TIME - 21)
    assert np.isfinite(fit("harx", inputs, targets, everything(inputs)).predict(inputs)[1:]).all()


def test_linear_skip_is_the_baseline_at_full_width() -> None:
    inputs, targets = panel()
    rows = everything(inputs)
    rows[2] = False
    skip = linear_skip(inputs, targets, rows, FORMS["harx"].columns)
    places = [*columns(FORMS["harx"].columns), len(FEATURES)]
    harx = fit("harx", inputs, targets, rows)
    assert np.array_equal(skip[:2, places], harx.coefficients[:2])
    others = [place for place in range(len(FEATURES) + 1) if place not in places]
    assert (skip[:, others] == 0.0).all()
    assert (skip[2] == 0.0).all()
    drift = linear_skip(inputs, targets, rows, ())
    assert np.array_equal(drift[:2, -1], fit("drift", inputs, targets, rows).coefficients[:2, 0])
    direct = inputs[:2] @ skip[:2, :-1] + skip[:2, None, -1]
    np.testing.assert_allclose(direct, harx.predict(inputs)[:2], rtol=1e-9)


def test_a_ridge_equals_statsmodels_on_standardised_columns() -> None:
    inputs, targets = panel()
    form = FORMS["harx_market"]
    assert form.ridge > 0.0
    fitted = fit("harx_market", inputs, targets, everything(inputs))
    for member in range(len(inputs)):
        design = inputs[member][:, columns(form.columns)]
        standard = (design - design.mean(axis=0)) / design.std(axis=0)
        for lead in range(LEADS):
            outcome = targets[member, :, lead]
            reference = sm.OLS(outcome - outcome.mean(), standard).fit_regularized(
                alpha=form.ridge / len(outcome), L1_wt=0.0
            )
            np.testing.assert_allclose(
                fitted.coefficients[member, :-1, lead] * design.std(axis=0),
                reference.params,
                rtol=1e-5,
                atol=1e-7,
            )
            predicted = fitted.predict(inputs)[member, :, lead]
            assert predicted.mean() == pytest.approx(outcome.mean())


def test_a_ridge_fades_with_the_length_of_the_history() -> None:
    short, long = (panel(time=time) for time in (200, 4000))
    gaps = []
    for inputs, targets in (short, long):
        rows = everything(inputs)
        held = linear_skip(inputs, targets, rows, FORMS["harx_long"].columns, ridge=100.0)
        free = linear_skip(inputs, targets, rows, FORMS["harx_long"].columns)
        gaps.append(np.abs(held[:, :-1] - free[:, :-1]).sum() / np.abs(free[:, :-1]).sum())
    assert gaps[1] < 0.25 * gaps[0]


def test_float32_panels_are_fitted_in_float64() -> None:
    inputs, targets = panel()
    single = fit(
        "harx_long",
        inputs.astype(np.float32),
        targets.astype(np.float32),
        everything(inputs),
    ).predict(inputs.astype(np.float32))
    double = fit("harx_long", inputs, targets, everything(inputs)).predict(inputs)
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=1e-4)


def test_the_tables_name_forms_that_exist() -> None:
    assert set(BASELINES) == set(DEFAULT_BASELINE) == set(FALLBACKS)
    for target, names in BASELINES.items():
        used = {*names, *FALLBACKS[target], DEFAULT_BASELINE[target]}
        assert used <= set(names)
        assert set(names) <= set(FORMS)
        assert FALLBACKS[target][0] == DEFAULT_BASELINE[target]


def test_wrong_arguments_are_named() -> None:
    inputs, targets = panel()
    rows = everything(inputs)
    with pytest.raises(ValueError, match=r"unknown baseline 'hra': expected one of \['ar'"):
        fit("hra", inputs, targets, rows)
    with pytest.raises(ValueError, match=r"with 17 features: received shape \(3, 400, 4\)"):
        fit("har", inputs[..., :4], targets, rows)
    with pytest.raises(ValueError, match=r"targets must be .* received shape \(3, 399, 3\)"):
        fit("har", inputs, targets[:, 1:], rows)
    with pytest.raises(ValueError, match=r"rows must be a boolean mask .* received float64"):
        fit("har", inputs, targets, rows.astype(np.float64))
    with pytest.raises(ValueError, match="features must be distinct"):
        linear_skip(inputs, targets, rows, ("log_return", "log_return"))
    with pytest.raises(ValueError, match="was fitted for 3 members: received inputs of 2"):
        fit("har", inputs, targets, rows).predict(inputs[:2])
