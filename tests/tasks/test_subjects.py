"""One instrument and target as arrays: what is fitted to it, and when it is too short for that."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from lstm_models import devices, training
from lstm_models.features import FEATURES
from lstm_models.fleet import Fleet
from lstm_models.fleet_config import KINDS, FleetConfig
from tasks import walkforward
from tasks.features import Floats, Series
from tasks.market import with_market
from tasks.sessions import CalendarConfig, Calendars
from tasks.settings import ModelConfig
from tasks.walkforward import (
    SKIP_FORMS,
    all_methods,
    fit_baselines,
    fit_fleet,
    fleet_config,
    predict_fold,
    subject,
)
from tests.tasks.markets import ANT, BEE, HORIZON, ROWS, SETTINGS, Prices, garch, series_of

FOLDS = subject(series_of(ANT), "log_return", SETTINGS).folds


def test_with_a_head_of_zeros_the_lstm_is_its_linear_path() -> None:
    series = series_of(ANT)
    beside = with_market(
        {"ANT": series}, {"BEE": series_of(BEE, "BEE")}, Calendars.load(CalendarConfig())
    )
    one = subject(beside["ANT"], "log_volatility", SETTINGS)
    fleet = fit_fleet([one], SETTINGS)
    fold = FOLDS[0]
    at = fleet.index(one.member(fold))
    start = replace(fleet, head=np.zeros_like(fleet.head))
    (mean,) = predict_fold(start, [one.member(fold)], [one], [fold.gate])
    baseline = fit_baselines(one, fold)["harx_market"]
    expected = baseline.predict(one.inputs[None])[0, slice(*fold.gate)]
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    read = [FEATURES.index(name) for name in SKIP_FORMS["log_volatility"].columns]
    assert np.flatnonzero(fleet.skip[at, :-1].any(axis=1)).tolist() == sorted(read)


def test_baselines_are_fitted_on_fit_embargo_and_early_stop_rows() -> None:
    one = subject(series_of(ANT), "log_volatility", SETTINGS)
    fold = FOLDS[1]
    rows = slice(fold.fit[0], fold.early_stop[1])
    columns = [FEATURES.index(f"log_variance_{k}") for k in (1, 5, 22)]
    design = np.column_stack([one.inputs[rows][:, columns], np.ones(fold.early_stop[1] - 125)])
    expected, *_ = np.linalg.lstsq(design, one.targets[rows], rcond=None)
    fitted = fit_baselines(one, fold)["har"]
    np.testing.assert_allclose(fitted.coefficients[0], expected, rtol=1e-5)
    assert fitted.rows[0] == fold.early_stop[1] - fold.fit[0]


@pytest.mark.parametrize("target", ["log_return", "log_volatility"])
def test_a_share_of_what_the_network_adds_is_forecast(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = subject(series_of(ANT), target, SETTINGS)
    member, rows = one.member(FOLDS[0]), [FOLDS[0].gate]

    def said(share: float) -> Floats:
        monkeypatch.setitem(walkforward.BELIEF, ("many_to_many", target), share)
        (mean,) = predict_fold(fit_fleet([one], SETTINGS), [member], [one], rows)
        return mean

    nothing, half, all_of_it = said(0.0), said(0.5), said(1.0)
    assert np.abs(all_of_it - nothing).max() > 1e-6
    np.testing.assert_allclose(half, (nothing + all_of_it) / 2, rtol=1e-5, atol=1e-8)


def test_a_plain_network_is_believed_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SETTINGS.model_copy(update={"model": SETTINGS.model.model_copy(update={"skip": False})})
    one = subject(series_of(ANT), "log_return", plain)
    as_it_is = fit_fleet([one], plain)
    monkeypatch.setitem(walkforward.BELIEF, ("many_to_many", "log_return"), 0.0)
    assert fit_fleet([one], plain).head.tobytes() == as_it_is.head.tobytes()


def test_a_warm_start_begins_with_all_that_the_network_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else every refit would shrink what the refits before had learnt once more."""
    one = subject(series_of(ANT), "log_return", SETTINGS)
    names = [one.member(fold) for fold in one.folds]
    seen: list[Fleet] = []
    fit = training.fit

    def watched(*arguments: Any, start: Fleet | None, **named: Any) -> Fleet:  # noqa: ANN401
        if start is not None:
            seen.append(start)
        return fit(*arguments, start=start, **named)

    monkeypatch.setattr(training, "fit", watched)
    before = fit_fleet([one], SETTINGS)
    fit_fleet([one], SETTINGS, start=before, starts={name: name for name in names})
    share = walkforward.BELIEF["many_to_many", "log_return"]
    assert share < 1.0
    np.testing.assert_allclose(seen[0].head * share, before.head, rtol=1e-6)


