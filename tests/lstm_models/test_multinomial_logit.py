"""The multinomial logit against statsmodels, its own definition and closed forms."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from lstm_models.multinomial_logit import RIDGE, fit, predict

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]
NOTHING = 1e-9
ROWS = 700


def sample(classes: int, seed: int = 0, rows: int = ROWS) -> tuple[Floats, Classes]:
    """Correlated columns far from zero, and classes that they explain in part."""
    rng = np.random.default_rng(seed)
    inputs = 0.3 * rng.normal(size=(rows, 4)) + rng.normal(size=(rows, 1))
    inputs = inputs * [1e-2, 1.0, 2.0, 1.0] - [0.0, 9.0, 9.0, 1.0]
    position = inputs[:, 1] + rng.logistic(size=rows)
    return inputs, np.searchsorted(np.quantile(position, np.arange(1, classes) / classes), position)


def test_without_a_ridge_the_binary_logit_is_statsmodels() -> None:
    inputs, came = sample(2)
    coefficients = fit(inputs, came, 2, pseudo_count=NOTHING, ridge=NOTHING)
    design = sm.add_constant(inputs, prepend=False)
    reference = sm.Logit(came, design).fit(disp=0, tol=1e-12)
    np.testing.assert_allclose(coefficients[:, 0], reference.params, rtol=1e-6)
    np.testing.assert_allclose(predict(coefficients, inputs)[:, 1], reference.predict(design))


@pytest.mark.parametrize("classes", [3, 10])
def test_without_a_ridge_the_multinomial_logit_is_statsmodels(classes: int) -> None:
    inputs, came = sample(classes)
    coefficients = fit(inputs, came, classes, pseudo_count=NOTHING, ridge=NOTHING)
    design = sm.add_constant((inputs - inputs.mean(axis=0)) / inputs.std(axis=0), prepend=False)
    reference = sm.MNLogit(came, design).fit(method="newton", disp=0, maxiter=50, tol=1e-12)
    # statsmodels holds the first class' coefficients at zero.
    slopes = (coefficients[:-1] - coefficients[:-1, :1]) * inputs.std(axis=0)[:, None]
    np.testing.assert_allclose(slopes[:, 1:], reference.params[:-1], rtol=1e-6, atol=1e-7)
    expected = reference.predict(design)
    np.testing.assert_allclose(predict(coefficients, inputs), expected, rtol=1e-6, atol=1e-9)


def test_with_its_ridge_the_binary_logit_is_statsmodels_penalised() -> None:
    inputs, came = sample(2)
    coefficients = fit(inputs, came, 2, pseudo_count=NOTHING)
    standard = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    design = sm.add_constant(standard, prepend=False)
    # Its two classes share a slope, half each, so their difference bears half of the penalty.
    penalty = np.array([RIDGE / 2] * 4 + [0.0]) / ROWS
    model = sm.GLM(came, design, family=sm.families.Binomial())
    reference = model.fit_regularized(alpha=penalty, L1_wt=0.0)
    slopes = coefficients[:-1, 0] * inputs.std(axis=0)
    np.testing.assert_allclose(slopes, reference.params[:-1], atol=1e-3)  # it stops early


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_step_leads_uphill_from_the_penalised_likelihood(classes: int) -> None:
    inputs, came = sample(classes, rows=200)
    coefficients = fit(inputs, came, classes, pseudo_count=0.5)
    spread, centre = inputs.std(axis=0), inputs.mean(axis=0)
    if classes == 2:
        coefficients = np.c_[-coefficients, coefficients] / 2
    slopes = coefficients[:-1] * spread[:, None]
    middle = coefficients[-1] + centre @ coefficients[:-1]
    assert middle.sum() == pytest.approx(0.0, abs=1e-6)

    def objective(slopes: Floats, middle: Floats) -> float:
        total = -0.5 * 10.0 * float((slopes**2).sum())
        log_sum = math.log(np.exp(middle).sum())
        total += sum(0.5 * (float(value) - log_sum) for value in middle)
        logits = (inputs - centre) / spread @ slopes + middle
        for row, place in zip(logits, came.tolist(), strict=True):
            total += float(row[place]) - math.log(np.exp(row).sum())
        return total

    best = objective(slopes, middle)
    rng = np.random.default_rng(0)
    for _ in range(20):
        step, shift = 1e-3 * rng.normal(size=slopes.shape), 1e-3 * rng.normal(size=classes)
        one = objective(slopes + step, middle + shift)
        other = objective(slopes - step, middle - shift)
        # Both ways lose, and to first order the same: the gradient is zero.
        assert max(one, other) < best
        assert abs(one - other) < 1e-2 * (best - min(one, other))


@pytest.mark.parametrize("value", [0.0, -9.21, 1e8])
@pytest.mark.parametrize("classes", [2, 10])
def test_constant_columns_leave_the_smoothed_frequencies(classes: int, value: float) -> None:
    _, came = sample(classes)
    inputs = np.full((ROWS, 3), value)
    coefficients = fit(inputs, came, classes, pseudo_count=0.5)
    assert (coefficients[:-1] == 0.0).all()
    counts = np.bincount(came, minlength=classes)
    expected = (counts + 0.5) / (ROWS + classes / 2)
    np.testing.assert_allclose(predict(coefficients, inputs[:1] + 1.0), [expected], rtol=1e-9)


def test_a_column_that_only_rounding_varies_gets_no_slope() -> None:
    inputs, came = sample(10)
    inputs[:, 2] = np.where(came > 4, 0.1 * 3.0, 0.3)
    coefficients = fit(inputs, came, 10, pseudo_count=0.5)
    assert (coefficients[2] == 0.0).all()
    assert (coefficients[1] != 0.0).all()


def test_the_units_of_a_column_do_not_matter() -> None:
    inputs, came = sample(3)
    scaled = inputs * [1e6, 1e-6, -2.0, 1.0] + [3.0, 0.0, 1.0, -4.0]
    one, other = (predict(fit(read, came, 3, pseudo_count=0.5), read) for read in (inputs, scaled))
    np.testing.assert_allclose(one, other, rtol=1e-8)


def test_the_order_in_memory_changes_no_bit() -> None:
    inputs, came = sample(10)
    one, other = (
        fit(read, came, 10, pseudo_count=0.5)
        for read in (np.ascontiguousarray(inputs), np.asfortranarray(inputs))
    )
    assert one.tobytes() == other.tobytes()


def test_separated_absent_and_repeated_stay_finite() -> None:
    inputs, _ = sample(2)
    came = (inputs[:, 1] > -9.0).astype(np.int64)
    separated = fit(inputs, came, 2, pseudo_count=0.5, ridge=1e-3)
    assert np.isfinite(separated).all()
    assert (predict(separated, inputs).argmax(axis=-1) == came).mean() > 0.99
    absent = predict(fit(inputs, 0 * came, 2, pseudo_count=0.5), inputs)
    np.testing.assert_allclose(absent[:, 1], 0.5 / (ROWS + 1), rtol=1e-2)
    repeated = np.repeat(inputs[:, 1:2], 3, axis=1)
    slopes = fit(repeated, sample(10)[1], 10, pseudo_count=0.5)[:-1]
    np.testing.assert_allclose(slopes, np.broadcast_to(slopes[0], slopes.shape), rtol=1e-8)


def test_a_start_that_overshoots_is_searched_back() -> None:
    # One far row and a rare class: Newton's full first step would overshoot.
    rng = np.random.default_rng(1)
    inputs = np.r_[rng.normal(size=300), [400.0, -3.0]][:, None]
    came = np.r_[np.zeros(300), [1, 1]].astype(np.int64)
    coefficients = fit(inputs, came, 2, pseudo_count=0.5, ridge=1e-6)
    standard = (inputs - inputs.mean()) / inputs.std()
    design = sm.add_constant(np.r_[standard, [[0.0]], [[0.0]]], prepend=False)
    model = sm.GLM(
        np.r_[came, [0, 1]],
        design,
        family=sm.families.Binomial(),
        freq_weights=np.r_[np.ones(302), [0.5, 0.5]],
    )
    reference = model.fit(maxiter=200, tol=1e-14)
    np.testing.assert_allclose(coefficients[0, 0] * inputs.std(), reference.params[0], rtol=1e-4)


@pytest.mark.parametrize("classes", [2, 10])
def test_a_row_asked_alone_has_the_same_bits(classes: int) -> None:
    inputs, came = sample(classes)
    coefficients = fit(inputs, came, classes, pseudo_count=0.5)
    alone = np.concatenate([predict(coefficients, inputs[[row]]) for row in range(ROWS)])
    assert alone.tobytes() == predict(coefficients, inputs).tobytes()


def test_far_inputs_overflow_nothing_and_missing_ones_give_nothing() -> None:
    inputs, came = sample(10)
    coefficients = fit(inputs, came, 10, pseudo_count=0.5)
    asked = np.array([[0.0, 1e6, 0.0, 0.0], [0.0, np.nan, 0.0, 0.0], [np.inf, 0.0, -np.inf, 0.0]])
    predictions = predict(coefficients, asked)
    assert predictions[0].sum() == pytest.approx(1.0)
    assert np.isnan(predictions[1:]).all()
    assert np.isnan(asked).sum() == 1


def test_two_probabilities_near_certainty_are_both_kept() -> None:
    predictions = predict(np.array([[1.0], [0.0]]), np.array([[-50.0], [50.0]]))
    np.testing.assert_allclose(predictions[0], [1.0, math.exp(-50.0)], rtol=1e-12)
    np.testing.assert_allclose(predictions[1], [math.exp(-50.0), 1.0], rtol=1e-12)
