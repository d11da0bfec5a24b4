"""The network of the refit before against the retrained one: which of them stands, fold by fold.

Owns the comparison, and the rows and the file of the model that comes of it. Never trains, and
never decides what is published: the gate judges what stands.

In every fold both forecast the rows of that fold's gate segment, which neither has used: the
champion's data ended a refit earlier than the challenger's, and those end before the segment. The
challenger stands unless the champion was better there by the gate's own one-sided test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.differentials import pair_losses
from tasks.due import Due, data_fingerprint
from tasks.evaluate import Evaluated, score_rows, statistics_rows
from tasks.evidence import weigh
from tasks.features import Floats
from tasks.fleet_files import joined, read_members
from tasks.folds import Fold
from tasks.gate import GateConfig
from tasks.identity import FORECAST_CODE_VERSION, content_id
from tasks.kinds import leads
from tasks.methods import Predicted, fit_beside
from tasks.settings import ForecastSettings
from tasks.store import Store
from tasks.walkforward import predict_fold

if TYPE_CHECKING:
    from lstm_models.fleet import Fleet

Row = dict[str, Any]
CHAMPION, CHALLENGER = "champion", "challenger"
"""Method names in `statistics`: the networks that were compared. What stands is `lstm`."""


@dataclass(frozen=True)
class Judged:
    """What comparing some models came to, not yet in the store."""

    checkpoint: str
    data: bytes
    statistics: tuple[pa.Table, ...]
    scores: tuple[Row, ...]
    models: tuple[Row, ...]


def judged_id(due: Due, settings: ForecastSettings) -> str:
    """Id of what stands after the comparison; without a champion that of the model itself."""
    if due.champion is None:
        return due.model_id
    rule = settings.evaluation.gate_rule
    return content_id(
        CHAMPION,
        due.model_id,
        due.champion.model_id,
        rule.significance,
        rule.min_sessions,
        FORECAST_CODE_VERSION,
    )


def champion_stays(statistics: pa.Table, config: GateConfig, *, horizon: int) -> dict[int, bool]:
    """Whether the champion stays, by fold: where it was better than the challenger.

    That is so where the one-sided HAC test on the fold's gate segment passes at
    `config.significance` and the champion is better by more than a tie. Too few sessions, equal
    losses and a constant difference leave the challenger.

    Args:
        statistics: Rows of one evaluation; those of the gate segment by the methods "champion" and
            "challenger" are looked at.
        config: Level, and the non-overlapping sessions needed.
        horizon: Sessions that a loss's targets span; of a class kind it is the next one alone.
    """
    compared = pc.is_in(statistics["method"], value_set=pa.array([CHAMPION, CHALLENGER]))
    rows = statistics.filter(pc.and_(pc.equal(statistics["segment"], "gate"), compared))
    stays = {}
    for fold in sorted(rows["fold"].unique().to_pylist()):
        own = rows.filter(pc.equal(rows["fold"], fold))
        evidence = weigh(
            pair_losses(own, CHALLENGER, CHAMPION),
            own["instrument"].unique().to_pylist(),
            baseline=CHALLENGER,
            candidate=CHAMPION,
            min_sessions=config.min_sessions,
            horizon=leads(own["kind"][0].as_py(), horizon),
        )
        stays[fold] = evidence.passes(config.significance)
    return stays


def judge(
    store: Store,
    due: Sequence[Due],
    settings: ForecastSettings,
    known: Mapping[str, Mapping[str, Any]],
) -> Judged:
    """Compare models with their champions; all are of one kind and trained.

    Args:
        store: holds the checkpoints.
        due: each with a champion.
        settings: of all.
        known: rows of `models` by id, with those of the models and of their champions.

    Raises:
        StoreError: a checkpoint can't be read.
        CheckpointError: a checkpoint is damaged.
    """
    from lstm_models import checkpoint as checkpoints  # noqa: PLC0415 - loads TensorFlow

    new, old = _fleets(store, due, known)
    places = [(each, fold) for each in due for fold in each.one.folds]
    compared = [(each, fold) for each, fold in places if fold.index in each.champions()]
    challengers = _predicted(new, places, [each.one.member(fold) for each, fold in places])
    champions = dict(
        zip(
            [(each.model_id, fold.index) for each, fold in compared],
            _predicted(old, compared, [each.champions()[fold.index] for each, fold in compared]),
            strict=True,
        )
    )
    levels = settings.evaluation.levels
    statistics: list[pa.Table] = []
    scores: list[Row] = []
    models: list[Row] = []
    kept: list[Fleet] = []
    extra: dict[str, Floats] = {}
    notes: dict[str, Any] = {"models": {}}
    ids = [judged_id(each, settings) for each in due]
    checkpoint = f"checkpoints/{content_id(ids)}.safetensors"
    for (each, fold), challenger in zip(places, challengers, strict=True):
        one, model_id = each.one, judged_id(each, settings)
        beside, first = fit_beside(one, fold), _span(fold)[0]
        stands = _evaluated(each, fold, model_id, beside.predict(one, challenger, first), levels)
        champion, stays = champions.get((each.model_id, fold.index)), False
        if champion is not None:
            rival = _evaluated(each, fold, model_id, beside.predict(one, champion, first), levels)
            rows = pa.concat_tables([_losses(rival, CHAMPION), _losses(stands, CHALLENGER)])
            rule, horizon = settings.evaluation.gate_rule, settings.targets.horizon
            stays = champion_stays(rows, rule, horizon=horizon)[fold.index]
            statistics.append(rows)
            stands = rival if stays else stands
        statistics.append(statistics_rows(stands))
        scores += score_rows(stands)
        if fold.index:
            continue
        name = each.champions()[0] if stays else one.member(fold)
        kept.append((old if stays else new).select([name]))
        extra |= {f"{model_id}/{part}": array for part, array in beside.tensors().items()}
        notes["models"][model_id] = {
            "member": name,
            "epsilon": one.epsilon,
            "calibrate": str(one.series.sessions[fold.calibrate[0]]),
            "rows": beside.rows(),
        }
        models.append(_model_row(each, model_id, stays, checkpoint, known))
    data = checkpoints.save(joined(kept), extra, notes)
    return Judged(checkpoint, data, tuple(statistics), tuple(scores), tuple(models))


def _fleets(
    store: Store, due: Sequence[Due], known: Mapping[str, Mapping[str, Any]]
) -> tuple[Fleet, Fleet]:
    """The challengers' networks and the champions', of every fold that needs them."""
    new: dict[str, list[str]] = {}
    old: dict[str, list[str]] = {}
    for each in due:
        if each.champion is not None:
            names = [each.one.member(fold) for fold in each.one.folds]
            new.setdefault(known[each.model_id]["checkpoint"], []).extend(names)
            path = known[each.champion.model_id]["checkpoint"]
            old.setdefault(path, []).extend(each.champions().values())
    challengers, champions = read_members(store, new), read_members(store, old)
    if challengers is None or champions is None:
        raise ValueError("no model has a champion: there is nothing to compare")
    return challengers, champions


def _predicted(
    fleet: Fleet, places: Sequence[tuple[Due, Fold]], members: Sequence[str]
) -> list[Floats]:
    return predict_fold(
        fleet, members, [each.one for each, _ in places], [_span(fold) for _, fold in places]
    )


def _span(fold: Fold) -> tuple[int, int]:
    """The rows that a fold forecasts: from its gate segment to its last."""
    return fold.gate[0], fold.test[1] if fold.index else fold.calibrate[1]


def _evaluated(
    due: Due,
    fold: Fold,
    model_id: str,
    found: Predicted,
    levels: tuple[float, ...],
) -> Evaluated:
    return Evaluated(
        due.one,
        fold,
        _span(fold)[0],
        found.means,
        model_id,
        found.probabilities,
        found.edges,
        levels,
    )


def _losses(done: Evaluated, method: str) -> pa.Table:
    """A network's rows of the gate segment, under another name."""
    rows = statistics_rows(done)
    wanted = pc.and_(pc.equal(rows["method"], "lstm"), pc.equal(rows["segment"], "gate"))
    own = rows.filter(wanted)
    place = own.schema.get_field_index("method")
    return own.set_column(place, own.schema.field(place), pa.repeat(method, len(own)))


def _model_row(
    due: Due, model_id: str, stays: bool, checkpoint: str, known: Mapping[str, Mapping[str, Any]]
) -> Row:
    """The row of what stands: of the champion's training where it stays in fold 0."""
    assert due.champion is not None  # noqa: S101 - for the type checker
    standing = due.champion if stays else due
    stamps = ("as_of", "config_hash", "run_id", "origin", "made_at", "known_at")
    row = {name: value for name, value in known[standing.model_id].items() if name not in stamps}
    return {
        **row,
        "model_id": model_id,
        "refit_session": due.refit,
        "data_fingerprint": data_fingerprint(due.one.series),
        "checkpoint": checkpoint,
        "champion_model_id": due.champion.model_id,
    }
