"""The canary: what training must not have seen changes no fitted bit, and a peek is noticed."""

from dataclasses import replace

import numpy as np
import pytest

from lstm_models.fleet import Fleet
from lstm_models.fleet_config import CLASSES, Kind
from lstm_models.training import fit
from tests.lstm_models.synthetic_fleet import (
    CONFIG,
    CONFIGS,
    EARLY_STOP,
    FIT,
    ROWS,
    Floats,
    linear,
    members,
    panel,
    parameters,
    returns,
    skip_of,
    trained,
)

COMPANY = 10


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return trained(range(COMPANY))


CORRUPTIONS = [np.nan, np.inf, -1e30, 1e300]


def corrupted(stop: int, value: float, *, targets_from: int | None = None) -> tuple[Floats, Floats]:
    """The panel with every input from row `stop` on, and targets likewise or later, replaced."""
    inputs, targets = panel(3)
    inputs[:, stop:] = value
    targets[:, stop if targets_from is None else targets_from :] = value
    return inputs, targets


@pytest.mark.parametrize("value", CORRUPTIONS)
def test_what_comes_after_the_early_stop_rows_changes_no_bit(fleet: Fleet, value: float) -> None:
    other = trained(range(3), data=corrupted(EARLY_STOP[1], value))
    for name in other.names:
        assert parameters(other, name) == parameters(fleet, name)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("value", CORRUPTIONS)
def test_what_comes_after_the_early_stop_rows_changes_no_class_network(
    kind: Kind, value: float
) -> None:
    inputs, targets = returns(2)
    config = replace(CONFIGS[kind], max_updates=8)
    honest = trained(range(2), config, (inputs, targets))
    skip = skip_of(config, inputs, targets)
    targets[:, EARLY_STOP[1] :], inputs[:, EARLY_STOP[1] :] = value, value
    other = fit(inputs, targets, members(range(2), kind), skip, config)
    for name in other.names:
        assert parameters(other, name) == parameters(honest, name)
    targets[:, EARLY_STOP[1] - 1], inputs[:, EARLY_STOP[1] - 1] = -1.0, 1.0
    peeking = fit(inputs, targets, members(range(2), kind), skip, config)
    for one, two in zip(peeking.reports, honest.reports, strict=True):
        assert one[0].history != two[0].history


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e30])
def test_what_comes_after_the_fit_rows_changes_no_scaler(fleet: Fleet, value: float) -> None:
    data = corrupted(FIT[1], value, targets_from=EARLY_STOP[1])
    other = trained(range(3), data=data)
    for field in ("center", "spread", "skip", "scale"):
        assert getattr(other, field).tobytes() == getattr(fleet, field)[:3].tobytes()


def test_early_stop_rows_decide_only_when_to_stop(fleet: Fleet) -> None:
    inputs, targets = panel(COMPANY)
    targets[:, EARLY_STOP[0] : EARLY_STOP[1] : 2] = np.nan
    other = trained(range(COMPANY), data=(inputs, targets))
    same_stop = []
    for place, pair in enumerate(zip(fleet.reports, other.reports, strict=True)):
        for seed, (one, two) in enumerate(zip(*pair, strict=True)):
            assert one.initial_loss != two.initial_loss
            equal = (
                fleet.recurrence[place, seed].tobytes() == other.recurrence[place, seed].tobytes()
            )
            assert equal == (one.best_update == two.best_update)
            same_stop.append(equal)
    assert 0 < sum(same_stop) < len(same_stop)


@pytest.mark.parametrize("value", [-1e30, 1e6])
def test_a_fit_on_everything_would_be_seen(value: float) -> None:
    def peeking(data: tuple[Floats, Floats]) -> Fleet:
        everything = [replace(member, fit=(0, ROWS)) for member in members(range(3))]
        skip = linear(*panel(3))
        return fit(data[0], data[1], everything, skip, CONFIG)

    honest, spoilt = peeking(panel(3)), peeking(corrupted(EARLY_STOP[1], value))
    for field in ("center", "spread", "scale", "recurrence"):
        first, second = getattr(honest, field), getattr(spoilt, field)
        assert all(one.tobytes() != two.tobytes() for one, two in zip(first, second, strict=True))
