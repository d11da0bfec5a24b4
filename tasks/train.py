"""Training of a shard: which models are due, one fleet for all of them, and what it leaves behind.

Owns the order of commits: checkpoint, statistics, scores, and last the `models` rows that make
them count. Never touches orchestration; a run cut short anywhere is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluate import Evaluated, score_rows, statistics_rows
from tasks.features import Series
from tasks.history import load_series
from tasks.identity import FORECAST_CODE_VERSION, content_id, fingerprint
from tasks.schemas import DATASETS
from tasks.sessions import CalendarConfig, Calendars, ExchangeCalendar
from tasks.settings import ForecastSettings
from tasks.store import Store
from tasks.walkforward import (
    Subject,
    all_methods,
    fit_baselines,
    fit_fleet,
    predict_fold,
    subject,
)

Report = Callable[[str, int, int], None]
"""Called with (step, done, total)."""


@dataclass(frozen=True)
class Shard:
    """Instruments whose fleet is one unit of work."""

    name: str
    instruments: tuple[str, ...]


@dataclass(frozen=True)
class ShardRequest:
    """All that a worker needs to train or forecast a shard; small, and safe to send."""

    store_url: str
    shard: Shard
    session: date
    as_of: datetime
    lag: timedelta
    calendars: CalendarConfig
    settings: ForecastSettings
    config_hash: str
    run_id: str
    origin: str
    versions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Model:
    """One instrument's model for one target, as the `models` dataset has it."""

    model_id: str
    instrument: str
    target: str
    refit_session: date
    status: str
    reason: str | None
    checkpoint: str | None


@dataclass(frozen=True)
class TrainResult:
    """What training a shard came to."""

    shard: Shard
    models: tuple[Model, ...]
    trained: int
    seconds: float


def plan_shards(instruments: Sequence[str], shard_size: int) -> tuple[Shard, ...]:
    """Contiguous shards of the sorted names: a function of names and config alone."""
    names = sorted(set(instruments))
    groups = [tuple(names[i : i + shard_size]) for i in range(0, len(names), shard_size)]
    return tuple(Shard(f"shard-{i:04d}", group) for i, group in enumerate(groups))


def refit_session(calendar: ExchangeCalendar, session: date, every: int) -> date:
    """The last session on or before `session` after which models are refitted.

    Refits fall on every `every`-th session of the exchange's calendar, counted from 1990, so a
    model never depends on when somebody first ran the pipeline.
    """
    known = calendar.session_on_or_before(session)
    return calendar.offset(known, -(calendar.ordinal(known) % every))


def train_shard(request: ShardRequest, report: Report | None = None) -> TrainResult:
    """Train the models of a shard that are due, and score them; the others are already there.

    A model is also due again where its checkpoint is gone.

    Raises:
        StoreError: if the store cannot be read or written.
    """
    started = datetime.now(UTC)
    store = Store.open(request.store_url)
    due = _due(store, request)
    known = {row["model_id"]: row for row in _known_models(store, request.shard.instruments)}
    lost = _lost_checkpoints(store, [known[model_id] for model_id, _ in due if model_id in known])
    missing = [
        (model_id, one)
        for model_id, one in due
        if model_id not in known or known[model_id]["checkpoint"] in lost
    ]
    if missing:
        _train(store, request, missing, lost, report)
        known = {row["model_id"]: row for row in _known_models(store, request.shard.instruments)}
    models = tuple(
        Model(**{name: known[model_id][name] for name in Model.__dataclass_fields__})
        for model_id, _ in due
    )
    seconds = (datetime.now(UTC) - started).total_seconds()
    trained = sum(one.too_short is None for _, one in missing)
    return TrainResult(request.shard, models, trained, seconds)


def training_hash(settings: ForecastSettings) -> str:
    """Identity of the settings that a trained model depends on."""
    chosen = settings.model_dump(
        mode="json",
        exclude={
            "targets": {"max_stale"},
            "training": {"processes", "shard_size"},
            "evaluation": {"gate_rule"},
        },
    )
    return content_id(chosen)


def _due(store: Store, request: ShardRequest) -> list[tuple[str, Subject]]:
    """The models that the facts and settings call for, with their computed ids.

    Each is fitted on what was known when its refit session's bars had been published, and so is
    the same on every night until the next refit.
    """
    calendars = Calendars.load(request.calendars)
    settings_hash = training_hash(request.settings)
    due: list[tuple[str, Subject]] = []
    for group in _by_refit(store, request, calendars):
        for series in group.values():
            refit = _due_refit(request, calendars.of(series.instrument))
            for target in request.settings.targets.names:
                one = subject(series, target, request.settings)
                model_id = content_id(
                    one.instrument,
                    target,
                    request.settings.model.kind,
                    refit,
                    data_fingerprint(series),
                    settings_hash,
                    FORECAST_CODE_VERSION,
                )
                due.append((model_id, one))
    return due


def _due_refit(request: ShardRequest, calendar: ExchangeCalendar) -> date:
    """The refit session of an instrument tonight: one whose bars had been published by `as_of`.

    Another exchange may close its session after the run's: that session is for the next night.
    """
    published = min(request.session, calendar.last_session(request.as_of, request.lag))
    return refit_session(calendar, published, request.settings.training.refit_every)


def _by_refit(store: Store, request: ShardRequest, calendars: Calendars) -> list[dict[str, Series]]:
    """Histories up to each instrument's refit session, read once per refit session."""
    groups: dict[tuple[date, datetime], list[str]] = {}
    for name in request.shard.instruments:
        calendar = calendars.of(name)
        refit = _due_refit(request, calendar)
        known = calendar.close(refit) + request.lag
        groups.setdefault((refit, known), []).append(name)
    versions = dict(request.versions) or None
    return [
        load_series(store, names, calendars, as_of=known, last=refit, versions=versions)
        for (refit, known), names in sorted(groups.items())
    ]