def test_with_few_fit_rows_the_linear_path_is_a_mean_before_training_and_after() -> None:
    """The default form needs 90 rows, of which the fit segment of this fold has 80."""
    one = subject(series_of(ANT), "log_volatility", SETTINGS)
    fold = one.folds[0]
    short = replace(fold, fit=(fold.fit[1] - 80, fold.fit[1]))
    fleet = fit_fleet([replace(one, folds=(short,))], SETTINGS)
    assert not fleet.skip[0, :-1].any()
    fitted = slice(short.fit[0], short.early_stop[1])
    np.testing.assert_allclose(fleet.skip[0, -1], one.targets[fitted].mean(axis=0), rtol=1e-12)
    # At update 0 the network is that mean: its error is about the spread of the targets.
    assert all(report.initial_loss < 5.0 for report in fleet.reports[0])


def test_a_gpu_decides_how_wide_training_is_but_not_what_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = subject(series_of(ANT), "log_volatility", SETTINGS)
    config = fleet_config(SETTINGS, "many_to_many")
    rows, features = one.inputs.shape
    lane = devices.lane_bytes(config, rows=rows, features=features, leads=HORIZON)
    widths = []
    fit = training.fit

    def watched(*arguments: Any, **named: Any) -> Fleet:  # noqa: ANN401 - as they come
        widths.append(arguments[4].width)
        return fit(*arguments, **named)

    monkeypatch.setattr(training, "fit", watched)
    as_configured = fit_fleet([one], SETTINGS)
    monkeypatch.setattr(devices, "free_memory", lambda: int(2.5 * lane / devices.SHARE))
    fitted_to_memory = fit_fleet([one], SETTINGS)
    assert widths == [config.width, 2]
    assert as_configured.config == fitted_to_memory.config == config


def test_a_fold_keeps_its_name_when_its_number_changes() -> None:
    """A name seeds the network: with a test's length of new rows, fold 1 becomes fold 2."""
    tests = SETTINGS.evaluation.test
    dates = series_of(ANT).sessions
    earlier = series_of(ANT.head(ROWS - tests), last=dates[-1 - tests].item())
    then = subject(earlier, "log_return", SETTINGS)
    now = subject(series_of(ANT), "log_return", SETTINGS)
    assert then.folds[1].fit == now.folds[2].fit
    assert then.member(then.folds[1]) == now.member(now.folds[2])
    names = {now.member(fold) for fold in now.folds}
    assert len(names) == len(now.folds)


def test_a_combination_is_the_mean_of_the_lstm_and_its_partner() -> None:
    for target, partner in (("log_return", "zero"), ("log_volatility", "harx_market")):
        one = subject(series_of(ANT), target, SETTINGS)
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
    whole = subject(series_of(ANT.head(387)), "log_return", SETTINGS)
    assert whole.too_short is None
    assert len(whole.folds) == 1
    short = subject(series_of(ANT.head(386)), "log_return", SETTINGS)
    assert short.folds == ()
    assert short.too_short == "386 sessions of history, the LSTM needs 387"
    closes = subject(series_of(BEE.head(387)), "log_return", SETTINGS)
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
    for prices, needed in ((ANT, 387), (BEE, 388)):
        one = subject(series_of(prices.head(rows)), "log_volatility", SETTINGS)
        assert one.too_short is not None
        assert one.too_short.startswith(f"{rows} session")
        assert one.too_short.endswith(f"needs {needed}")


def test_nothing_to_train_is_said_plainly() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        fit_fleet([subject(still(ROWS), "log_return", SETTINGS)], SETTINGS)


def test_every_setting_reaches_the_fleet() -> None:
    changed = SETTINGS.model_copy(
        update={
            "model": ModelConfig(
                units=7, lookback=31, burn_in=5, seeds=3, skip=False, bidirectional=("direction",)
            ),
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
    for kind in KINDS:
        given |= {"kind": kind, "bidirectional": kind == "direction"}
        config = fleet_config(changed, kind)
        for field in fields(FleetConfig):
            name = "fleet_width" if field.name == "width" else field.name
            assert getattr(config, field.name) == given[name]
