"""Rows of the two class kinds as a night leaves them: made up, of likely size."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

from tasks.store import Store
from tests.tasks import example_store as example
from tests.tasks.example_store import INSTRUMENTS, LEVEL, NOW, SESSION, rows_table

Row = dict[str, Any]
CLASS_KINDS = ("direction", "quantile_class")
DEFAULTS = {"direction": "frequencies", "quantile_class": "climatology"}
METHODS = {
    "direction": ("frequencies", "logit", "lstm", "combination", "published"),
    "quantile_class": ("frequencies", "climatology", "logit", "lstm", "combination", "published"),
}
EARNED = {("AAPL", "quantile_class"), ("MSFT", "quantile_class")}
_DAILY = {"AAPL": 0.017, "FB": 0.024, "GOOG": 0.0125, "IBM": 0.0015, "MSFT": 0.0095}
"""IBM hardly moves, so that its edges need a decimal more."""
_RISE = {"AAPL": 0.531, "FB": 0.489, "GOOG": 0.522, "IBM": 0.508, "MSFT": 0.514}
_TONIGHT = {"AAPL": 1.31, "FB": 1.0, "GOOG": 0.86, "IBM": 0.74, "MSFT": 1.12}
"""Tonight's volatility over that of the sessions that the edges are deciles of."""


def edges(instrument: str) -> list[float]:
    return [_DAILY[instrument] * NormalDist().inv_cdf(k / 10) + 0.0004 for k in range(1, 10)]


def decile_probabilities(instrument: str) -> list[float]:
    wide = NormalDist(0.0002, _DAILY[instrument] * _TONIGHT[instrument])
    below = [0.0, *(wide.cdf(edge) for edge in edges(instrument)), 1.0]
    return [high - low for low, high in pairwise(below)]


def class_forecasts(
    kinds: Sequence[str] = CLASS_KINDS, instruments: Sequence[str] = INSTRUMENTS
) -> list[Row]:
    return [_forecast(name, kind) for name in instruments for kind in kinds]


def _forecast(instrument: str, kind: str) -> Row:
    rise, half = _RISE[instrument], 1.25 * _DAILY[instrument]
    learned = (instrument, kind) in EARNED
    direction = kind == "direction"
    return example._stamps() | {
        "forecast_id": f"f-{instrument}-{kind}",
        "instrument": instrument,
        "cutoff": SESSION,
        "target": "log_return",
        "kind": kind,
        "lead": 1,
        "target_session": date(2013, 3, 4),
        "mean": 0.0004,
        "lower": 0.0004 - half,
        "upper": 0.0004 + half,
        "level": LEVEL,
        "method": "lstm" if learned else DEFAULTS[kind],
        "reason": _reason(instrument, kind),
        "probability_up": rise if direction else None,
        "probabilities": [1 - rise, rise] if direction else decile_probabilities(instrument),
        "edges": [0.0] if direction else edges(instrument),
        "model_id": f"m-{instrument}-{kind}",
    }


def _reason(instrument: str, kind: str) -> str:
    if instrument == "FB":
        return (
            f"baseline {DEFAULTS[kind]}: 196 sessions are too few to train and judge a network, "
            "1,774 are needed"
        )
    if (instrument, kind) in EARNED:
        return (
            "lstm beats climatology on 1,260 gate sessions pooled over 4 instruments: t = 2.31, "
            "p = 0.011; own gate skill +0.9 %"
        )
    if kind == "quantile_class":
        return (
            "baseline climatology: lstm beats it on 1,260 gate sessions pooled over 4 instruments "
            f"(t = 2.31, p = 0.011) but not on {instrument}: own gate skill -0.2 %"
        )
    return (
        "baseline frequencies: lstm did not beat it (pooled t = -0.62, p = 0.732, needed p ≤ 0.05)"
    )


def class_scores(
    kinds: Sequence[str] = CLASS_KINDS, instruments: Sequence[str] = INSTRUMENTS
) -> list[Row]:
    """Scores of every method on the test segment; FB is too short to have any."""
    return [
        _score(name, kind, method, fold)
        for name in instruments
        if name != "FB"
        for kind in kinds
        for method in METHODS[kind]
        for fold in (1, 2)
    ]


