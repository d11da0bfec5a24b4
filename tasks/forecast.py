"""Tonight's forecasts of a shard: the LSTM's or a baseline's mean, its interval, and why.

Owns a row of `forecasts`. Never touches training: it reads checkpoints, facts and the gate's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lstm_models import intervals
from lstm_models.intervals import Bounds
from tasks.coverage import Drift, covered_share, drift
from tasks.due import data_fingerprint
from tasks.features import Floats, Series
from tasks.gate import Decision
from tasks.history import load_series
from tasks.identity import FORECAST_CODE_VERSION, content_id
from tasks.kinds import default_baseline, fallbacks
from tasks.live import Live, key_of, live_forecasts
from tasks.methods import Predicted, fallback
from tasks.old_bars import sessions_old
from tasks.sessions import Calendars, ExchangeCalendar, SessionError
from tasks.settings import EvaluationConfig
from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.train import LAST_GOOD, Model, Report, derived_table
from tasks.walkforward import (
    INTERVAL_WINDOW,
    Subject,
    bounds,
    standstill,
    subject,
)

SHORT_CALIBRATION = 60
"""Rows that a short history keeps for its interval; the fallback baseline is fitted before them."""

ENDED = 21
"""Sessions without a bar, a month, after which an instrument no longer seems to trade."""


@dataclass(frozen=True)
class NotForecast:
    """An instrument and target that a kind does not forecast, and why."""

    instrument: str
    target: str
    reason: str
    kind: str = "many_to_many"


@dataclass(frozen=True)
class ForecastResult:
    """What forecasting a shard came to."""

    shard: str
    forecast_ids: tuple[str, ...]
    written: int
    not_forecast: tuple[NotForecast, ...]
    stale: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class _Ready:
    """Everything a row needs: what every method predicts over rows `first …` up to tonight's."""

    one: Subject
    first: int
    predicted: Predicted
    method: str
    reason: str
    model_id: str | None

    @property
    def means(self) -> Floats:
        """`(row, lead)` of the method."""
        return self.predicted.means[self.method]


def forecast_shard(
    request: ShardRequest,
    models: Sequence[Model],
    decisions: Sequence[Decision],
    report: Report | None = None,
) -> ForecastResult:
    """Forecast every instrument and target of a shard, and write what is not yet in the store.

    Args:
        request: the run's pinned world.
        models: what `train_shard` answered for this shard.
        decisions: the gate's, for these instruments among others.
        report: told of progress.

    Raises:
        StoreError: if the store cannot be read or written.
        CheckpointError: if a checkpoint is damaged.
    """
    started = datetime.now(UTC)
    store = Store.open(request.store_url)
    calendars = Calendars.load(request.calendars)
    history = load_series(
        store,
        request.shard.instruments,
        calendars,
        as_of=request.as_of,
        last=request.session,
        versions=dict(request.versions) or None,
        market=request.market,
    )
    modelled = {(m.instrument, m.kind, m.target): m for m in models}
    decided = {(d.instrument, d.kind, d.target): d for d in decisions}
    missing: list[NotForecast] = []
    subjects: list[tuple[Subject, Model | None]] = []
    stale: list[str] = []
    for name in request.shard.instruments:
        series = history.get(name)
        why = _unusable(series, calendars.of(name), request)
        if series is not None and why is None and _age(series, calendars.of(name), request):
            stale.append(name)
        for kind, target in request.settings.forecasts:
            if series is None or why is not None:
                missing.append(NotForecast(name, target, why or "no bars", kind))
            else:
                one = subject(series, target, request.settings, kind)
                subjects.append((one, modelled.get((name, kind, target))))

    live = live_forecasts(store, [(one, m) for one, m in subjects if m is not None])
    ready: list[_Ready] = []
    for one, model in subjects:
        decision = decided.get(key_of(one))
        found = live.get(key_of(one))
        outcome = (
            _gated(one, model, decision, found)
            if model is not None and found is not None
            else _fallback(one, model)
        )
        if isinstance(outcome, NotForecast):
            missing.append(outcome)
        else:
            ready.append(outcome)
    rows: list[dict[str, Any]] = []
    for place, item in enumerate(ready):
        try:
            rows += _rows(item, request, calendars.of(item.one.instrument))
        except (_NoIntervalError, SessionError) as error:
            missing.append(_not_forecast(item.one, str(error)))
        if report is not None:
            report("forecast", place + 1, len(ready))
    written = store.append_once(
        "forecasts", derived_table("forecasts", rows, request), now=datetime.now(UTC)
    )
    return ForecastResult(
        shard=request.shard.name,
        forecast_ids=tuple(row["forecast_id"] for row in rows),
        written=written,
        not_forecast=tuple(missing),
        stale=tuple(stale),
        seconds=(datetime.now(UTC) - started).total_seconds(),
    )


