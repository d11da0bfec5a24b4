"""Adaptive bounds against a slow loop, under drift, nested, and blind to what has not matured."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_models import adaptive_intervals
from lstm_models.adaptive_intervals import adaptive_bounds
from lstm_models.intervals import Bounds, conformal_bounds
from lstm_models.scores import covered
from tests.lstm_models.slow_intervals import sizes_of, slow_half_widths
from tests.lstm_models.test_intervals import LEADS, MIN, forecasts

Floats = NDArray[np.float64]
Panel = tuple[Floats, Floats, Floats]


def bounds(panel: Panel, cutoffs: NDArray[np.int64], *levels: float, **more: float) -> Bounds:
    given_ = {"window": 60, "min_residuals": 10} | more
    return adaptive_bounds(*panel, cutoffs, levels=levels or (0.8,), **given_)  # type: ignore[arg-type]


@given(
    seed=st.integers(0, 2**16),
    level=st.sampled_from([0.5, 0.8, 0.95]),
    window=st.integers(1, 60),
    start=st.tuples(st.integers(0, 80), st.floats(0, 0.5)),
    step=st.sampled_from([0.0, 0.03, 0.4]),
)
@settings(deadline=None, max_examples=30)
def test_bounds_equal_their_definition(
    seed: int, level: float, window: int, start: tuple[int, float], step: float
) -> None:
    first, holes = start
    predictions, targets, scale = panel = forecasts(seed)
    targets[np.random.default_rng(seed).random(targets.shape) < holes] = np.nan
    cutoffs = np.arange(0, 120, 7)
    found = adaptive_bounds(
        *panel,
        cutoffs,
        levels=(level,),
        window=window,
        first_row=first,
        min_residuals=MIN,
        step=step,
    )
    for member, lead in np.ndindex(2, LEADS):
        sizes = sizes_of(predictions[member, :, lead], targets[member, :, lead], scale[member])
        widths = slow_half_widths(
            sizes, range(first, 120), lead + 1, level, window=window, least=MIN, step=step
        )
        found_widths = np.array([widths.get(row, math.nan) for row in cutoffs.tolist()])
        half = found_widths * scale[member, cutoffs]
        centre = predictions[member, cutoffs, lead]
        np.testing.assert_allclose(found.lower[0, member, :, lead], centre - half, rtol=1e-10)
        np.testing.assert_allclose(found.upper[0, member, :, lead], centre + half, rtol=1e-10)


def test_without_a_step_it_is_rolling_conformal_to_the_bit() -> None:
    panel, cutoffs = forecasts(1), np.arange(40, 117)
    still = bounds(panel, cutoffs, 0.6, 0.9, step=0.0)
    for place, level in enumerate((0.6, 0.9)):
        rolling = conformal_bounds(*panel, cutoffs, level=level, window=60, min_residuals=10)
        assert still.lower[place].tobytes() == rolling.lower.tobytes()
        assert still.upper[place].tobytes() == rolling.upper.tobytes()
        assert still.residuals.tobytes() == rolling.residuals.tobytes()


def later_moves(panel: Panel, cutoff: int) -> list[bool]:
    """Per lead, whether wild targets that mature after a cutoff move a bit of its bounds."""
    before = bounds(panel, np.array([cutoff]), 0.5, 0.8)
    predictions, targets, scale = (array.copy() for array in panel)
    for lead in range(1, LEADS + 1):
        targets[:, cutoff - lead + 1 :, lead - 1] = 1e9
    predictions[:, cutoff + 1 :], scale[:, cutoff + 1 :] = -1e9, 1e-9
    after = bounds((predictions, targets, scale), np.array([cutoff]), 0.5, 0.8)
    assert np.isfinite(before.lower).all()
    return [
        before.lower[..., lead].tobytes() != after.lower[..., lead].tobytes()
        or before.upper[..., lead].tobytes() != after.upper[..., lead].tobytes()
        for lead in range(LEADS)
    ]


@pytest.mark.parametrize("cutoff", [40, 77, 119])
def test_what_matures_later_changes_no_bit(cutoff: int) -> None:
    assert later_moves(forecasts(3), cutoff) == [False] * LEADS
    # One row earlier has just matured: it counts, or this would prove nothing.
    before = bounds(forecasts(3), np.array([cutoff]), 0.8)
    moved = np.zeros(LEADS, dtype=bool)
    for size in (0.0, 1e9):  # one of them is news, whether the true error was a miss or not
        predictions, targets, scale = forecasts(3)
        for lead in range(1, LEADS + 1):
            row = cutoff - lead
            targets[:, row, lead - 1] = predictions[:, row, lead - 1] + size
        after = bounds((predictions, targets, scale), np.array([cutoff]), 0.8)
        moved |= (after.upper != before.upper).any(axis=(0, 1, 2))
    assert moved.all()


def early_answers(half: Floats, sizes: Floats, lead: int, level: float, step: float) -> list[float]:
    """The planted leak: every interval is answered a session later, whatever its lead."""
    found: list[float] = TRACKED(half, sizes, 1, level, step / math.sqrt(lead))
    return found


TRACKED = adaptive_intervals._tracked


def test_calibration_on_outcomes_that_have_not_matured_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adaptive_intervals, "_tracked", early_answers)
    assert later_moves(forecasts(3), 77) == [False, True, True]


def test_a_cutoff_has_the_same_bits_whatever_is_asked_beside_it() -> None:
    panel = forecasts(4)
    both = bounds(panel, np.arange(50, 110), 0.8, 0.95, 0.5)
    for cutoff in (50, 83, 109):
        alone = bounds(tuple(one[:1, : cutoff + 1] for one in panel), np.array([cutoff]), 0.8)  # type: ignore[arg-type]
        wanted = both.upper[0, :1, cutoff - 50]
        crossed = (np.diff(both.upper[[2, 0, 1]][:, :1, cutoff - 50], axis=0) <= 0).any()
        assert crossed or alone.upper[0, :, 0].tobytes() == wanted.tobytes()


@given(
    seed=st.integers(0, 2**16),
    levels=st.lists(st.floats(0.02, 0.98), min_size=2, max_size=5, unique=True),
    step=st.floats(0, 0.9),
)
@settings(deadline=None, max_examples=40)
def test_a_higher_level_is_never_narrower(seed: int, levels: list[float], step: float) -> None:
    found = bounds(forecasts(seed), np.arange(60, 120), *levels, step=step)
    order = np.argsort(levels)
    upper, lower = found.upper[order], found.lower[order]
    both = np.isfinite(upper[1:])
    assert both.any()
    assert (upper[1:] >= upper[:-1])[both].all()
    assert (lower[1:] <= lower[:-1])[both].all()


def test_levels_cross_where_they_are_not_rearranged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the property above would hold by luck."""
    monkeypatch.setattr(np, "sort", lambda half, **_: half)
    found = bounds(forecasts(5), np.arange(60, 120), 0.5, 0.55, 0.6, step=0.5)
    assert (np.diff(found.upper, axis=0) < 0).any()


