"""Training of a shard: a fleet per kind for the models that are due, and what it leaves behind.

Owns the order of commits: checkpoint, statistics, scores, and last the `models` rows that make
them count. Never touches orchestration; a run cut short anywhere is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lstm_models.fleet_config import KINDS
from tasks.champion import judge, judged_id
from tasks.due import Due, data_fingerprint, due_models
from tasks.evaluate import Evaluated, score_rows, statistics_rows
from tasks.fleet_files import read_members
from tasks.folds import trainings
from tasks.identity import FORECAST_CODE_VERSION, content_id
from tasks.methods import fit_beside
from tasks.schemas import DATASETS
from tasks.shards import Shard, ShardRequest
from tasks.store import Store
from tasks.walkforward import fit_fleet, predict_fold

if TYPE_CHECKING:
    from lstm_models.fleet import Fleet

Report = Callable[[str, int, int], None]
"""Called with (step, done, total)."""

LAST_GOOD = "last_good"
"""The status of a model that stands in for one whose training failed: see `tasks.last_good`."""


class UntrainedError(Exception):
    """Models that were trained elsewhere are not in this store."""


@dataclass(frozen=True)
class Model:
    """One instrument's model of one kind for one target, as the `models` dataset has it."""

    model_id: str
    instrument: str
    target: str
    refit_session: date
    status: str
    reason: str | None
    checkpoint: str | None
    kind: str = "many_to_many"


@dataclass(frozen=True)
class TrainResult:
    """What training a shard came to."""

    shard: Shard
    models: tuple[Model, ...]
    trained: int
    seconds: float


def train_shard(request: ShardRequest, report: Report | None = None) -> TrainResult:
    """Train the models of a shard that are due, and score them; the others are already there.

    A model is also due again where its checkpoint is gone, and so is one that another starts from
    or is compared with.

    Raises:
        StoreError: if the store cannot be read or written.
    """
    started = datetime.now(UTC)
    store = Store.open(request.store_url)
    due = due_models(store, request)
    steps = _missing(store, request, due)
    progress = _Progress(report, steps, request.settings.model.seeds)
    for missing in steps:
        _train(store, request, missing, progress)
    _judge(store, request, due)
    models = _models(_known_models(store, request), request, due)
    seconds = (datetime.now(UTC) - started).total_seconds()
    trained = sum(one.one.too_short is None for missing in steps for one in missing)
    return TrainResult(request.shard, models, trained, seconds)


def trained_shard(request: ShardRequest, report: Report | None = None) -> TrainResult:
    """What training a shard came to that another machine has trained; trains nothing.

    Args:
        request: the same that the other machine had.
        report: told once that it is done.

    Returns:
        Its `trained` are the models that are due and that this run's training wrote.

    Raises:
        UntrainedError: the store lacks one: the other machine wrote into another one, or read
            other facts.
        StoreError: the store can't be read.
    """
    store = Store.open(request.store_url)
    due = due_models(store, request)
    known = _known_models(store, request)
    wanted = {judged_id(one, request.settings): one for one in due}
    lacking = [one for key, one in wanted.items() if _is_missing(store, known, key)]
    if lacking:
        one = lacking[0].one
        raise UntrainedError(
            f"{request.shard.name} is said to be trained, but {len(lacking)} of its {len(due)} "
            f"models are not in the store {store.url}, such as {one.instrument} {one.target}. Do "
            "the machine that trained and this one use the same store?"
        )
    rows = [known[key] for key in wanted]
    own = sum(row["run_id"] == request.run_id and row["checkpoint"] is not None for row in rows)
    if report is not None:
        report("train", 1, 1)
    return TrainResult(request.shard, _models(known, request, due), own, 0.0)


def _models(
    known: Mapping[str, Mapping[str, Any]], request: ShardRequest, due: Sequence[Due]
) -> tuple[Model, ...]:
    rows = [known[judged_id(one, request.settings)] for one in due]
    return tuple(Model(**{name: row[name] for name in Model.__dataclass_fields__}) for row in rows)


