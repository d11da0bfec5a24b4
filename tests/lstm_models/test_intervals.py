"""Conformal bounds against a slow loop, by simulation, and against the temptation to look ahead."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_models.intervals import (
    Bounds,
    conformal_bounds,
    daily_volatility,
    duan_smearing,
    required_residuals,
)
from lstm_models.scores import covered, interval_score

Floats = NDArray[np.float64]
LEADS = 3
MIN = 4


def forecasts(seed: int, members: int = 2, time: int = 120) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    predictions = rng.normal(size=(members, time, LEADS))
    targets = predictions + rng.normal(size=(members, time, LEADS))
    scale = np.exp(rng.normal(size=(members, time)))
    for lead in range(1, LEADS + 1):
        targets[:, time - lead :, lead - 1] = np.nan
    return predictions, targets, scale


def slow_half_width(
    panel: tuple[Floats, Floats, Floats],
    place: tuple[int, int, int],
    *,
    level: float,
    window: int,
    first_row: int,
) -> float:
    """One interval's half width by its definition: a list of matured residuals, sorted."""
    predictions, targets, scale = panel
    member, cutoff, lead = place
    residuals = []
    for row in range(max(cutoff - lead - window + 1, first_row), cutoff):
        if row + lead <= cutoff and np.isfinite(targets[member, row, lead - 1]):
            error = targets[member, row, lead - 1] - predictions[member, row, lead - 1]
            residuals.append(abs(error) / scale[member, row])
    rank = math.ceil(round((len(residuals) + 1) * level, 9))
    if len(residuals) < MIN or rank > len(residuals):
        return math.nan
    return float(sorted(residuals)[rank - 1] * scale[member, cutoff])


@given(
    seed=st.integers(0, 2**16),
    level=st.sampled_from([0.5, 0.7, 0.8, 0.9, 0.95]),
    window=st.integers(1, 60),
    first_row=st.integers(0, 80),
    holes=st.floats(0, 0.5),
)
@settings(deadline=None, max_examples=40)
def test_bounds_equal_their_definition(
    seed: int, level: float, window: int, first_row: int, holes: float
) -> None:
    predictions, targets, scale = panel = forecasts(seed)
    targets[np.random.default_rng(seed).random(targets.shape) < holes] = np.nan
    cutoffs = np.arange(0, 120, 7)
    bounds = conformal_bounds(
        predictions,
        targets,
        scale,
        cutoffs,
        level=level,
        window=window,
        first_row=first_row,
        min_residuals=MIN,
    )
    for member, column, position in np.ndindex(2, len(cutoffs), LEADS):
        place = (member, int(cutoffs[column]), position + 1)
        expected = slow_half_width(panel, place, level=level, window=window, first_row=first_row)
        centre = predictions[member, cutoffs[column], position]
        got = (bounds.lower[member, column, position], bounds.upper[member, column, position])
        np.testing.assert_allclose(got, (centre - expected, centre + expected), rtol=1e-12)


@pytest.mark.parametrize("cutoff", [40, 77, 119])
def test_what_matures_later_changes_no_bit(cutoff: int) -> None:
    predictions, targets, scale = forecasts(3)
    cutoffs = np.array([cutoff])

    def both(targets: Floats) -> tuple[Bounds, Floats]:
        return (
            conformal_bounds(
                predictions, targets, scale, cutoffs, level=0.8, window=30, min_residuals=10
            ),
            duan_smearing(predictions, targets, cutoffs, window=30, min_residuals=10),
        )

    bounds, factors = both(targets)
    corrupt = targets.copy()
    for lead in range(1, LEADS + 1):
        corrupt[:, cutoff - lead + 1 :, lead - 1] = np.inf
    later_bounds, later_factors = both(corrupt)
    assert np.isfinite(bounds.lower).all()
    assert bounds.lower.tobytes() == later_bounds.lower.tobytes()
    assert bounds.upper.tobytes() == later_bounds.upper.tobytes()
    assert factors.tobytes() == later_factors.tobytes()
    # One row earlier has just matured: it counts, or the test above would prove nothing.
    for lead in range(1, LEADS + 1):
        corrupt[:, cutoff - lead, lead - 1] += 1.0
    assert (both(corrupt)[1] != factors).all()


