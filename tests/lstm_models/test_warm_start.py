"""Warm start: the same function in new units, a better beginning, and what cannot be begun from."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lstm_models.fleet import Fleet
from lstm_models.fleet_config import CLASSES, KINDS, FleetConfig, Kind
from lstm_models.linear_path import linear_path
from lstm_models.training import Member, fit
from tests.lstm_models.synthetic_fleet import (
    CONFIG,
    CONFIGS,
    EARLY_STOP,
    FIT,
    ROWS,
    data_of,
    members,
    panel,
    parameters,
    skip_of,
    trained,
)

every_kind = pytest.mark.parametrize("kind", KINDS)
SERIES = 3
LATER_FIT, LATER_STOP = (20, 140), (145, 190)
CUTOFFS = np.tile(np.arange(CONFIG.lookback - 1, ROWS), (SERIES, 1))


@cache
def old_fleet(kind: Kind, skip: bool = True) -> Fleet:
    return trained(range(SERIES), replace(CONFIGS[kind], skip=skip))


def later(kind: Kind) -> list[Member]:
    """Members of a later fold, each from that of its series in the older fleet."""
    return [
        replace(one, name=f"later-{one.name}", fit=LATER_FIT, early_stop=LATER_STOP, start=one.name)
        for one in members(range(SERIES), kind)
    ]


def without_update(
    kind: Kind, start: Fleet, path: np.ndarray, config: FleetConfig | None = None
) -> Fleet:
    """A later fleet whose best weights are those of update 0: no update at this rate helps."""
    inputs, targets = data_of(kind, SERIES)
    config = replace(config or start.config, learning_rate=1e30)
    fleet = fit(inputs, targets, later(kind), path, config, start=start)
    assert {report.best_update for reports in fleet.reports for report in reports} == {0}
    return fleet


@every_kind
@pytest.mark.parametrize("skip", [True, False])
def test_update_0_is_the_same_function_of_raw_features(kind: Kind, skip: bool) -> None:
    old = old_fleet(kind, skip)
    inputs, targets = data_of(kind, SERIES)
    new = without_update(kind, old, old.skip)
    assert not np.isclose(new.center, old.center).any()
    assert not np.isclose(new.spread, old.spread).any()
    if kind == "many_to_many":
        assert not np.isclose(new.scale, old.scale).any()
    before, after = (one.predict(inputs, range(SERIES), CUTOFFS) for one in (old, new))
    unit = targets.std(axis=1)[:, None] if kind == "many_to_many" else 1.0
    assert (np.abs(after - before) <= 1e-5 * unit).all()
    # The same for Keras: the weights on raw features are those of the older fleet.
    for name in old.names:
        for one, other in zip(
            old.member(name).get_weights(), new.member(f"later-{name}").get_weights(), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(one).max())
    # And not because there was nothing to carry over.
    zero = replace(old, head=np.zeros_like(old.head))
    flat = zero.predict(inputs, range(SERIES), CUTOFFS)
    assert (np.abs(before - flat) > 0.01 * unit).any(axis=(1, 2)).all()


@every_kind
def test_a_constant_path_may_move_and_the_forecast_stays(kind: Kind) -> None:
    old = old_fleet(kind, skip=False)
    inputs, targets = data_of(kind, SERIES)
    moved = old.skip.copy()
    moved[:, -1] += np.random.default_rng(0).normal(size=moved[:, -1].shape) * old.scale
    new = without_update(kind, old, moved)
    before, after = (one.predict(inputs, range(SERIES), CUTOFFS) for one in (old, new))
    unit = targets.std(axis=1)[:, None] if kind == "many_to_many" else 1.0
    assert (np.abs(after - before) <= 1e-5 * unit).all()


def test_beside_slopes_fitted_anew_the_network_s_own_part_stays() -> None:
    old = old_fleet("many_to_many")
    inputs, targets = panel(SERIES)
    path = old.skip + np.random.default_rng(0).normal(size=old.skip.shape) * old.scale[:, None]
    new = without_update("many_to_many", old, path)
    own = [
        one.predict(inputs, range(SERIES), CUTOFFS)
        - np.stack([linear_path(inputs[m, CUTOFFS[m]], one.skip[m]) for m in range(SERIES)])
        for one in (old, new)
    ]
    assert (np.abs(own[1] - own[0]) <= 1e-5 * targets.std(axis=1)[:, None]).all()


@every_kind
def test_it_begins_better_than_cold_and_its_first_weights_are_a_candidate(kind: Kind) -> None:
    inputs, targets = data_of(kind, SERIES)
    config, old = CONFIGS[kind], old_fleet(kind)
    path = skip_of(config, inputs, targets)
    warm = fit(inputs, targets, later(kind), path, config, start=old)
    cold = fit(
        inputs, targets, [replace(one, start=None) for one in later(kind)], path, config, start=old
    )
    for one, other in zip(warm.reports, cold.reports, strict=True):
        for seed in range(config.seeds):
            assert one[seed].initial_loss < other[seed].initial_loss
            assert one[seed].best_loss <= one[seed].initial_loss
    alone = fit(inputs, targets, later(kind)[1:2], path[1:2], config, start=old.select(["m1"]))
    assert parameters(alone, "later-m1") == parameters(warm, "later-m1")


def test_a_member_that_names_nothing_starts_cold() -> None:
    inputs, targets = panel(SERIES)
    skip = skip_of(CONFIG, inputs, targets)
    company = [members([0])[0], *later("many_to_many")[1:]]
    mixed = fit(inputs, targets, company, skip, CONFIG, start=old_fleet("many_to_many"))
    assert parameters(mixed, "m0") == parameters(old_fleet("many_to_many"), "m0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 5}, "units was 4 in the fleet to start from and is to be 5"),
        ({"seeds": 1}, "seeds was 2 in the fleet to start from and is to be 1"),
        ({"kind": "direction"}, "kind was many_to_many in .* is to be direction"),
    ],
)
def test_another_network_cannot_be_begun_from(change: dict[str, int], message: str) -> None:
    config = replace(CONFIG, **change)  # type: ignore[arg-type]
    inputs, targets = data_of(config.kind, SERIES)
    skip = skip_of(config, inputs, targets)
    with pytest.raises(ValueError, match=message):
        fit(inputs, targets, later(config.kind), skip, config, start=old_fleet("many_to_many"))


@pytest.mark.parametrize("kind", CLASSES)
def test_another_number_of_directions_or_features_cannot_be_begun_from(kind: Kind) -> None:
    old, config = old_fleet(kind), CONFIGS[kind]
    inputs, targets = data_of(kind, SERIES)
    skip = skip_of(config, inputs, targets)
    other = replace(config, bidirectional=not config.both_ways)
    with pytest.raises(ValueError, match="directions was . in the fleet to start from"):
        fit(inputs, targets, later(kind), skip, other, start=old)
    with pytest.raises(ValueError, match="features was 3 in the fleet .* is to be 2"):
        fit(inputs[..., :2], targets, later(kind), skip[:, 1:], config, start=old)


def test_a_member_that_is_not_there_is_named() -> None:
    inputs, targets = panel(1)
    skip = skip_of(CONFIG, inputs, targets)
    ghost = [Member("m0", 0, FIT, EARLY_STOP, start="m9")]
    with pytest.raises(ValueError, match=r"m0 is to start from 'm9', .* \(no fleet was given\)"):
        fit(inputs, targets, ghost, skip, CONFIG)
    with pytest.raises(ValueError, match=r"'m9', .* \(the 3 members were given\)"):
        fit(inputs, targets, ghost, skip, CONFIG, start=old_fleet("many_to_many"))