class _NoIntervalError(ValueError):
    """A forecast without enough past errors for an interval is not published."""


def _age(series: Series, calendar: ExchangeCalendar, request: ShardRequest) -> int:
    """Sessions that its newest bar is old, see `tasks.old_bars`."""
    return sessions_old(
        series.sessions[-1].item(),
        calendar,
        session=request.session,
        as_of=request.as_of,
        lag=request.lag,
    )


def _unusable(
    series: Series | None, calendar: ExchangeCalendar, request: ShardRequest
) -> str | None:
    if series is None:
        return f"no bars known by {request.as_of:%Y-%m-%d %H:%M} UTC"
    if (still := standstill(series)) is not None:
        return still
    age, allowed = _age(series, calendar, request), request.settings.targets.max_stale
    if age > max(allowed, ENDED):
        return (
            f"stale: its bars ended, the last bar is of {series.sessions[-1]}, {age:,} sessions "
            f"before {request.session}. Was it delisted or renamed? Its history is kept; to name "
            "it no more, leave it out of the universe"
        )
    if age > allowed:
        return (
            f"stale: its newest bar is of {series.sessions[-1]}, {age} sessions before "
            f"{request.session}; at most {allowed} are allowed (targets.max_stale)"
        )
    return None


def _not_forecast(one: Subject, reason: str) -> NotForecast:
    return NotForecast(one.instrument, one.target, reason, one.kind)


def _gated(
    one: Subject, model: Model, decision: Decision | None, live: Live
) -> _Ready | NotForecast:
    """What the gate chose; the default baseline where it has not spoken."""
    default = default_baseline(one.kind, one.target)
    method = default if decision is None else decision.method
    reason = (
        f"baseline {default}: the gate had nothing to judge by"
        if decision is None
        else decision.reason
    )
    marked = f" ({model.reason})" if model.status == LAST_GOOD else ""
    for name in (method, default, *fallbacks(one.kind, one.target)):
        if name in live.predicted.means:
            return _Ready(
                one,
                live.first,
                live.predicted,
                name,
                (reason if name == method else f"{name}, because {method} could not be fitted")
                + marked,
                model.model_id,
            )
    return _not_forecast(one, f"no baseline could be fitted; {reason}")


def _fallback(one: Subject, model: Model | None) -> _Ready | NotForecast:
    """A baseline for a history too short for an LSTM.

    Fitted on all but the last rows, whose errors give the interval: those are out of sample.
    """
    why = one.too_short or (model and model.reason) or "no model of it is due yet"
    matured = np.flatnonzero(np.isfinite(one.targets).all(axis=1))
    if len(matured) <= SHORT_CALIBRATION:
        return _not_forecast(
            one,
            f"{why}; even a baseline's interval needs more than {SHORT_CALIBRATION} matured "
            f"sessions, there are {len(matured)}",
        )
    first = int(matured[-SHORT_CALIBRATION])
    rows = np.zeros(len(one.inputs), dtype=bool)
    rows[: max(first - one.targets.shape[1], 0)] = True
    model_id = (model.model_id or None) if model is not None else None
    for name in fallbacks(one.kind, one.target):
        try:
            found = fallback(one, name, rows, first)
        except ValueError as error:
            return _not_forecast(one, why if str(error) == why else f"{why}; {error}")
        if found is not None:
            return _Ready(one, first, found, name, f"baseline {name}: {why}", model_id)
    return _not_forecast(one, f"{why}; {len(one.series)} sessions fit no baseline either")


