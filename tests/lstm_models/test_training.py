"""Training: what a lane's bits depend on, when it stops, what it keeps, and that it never peeks."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lstm_models import training
from lstm_models.fleet import ROW_STEP, Fleet, LaneReport
from lstm_models.fleet_config import FleetConfig
from lstm_models.linear_path import linear_path
from lstm_models.recurrence import Tensor
from lstm_models.training import Member, fit
from lstm_models.updates import Lanes, check_stride, training_program
from tests.lstm_models.synthetic_fleet import (
    CONFIG,
    EARLY_STOP,
    FEATURES,
    FIT,
    LEADS,
    PLAIN,
    ROWS,
    Floats,
    linear,
    members,
    panel,
    parameters,
    trained,
)
from tests.lstm_models.traces import traces

COMPANY = 10


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """Ten members, two seeds each, in a program of four lanes: places are refilled."""
    return trained(range(COMPANY))


def lanes_of(fleet: Fleet) -> list[LaneReport]:
    return [report for reports in fleet.reports for report in reports]


# Company


def test_a_rerun_gives_the_same_bits(fleet: Fleet) -> None:
    again = trained(range(COMPANY))
    for name in fleet.names:
        assert parameters(again, name) == parameters(fleet, name)
    # Members differ from one another, and so do seeds: equality says something.
    assert len({parameters(fleet, name) for name in fleet.names}) == COMPANY
    assert (fleet.recurrence[:, 0] != fleet.recurrence[:, 1]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("series", [[0], [0, 1, 2], [7, 0, 3], [*reversed(range(COMPANY))]])
def test_order_and_company_change_no_bit(fleet: Fleet, series: list[int]) -> None:
    other = trained(series)
    for place in series:
        assert parameters(other, f"m{place}") == parameters(fleet, f"m{place}")


def test_company_with_other_segments_changes_no_bit(fleet: Fleet) -> None:
    inputs, targets = panel(3)
    skip = linear(inputs, targets)
    # One neighbour is checked on far more rows, another on far fewer.
    company = [
        Member("m1", 1, (0, 60), (62, ROWS)),
        *members([0]),
        Member("m2", 2, FIT, (125, 130)),
    ]
    other = fit(inputs, targets, company, skip[[1, 0, 2]], CONFIG)
    assert parameters(other, "m0") == parameters(fleet, "m0")


@pytest.mark.parametrize("rows", [ROWS + 1, 400])
def test_padding_of_the_series_axis_changes_no_bit(fleet: Fleet, rows: int) -> None:
    inputs, targets = panel(2)
    skip = linear(inputs, targets)
    pad = ((0, 0), (0, rows - ROWS), (0, 0))
    longer = [np.pad(array, pad, constant_values=np.nan) for array in (inputs, targets)]
    other = fit(longer[0], longer[1], members([0, 1]), skip, CONFIG)
    for name in ("m0", "m1"):
        assert parameters(other, name) == parameters(fleet, name)


@pytest.mark.parametrize("rows", [ROW_STEP - check_stride(CONFIG), ROW_STEP])
def test_the_place_in_the_program_changes_no_bit_even_at_the_last_row(rows: int) -> None:
    inputs, targets = panel(4, rows)
    skip = linear(inputs, targets)
    last = [Member(f"m{place}", place, (0, 100), (rows - 50, rows)) for place in range(4)]
    forwards = fit(inputs, targets, last, skip, CONFIG)
    backwards = fit(inputs, targets, last[::-1], skip[::-1], CONFIG)
    for name in forwards.names:
        assert parameters(forwards, name) == parameters(backwards, name)


def test_reports_stand_in_the_order_of_seeds_and_tell_of_the_kept_weights(fleet: Fleet) -> None:
    inputs, targets = panel(COMPANY)
    # Seeds that end in the other order than they began, or the order would show nothing.
    crossed = [m for m, (one, two) in enumerate(fleet.reports) if one.updates > two.updates]
    assert crossed
    for place in crossed[:3]:
        for seed, report in enumerate(fleet.reports[place]):
            expected = check_mse(fleet, place, seed, inputs[place], targets[place])
            assert report.best_loss == pytest.approx(expected, rel=1e-3), (place, seed)


def check_mse(fleet: Fleet, place: int, seed: int, inputs: Floats, targets: Floats) -> float:
    """Early-stop MSE of one lane's kept weights, through its Keras model, window by window."""
    one = replace(
        fleet.select([fleet.names[place]]),
        config=replace(fleet.config, seeds=1),
        recurrence=fleet.recurrence[place : place + 1, seed : seed + 1],
        head=fleet.head[place : place + 1, seed : seed + 1],
    )
    model, stride = one.member(fleet.names[place]), check_stride(fleet.config)
    stops = np.arange(EARLY_STOP[0], EARLY_STOP[1], stride) + stride
    assert stops[-1] > EARLY_STOP[1]
    windows = np.stack([inputs[stop - fleet.config.lookback : stop] for stop in stops])
    outputs = np.asarray(model(windows.astype(np.float32)))[:, -stride:].reshape(-1, LEADS)
    errors = outputs[: EARLY_STOP[1] - EARLY_STOP[0]] - targets[slice(*EARLY_STOP)]
    return float(np.square(errors / fleet.scale[place]).mean())