def _score(instrument: str, kind: str, method: str, fold: int) -> Row:
    shown = method
    if method == "published":
        shown = "lstm" if (instrument, kind) in EARNED else DEFAULTS[kind]
    order = METHODS[kind].index(shown)
    nudge = 0.002 * math.sin(7 * len(instrument) + 3 * order + instrument.count("O") + fold)
    base = {"direction": 0.6912, "quantile_class": 2.262}[kind] + 0.004 * fold
    gain = {"frequencies": 0.031, "climatology": 0.0, "logit": -0.004, "lstm": -0.011}
    if kind == "direction":
        gain = {"frequencies": 0.0, "logit": 0.0011, "lstm": 0.0018}
    loss = base + gain.get(shown, -0.007 if kind != "direction" else 0.0006)
    loss += 0.0 if shown == DEFAULTS[kind] else nudge
    direction = kind == "direction"
    return example._stamps() | {
        "score_id": f"s-{instrument}-{kind}-{method}-{fold}",
        "evaluation_id": f"m-{instrument}-{kind}",
        "instrument": instrument,
        "target": "log_return",
        "kind": kind,
        "lead": 1,
        "method": method,
        "fold": fold,
        "segment": "test",
        "first_cutoff": date(2012, 3, 4) if fold == 1 else date(2011, 3, 4),
        "last_cutoff": date(2013, 2, 22) if fold == 1 else date(2012, 3, 1),
        "count": 251 if fold == 1 else 252,
        "mse": _DAILY[instrument] ** 2,
        "baseline": DEFAULTS[kind],
        "skill": 1 - loss / (base or 1.0),
        "qlike": None,
        "interval_score": None,
        "coverage": 0.797 if method == "published" else None,
        "level": LEVEL if method == "published" else None,
        "log_loss": loss,
        "brier": loss / 2.77 if direction else loss / 2.56,
        "accuracy": 0.521 - 4 * nudge if direction else 0.118 - nudge,
        "auc": (0.5 if shown == "frequencies" else 0.507 + 3 * nudge) if direction else None,
        "rps": loss / 2.77 if direction else loss / 13.9 + 0.0006 * order,
    }


def class_models(
    kinds: Sequence[str] = CLASS_KINDS, instruments: Sequence[str] = INSTRUMENTS
) -> list[Row]:
    template = {row["instrument"]: row for row in example.model_rows(instruments)}
    losses = {"direction": (0.6921, 0.6922), "quantile_class": (2.2412, 2.2618)}
    return [
        template[name]
        | {"model_id": f"m-{name}-{kind}", "target": "log_return", "kind": kind}
        | (
            {}
            if name == "FB"
            else {
                "early_stop_mse": losses[kind][0],
                "initial_early_stop_mse": losses[kind][1],
                "best_update": 0 if kind == "direction" else 60,
            }
        )
        for name in instruments
        for kind in kinds
    ]


def night(
    folder: Path,
    kinds: Sequence[str] = ("many_to_many", *CLASS_KINDS),
    change: Mapping[str, Row] | None = None,
    rename: Mapping[str, str] | None = None,
) -> Store:
    """The store of one finished night that forecast some kinds.

    Args:
        folder: where it is made.
        kinds: which.
        change: columns of forecasts to change, by instrument.
        rename: new names for some of the instruments.
    """
    store = Store.open(folder)
    names = dict(rename or {})

    def renamed(rows: list[Row]) -> list[Row]:
        return [
            row | {"instrument": names.get(row["instrument"], row["instrument"])} for row in rows
        ]

    bars, held = renamed(example.bar_rows()), renamed(example.quarantine_rows())
    store.commit_facts("bars", rows_table("bars", bars), now=NOW)
    store.commit_facts("quarantine", rows_table("quarantine", held), now=NOW)
    run = example.run_row(table_versions=json.dumps(store.versions()))
    store.commit_facts("runs", rows_table("runs", [run]), now=NOW)
    classes = [kind for kind in kinds if kind != "many_to_many"]
    models, scores = class_models(classes), class_scores(classes)
    forecasts = class_forecasts(classes)
    if "many_to_many" in kinds:
        models += example.model_rows()
        scores += example.score_rows()
        forecasts += example.forecast_rows()
    forecasts = [row | (change or {}).get(row["instrument"], {}) for row in forecasts]
    for dataset, rows in (("models", models), ("scores", scores), ("forecasts", forecasts)):
        store.append_once(dataset, rows_table(dataset, renamed(rows)), now=NOW)
    return store