def drifting(seed: int, kind: str) -> Panel:
    """60 series whose errors double after row 400, or get a bias; the scale sees nothing."""
    rng = np.random.default_rng(seed)
    targets = rng.standard_t(6, size=(60, 900, 1))
    targets[:, 400:] = targets[:, 400:] * 2.0 if kind == "scale" else targets[:, 400:] + 1.5
    return np.zeros_like(targets), targets, np.ones(targets.shape[:2])


@pytest.mark.parametrize("kind", ["scale", "bias"])
def test_coverage_comes_back_after_a_shift_sooner_than_with_a_rolling_window(kind: str) -> None:
    panel, cutoffs = drifting(7, kind), np.arange(400, 526)
    adaptive, rolling = (
        adaptive_bounds(*panel, cutoffs, levels=(0.8,), window=252, step=step)
        for step in (adaptive_intervals.STEP, 0.0)
    )
    hits, slow = (
        covered(one.lower[0], one.upper[0], panel[1][:, cutoffs]).mean(axis=(0, 2))
        for one in (adaptive, rolling)
    )
    assert hits[63:].mean() > 0.76 > slow[63:].mean()
    assert hits[:63].mean() > slow[:63].mean() + 0.02


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_independent_errors_are_covered_at_the_level(level: float) -> None:
    rng = np.random.default_rng(8)
    targets = rng.standard_t(5, size=(60, 500, 1))
    panel = (np.zeros_like(targets), targets, np.ones(targets.shape[:2]))
    cutoffs = np.arange(150, 499)
    found = adaptive_bounds(*panel, cutoffs, levels=(level,), window=252)
    assert covered(found.lower[0], found.upper[0], targets[:, cutoffs]).mean() == pytest.approx(
        level, abs=0.01
    )


def test_no_width_is_infinite_or_collapses() -> None:
    """Errors that grow tenfold, and then forecasts that are nearly perfect."""
    sizes = np.concatenate([np.ones(100), np.full(200, 1e3), np.full(400, 1e-9)])
    rng = np.random.default_rng(9)
    targets = (sizes * rng.uniform(0.5, 1.5, 700))[None, :, None]
    panel = (np.zeros_like(targets), targets, np.ones((1, 700)))
    found = adaptive_bounds(*panel, np.arange(60, 700), levels=(0.8, 0.95), window=100)
    assert np.isfinite(found.upper).all()
    assert found.upper.min() > 0.0
    assert found.upper.max() < 3.1 * targets.max()


def test_wrong_arguments_are_named() -> None:
    panel, cutoffs = forecasts(12), np.array([119])
    with pytest.raises(ValueError, match=r"levels must be .* distinct ones: received \[0.8, 0.8\]"):
        bounds(panel, cutoffs, 0.8, 0.8)
    with pytest.raises(ValueError, match=r"received \[\]"):
        adaptive_bounds(*panel, cutoffs, levels=(), window=9)
    with pytest.raises(ValueError, match="step must be .*: received -1"):
        bounds(panel, cutoffs, 0.8, step=-1)
    with pytest.raises(ValueError, match="cutoffs must be rows 0 to 119: received 120 to 120"):
        bounds(panel, np.array([120]), 0.8)
    with pytest.raises(ValueError, match=r"level must be .*: received 1"):
        bounds(panel, cutoffs, 1.0)
