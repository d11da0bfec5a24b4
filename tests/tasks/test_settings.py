"""The settings that decide a forecast: what is refused, and in which words."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.settings import (
    EvaluationConfig,
    ForecastSettings,
    ModelConfig,
    TargetsConfig,
    TrainingConfig,
)


def test_the_defaults_are_the_recipe_of_the_design() -> None:
    settings = ForecastSettings()
    assert settings.targets.names == ("log_return", "log_volatility")
    assert settings.targets.horizon == 5
    assert (settings.model.units, settings.model.lookback, settings.model.burn_in) == (32, 100, 20)
    assert settings.model.skip
    assert settings.training.learning_rate == 3e-3
    assert settings.embargo == 5


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        (TargetsConfig, {"names": ()}, "at least 1 item"),
        (TargetsConfig, {"names": ("close",)}, "'log_return' or 'log_volatility'"),
        (TargetsConfig, {"names": ("log_return", "log_return")}, "names must be distinct"),
        (TargetsConfig, {"horizon": 0}, "greater than or equal to 1"),
        (TargetsConfig, {"horizon": 61}, "less than or equal to 60"),
        (TargetsConfig, {"horizn": 5}, "Extra inputs are not permitted"),
        (ModelConfig, {"lookback": 10, "burn_in": 10}, "less than lookback (10), received 10"),
        (ModelConfig, {"units": 2.5}, "valid integer"),
        (ModelConfig, {"kinds": ()}, "at least 1 item"),
        (
            ModelConfig,
            {"kinds": ("one_to_one",)},
            "'many_to_many', 'direction' or 'quantile_class'",
        ),
        (ModelConfig, {"kinds": ("direction", "direction")}, "kinds must be distinct"),
        (
            ModelConfig,
            {"bidirectional": ("many_to_many",)},
            "has read the very sessions that the step is to forecast",
        ),
        (TrainingConfig, {"cold_every": 0}, "greater than or equal to 1"),
        (TrainingConfig, {"learning_rate": 0.0}, "greater than 0"),
        (TrainingConfig, {"refit_every": 0}, "greater than or equal to 1"),
        (EvaluationConfig, {"calibrate": 59}, "greater than or equal to 60"),
        (EvaluationConfig, {"levels": (0.8, 1.0)}, "each must be above 0 and below 1"),
        (EvaluationConfig, {"levels": (0.8, 0.8)}, "levels must be distinct"),
        (EvaluationConfig, {"fit_sessions": 300}, "at least min_fit"),
        (EvaluationConfig, {"embargo": -1}, "greater than or equal to 0"),
        (EvaluationConfig, {"gate_rule": {"candidates": ()}}, "at least 1 item"),
    ],
)
def test_an_impossible_value_is_refused(
    section: type[Any], values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        section(**values)


@pytest.mark.parametrize("embargo", [0, 4])
def test_an_embargo_shorter_than_the_horizon_is_refused(embargo: int) -> None:
    with pytest.raises(ValidationError, match=rf"targets.horizon \(5\).*received {embargo}"):
        ForecastSettings(evaluation=EvaluationConfig(embargo=embargo))


@pytest.mark.parametrize("embargo", [5, 20])
def test_an_embargo_as_long_as_the_horizon_or_longer_is_kept(embargo: int) -> None:
    assert ForecastSettings(evaluation=EvaluationConfig(embargo=embargo)).embargo == embargo


def test_the_embargo_follows_the_horizon_unless_it_is_stated() -> None:
    assert ForecastSettings(targets=TargetsConfig(horizon=11)).embargo == 11


def test_a_lookback_that_no_fit_segment_holds_is_refused() -> None:
    shortest = EvaluationConfig(min_fit=60)
    fits = ForecastSettings(model=ModelConfig(lookback=60), evaluation=shortest)
    assert fits.model.lookback == 60
    with pytest.raises(ValidationError, match=r"evaluation.min_fit \(60\).*received 61"):
        ForecastSettings(model=ModelConfig(lookback=61), evaluation=shortest)


def test_what_is_forecast_is_each_kind_with_each_of_its_targets() -> None:
    assert ForecastSettings().forecasts == (
        ("many_to_many", "log_return"),
        ("many_to_many", "log_volatility"),
    )
    only_volatility = TargetsConfig(names=("log_volatility",))
    every = ModelConfig(kinds=("quantile_class", "many_to_many", "direction"))
    assert ForecastSettings(targets=only_volatility, model=every).forecasts == (
        ("many_to_many", "log_volatility"),
        ("direction", "log_return"),
        ("quantile_class", "log_return"),
    )
    alone = ModelConfig(kinds=("direction",))
    assert ForecastSettings(model=alone).forecasts == (("direction", "log_return"),)


def test_settings_are_frozen_and_come_back_from_their_own_dump() -> None:
    settings = ForecastSettings(targets=TargetsConfig(horizon=3))
    with pytest.raises(ValidationError, match="frozen"):
        settings.model = ModelConfig()  # type: ignore[misc]
    assert ForecastSettings.model_validate(settings.model_dump(mode="json")) == settings
