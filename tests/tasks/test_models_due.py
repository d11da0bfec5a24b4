"""Which models there are to be: shards, refit sessions and what a model's identity holds."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_models.fleet_config import Kind
from tasks.due import data_fingerprint, refit_session, training_hash
from tasks.settings import ForecastSettings
from tasks.shards import plan_shards
from tests.tasks.markets import ANT, SETTINGS, exchange, series_of


@given(st.lists(st.text("ABC", min_size=1, max_size=3)), st.integers(1, 5))
def test_shards_are_runs_of_the_sorted_names(names: list[str], size: int) -> None:
    shards = plan_shards(names, size)
    assert [name for shard in shards for name in shard.instruments] == sorted(set(names))
    assert all(len(shard.instruments) == size for shard in shards[:-1])
    assert all(1 <= len(shard.instruments) <= size for shard in shards)
    assert len({shard.name for shard in shards}) == len(shards)
    assert plan_shards(names[::-1], size) == shards


@given(st.dates(date(1985, 1, 2), date(2026, 1, 2)), st.integers(1, 300))
def test_refits_fall_on_every_so_many_sessions_since_1990(day: date, every: int) -> None:
    calendar = exchange()
    session = calendar.session_on_or_before(day)
    refit = refit_session(calendar, day, every)
    assert refit == refit_session(calendar, session, every)
    assert calendar.ordinal(refit) % every == 0
    assert 0 <= calendar.count(refit, session) - 1 < every


@pytest.mark.parametrize(
    ("session", "refit"),
    [
        (date(2024, 6, 14), date(2024, 6, 10)),
        (date(2024, 6, 17), date(2024, 6, 17)),
        (date(2024, 6, 20), date(2024, 6, 17)),
        (date(2024, 6, 24), date(2024, 6, 17)),
        (date(2024, 6, 25), date(2024, 6, 25)),
    ],
)
def test_refits_by_hand(session: date, refit: date) -> None:
    assert refit_session(exchange(), session, 5) == refit


CHANGES: dict[str, dict[str, Any]] = {
    "targets": {"names": ("log_return",), "horizon": 4, "max_stale": 1},
    "model": {
        "kinds": ("many_to_many", "direction"),
        "bidirectional": ("direction",),
        "units": 5,
        "lookback": 11,
        "burn_in": 3,
        "seeds": 3,
        "skip": False,
    },
    "training": {
        "learning_rate": 0.03,
        "warmup_updates": 3,
        "weight_decay": 0.2,
        "clip_norm": 0.5,
        "windows_per_update": 9,
        "check_every": 3,
        "patience": 4,
        "max_updates": 11,
        "refit_every": 6,
        "cold_every": 4,
        "champion": True,
        "fleet_width": 5,
        "shard_size": 9,
        "processes": 2,
    },
    "evaluation": {
        "folds": 3,
        "min_fit": 121,
        "early_stop": 31,
        "gate": 41,
        "calibrate": 61,
        "test": 41,
        "embargo": 7,
        "fit_sessions": 130,
        "folds_per_refit": 2,
        "levels": (0.7,),
        "drift_sessions": 30,
        "drift_significance": 0.02,
        "gate_rule": {"min_sessions": 9},
    },
}
CHANGE_NO_MODEL = {
    "kinds",
    "max_stale",
    "shard_size",
    "processes",
    "gate_rule",
    "drift_sessions",
    "drift_significance",
}
ALIKE: dict[Kind, set[str]] = {
    "many_to_many": {*CHANGE_NO_MODEL, "bidirectional"},
    "direction": {*CHANGE_NO_MODEL, "names", "horizon"},
}
"""The horizon decides a class model's folds only where it is the embargo: not with one of 6."""


@pytest.mark.parametrize("kind", ALIKE)
@pytest.mark.parametrize("section", CHANGES)
def test_a_models_identity_holds_every_setting_that_decides_it(section: str, kind: Kind) -> None:
    evaluation = SETTINGS.evaluation.model_copy(update={"embargo": 6})
    settings = SETTINGS.model_copy(update={"evaluation": evaluation})
    whole = settings.model_dump()
    assert set(CHANGES[section]) == set(whole[section])
    for name, value in CHANGES[section].items():
        changed = ForecastSettings.model_validate(
            {**whole, section: {**whole[section], name: value}}
        )
        same = training_hash(changed, kind) == training_hash(settings, kind)
        assert same == (name in ALIKE[kind]), name


def test_the_horizon_decides_a_class_model_where_it_is_the_embargo() -> None:
    targets = SETTINGS.targets.model_copy(update={"horizon": 4})
    changed = SETTINGS.model_copy(update={"targets": targets})
    assert training_hash(changed, "direction") != training_hash(SETTINGS, "direction")


def test_a_fingerprint_sees_returns_and_sessions_but_not_the_price_level() -> None:
    series = series_of(ANT)
    doubled = series_of(
        replace(ANT, open=ANT.open * 2, high=ANT.high * 2, low=ANT.low * 2, close=ANT.close * 2)
    )
    assert data_fingerprint(doubled) == data_fingerprint(series)
    for name in ("sessions", "ordinals", "log_return", "variance"):
        moved = getattr(series, name).copy()
        moved[-1] += 1
        assert data_fingerprint(replace(series, **{name: moved})) != data_fingerprint(series)
