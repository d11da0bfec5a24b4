"""Rows of `scores` for forecasts whose outcome has become known: one pair each.

Owns what came of a forecast, and how it is graded. Never touches the store, nor when it is due.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_models import class_scores, classes, scores
from tasks.features import Floats, Series, next_returns, targets, variance_floor
from tasks.identity import content_id
from tasks.kinds import default_baseline, is_class_kind
from tasks.loss_panel import PUBLISHED
from tasks.sessions import ExchangeCalendar

LIVE = "live"
"""The segment, in `scores`, of what was scored once it had matured."""

Row = dict[str, Any]


def outcomes(
    forecasts: Sequence[Mapping[str, Any]],
    series: Series,
    calendar: ExchangeCalendar,
    min_fit: int,
) -> Floats:
    """What came of the forecasts of one instrument, `(forecast,)`; NaN where not (yet) known.

    By the functions that make training targets, at the row of the cutoff.

    Args:
        forecasts: rows of `forecasts`.
        series: the history as known, which may lack the cutoff or the target session.
        calendar: of the instrument; a forecast that counted its sessions on another one has no
            outcome here.
        min_fit: rows that epsilon is of, for forecasts of before there was a column for it.
    """
    truth = np.full(len(forecasts), np.nan)
    groups: dict[tuple[str, str, float], list[int]] = defaultdict(list)
    for place, one in enumerate(forecasts):
        epsilon = one["epsilon"]
        if epsilon is None:
            epsilon = variance_floor(series, min_fit) if one["target"] == "log_volatility" else 0.0
        groups[one["kind"], one["target"], epsilon].append(place)
    for (kind, target, epsilon), places in groups.items():
        own = [forecasts[place] for place in places]
        leads = np.array([one["lead"] for one in own])
        values = (
            next_returns(series)[:, None]
            if is_class_kind(kind)
            else targets(series, target, int(leads.max()), epsilon)
        )
        cutoffs = np.array([one["cutoff"] for one in own], "datetime64[D]")
        wanted = np.array([one["target_session"] for one in own], "datetime64[D]")
        rows = np.minimum(np.searchsorted(series.sessions, cutoffs), len(series) - 1)
        ahead = np.minimum(series.ordinals[rows] + leads, len(calendar.all_sessions) - 1)
        there = calendar.all_sessions[ahead] == wanted  # else the cutoff's bar is not there
        truth[places] = np.where(there, values[rows, leads - 1], np.nan)
    return truth


def live_scores(forecasts: Sequence[Mapping[str, Any]], truth: Floats) -> list[Row]:
    """Rows of `scores`: each forecast by what was published, the network, and the baseline.

    A method that said nothing, or that the row has no column of, has no score. Skill is null: of
    one pair it would mean nothing.

    Args:
        forecasts: rows of `forecasts`.
        truth: their outcomes, `(forecast,)`, finite.
    """
    written: list[Row] = []
    for said in ("", "lstm_", "baseline_"):
        chosen = [place for place, one in enumerate(forecasts) if one[f"{said}mean"] is not None]
        own, came = [forecasts[place] for place in chosen], truth[chosen]
        means = np.array([one[f"{said}mean"] for one in own], np.float64)
        rows = [
            _row(one, _name(one, said)) | {"mse": float(error)}
            for one, error in zip(own, scores.squared_error(means, came), strict=True)
        ]
        _add_qlike(rows, own, came)
        if not said:
            _add_intervals(rows, own, came)
        _add_class_scores(rows, own, came, f"{said}probabilities")
        written += rows
    return written


def _name(one: Mapping[str, Any], said: str) -> str:
    return {"": PUBLISHED, "lstm_": "lstm"}.get(said) or str(_baseline(one))


def _baseline(one: Mapping[str, Any]) -> str:
    return one["baseline"] or default_baseline(one["kind"], one["target"])


def _row(one: Mapping[str, Any], method: str) -> Row:
    """What a score says of whose forecast it is, before any number."""
    return {
        "score_id": content_id(LIVE, one["forecast_id"], method),
        "evaluation_id": one["model_id"] or "",
        **{name: one[name] for name in ("instrument", "target", "kind", "lead")},
        "method": method,
        "fold": 0,
        "segment": LIVE,
        "first_cutoff": one["cutoff"],
        "last_cutoff": one["cutoff"],
        "count": 1,
        "baseline": _baseline(one),
        **{name: one[name] for name in ("forecast_id", "target_session", "config_hash", "origin")},
    }


def _add_qlike(rows: Sequence[Row], own: Sequence[Mapping[str, Any]], came: Floats) -> None:
    """QLIKE of a volatility that was published, which carries its correction for the bias."""
    for row, one, outcome in zip(rows, own, came, strict=True):
        if row["method"] not in (PUBLISHED, one["method"]):
            continue
        variance = (one["volatility"] or 0.0) ** 2 + (one["epsilon"] or 0.0)
        if one["volatility"] is not None and one["epsilon"] is not None and variance > 0.0:
            corrected = np.log([variance])
            row["qlike"] = float(scores.qlike(corrected, np.array([outcome]))[0])


def _add_intervals(rows: Sequence[Row], own: Sequence[Mapping[str, Any]], came: Floats) -> None:
    """Coverage and interval score at the first level, and at every level that there is."""
    for row, one, outcome in zip(rows, own, came, strict=True):
        row["level"] = one["level"]
        row.update(_interval(one, outcome))
        if one["intervals"]:
            row["intervals"] = [
                {"level": each["level"], **_interval(each, outcome)} for each in one["intervals"]
            ]


def _interval(bounds: Mapping[str, Any], outcome: float) -> dict[str, float]:
    lower, upper = np.array([bounds["lower"]]), np.array([bounds["upper"]])
    truth, level = np.array([outcome]), bounds["level"]
    return {
        "coverage": float(scores.covered(lower, upper, truth)[0]),
        "interval_score": float(scores.interval_score(lower, upper, truth, level=level)[0]),
    }


def _add_class_scores(
    rows: Sequence[Row], own: Sequence[Mapping[str, Any]], came: Floats, column: str
) -> None:
    """The scores of probabilities, where the kind has them."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(own):
        if one[column] is not None:
            kinds[one["kind"]].append(place)
    for kind, places in kinds.items():
        said = np.array([own[place][column] for place in places], np.float64)
        label = np.array(
            [classes.labels(came[[place]], own[place]["edges"])[0] for place in places]
        )
        found = {
            "log_loss": class_scores.log_loss(said, label),
            "brier": class_scores.brier(said, label),
            "accuracy": class_scores.correct(said, label),
        }
        if kind == "direction":
            found |= {"rises": label, "called_rises": (said[:, 1] > 0.5).astype(np.float64)}
        else:
            found["rps"] = class_scores.ranked_probability_score(said, label)
        for name, values in found.items():
            for place, value in zip(places, values.tolist(), strict=True):
                rows[place][name] = value