def test_predictions_and_scales_after_the_cutoff_change_no_bit() -> None:
    predictions, targets, scale = forecasts(4)
    cutoffs = np.array([60])
    before = conformal_bounds(predictions, targets, scale, cutoffs, level=0.8, window=50)
    predictions[:, 61:], scale[:, 61:] = 1e9, 1e9
    after = conformal_bounds(predictions, targets, scale, cutoffs, level=0.8, window=50)
    assert np.isfinite(before.upper[..., 0]).all()
    assert before.upper.tobytes() == after.upper.tobytes()


@given(seed=st.integers(0, 2**16), levels=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
@settings(deadline=None, max_examples=40)
def test_a_higher_level_is_never_narrower(seed: int, levels: tuple[float, float]) -> None:
    predictions, targets, scale = forecasts(seed)
    cutoffs = np.arange(110, 120)
    narrow, wide = (
        conformal_bounds(predictions, targets, scale, cutoffs, level=level, window=110)
        for level in sorted(levels)
    )
    both = np.isfinite(wide.upper)
    assert both.any()
    assert (wide.upper[both] >= narrow.upper[both]).all()
    assert (wide.lower[both] <= narrow.lower[both]).all()


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_coverage_of_independent_errors_is_the_level(level: float) -> None:
    rng = np.random.default_rng(5)
    targets = rng.standard_t(5, size=(100, 500, LEADS))
    predictions, scale = np.zeros_like(targets), np.ones(targets.shape[:2])
    cutoffs = np.arange(300, 500 - LEADS)
    bounds = conformal_bounds(predictions, targets, scale, cutoffs, level=level, window=99)
    hit = covered(bounds.lower, bounds.upper, targets[:, cutoffs]).mean()
    # Exactly ceil(100 × level)/100 in theory: with 99 residuals, the level itself.
    assert hit == pytest.approx(level, abs=0.01)


def changing_volatility(seed: int) -> tuple[Floats, Floats]:
    """Cumulative returns at leads 1 to 3 when volatility wanders threefold, and its estimate."""
    rng = np.random.default_rng(seed)
    members, time = 40, 1500
    log_volatility = np.zeros((members, time))
    for row in range(1, time):
        shock = rng.normal(size=members)
        log_volatility[:, row] = 0.99 * log_volatility[:, row - 1] + 0.08 * shock
    returns = np.exp(log_volatility) * rng.normal(size=(members, time))
    targets = np.full((members, time, LEADS), np.nan)
    for lead in range(1, LEADS + 1):
        sums = sum(returns[:, step : time - lead + step] for step in range(1, lead + 1))
        targets[:, : time - lead, lead - 1] = sums
    return targets, np.exp(log_volatility)


def test_overlapping_targets_with_changing_volatility_are_covered() -> None:
    targets, volatility = changing_volatility(6)
    predictions = np.zeros_like(targets)
    cutoffs = np.arange(600, 1490)
    pairs = targets[:, cutoffs]
    scaled, constant = (
        conformal_bounds(predictions, targets, scale, cutoffs, level=0.8, window=252)
        for scale in (volatility, np.ones_like(volatility))
    )
    for lead in range(LEADS):
        hits = covered(scaled.lower, scaled.upper, pairs)[..., lead]
        assert hits.mean() == pytest.approx(0.8, abs=0.02)
    # Both cover on average; scaled ones are right in calm and in storm, and so score better.
    storm = volatility[:, cutoffs] > np.quantile(volatility, 0.9)
    hits, flat_hits = (covered(each.lower, each.upper, pairs) for each in (scaled, constant))
    assert hits[storm].mean() == pytest.approx(0.8, abs=0.03)
    assert flat_hits[storm].mean() < 0.7
    score, flat_score = (
        interval_score(each.lower, each.upper, pairs, level=0.8).mean()
        for each in (scaled, constant)
    )
    assert score < 0.97 * flat_score


def test_too_few_residuals_give_no_interval_and_say_how_many() -> None:
    predictions, targets, scale = forecasts(7)
    bounds = conformal_bounds(
        predictions, targets, scale, np.arange(120), level=0.8, window=100, first_row=20
    )
    assert bounds.residuals[0, :, 0].tolist() == [0] * 20 + list(range(100))
    assert (np.isnan(bounds.lower) == (bounds.residuals < 50)).all()
    assert (np.isnan(bounds.upper) == (bounds.residuals < 50)).all()


def test_first_row_may_differ_between_members() -> None:
    predictions, targets, scale = forecasts(8)
    bounds = conformal_bounds(
        predictions,
        targets,
        scale,
        np.array([119]),
        level=0.8,
        window=119,
        first_row=np.array([0, 60]),
    )
    assert bounds.residuals[:, 0].tolist() == [[119, 118, 117], [59, 58, 57]]


def test_a_missing_or_zero_scale_gives_no_interval() -> None:
    predictions, targets, scale = forecasts(9)
    scale[0, 110], scale[1, 110], scale[0, 50:60] = 0.0, np.nan, 0.0
    bounds = conformal_bounds(
        predictions, targets, scale, np.array([100, 110]), level=0.8, window=90
    )
    assert np.isnan(bounds.lower[:, 1]).all()
    assert np.isfinite(bounds.lower[:, 0]).all()
    assert bounds.residuals[:, 0].tolist() == [[80, 80, 80], [90, 90, 90]]


def test_perfect_forecasts_get_intervals_of_no_width() -> None:
    predictions = np.full((1, 200, 1), -9.0)
    bounds = conformal_bounds(
        predictions, predictions, np.ones((1, 200)), np.array([199]), level=0.8, window=150
    )
    assert bounds.lower.tolist() == bounds.upper.tolist() == [[[-9.0]]]


def test_required_residuals_is_where_the_quantile_exists() -> None:
    for level in (0.5, 0.7, 0.8, 0.9, 0.99):
        enough = required_residuals(level, 1)
        assert math.ceil(round((enough + 1) * level, 9)) <= enough
        assert enough == 1 or math.ceil(round(enough * level, 9)) > enough - 1
    assert required_residuals(0.8) == 50
    assert required_residuals(0.99) == 99


def test_smearing_turns_the_mean_log_into_the_mean() -> None:
    rng = np.random.default_rng(10)
    predictions = rng.normal(-9.0, 1.0, size=(1, 40_000, 1))
    targets = predictions + rng.normal(0.0, 0.8, size=predictions.shape)
    factor = duan_smearing(predictions, targets, np.array([39_999]), window=39_000)
    # Of normal errors with deviation 0.8, exp(0.8² / 2).
    assert factor[0, 0, 0] == pytest.approx(math.exp(0.32), rel=0.02)
    ratio = np.exp(targets).mean() / (np.exp(predictions) * factor[0, 0, 0]).mean()
    assert ratio == pytest.approx(1.0, rel=0.02)


def test_smearing_equals_its_definition_and_needs_enough() -> None:
    predictions, targets, _ = forecasts(11)
    factors = duan_smearing(predictions, targets, np.array([59, 100]), window=60, first_row=10)
    assert np.isnan(factors[:, 0]).any(axis=0).tolist() == [True, True, True]
    rows = np.arange(100 - 2 - 59, 100 - 2 + 1)
    expected = np.exp(targets[:, rows, 1] - predictions[:, rows, 1]).mean(axis=-1)
    np.testing.assert_allclose(factors[:, 1, 1], expected, rtol=1e-12)


def test_daily_volatility_undoes_the_log_and_never_falls_below_zero() -> None:
    variance, epsilon = 1.44e-4, 1e-6
    mean = np.log(np.array([variance + epsilon, epsilon / 2]))
    np.testing.assert_allclose(daily_volatility(mean, 1.0, epsilon), [0.012, 0.0], rtol=1e-9)
    bigger = daily_volatility(mean, 1.3, epsilon)[0]
    assert bigger**2 == pytest.approx(1.3 * (variance + epsilon) - epsilon)


def test_wrong_arguments_are_named() -> None:
    predictions, targets, scale = forecasts(12)
    cutoffs = np.array([119])
    with pytest.raises(ValueError, match=r"level must be .*: received 80"):
        conformal_bounds(predictions, targets, scale, cutoffs, level=80, window=9)
    with pytest.raises(ValueError, match=r"scale must have .* \(2, 120\): received \(120,\)"):
        conformal_bounds(predictions, targets, scale[0], cutoffs, level=0.8, window=9)
    with pytest.raises(ValueError, match="window must be at least 1 row: received 0"):
        conformal_bounds(predictions, targets, scale, cutoffs, level=0.8, window=0)
    with pytest.raises(ValueError, match="cutoffs must be rows 0 to 119: received 119 to 120"):
        duan_smearing(predictions, targets, np.array([119, 120]), window=9)
    with pytest.raises(ValueError, match="must have one shape"):
        duan_smearing(predictions[..., :1], targets, cutoffs, window=9)
