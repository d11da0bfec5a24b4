"""The canary: the future is corrupted, fold by fold, and no bit of the past may move.

All of it lies below the store: series keep their lengths, and what comes after a row is replaced by
wild prices. An as-of read would hide the future anyway, and prove nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import pytest

from lstm_models import training
from lstm_models.baselines import BASELINES
from lstm_models.features import FEATURES
from lstm_models.fleet import Fleet
from lstm_models.fleet_config import FleetConfig
from lstm_models.scaling import Scaler
from tasks import walkforward
from tasks.features import Floats, Series
from tasks.folds import Fold
from tasks.settings import ModelConfig
from tasks.walkforward import (
    SKIP_FEATURES,
    Subject,
    all_methods,
    bounds,
    fit_baselines,
    fit_fleet,
    fleet_config,
    predict_fold,
    subject,
)
from tests.tasks.markets import HORIZON, ROWS, SETTINGS, Prices, garch, series_of

MARKET: Mapping[str, Prices] = {"ANT": garch(1), "BEE": garch(2).close_only()}
FLEET_PARTS = ("center", "spread", "scale", "skip", "recurrence", "head")
LEVEL = SETTINGS.evaluation.level

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


def leaky_learned(
    inputs: Floats, targets: Floats, member: training.Member, skip: Floats
) -> training._Learned:
    honest = HONEST_LEARNED(inputs, targets, member, skip)
    return replace(honest, scaler=Scaler.fit(inputs[member.series]))


HONEST_LEARNED = training._Learned.of


def test_with_a_scaler_fitted_on_everything_the_canary_sings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training._Learned, "of", leaky_learned)
    market = {"ANT": MARKET["ANT"]}
    honest = subjects_of(market, ["log_volatility"])
    later = subjects_of(corrupted(FOLDS[0].gate[0], market), ["log_volatility"])
    before = bits(honest, fit_fleet(honest, SETTINGS))
    after = bits(later, fit_fleet(later, SETTINGS))
    assert {"center", "spread", "recurrence", "head"} <= moved(before, after, 0)


def test_with_an_epsilon_of_the_whole_history_the_canary_sings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    floor = walkforward.variance_floor
    monkeypatch.setattr(walkforward, "variance_floor", lambda series, _: floor(series, len(series)))
    (before,) = subjects_of({"ANT": MARKET["ANT"]}, ["log_volatility"])
    (after,) = subjects_of(corrupted(FOLDS[0].gate[0], {"ANT": MARKET["ANT"]}), ["log_volatility"])
    assert before.epsilon != after.epsilon
    assert not np.array_equal(before.targets[200:300], after.targets[200:300])


def forecasts_at(fleet: Fleet, one: Subject, fold: Fold, cutoff: int) -> dict[str, bytes]:
    """Means, and bounds where there are any, of every method at one cutoff, as bytes."""
    first = fold.gate[0]
    (lstm,) = predict_fold(fleet, [one.member(fold)], [one], [(first, cutoff + 1)])
    found = {}
    for name, mean in all_methods(one, lstm, first, fit_baselines(one, fold)).items():
        at = bounds(one, mean, first, np.array([cutoff]), LEVEL)
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


def test_without_an_update_the_lstm_is_its_linear_path() -> None:
    once = SETTINGS.model_copy(
        update={
            "training": SETTINGS.training.model_copy(update={"max_updates": 1, "check_every": 1})
        }
    )
    (one,) = subjects_of({"ANT": MARKET["ANT"]}, ["log_volatility"])
    fleet = fit_fleet([one], once)
    fold = FOLDS[0]
    at = fleet.index(one.member(fold))
    start = replace(fleet, head=np.zeros_like(fleet.head))
    (mean,) = predict_fold(start, [one.member(fold)], [one], [fold.gate])
    baseline = fit_baselines(one, fold)["harx_long"]
    expected = baseline.predict(one.inputs[None])[0, slice(*fold.gate)]
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    read = [FEATURES.index(name) for name in SKIP_FEATURES["log_volatility"]]
    assert np.flatnonzero(fleet.skip[at, :-1].any(axis=1)).tolist() == sorted(read)


def test_baselines_are_fitted_on_fit_embargo_and_early_stop_rows() -> None:
    (one,) = subjects_of({"ANT": MARKET["ANT"]}, ["log_volatility"])
    fold = FOLDS[1]
    rows = slice(fold.fit[0], fold.early_stop[1])
    columns = [FEATURES.index(f"log_variance_{k}") for k in (1, 5, 22)]
    design = np.column_stack([one.inputs[rows][:, columns], np.ones(fold.early_stop[1] - 125)])
    expected, *_ = np.linalg.lstsq(design, one.targets[rows], rcond=None)
    fitted = fit_baselines(one, fold)["har"]
    np.testing.assert_allclose(fitted.coefficients[0], expected, rtol=1e-5)
    assert fitted.rows[0] == fold.early_stop[1] - fold.fit[0]


def test_a_combination_is_the_mean_of_the_lstm_and_its_partner() -> None:
    for target, partner in (("log_return", "zero"), ("log_volatility", "harx_long")):
        (one,) = subjects_of({"ANT": MARKET["ANT"]}, [target])
        fold = FOLDS[1]
        lstm = np.random.default_rng(0).normal(size=(20, HORIZON))
        methods = all_methods(one, lstm, fold.gate[0], fit_baselines(one, fold))
        expected = (lstm + methods[partner]) / 2
        np.testing.assert_allclose(methods["combination"], expected, rtol=1e-15)


def still(rows: int) -> Series:
    price = np.full(rows, 7.0)
    return series_of(Prices(price, price, price, price))


def test_a_history_too_short_or_still_has_a_reason_and_no_fold() -> None:
    # 125 rows of warm-up (126 without ranges) and 262 of tonight's fold.
    whole = subject(series_of(MARKET["ANT"].head(387)), "log_return", SETTINGS)
    assert whole.too_short is None
    assert len(whole.folds) == 1
    short = subject(series_of(MARKET["ANT"].head(386)), "log_return", SETTINGS)
    assert short.folds == ()
    assert short.too_short == "386 sessions of history, the LSTM needs 387"
    closes = subject(series_of(MARKET["BEE"].head(387)), "log_return", SETTINGS)
    assert closes.too_short == "387 sessions of history, the LSTM needs 388"
    never = subject(still(ROWS), "log_volatility", SETTINGS)
    assert never.folds == ()
    assert never.too_short == f"its price never moved in {ROWS} sessions"


def test_a_price_that_woke_up_late_has_no_scale_of_variance() -> None:
    asleep = np.full(150, 100.0)
    columns = (np.concatenate([asleep, column]) for column in vars(garch(5, ROWS - 150)).values())
    one = subject(series_of(Prices(*columns)), "log_volatility", SETTINGS)
    assert one.too_short == "its price never moved in its first 120 sessions"
    assert one.folds == ()


@pytest.mark.parametrize("rows", [1, 2, 20, 130])
def test_a_short_history_is_told_how_many_sessions_it_needs(rows: int) -> None:
    for name, needed in (("ANT", 387), ("BEE", 388)):
        one = subject(series_of(MARKET[name].head(rows)), "log_volatility", SETTINGS)
        assert one.too_short is not None
        assert one.too_short.startswith(f"{rows} session")
        assert one.too_short.endswith(f"needs {needed}")


def test_nothing_to_train_is_said_plainly() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        fit_fleet([subject(still(ROWS), "log_return", SETTINGS)], SETTINGS)


def test_every_setting_reaches_the_fleet() -> None:
    changed = SETTINGS.model_copy(
        update={
            "model": ModelConfig(units=7, lookback=31, burn_in=5, seeds=3, skip=False),
            "training": SETTINGS.training.model_copy(
                update={
                    "learning_rate": 0.5,
                    "warmup_updates": 11,
                    "weight_decay": 0.75,
                    "clip_norm": 0.25,
                    "windows_per_update": 13,
                    "check_every": 17,
                    "patience": 19,
                    "max_updates": 23,
                    "fleet_width": 29,
                }
            ),
        }
    )
    given = {**changed.model.model_dump(), **changed.training.model_dump()}
    config = fleet_config(changed)
    for field in fields(FleetConfig):
        name = "fleet_width" if field.name == "width" else field.name
        assert getattr(config, field.name) == given[name]