def _missing(store: Store, request: ShardRequest, due: Sequence[Due]) -> list[list[Due]]:
    """What has to be trained, one list per fleet, those that others start from first."""
    known = _known_models(store, request)
    steps: list[list[Due]] = []
    level = [one for one in due if _is_missing(store, known, one.model_id)]
    compared = [one.champion for one in _unjudged(store, request, due, known)]
    while level or compared:
        fleets = [[one for one in level if one.one.kind == kind] for kind in KINDS]
        steps = [fleet for fleet in fleets if fleet] + steps
        before = [*(one.start for one in level), *compared]
        earlier = {one.model_id: one for one in before if one is not None}
        level = [one for one in earlier.values() if _is_missing(store, known, one.model_id)]
        compared = []
    return steps


def _unjudged(
    store: Store, request: ShardRequest, due: Sequence[Due], known: Mapping[str, Any]
) -> list[Due]:
    """Those whose comparison with a champion is not in the store."""
    return [
        one
        for one in due
        if one.champion is not None and _is_missing(store, known, judged_id(one, request.settings))
    ]


def _is_missing(store: Store, known: Mapping[str, Any], model_id: str) -> bool:
    row = known.get(model_id)
    lost = row is not None and row["checkpoint"] is not None
    return row is None or (lost and not store.exists(row["checkpoint"]))


def _judge(store: Store, request: ShardRequest, due: Sequence[Due]) -> None:
    """Compare retrained models with their champions, a kind at a time."""
    known = _known_models(store, request)
    unjudged = _unjudged(store, request, due, known)
    for kind in KINDS:
        group = [one for one in unjudged if one.one.kind == kind]
        if not group:
            continue
        found = judge(store, group, request.settings, known)
        expected = {
            known[row["model_id"]]["checkpoint"] for row in found.models if row["model_id"] in known
        }
        for path in sorted({found.checkpoint, *expected}):
            store.write_file(path, found.data)
        _write(store, request, found.statistics, found.scores, found.models)


def _write(
    store: Store,
    request: ShardRequest,
    statistics: Sequence[pa.Table],
    scores: Sequence[dict[str, Any]],
    models: Sequence[dict[str, Any]],
) -> None:
    """Last the `models` rows, which make the others count."""
    losses = pa.concat_tables([derived_table("statistics", [], request), *statistics])
    store.append_once("statistics", losses, now=datetime.now(UTC))
    for dataset, rows in (("scores", scores), ("models", models)):
        store.append_once(dataset, derived_table(dataset, rows, request), now=datetime.now(UTC))


def _known_models(store: Store, request: ShardRequest) -> dict[str, dict[str, Any]]:
    rows = store.read("models", instruments=request.shard.instruments).to_pylist()
    return {row["model_id"]: row for row in rows}