# Stopping and keeping


def test_training_learns_what_the_linear_path_cannot(fleet: Fleet) -> None:
    initial = np.array([report.initial_loss for report in lanes_of(fleet)])
    best = np.array([report.best_loss for report in lanes_of(fleet)])
    assert (best <= initial).all()
    assert np.median(best / initial) < 0.8
    inputs, targets = panel(COMPANY)
    rows = np.tile(np.arange(EARLY_STOP[1], ROWS), (COMPANY, 1))
    predictions = fleet.predict(inputs, range(COMPANY), rows)
    paths = np.stack([linear_path(inputs[m, rows[m]], fleet.skip[m]) for m in range(COMPANY)])
    actual = targets[:, rows[0]] / targets.std(axis=(0, 1))
    mse, linear_mse = (
        np.square(each / targets.std(axis=(0, 1)) - actual).mean() for each in (predictions, paths)
    )
    assert mse < 0.8 * linear_mse


def test_best_update_patience_and_limit_are_consistent_with_the_history(fleet: Fleet) -> None:
    stopped_early = 0
    for report in lanes_of(fleet):
        updates, mses = zip(*report.history, strict=True)
        assert report.status == "trained"
        assert list(updates) == list(range(0, report.updates + 1, CONFIG.check_every))
        assert report.initial_loss == mses[0]
        assert report.best_loss == min(mses)
        assert report.best_update == updates[int(np.argmin(mses))]
        misses = longest = 0
        best = np.inf
        for mse in mses:
            misses = 0 if mse < best else misses + 1
            best = min(best, mse)
            longest = max(longest, misses)
        assert longest <= CONFIG.patience
        assert (misses == CONFIG.patience) or report.updates >= CONFIG.max_updates
        stopped_early += report.updates < CONFIG.max_updates
    # Lanes stop one by one, so both ends are seen.
    assert 0 < stopped_early < len(lanes_of(fleet))


def test_before_any_update_a_lane_predicts_the_skip_path_exactly() -> None:
    inputs, targets = panel(3)
    # A rate beyond float32's powers: no update helps anybody.
    wild = trained(range(3), replace(CONFIG, learning_rate=1e30))
    assert {report.status for report in lanes_of(wild)} == {"diverged"}
    assert {report.best_update for report in lanes_of(wild)} == {0}
    assert np.isfinite(wild.recurrence).all()
    assert wild.recurrence.any()
    assert not wild.head.any()
    rows = np.tile(np.arange(CONFIG.lookback - 1, ROWS), (3, 1))
    predictions = wild.predict(inputs, range(3), rows)
    for place in range(3):
        expected = linear_path(inputs[place, rows[place]], wild.skip[place])
        assert predictions[place].tobytes() == expected.tobytes()
        residuals = targets[place] - linear_path(inputs[place], wild.skip[place])
        first, stop = EARLY_STOP
        initial = np.square(residuals[first:stop] / wild.scale[place]).mean()
        for report in wild.reports[place]:
            assert report.initial_loss == pytest.approx(initial, rel=1e-5)


def test_progress_is_told_once_per_lane() -> None:
    inputs, targets = panel(3)
    told: list[tuple[int, int]] = []
    skip = linear(inputs, targets)

    def report(done: int, lanes: int) -> None:
        told.append((done, lanes))

    fit(inputs, targets, members(range(3)), skip, CONFIG, report=report)
    assert told == [(done, 6) for done in range(1, 7)]


def test_the_unit_of_a_target_changes_no_weight(fleet: Fleet) -> None:
    inputs, targets = panel(2)
    factor = 2.0**100
    other = trained([0, 1], data=(inputs, targets * [factor, 1.0]))
    np.testing.assert_allclose(other.scale[:, 0], fleet.scale[:2, 0] * factor, rtol=1e-9)
    np.testing.assert_allclose(other.recurrence, fleet.recurrence[:2], atol=1e-3)
    assert {report.status for report in lanes_of(other)} == {"trained"}


# Divergence


