"""Training of class networks, and what holds for every kind: company, widths, ties, memory."""

import tracemalloc
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lstm_models import training
from lstm_models.classes import labels, quantile_edges
from lstm_models.fleet import Fleet
from lstm_models.fleet_config import CLASSES, KINDS, FleetConfig, Kind
from lstm_models.training import Member, fit
from lstm_models.updates import Lanes
from tests.lstm_models.synthetic_fleet import (
    CONFIG,
    CONFIGS,
    EARLY_STOP,
    FEATURES,
    FIT,
    LEADS,
    ROWS,
    Floats,
    data_of,
    edges_of,
    members,
    panel,
    parameters,
    returns,
    skip_of,
    trained,
)

COMPANY = 6
every_kind = pytest.mark.parametrize("kind", KINDS)
class_kinds = pytest.mark.parametrize("kind", CLASSES)


@cache
def fleet_of(kind: Kind) -> Fleet:
    """Six members, two seeds each, in a program of four lanes: places are refilled."""
    return trained(range(COMPANY), CONFIGS[kind])


def log_loss(kind: Kind, probabilities: Floats, targets: Floats, rows: range) -> float:
    """Mean over rows, from what `Fleet.predict` gives for them and a series' `(row, 1)` returns."""
    found = labels(targets[rows, 0], edges_of(kind, targets)).astype(int)
    if kind == "direction":
        probabilities = np.concatenate([1.0 - probabilities, probabilities], axis=1)
    return float(-np.log(probabilities[np.arange(len(found)), found]).mean())


# What is learned


@class_kinds
def test_class_networks_learn_what_frequencies_do_not_tell(kind: Kind) -> None:
    fleet = fleet_of(kind)
    inputs, targets = returns(COMPANY)
    rows = range(EARLY_STOP[1], ROWS)
    cutoffs = np.tile(rows, (COMPANY, 1))
    path = replace(fleet, head=np.zeros_like(fleet.head))
    lstm_loss, path_loss = (
        np.mean(
            [
                log_loss(kind, probabilities, targets[m], rows)
                for m, probabilities in enumerate(one.predict(inputs, range(COMPANY), cutoffs))
            ]
        )
        for one in (fleet, path)
    )
    assert lstm_loss < 0.9 * path_loss


@class_kinds
def test_reports_tell_the_log_loss_of_the_kept_weights_and_of_the_path(kind: Kind) -> None:
    # At the last step alone, so that a check judges every row from the window that ends there.
    fleet = trained(range(2), replace(CONFIGS[kind], burn_in=CONFIG.lookback - 1, max_updates=20))
    inputs, targets = returns(2)
    rows = range(*EARLY_STOP)
    cutoffs = np.tile(rows, (2, 1))
    for seed in range(CONFIG.seeds):
        lane = replace(
            fleet,
            config=replace(fleet.config, seeds=1),
            recurrence=fleet.recurrence[:, seed : seed + 1],
            head=fleet.head[:, seed : seed + 1],
        )
        at_first = replace(lane, head=np.zeros_like(lane.head))
        for one, field in ((lane, "best_loss"), (at_first, "initial_loss")):
            for m, found in enumerate(one.predict(inputs, range(2), cutoffs)):
                expected = log_loss(kind, found, targets[m], rows)
                report = fleet.reports[m][seed]
                assert getattr(report, field) == pytest.approx(expected, rel=1e-4)
    assert any(report.best_update > 0 for reports in fleet.reports for report in reports)


def test_where_the_loss_stands_at_the_last_step_alone_there_is_no_burn_in() -> None:
    config = replace(CONFIGS["quantile_class"], max_updates=8)
    one, other = trained([0], config), trained([0], replace(config, burn_in=5))
    assert parameters(one, "m0") == parameters(other, "m0")


@class_kinds
def test_ties_and_rare_classes_are_no_trouble(kind: Kind) -> None:
    inputs, targets = returns(3)
    random = np.random.default_rng(0)
    targets[random.random(targets.shape) < 0.5] = 0.0
    targets[2, :, 0] = np.where(targets[2, :, 0] > 0.0, 0.0, targets[2, :, 0])  # not one rise
    edges = [
        (0.0,) if kind == "direction" else tuple(quantile_edges(one[slice(*FIT), 0], 10))
        for one in targets
    ]
    config = replace(CONFIGS[kind], max_updates=20)
    company = [Member(f"m{m}", m, FIT, EARLY_STOP, edges[m]) for m in range(3)]
    fleet = fit(inputs, targets, company, np.zeros((3, FEATURES + 1, config.outputs(1))), config)
    assert {report.status for reports in fleet.reports for report in reports} == {"trained"}
    rows = np.tile(np.arange(EARLY_STOP[1], ROWS), (3, 1))
    found = fleet.predict(inputs, range(3), rows)
    assert np.isfinite(found).all()
    if kind == "direction":
        # 0 is no rise, so a series without one is seen to have none.
        assert found[2].mean() < found[:2].mean()
    assert fleet.edges.tolist() == [list(one) for one in edges]


# Company


