"""A fleet's settings: what the kinds stand for, and what is refused before any work."""

from dataclasses import replace

import pytest

from lstm_models.fleet_config import CLASSES, KINDS, FleetConfig, Kind


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("units", 0, "units must be at least 1, received 0"),
        ("width", 0, "width must be at least 1, received 0"),
        ("burn_in", 10, r"burn_in must lie in 0 … lookback - 1 = 9, received 10"),
        ("clip_norm", 0.0, r"clip_norm must be a finite number above 0, received 0\.0"),
        ("clip_norm", float("inf"), "clip_norm must be a finite number above 0, received inf"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number above 0"),
        ("weight_decay", -1.0, r"weight_decay must be a finite number, 0 or more, received -1\.0"),
        ("kind", "regression", "one of many_to_many, direction, quantile_class, received 'reg"),
    ],
)
def test_an_impossible_setting_is_named(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FleetConfig(**{"lookback": 10, "burn_in": 5, field: value})  # type: ignore[arg-type]


def test_a_bidirectional_many_to_many_network_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="it would read its own answers"):
        FleetConfig(bidirectional=True)
    assert not FleetConfig(bidirectional=False).both_ways


@pytest.mark.parametrize(
    ("kind", "bidirectional", "both_ways", "dense"),
    [
        ("many_to_many", None, False, True),
        ("direction", None, False, True),
        ("direction", False, False, True),
        ("direction", True, True, False),
        ("quantile_class", None, True, False),
        ("quantile_class", True, True, False),
        ("quantile_class", False, False, False),
    ],
)
def test_what_a_kind_reads_and_where_its_loss_stands(
    kind: Kind, bidirectional: bool | None, both_ways: bool, dense: bool
) -> None:
    config = FleetConfig(kind=kind, bidirectional=bidirectional, lookback=50, burn_in=7)
    assert (config.both_ways, config.dense) == (both_ways, dense)
    assert config.directions == 1 + both_ways
    assert config.supervised_from == (7 if dense else 49)


def test_what_a_kind_gives_and_how_it_is_optimised() -> None:
    of = {kind: replace(FleetConfig(), kind=kind) for kind in KINDS}
    assert [config.outputs(4) for config in of.values()] == [4, 1, 10]
    assert [config.classes for config in of.values()] == [0, 2, 10]
    assert [config.optimizer for config in of.values()] == ["adamw", "adamw", "rmsprop"]
    assert CLASSES == {"direction": 2, "quantile_class": 10}
