"""What the tables must know of a kind of network: its leads, its baselines, its own proper score.

Owns these differences. Never touches an array: `tasks.class_forecasts` computes what they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lstm_models.baselines import DEFAULT_BASELINE, FALLBACKS
from lstm_models.class_baselines import DEFAULT_CLASS_BASELINE
from lstm_models.fleet_config import CLASSES

Score = Literal["mse", "log_loss"]

_CLASS_FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "direction": ("frequencies",),
    "quantile_class": ("climatology", "frequencies"),
}


def is_class_kind(kind: str) -> bool:
    """Whether a kind forecasts probabilities of classes, not a path of means."""
    return kind in CLASSES


def leads(kind: str, horizon: int) -> int:
    """Sessions ahead that a kind forecasts: the horizon, or the next session alone."""
    return 1 if is_class_kind(kind) else horizon


def primary_score(kind: str) -> Score:
    """The column of `scores` that skill is measured in, the less the better."""
    return "log_loss" if is_class_kind(kind) else "mse"


def default_baseline(kind: str, target: str) -> str:
    """What is published unless a candidate earns its place.

    Raises:
        ValueError: nothing is forecast of this target.
    """
    if is_class_kind(kind):
        return DEFAULT_CLASS_BASELINE[kind]
    if target not in DEFAULT_BASELINE:
        raise ValueError(
            f"target {target!r} has no default baseline: expected one of {sorted(DEFAULT_BASELINE)}"
        )
    return DEFAULT_BASELINE[target]


def fallbacks(kind: str, target: str) -> tuple[str, ...]:
    """For an instrument with little history: the first of these that is fitted for it."""
    if is_class_kind(kind):
        return _CLASS_FALLBACKS[kind]
    return FALLBACKS[target]
