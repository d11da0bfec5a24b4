"""The gate's night: decide what is published, and score what would have been, fold by fold.

Owns which folds may speak when. Never touches the rule itself (`tasks.gate`) or a forecast.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.comparisons import is_compared, write_comparisons
from tasks.gate import Decision, decide_at
from tasks.identity import content_id
from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.train import Model, derived_table

Row = Mapping[str, Any]
PUBLISHED = "published"
"""The method name, in `scores`, of what the gate would have published in a fold's test segment."""

_OWN = ("evaluation_id", "instrument", "target", "kind")
_LOSSES = (*_OWN, "method", "fold", "segment", "cutoff", "loss")
_FOLD = [*_OWN, "fold", "baseline"]
_PLACE = (*_FOLD, "method", "lead", "level", "score_id")


def decide_and_score(
    store: Store, models: Sequence[Model], request: ShardRequest
) -> tuple[Decision, ...]:
    """Decide for tonight, pooled over all `models`, and write the scores of "published".

    For the test segment of a fold only gate rows may speak whose cutoff is no later than the end
    of that fold's own gate segment: all of them, whichever instrument and fold they are of, had
    matured before the test began. What was published at the step before, which hysteresis asks for,
    is decided from those rows too. Tonight every gate row may.

    Args:
        store: holds `statistics` and `scores` of the models.
        models: of every shard; those without an LSTM take no part.
        request: whose settings, config hash and run the rows carry.

    How the methods compare on the test segments is written too: see `tasks.comparisons`.

    Raises:
        StoreError: if the store cannot be read or written.
    """
    trained = [model for model in models if model.status != "not_trained"]
    if not trained:
        return ()
    ids = sorted(model.model_id for model in trained)
    instruments = sorted({model.instrument for model in trained})
    settings = request.settings
    gate = _read(store, "statistics", instruments, ids, segment="gate", columns=_LOSSES)
    limits = _gate_ends(gate)
    decided = decide_at(
        gate,
        settings.evaluation.gate_rule,
        horizon=settings.targets.horizon,
        limits=set(limits.values()),
        wanted=_wanted(gate, limits),
    )
    del gate
    chosen = {
        limit: {(d.instrument, d.kind, d.target): d.method for d in decisions}
        for limit, decisions in decided.items()
    }
    tested = _read(store, "scores", instruments, ids, segment="test", columns=_PLACE)
    published: dict[tuple[str, int], str] = {}
    for fold in tested.group_by(_FOLD).aggregate([]).to_pylist():
        key = (fold["evaluation_id"], fold["fold"])
        spoken = {} if key not in limits else chosen[limits[key]]
        # As tonight: where the gate has nothing to judge by, the default baseline is published.
        published[key] = spoken.get(
            (fold["instrument"], fold["kind"], fold["target"]), fold["baseline"]
        )
    _publish(store, tested, published, ids, request)
    if not is_compared(store, ids, request):
        losses = _read(store, "statistics", instruments, ids, segment="test")
        write_comparisons(store, losses, published, ids, request)
    return decided[max(decided)] if decided else ()


def own_published(
    scores: Iterable[Row], evaluation_ids: Collection[str], config_hash: str
) -> list[Row]:
    """Backtest scores with one row of what was published per evaluation, fold and lead.

    What is published depends on the company of models that the gate pooled. A night that lacked a
    shard, or had another universe, was another company, and wrote rows of its own. So the rows are
    those of the company asked for; where it has none, the newest.

    Args:
        scores: rows of `scores`, all of `evaluation_ids`.
        evaluation_ids: every trained model of the company.
        config_hash: whose "published".
    """
    company = content_id(sorted(evaluation_ids))
    kept: list[Row] = []
    published: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in scores:
        if row["method"] != PUBLISHED or row["segment"] == "live":
            kept.append(row)
        elif row["config_hash"] == config_hash:
            published[row["evaluation_id"], row["fold"], row["lead"]].append(row)

    def rank(row: Row) -> tuple[Any, ...]:
        own = row["score_id"] == _published_id(row, company, config_hash)
        return own, row["made_at"], row["score_id"]

    # Most often there is no choice, and an id takes a tenth of a millisecond.
    chosen = (rows[0] if len(rows) == 1 else max(rows, key=rank) for rows in published.values())
    return [*kept, *chosen]


def _published_id(row: Row, company: str, config_hash: str) -> str:
    of = (row["evaluation_id"], row["fold"], row["lead"], row["level"])
    return content_id(PUBLISHED, of, company, config_hash)


def _gate_ends(gate: pa.Table) -> dict[tuple[str, int], date]:
    """The last cutoff of each evaluation's and fold's gate segment."""
    ends = gate.group_by(["evaluation_id", "fold"]).aggregate([("cutoff", "max")])
    return {(row["evaluation_id"], row["fold"]): row["cutoff_max"] for row in ends.to_pylist()}


def _wanted(gate: pa.Table, limits: Mapping[tuple[str, int], date]) -> dict[date, set[str]]:
    """Whose decision is asked for on each day but the last, which is tonight's and everybody's."""
    names = gate.group_by(["evaluation_id", "instrument"]).aggregate([]).to_pylist()
    instrument = {row["evaluation_id"]: row["instrument"] for row in names}
    wanted: dict[date, set[str]] = {}
    for (evaluation, _), limit in limits.items():
        wanted.setdefault(limit, set()).add(instrument[evaluation])
    wanted.pop(max(wanted, default=date.max), None)
    return wanted


def _publish(
    store: Store,
    tested: pa.Table,
    published: Mapping[tuple[str, int], str],
    evaluation_ids: Sequence[str],
    request: ShardRequest,
) -> None:
    """Write the scores of what was published that are not there: copies of its own."""
    chosen = pa.table(
        {
            "evaluation_id": pa.array([key[0] for key in published], pa.string()),
            "fold": pa.array([key[1] for key in published], tested.schema.field("fold").type),
            "method": pa.array(published.values(), pa.string()),
        }
    )
    there = set(tested["score_id"].filter(pc.equal(tested["method"], PUBLISHED)).to_pylist())
    missing: dict[str, str] = {}
    company = content_id(evaluation_ids)
    for row in tested.join(chosen, chosen.column_names, join_type="inner").to_pylist():
        identity = _published_id(row, company, request.config_hash)
        if identity not in there:
            missing[row["score_id"]] = identity
    if not missing:
        return
    rows = store.read("scores", among={"score_id": sorted(missing)}).to_pylist()
    for row in rows:
        row |= {"score_id": missing[row["score_id"]], "method": PUBLISHED}
        for stamp in ("as_of", "config_hash", "run_id", "origin", "made_at", "known_at"):
            del row[stamp]
    store.append_once("scores", derived_table("scores", rows, request), now=datetime.now(UTC))


def _read(
    store: Store,
    dataset: str,
    instruments: Sequence[str],
    evaluation_ids: Sequence[str],
    *,
    segment: str,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of some evaluations: the store holds those of every refit there ever was."""
    among = {"evaluation_id": evaluation_ids, "segment": [segment]}
    return store.read(dataset, instruments=instruments, among=among, columns=columns)
