"""The gate's night: decide what is published, and score what would have been, fold by fold.

Owns which folds may speak when. Never touches the rule itself (`tasks.gate`) or a forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from tasks.gate import Decision, decide
from tasks.identity import content_id
from tasks.store import Store
from tasks.train import Model, ShardRequest, derived_table

PUBLISHED = "published"
"""The method name, in `scores`, of what the gate would have published in a fold's test segment."""


def decide_and_score(
    store: Store, models: Sequence[Model], request: ShardRequest
) -> tuple[Decision, ...]:
    """Decide for tonight, pooled over all `models`, and write the scores of "published".

    In fold f only the gate segments of fold f and of older folds may speak: all of them had
    matured before its test segment began. Tonight every fold may.

    Args:
        store: holds `statistics` and `scores` of the models.
        models: of every shard; those without an LSTM take no part.
        request: whose settings, config hash and run the rows carry.

    Raises:
        StoreError: if the store cannot be read or written.
    """
    trained = [model for model in models if model.status != "not_trained"]
    if not trained:
        return ()
    ids = pa.array(sorted(model.model_id for model in trained))
    instruments = sorted({model.instrument for model in trained})
    statistics = _of(store.read("statistics", instruments=instruments), ids)
    scores = _of(store.read("scores", instruments=instruments), ids)
    settings = request.settings
    company = content_id(ids.to_pylist())
    rows = []
    tests = scores.filter(pc.equal(scores["segment"], "test"))
    for fold in sorted(pc.unique(tests["fold"]).to_pylist()):
        matured = statistics.filter(pc.greater_equal(statistics["fold"], fold))
        chosen = {
            (d.instrument, d.target): d.method
            for d in decide(
                matured, settings.evaluation.gate_rule, horizon=settings.targets.horizon
            )
        }
        for row in tests.filter(pc.equal(tests["fold"], fold)).to_pylist():
            if row["method"] == chosen.get((row["instrument"], row["target"])):
                of = (row["evaluation_id"], fold, row["lead"], row["level"])
                identity = content_id(PUBLISHED, of, company, request.config_hash)
                rows.append({**row, "score_id": identity, "method": PUBLISHED})
    for row in rows:
        for stamp in ("as_of", "config_hash", "run_id", "origin", "made_at", "known_at"):
            del row[stamp]
    store.append_once("scores", derived_table("scores", rows, request), now=datetime.now(UTC))
    return decide(statistics, settings.evaluation.gate_rule, horizon=settings.targets.horizon)


def _of(table: pa.Table, evaluation_ids: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["evaluation_id"], value_set=evaluation_ids))