def _rows(item: _Ready, request: ShardRequest, calendar: ExchangeCalendar) -> list[dict[str, Any]]:
    one, evaluation = item.one, request.settings.evaluation
    level, last = evaluation.level, len(one.series) - 1
    found = bounds(one, item.means, item.first, np.arange(item.first, last + 1), evaluation.levels)
    mean, lower, upper = item.means[-1], found.lower[0, -1], found.upper[0, -1]
    if not np.isfinite([mean, lower, upper]).all():
        raise _NoIntervalError(
            f"no interval: {int(found.residuals[-1].min())} past errors have matured, "
            f"{intervals.required_residuals(level)} are needed at level {level:g}"
        )
    recent = _recent(item, found, evaluation)
    cutoff = one.series.sessions[-1].item()
    age = _age(one.series, calendar, request)
    reason = item.reason
    if age:
        reason += f" (stale: its newest bar is {age} session{'s' if age > 1 else ''} old)"
    volatility = _volatility(item, last) if one.target == "log_volatility" else None
    inputs = data_fingerprint(one.series)
    return [
        {
            "forecast_id": content_id(
                one.instrument,
                one.target,
                one.kind,
                lead,
                list(evaluation.levels),
                request.as_of,
                inputs,
                item.model_id,
                request.config_hash,
                FORECAST_CODE_VERSION,
            ),
            "instrument": one.instrument,
            "cutoff": cutoff,
            "target": one.target,
            "kind": one.kind,
            "lead": lead,
            "target_session": calendar.offset(cutoff, lead),
            "mean": float(mean[lead - 1]),
            "lower": float(lower[lead - 1]),
            "upper": float(upper[lead - 1]),
            "level": level,
            "intervals": _every_level(found, evaluation.levels, lead),
            "recent_coverage": None if recent is None else recent.coverage,
            "drift": None if recent is None else recent.drifted,
            "volatility": None if volatility is None else float(volatility[lead - 1]),
            "method": item.method,
            "reason": reason,
            "model_id": item.model_id,
            **_classes(item),
            **_beside(item, lead),
        }
        for lead in range(1, len(mean) + 1)
    ]


def _every_level(found: Bounds, levels: Sequence[float], lead: int) -> list[dict[str, float]]:
    """Tonight's interval at each level that has enough past errors for one."""
    tonight = zip(levels, found.lower[:, -1, lead - 1], found.upper[:, -1, lead - 1], strict=True)
    return [
        {"level": level, "lower": float(lower), "upper": float(upper)}
        for level, lower, upper in tonight
        if np.isfinite([lower, upper]).all()
    ]


def _recent(item: _Ready, found: Bounds, evaluation: EvaluationConfig) -> Drift | None:
    """How the intervals did that would have been given in the last sessions with every outcome."""
    horizon = found.lower.shape[-1]
    held = covered_share(found, item.one.targets[item.first :])
    answered = held[: max(len(held) - horizon, 0)]
    return drift(
        answered[-evaluation.drift_sessions :],
        level=evaluation.level,
        horizon=horizon,
        significance=evaluation.drift_significance,
    )


def _volatility(item: _Ready, last: int) -> Floats:
    """Daily volatility that the forecast stands for, corrected by Duan's smearing."""
    smearing = intervals.duan_smearing(
        item.means,
        item.one.targets[item.first :],
        np.array([last - item.first]),
        window=INTERVAL_WINDOW,
    )[0]
    return intervals.daily_volatility(item.means[-1], smearing, item.one.epsilon)


def _beside(item: _Ready, lead: int) -> dict[str, Any]:
    """What the default baseline and the network say, published or not; null where they say nothing.

    With `epsilon`, the outcome that all of them are to be scored by can be computed from the row.
    """
    one, default = item.one, default_baseline(item.one.kind, item.one.target)
    row: dict[str, Any] = {
        "baseline": default,
        "epsilon": one.epsilon if one.target == "log_volatility" else None,
    }
    for name, method in (("baseline", default), ("lstm", "lstm")):
        means = item.predicted.means.get(method)
        if means is not None and np.isfinite(means[-1, lead - 1]):
            row[f"{name}_mean"] = float(means[-1, lead - 1])
            if item.predicted.probabilities:
                row[f"{name}_probabilities"] = item.predicted.probabilities[method][-1].tolist()
    return row


def _classes(item: _Ready) -> dict[str, Any]:
    """Tonight's probabilities of the classes and their edges, where the kind has classes."""
    if not item.predicted.probabilities:
        return {}
    tonight = item.predicted.probabilities[item.method][-1].tolist()
    return {
        "probability_up": tonight[1] if item.one.kind == "direction" else None,
        "probabilities": tonight,
        "edges": item.predicted.edges.tolist(),
    }