@every_kind
@pytest.mark.parametrize("series", [[0], [0, 1, 2], [*reversed(range(COMPANY))]])
def test_order_and_company_change_no_bit(kind: Kind, series: list[int]) -> None:
    other = trained(series, CONFIGS[kind])
    for place in series:
        assert parameters(other, f"m{place}") == parameters(fleet_of(kind), f"m{place}")
    assert len({parameters(other, name) for name in other.names}) == len(series)


@every_kind
def test_how_many_are_seated_together_changes_no_bit(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SEATED_TOGETHER", 3)
    other = trained(range(3), CONFIGS[kind])
    for name in other.names:
        assert parameters(other, name) == parameters(fleet_of(kind), name)


@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nobody_notices_a_neighbour_fed_what_is_no_number(kind: Kind, value: float) -> None:
    config = CONFIGS[kind]
    inputs, targets = data_of(kind, COMPANY)
    skip = skip_of(config, inputs, targets)
    inputs[1], targets[1] = value, value
    inputs[4, 30:40], targets[4, 50:70] = value, value
    company = members(range(COMPANY), kind)
    other = fit(inputs, targets, company, skip, config)
    for name in ("m0", "m2", "m3", "m5"):
        assert parameters(other, name) == parameters(fleet_of(kind), name)
    assert [report.status for report in other.reports[1]] == ["diverged", "diverged"]
    assert [report.status for report in other.reports[4]] == ["trained", "trained"]
    assert parameters(other, "m4") != parameters(fleet_of(kind), "m4")
    assert np.isfinite(other.recurrence).all()
    assert np.isfinite(other.head).all()


@every_kind
@pytest.mark.parametrize("width", [1, 13])
def test_the_width_of_a_program_changes_forecasts_by_rounding_alone(kind: Kind, width: int) -> None:
    inputs, targets = data_of(kind, COMPANY)
    rows = np.tile(np.arange(CONFIG.lookback - 1, ROWS), (COMPANY, 1))
    # At equal update counts: nobody stops early, and all keep what the last updates gave.
    config = replace(CONFIGS[kind], max_updates=12, patience=99, learning_rate=0.01)
    unit = targets.std(axis=1)[:, None] if kind == "many_to_many" else 1.0
    fleets = [trained(range(COMPANY), replace(config, width=each)) for each in (4, width)]
    one, other = (fleet.predict(inputs, range(COMPANY), rows) for fleet in fleets)
    assert (np.abs(one - other) <= 1e-4 * unit).all()
    assert [r.best_update for rs in fleets[0].reports for r in rs] == [
        r.best_update for rs in fleets[1].reports for r in rs
    ]


# Memory


@every_kind
def test_what_training_holds_grows_with_its_weights_alone(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIGS[kind], max_updates=1, seeds=1)

    def untrained(_: FleetConfig) -> object:
        def program(lanes: Lanes, *_: object) -> tuple[Lanes, Floats, Floats]:
            return lanes, np.full(config.width, np.nan), np.zeros(config.width)

        return program

    monkeypatch.setattr(training, "training_program", untrained)
    inputs, targets = data_of(kind, 1, 5_000)
    inputs = inputs.astype(np.float32)
    edges = edges_of(kind, targets[0])
    skip = np.zeros((1, FEATURES + 1, config.outputs(LEADS)))

    def peak(count: int) -> int:
        company = [Member(f"m{m}", 0, FIT, EARLY_STOP, edges) for m in range(count)]
        path = np.repeat(skip, count, axis=0)
        tracemalloc.start()
        fleet = fit(inputs, targets, company, path, config)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(fleet.names) == count
        return held

    peak(4)
    # Less than a quarter of what it would take to keep the targets of every member.
    assert (peak(104) - peak(4)) / 100 < targets[0].nbytes / 4


# Refusals


@pytest.mark.parametrize(
    ("kind", "edges", "message"),
    [
        ("direction", (), "m0: direction needs 1 edges of classes, received 0"),
        ("quantile_class", (0.0,), "m0: quantile_class needs 9 edges of classes, received 1"),
        ("many_to_many", (0.0,), "m0: many_to_many needs 0 edges of classes, received 1"),
        ("quantile_class", (0.0,) * 9, "m0: edges must strictly increase"),
        ("direction", (np.nan,), "m0: edges must be one or more finite numbers"),
    ],
)
def test_edges_that_do_not_make_the_classes_are_refused(
    kind: Kind, edges: tuple[float, ...], message: str
) -> None:
    inputs, targets = data_of(kind, 1)
    bad = [Member("m0", 0, FIT, EARLY_STOP, edges)]
    config = CONFIGS[kind]
    with pytest.raises(ValueError, match=message):
        fit(inputs, targets, bad, skip_of(config, inputs, targets), config)


def test_targets_and_paths_of_another_shape_are_refused() -> None:
    inputs, targets = returns(1)
    config = CONFIGS["direction"]
    skip = skip_of(config, inputs, targets)
    company = members([0], "direction")
    with pytest.raises(ValueError, match="direction forecasts the next session alone: .* 2"):
        fit(inputs, panel(1)[1], company, skip, config)
    with pytest.raises(ValueError, match=r"\(1, 4, 1\) for direction, received \(1, 4, 10\)"):
        fit(inputs, targets, company, np.repeat(skip, 10, axis=2), config)