def everyone_else_is_untouched(other: Fleet, fleet: Fleet, ill: str) -> bool:
    return all(
        parameters(other, name) == parameters(fleet, name) for name in fleet.names if name != ill
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_unknown_values_in_fit_rows_are_left_out_and_nobody_notices(
    fleet: Fleet, value: float
) -> None:
    inputs, targets = panel(COMPANY)
    inputs[3, 20:30, 0], targets[3, 40:60] = value, value
    other = trained(range(COMPANY), data=(inputs, targets))
    assert everyone_else_is_untouched(other, fleet, "m3")
    assert {report.status for report in other.reports[3]} == {"trained"}
    known = np.delete(inputs[3, slice(*FIT), 0], np.s_[20:30])
    assert other.center[3, 0] == pytest.approx(known.mean())
    assert np.isfinite(other.recurrence[3]).all()
    found = other.predict(inputs, range(COMPANY), np.full((COMPANY, 1), ROWS - 1))
    assert np.isfinite(found).all()


def test_a_member_whose_check_overflows_is_reported_and_nobody_notices(fleet: Fleet) -> None:
    inputs, targets = panel(COMPANY)
    targets[3, EARLY_STOP[0] :] *= 1e30
    other = trained(range(COMPANY), data=(inputs, targets))
    assert everyone_else_is_untouched(other, fleet, "m3")
    for report in other.reports[3]:
        assert (report.status, report.updates, report.best_update) == ("diverged", 0, 0)
    assert not other.head[3].any()
    rows = np.full((COMPANY, 1), ROWS - 1)
    found = other.predict(inputs, range(COMPANY), rows)[3]
    assert found.tobytes() == linear_path(inputs[3, rows[3]], other.skip[3]).tobytes()


def test_a_member_without_known_early_stop_targets_is_not_called_trained(fleet: Fleet) -> None:
    inputs, targets = panel(COMPANY)
    targets[3, slice(*EARLY_STOP)] = np.nan
    other = trained(range(COMPANY), data=(inputs, targets))
    assert everyone_else_is_untouched(other, fleet, "m3")
    assert [report.status for report in other.reports[3]] == ["diverged", "diverged"]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_lane_that_diverges_on_its_way_keeps_its_best_and_nobody_notices(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, poison: float
) -> None:
    calls = 0

    def poisoned(config: FleetConfig) -> Callable[..., tuple[Lanes, Tensor, Tensor]]:
        program = training_program(config)

        def run(*args: object) -> tuple[Lanes, Tensor, Tensor]:
            nonlocal calls
            calls += 1
            lanes, checked, loss = program(*args)
            if calls == 3:  # place 2 holds the first seed of m1
                head = np.array(lanes.head.value)
                head[2] = poison
                lanes = Lanes(lanes.recurrence, lanes.head._replace(value=head), lanes.updates)
            return lanes, checked, loss

        return run

    monkeypatch.setattr(training, "training_program", poisoned)
    other = trained(range(COMPANY))
    ill, well = other.reports[1]
    assert (ill.status, ill.updates) == ("diverged", 3 * CONFIG.check_every)
    before = fleet.reports[1][0].history[:3]
    assert ill.history[:3] == before
    assert ill.best_loss == min(mse for _, mse in before)
    assert np.isfinite(other.head).all()
    assert np.isfinite(other.recurrence).all()
    assert everyone_else_is_untouched(other, fleet, "m1")
    assert well == fleet.reports[1][1]
    assert other.head[1, 1].tobytes() == fleet.head[1, 1].tobytes()


# Refusals


@pytest.mark.parametrize(
    ("fit_rows", "early_stop", "message"),
    [
        (
            (0, 7),
            EARLY_STOP,
            r"a window of lookback=8 steps does not fit into 7 rows \(0 … 6\): sho",
        ),
        ((0, ROWS + 1), EARLY_STOP, "the fit rows must be a range inside 0 … 200, received 0"),
        (FIT, (130, 130), "the early-stop rows must be a range inside 0 … 200, received 130"),
        (FIT, (3, 90), "the early-stop rows begin at 3, but a check window of lookback=8 reaches"),
    ],
)
def test_segments_without_a_window_are_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
    fit_rows: tuple[int, int],
    early_stop: tuple[int, int],
    message: str,
) -> None:
    monkeypatch.setattr(training, "training_program", None)
    inputs, targets = panel(2)
    bad = [*members([1]), Member("m0", 0, fit_rows, early_stop)]
    with pytest.raises(ValueError, match=f"m0: {message}"):
        fit(inputs, targets, bad, linear(inputs, targets), CONFIG)


def test_no_member_a_name_twice_or_slopes_without_skip_are_refused() -> None:
    inputs, targets = panel(2)
    skip = linear(inputs, targets)
    with pytest.raises(ValueError, match="at least one member"):
        fit(inputs, targets, [], np.zeros((0, FEATURES + 1, LEADS)), CONFIG)
    with pytest.raises(ValueError, match="unique, received twice: m1"):
        fit(inputs, targets, members([1, 1]), skip, CONFIG)
    with pytest.raises(ValueError, match="skip is off, but the skip path received has slopes"):
        fit(inputs, targets, members([0, 1]), skip, PLAIN)


# Compilation


def test_fits_of_other_sizes_are_not_traced_again(fleet: Fleet) -> None:
    assert len(fleet.names) == COMPANY
    program = training_program(CONFIG)
    before = traces(program)
    for series, rows in ((2, ROWS), (5, ROWS - 7), (1, ROWS + 90)):
        trained(range(series), data=panel(series, rows))
    assert traces(program) == before
    assert training_program(replace(CONFIG, seeds=1, patience=1, max_updates=4)) is program
    fresh = replace(CONFIG, warmup_updates=CONFIG.warmup_updates + 1, max_updates=4)
    for series, rows in ((2, ROWS), (5, ROWS - 7)):
        trained(range(series), fresh, data=panel(series, rows))
    assert traces(training_program(fresh)) == 1
