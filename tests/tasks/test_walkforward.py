"""The canary: the future is corrupted, fold by fold, and no bit of the past may move.

All of it lies below the store: series keep their lengths, and what comes after a row is replaced by
wild prices. An as-of read would hide the future anyway, and prove nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lstm_models.baselines import BASELINES
from lstm_models.fleet import Fleet
from tasks.folds import Fold
from tasks.walkforward import (
    Subject,
    all_methods,
    bounds,
    fit_baselines,
    fit_fleet,
    predict_fold,
    subject,
)
from tests.tasks.markets import HORIZON, ROWS, SETTINGS, Prices, garch, series_of

MARKET: Mapping[str, Prices] = {"ANT": garch(1), "BEE": garch(2).close_only()}
FLEET_PARTS = ("center", "spread", "scale", "skip", "recurrence", "head")
LEVELS = SETTINGS.evaluation.levels

Fitted = dict[tuple[str, str, int, str], bytes]
"""Bits by instrument, target, fold and parameter."""


def subjects_of(
    market: Mapping[str, Prices], targets: Iterable[str] = ("log_return", "log_volatility")
) -> list[Subject]:
    return [
        subject(series_of(prices, name), target, SETTINGS)
        for name, prices in market.items()
        for target in targets
    ]


def corrupted(first: int, market: Mapping[str, Prices] = MARKET) -> dict[str, Prices]:
    wild = {name: prices.corrupted(first) for name, prices in market.items()}
    return {
        name: prices if np.isfinite(market[name].high).all() else prices.close_only()
        for name, prices in wild.items()
    }


def bits(subjects: Sequence[Subject], fleet: Fleet) -> Fitted:
    """Everything that was fitted, as bytes."""
    found: Fitted = {}
    for one in subjects:
        for fold in one.folds:
            of = (one.instrument, one.target, fold.index)
            at = fleet.index(one.member(fold))
            found |= {(*of, part): getattr(fleet, part)[at].tobytes() for part in FLEET_PARTS}
            found[(*of, "epsilon")] = np.float64(one.epsilon).tobytes()
            for name, baseline in fit_baselines(one, fold).items():
                assert baseline.fitted.all()
                found[(*of, name)] = baseline.coefficients.tobytes()
    return found


def moved(before: Fitted, after: Fitted, fold: int) -> set[str]:
    """Parameters of a fold that changed for some instrument and target."""
    assert before.keys() == after.keys()
    return {key[3] for key in before if key[2] == fold and before[key] != after[key]}


SUBJECTS = subjects_of(MARKET)
FOLDS: tuple[Fold, ...] = SUBJECTS[0].folds


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return fit_fleet(SUBJECTS, SETTINGS)


@pytest.fixture(scope="module")
def truth(fleet: Fleet) -> Fitted:
    return bits(SUBJECTS, fleet)


def test_the_canary_has_something_to_watch(fleet: Fleet) -> None:
    assert [fold.index for fold in FOLDS] == [0, 1, 2]
    assert len(fleet.names) == len(SUBJECTS) * len(FOLDS)
    learned = [report.best_update for lanes in fleet.reports for report in lanes]
    assert sum(update > 0 for update in learned) > len(learned) / 4
    assert {one.series.has_range for one in SUBJECTS} == {True, False}


@pytest.mark.parametrize("fold", FOLDS, ids=lambda fold: f"fold {fold.index}")
def test_corrupting_all_prices_after_early_stopping_moves_no_parameter(
    fold: Fold, truth: Fitted
) -> None:
    # The last target of the last early-stop row reaches the row before the gate segment.
    assert fold.early_stop[1] + HORIZON == fold.gate[0]
    later = subjects_of(corrupted(fold.gate[0]))
    after = bits(later, fit_fleet(later, SETTINGS))
    for older in range(fold.index, len(FOLDS)):
        assert moved(truth, after, older) == set()
    for newer in range(fold.index):
        assert set(FLEET_PARTS) <= moved(truth, after, newer)


def test_one_row_earlier_the_canary_sings(truth: Fitted) -> None:
    fold = FOLDS[0]
    later = subjects_of(corrupted(fold.gate[0] - 1))
    after = bits(later, fit_fleet(later, SETTINGS))
    assert {"har", "harx_long", "drift", "skip"} <= moved(truth, after, 0)
    # Scaler, residual scale and network saw the fit rows only; the moment to stop may differ.
    assert not {"center", "spread", "scale", "epsilon"} & moved(truth, after, 0)


def test_arrays_after_the_last_early_stop_row_are_never_read(truth: Fitted) -> None:
    blank = []
    for one in SUBJECTS:
        inputs, targets = one.inputs.copy(), one.targets.copy()
        inputs[FOLDS[0].early_stop[1] :] = 1e6
        targets[FOLDS[0].early_stop[1] :] = -1e6
        blank.append(replace(one, inputs=inputs, targets=targets))
    assert moved(truth, bits(blank, fit_fleet(blank, SETTINGS)), 0) == set()


def test_scalers_and_residual_scale_come_from_the_fit_rows_alone(truth: Fitted) -> None:
    fold = FOLDS[0]
    assert fold.fit[1] + HORIZON == fold.early_stop[0]
    later = subjects_of(corrupted(fold.early_stop[0]))
    after = bits(later, fit_fleet(later, SETTINGS))
    assert not {"center", "spread", "scale", "epsilon"} & moved(truth, after, 0)
    assert {"har", "harx_long", "drift", "skip"} <= moved(truth, after, 0)


def forecasts_at(fleet: Fleet, one: Subject, fold: Fold, cutoff: int) -> dict[str, bytes]:
    """Means, and bounds where there are any, of every method at one cutoff, as bytes."""
    first = fold.gate[0]
    (lstm,) = predict_fold(fleet, [one.member(fold)], [one], [(first, cutoff + 1)])
    found = {}
    for name, mean in all_methods(one, lstm, first, fit_baselines(one, fold)).items():
        at = bounds(one, mean, first, np.array([cutoff]), LEVELS)
        assert np.isfinite(mean[-1]).all()
        assert np.isfinite(at.lower).all() == (cutoff >= fold.calibrate[0] + 30)
        found[name] = mean[-1].tobytes() + at.lower.tobytes() + at.upper.tobytes()
    return found


CUTOFFS = [
    pytest.param(fold, cutoff, id=f"fold {fold.index} row {cutoff}")
    for fold in FOLDS
    for cutoff in (
        fold.gate[0],
        fold.calibrate[1] - 1,
        *((fold.test[0], fold.test[0] + 17, fold.test[1] - 1) if fold.index else (ROWS - 1,)),
    )
]


@pytest.mark.parametrize(("fold", "cutoff"), CUTOFFS)
def test_corrupting_all_prices_after_a_cutoff_moves_no_forecast_of_it(
    fold: Fold, cutoff: int, fleet: Fleet
) -> None:
    later = subjects_of(corrupted(cutoff + 1))
    for one, wild in zip(SUBJECTS, later, strict=True):
        expected = forecasts_at(fleet, one, fold, cutoff)
        assert forecasts_at(fleet, wild, fold, cutoff) == expected
        assert set(expected) == {"lstm", "combination", *BASELINES[one.target]}


def test_what_is_forecast_live_is_what_the_fold_scored(fleet: Fleet) -> None:
    """On the history up to a cutoff, without a row more, the forecast has the same bits."""
    fold = FOLDS[1]
    for cutoff in (fold.test[0], fold.test[0] + 17):
        for one in SUBJECTS:
            dates = {"last": one.series.sessions[cutoff].item()}
            prices = MARKET[one.instrument].head(cutoff + 1)
            tonight = subject(series_of(prices, one.instrument, **dates), one.target, SETTINGS)
            live = replace(tonight, folds=one.folds)
            assert forecasts_at(fleet, live, fold, cutoff) == forecasts_at(fleet, one, fold, cutoff)


def test_corrupting_the_cutoff_itself_moves_its_forecasts(fleet: Fleet) -> None:
    fold = FOLDS[1]
    later = subjects_of(corrupted(fold.test[0]))
    for one, wild in zip(SUBJECTS, later, strict=True):
        true = forecasts_at(fleet, one, fold, fold.test[0])
        false = forecasts_at(fleet, wild, fold, fold.test[0])
        assert {name for name in true if true[name] == false[name]} == set()


def test_company_moves_no_bit_of_a_member(fleet: Fleet, truth: Fitted) -> None:
    alone = [one for one in SUBJECTS if one.instrument == "BEE"]
    solo = fit_fleet(alone, SETTINGS)
    mine = {key: value for key, value in truth.items() if key[0] == "BEE"}
    assert bits(alone, solo) == mine
    rows = (FOLDS[1].gate[0], FOLDS[1].test[1])
    names = [one.member(FOLDS[1]) for one in alone]
    ours = predict_fold(
        fleet,
        [one.member(FOLDS[1]) for one in SUBJECTS],
        SUBJECTS,
        [rows] * len(SUBJECTS),
    )[-len(alone) :]
    for mean, other in zip(predict_fold(solo, names, alone, [rows] * 2), ours, strict=True):
        assert mean.tobytes() == other.tobytes()