def _train(
    store: Store, request: ShardRequest, missing: Sequence[Due], progress: _Progress
) -> None:
    """Train one fleet; a lost checkpoint is written again where its models expect it."""
    able = [due for due in missing if due.one.too_short is None]
    checkpoint = None
    statistics: list[pa.Table] = []
    scores: list[dict[str, Any]] = []
    lanes: dict[str, dict[str, Any]] = {}
    if able:
        from lstm_models import checkpoint as checkpoints

        known = _known_models(store, request)
        fleet = fit_fleet(
            [due.one for due in able],
            request.settings,
            progress.train,
            start=_start_fleet(store, able, known),
            starts={name: start for due in able for name, start in due.starts().items()},
        )
        kept: list[str] = []
        extra: dict[str, Any] = {}
        notes: dict[str, Any] = {"models": {}}
        folds = [(due.model_id, due.one, fold) for due in able for fold in due.one.folds]
        spans = [(f.gate[0], f.test[1] if f.index else f.calibrate[1]) for _, _, f in folds]
        predicted = predict_fold(
            fleet, [one.member(f) for _, one, f in folds], [one for _, one, _ in folds], spans
        )
        for (model_id, one, fold), (first, _), lstm in zip(folds, spans, predicted, strict=True):
            beside = fit_beside(one, fold)
            found = beside.predict(one, lstm, first)
            done = Evaluated(
                one,
                fold,
                first,
                found.means,
                model_id,
                found.probabilities,
                found.edges,
                request.settings.evaluation.levels,
            )
            statistics.append(statistics_rows(done))
            scores += score_rows(done)
            name = one.member(fold)
            # The older folds go into the file only where the next refit is to need them.
            training = request.settings.training
            keep = fold.index == 0 or training.cold_every > 1 or training.champion
            if keep and name not in kept:
                kept.append(name)
            if fold.index == 0:
                lanes[model_id] = _training_summary(fleet, name)
                for part, array in beside.tensors().items():
                    extra[f"{model_id}/{part}"] = array
                notes["models"][model_id] = {
                    "member": name,
                    "epsilon": one.epsilon,
                    "calibrate": str(one.series.sessions[fold.calibrate[0]]),
                    "rows": beside.rows(),
                }
            progress.score()
        data = checkpoints.save(fleet.select(kept), extra, notes)
        checkpoint = f"checkpoints/{content_id([due.model_id for due in able])}.safetensors"
        expected = {known[due.model_id]["checkpoint"] for due in able if due.model_id in known}
        for path in sorted({checkpoint, *expected}):
            store.write_file(path, data)
    models = [_model_row(request, due, checkpoint, lanes.get(due.model_id, {})) for due in missing]
    _write(store, request, statistics, scores, models)


def _start_fleet(
    store: Store, able: Sequence[Due], known: Mapping[str, Mapping[str, Any]]
) -> Fleet | None:
    """The members that training starts from, as one fleet."""
    wanted: dict[str, list[str]] = {}
    for due in able:
        if due.start is not None and (starts := due.starts()):
            path = known[due.start.model_id]["checkpoint"]
            wanted.setdefault(path, []).extend(starts.values())
    return read_members(store, wanted)


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
        "early_stop_mse": float(np.mean([r.best_loss for r in reports])),
        "initial_early_stop_mse": float(np.mean([r.initial_loss for r in reports])),
    }


def _model_row(
    request: ShardRequest, due: Due, checkpoint: str | None, summary: dict[str, Any]
) -> dict[str, Any]:
    one = due.one
    trained = one.too_short is None
    return {
        "model_id": due.model_id,
        "shard": request.shard.name,
        "instrument": one.instrument,
        "target": one.target,
        "kind": one.kind,
        "refit_session": due.refit,
        "cutoff": one.series.sessions[one.folds[0].early_stop[1] - 1].item() if trained else None,
        "data_fingerprint": data_fingerprint(one.series),
        "code_version": FORECAST_CODE_VERSION,
        "status": "not_trained",
        "reason": one.too_short,
        "checkpoint": checkpoint if trained else None,
        "start_model_id": due.start.model_id if trained and due.start is not None else None,
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


class _Progress:
    """Tells how far all fleets of a shard are together, so that a bar never runs backwards."""

    def __init__(self, report: Report | None, steps: Sequence[Sequence[Due]], seeds: int) -> None:
        self.report = report
        self.folds = sum(len(one.one.folds) for missing in steps for one in missing)
        self.networks = seeds * sum(
            trainings(one.one.folds) for missing in steps for one in missing
        )
        self.trained = self.scored = 0
        self.before = 0

    def train(self, done: int, total: int) -> None:
        """So many of one fleet's networks are done."""
        self.trained = self.before + done
        if done == total:
            self.before += total
        if self.report is not None:
            self.report("train", self.trained, self.networks)

    def score(self) -> None:
        """One more fold is scored."""
        self.scored += 1
        if self.report is not None:
            self.report("score", self.scored, self.folds)
