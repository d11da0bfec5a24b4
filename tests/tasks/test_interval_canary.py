"""The canary for intervals, fold by fold: wild prices after a cutoff move no bit of its bounds.

And with calibration on outcomes that have not matured, in two forms, it sings.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_models import adaptive_intervals, intervals
from tasks.folds import Fold
from tasks.walkforward import Subject, bounds, subject
from tests.tasks.markets import HORIZON, ROWS, SETTINGS, garch, series_of

Floats = NDArray[np.float64]
TARGETS = ("log_return", "log_volatility")
PRICES = garch(1)
LEVELS = (0.8, 0.95, 0.5)
ONES = {target: subject(series_of(PRICES), target, SETTINGS) for target in TARGETS}
TRACKED, WIDTHS = adaptive_intervals._tracked, intervals.conformal_widths
CASES = [
    pytest.param(target, fold, cutoff, id=f"{target} fold {fold.index} row {cutoff}")
    for target in TARGETS
    for fold in ONES[target].folds
    for cutoff in (
        (fold.test[0], fold.test[0] + 17, fold.test[1] - 1) if fold.index else (ROWS - 1,)
    )
]


def at(one: Subject, fold: Fold, cutoff: int) -> list[bytes]:
    """Bounds of a cutoff per lead, of two methods, as bytes; forecasts up to the cutoff alone."""
    first = fold.calibrate[0]
    usual = np.nanmean(ONES[one.target].targets[:first], axis=0)
    means = np.broadcast_to(usual, (len(one.inputs) - first, HORIZON))
    shifted = means + 0.3 * usual.std()
    found = bounds(one, np.stack([means, shifted]), first, np.array([cutoff]), LEVELS)
    assert np.isfinite(found.lower).all()
    return [
        found.lower[..., lead].tobytes() + found.upper[..., lead].tobytes()
        for lead in range(HORIZON)
    ]


def moved(target: str, fold: Fold, cutoff: int, first_wild: int) -> list[bool]:
    """Per lead, whether wild prices from a row on move its bounds at the cutoff."""
    wild = subject(series_of(PRICES.corrupted(first_wild)), target, SETTINGS)
    before, after = at(ONES[target], fold, cutoff), at(wild, fold, cutoff)
    return [one != other for one, other in zip(before, after, strict=True)]


@pytest.mark.parametrize(("target", "fold", "cutoff"), CASES)
def test_corrupting_all_prices_after_a_cutoff_moves_no_bound_of_it(
    target: str, fold: Fold, cutoff: int
) -> None:
    assert moved(target, fold, cutoff, cutoff + 1) == [False] * HORIZON


@pytest.mark.parametrize(("target", "fold", "cutoff"), CASES)
def test_corrupting_the_cutoff_itself_moves_them(target: str, fold: Fold, cutoff: int) -> None:
    assert any(moved(target, fold, cutoff, cutoff))


def early_answers(half: Floats, sizes: Floats, lead: int, level: float, step: float) -> list[float]:
    """Intervals of longer leads are answered a session before their outcome is known."""
    found: list[float] = TRACKED(half, sizes, max(lead - 1, 1), level, 10 * step)
    return found


def early_errors(sizes: Floats, levels: Any, **more: Any) -> Any:  # noqa: ANN401 - as the original
    """The window ends a row too late: its last error matures a session after the cutoff."""
    return WIDTHS(np.roll(sizes, -1, axis=-2), levels, **more)


@pytest.mark.parametrize(
    ("name", "leak", "leads"),
    [
        ("_tracked", early_answers, [False, True, True]),
        ("conformal_widths", early_errors, [True, True, True]),
    ],
)
def test_with_calibration_on_outcomes_that_have_not_matured_the_canary_sings(
    name: str, leak: object, leads: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptive_intervals, name, leak)
    heard = np.zeros(HORIZON, dtype=bool)
    for target in TARGETS:
        for fold in ONES[target].folds[1:]:
            for cutoff in range(fold.test[0], fold.test[1]):
                heard |= moved(target, fold, cutoff, cutoff + 1)
                if (heard == leads).all():
                    return
    assert heard.tolist() == leads
