"""The gate's night: decide what is published, and score what would have been, fold by fold.

Owns which folds may speak when. Never touches the rule itself (`tasks.gate`) or a forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from tasks.comparisons import write_comparisons
from tasks.gate import Decision, decide_at
from tasks.identity import content_id
from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.train import Model, derived_table

PUBLISHED = "published"
"""The method name, in `scores`, of what the gate would have published in a fold's test segment."""


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
    ids = pa.array(sorted(model.model_id for model in trained))
    instruments = sorted({model.instrument for model in trained})
    statistics = _of(store.read("statistics", instruments=instruments), ids)
    scores = _of(store.read("scores", instruments=instruments), ids)
    settings = request.settings
    company = content_id(ids.to_pylist())
    gate = statistics.filter(pc.equal(statistics["segment"], "gate"))
    limits = _gate_ends(gate)
    decided = decide_at(
        gate,
        settings.evaluation.gate_rule,
        horizon=settings.targets.horizon,
        limits=set(limits.values()),
    )
    chosen = {
        limit: {(d.instrument, d.kind, d.target): d.method for d in decisions}
        for limit, decisions in decided.items()
    }
    rows = []
    published: dict[tuple[str, int], str] = {}
    for row in scores.filter(pc.equal(scores["segment"], "test")).to_pylist():
        limit = limits.get((row["evaluation_id"], row["fold"]))
        spoken = {} if limit is None else chosen[limit]
        # As tonight: where the gate has nothing to judge by, the default baseline is published.
        place = (row["instrument"], row["kind"], row["target"])
        if row["method"] == spoken.get(place, row["baseline"]):
            of = (row["evaluation_id"], row["fold"], row["lead"], row["level"])
            identity = content_id(PUBLISHED, of, company, request.config_hash)
            rows.append({**row, "score_id": identity, "method": PUBLISHED})
            published[row["evaluation_id"], row["fold"]] = row["method"]
    for row in rows:
        for stamp in ("as_of", "config_hash", "run_id", "origin", "made_at", "known_at"):
            del row[stamp]
    store.append_once("scores", derived_table("scores", rows, request), now=datetime.now(UTC))
    write_comparisons(store, statistics, published, ids.to_pylist(), request)
    return decided[max(decided)] if decided else ()


def _gate_ends(gate: pa.Table) -> dict[tuple[str, int], date]:
    """The last cutoff of each evaluation's and fold's gate segment."""
    ends = gate.group_by(["evaluation_id", "fold"]).aggregate([("cutoff", "max")])
    return {(row["evaluation_id"], row["fold"]): row["cutoff_max"] for row in ends.to_pylist()}


def _of(table: pa.Table, evaluation_ids: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["evaluation_id"], value_set=evaluation_ids))