def data_fingerprint(series: Series) -> str:
    """Identity of what a model is fitted to: sessions, returns and variances, not price levels."""
    return fingerprint(series.sessions, series.ordinals, series.log_return, series.variance)


def _known_models(store: Store, instruments: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.read("models", instruments=instruments).to_pylist()
    return rows


def _lost_checkpoints(store: Store, models: Sequence[dict[str, Any]]) -> set[str]:
    """Checkpoints that rows of `models` name but the store no longer has."""
    paths = {row["checkpoint"] for row in models if row["checkpoint"] is not None}
    return {path for path in paths if not store.exists(path)}


def _train(
    store: Store,
    request: ShardRequest,
    missing: Sequence[tuple[str, Subject]],
    lost: Collection[str],
    report: Report | None,
) -> None:
    """Train what is missing; a lost checkpoint is written again where its models expect it."""
    able = [(model_id, one) for model_id, one in missing if one.too_short is None]
    checkpoint = None
    statistics: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    lanes: dict[str, dict[str, Any]] = {}
    if able:
        from lstm_models import checkpoint as checkpoints

        subjects = [one for _, one in able]
        fleet = fit_fleet(subjects, request.settings, _counted(report, "train"))
        live: list[str] = []
        extra: dict[str, Any] = {}
        notes: dict[str, Any] = {"models": {}}
        folds = [(model_id, one, fold) for model_id, one in able for fold in one.folds]
        spans = [(f.gate[0], f.test[1] if f.index else f.calibrate[1]) for _, _, f in folds]
        predicted = predict_fold(
            fleet, [one.member(f) for _, one, f in folds], [one for _, one, _ in folds], spans
        )
        for place, ((model_id, one, fold), (first, _), lstm) in enumerate(
            zip(folds, spans, predicted, strict=True)
        ):
            fitted = fit_baselines(one, fold)
            done = Evaluated(one, fold, first, all_methods(one, lstm, first, fitted), model_id)
            statistics += statistics_rows(done)
            scores += score_rows(done, request.settings.evaluation.level)
            if fold.index == 0:
                name = one.member(fold)
                live.append(name)
                lanes[model_id] = _training_summary(fleet, name)
                for baseline, fit in fitted.items():
                    extra[f"{model_id}/{baseline}"] = fit.coefficients[0]
                notes["models"][model_id] = {
                    "member": name,
                    "epsilon": one.epsilon,
                    "calibrate": str(one.series.sessions[fold.calibrate[0]]),
                    "rows": {baseline: int(fit.rows[0]) for baseline, fit in fitted.items()},
                }
            if report is not None:
                report("score", place + 1, len(folds))
        data = checkpoints.save(fleet.select(live), extra, notes)
        checkpoint = f"checkpoints/{content_id([model_id for model_id, _ in able])}.safetensors"
        for path in sorted({checkpoint, *lost}):
            store.write_file(path, data)
    models = [
        _model_row(request, model_id, one, checkpoint, lanes.get(model_id, {}))
        for model_id, one in missing
    ]
    for dataset, rows in (("statistics", statistics), ("scores", scores), ("models", models)):
        table = derived_table(dataset, rows, request)
        store.append_once(dataset, table, now=datetime.now(UTC))


def _training_summary(fleet: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - a Fleet, lazily imported
    """What the `models` row says of training: the mean over seeds, the worst status."""
    reports = fleet.reports[fleet.index(name)]
    diverged = [r for r in reports if r.status == "diverged"]
    return {
        "status": "diverged" if diverged else "trained",
        "reason": f"{len(diverged)} of {len(reports)} seeds diverged; their best weights are used"
        if diverged
        else None,
        "best_update": max(r.best_update for r in reports),
        "early_stop_mse": float(np.mean([r.best_mse for r in reports])),
        "initial_early_stop_mse": float(np.mean([r.initial_mse for r in reports])),
    }


def _model_row(
    request: ShardRequest,
    model_id: str,
    one: Subject,
    checkpoint: str | None,
    summary: dict[str, Any],
) -> dict[str, Any]:
    trained = one.too_short is None
    return {
        "model_id": model_id,
        "shard": request.shard.name,
        "instrument": one.instrument,
        "target": one.target,
        "kind": request.settings.model.kind,
        "refit_session": _due_refit(request, Calendars.load(request.calendars).of(one.instrument)),
        "cutoff": one.series.sessions[one.folds[0].early_stop[1] - 1].item() if trained else None,
        "data_fingerprint": data_fingerprint(one.series),
        "code_version": FORECAST_CODE_VERSION,
        "status": "not_trained",
        "reason": one.too_short,
        "checkpoint": checkpoint if trained else None,
        **summary,
    }


def derived_table(dataset: str, rows: Sequence[dict[str, Any]], request: ShardRequest) -> pa.Table:
    """Rows of a derived dataset as a table, with the columns that say whose work they are."""
    schema = DATASETS[dataset].schema
    stamp = {
        "as_of": request.as_of,
        "config_hash": request.config_hash,
        "run_id": request.run_id,
        "origin": request.origin,
        "made_at": datetime.now(UTC),
    }
    fields = [pa.field(f.name, f.type) for f in schema if f.name != "known_at"]
    return pa.Table.from_pylist([{**stamp, **row} for row in rows], schema=pa.schema(fields))


def _counted(report: Report | None, step: str) -> Callable[[int, int], None] | None:
    if report is None:
        return None
    return lambda done, total: report(step, done, total)
