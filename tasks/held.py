"""How often the published intervals held over a whole universe, in the test segments.

Owns which stored pairs are those of what was published. Never touches how sure the share is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.coverage import Coverage, overall
from tasks.decisions import PUBLISHED, own_published
from tasks.store import Store

_FOLD = ("evaluation_id", "fold")
_STAMPS = ("score_id", "level", "segment", "config_hash", "made_at")
_FIGURES = ("mse", "coverage", "interval_score")


def held(
    store: Store, evaluation_ids: Collection[str], config_hash: str
) -> dict[tuple[str, str], Coverage]:
    """Coverage of what the gate published, by target and kind.

    Args:
        store: holds `scores` and `statistics`.
        evaluation_ids: the models that a run's forecasts name.
        config_hash: the run's; what "published" means depends on it.
    """
    among = {"evaluation_id": sorted(evaluation_ids), "segment": ["test"]}
    if not evaluation_ids:
        return {}
    columns = ["target", "kind", "method", "lead", *_STAMPS, *_FOLD, *_FIGURES]
    rows = store.scan("scores", among=among, columns=columns).to_pylist()
    gate = store.scan("scores", ["evaluation_id"], among=among | {"segment": ["gate"]})
    trained = pc.unique(gate["evaluation_id"]).to_pylist()
    scores = own_published(rows, trained, config_hash)
    methods = published_methods(scores, config_hash)
    if not methods:
        return {}
    chosen = pa.table(
        {
            "evaluation_id": [key[0] for key in methods],
            "fold": pa.array([key[1] for key in methods], pa.int32()),
            "method": list(methods.values()),
        }
    )
    columns = ["target", "kind", "method", "cutoff", "covered", *_FOLD]
    statistics = store.scan("statistics", among=among, columns=columns)
    statistics = statistics.join(chosen, ["evaluation_id", "fold", "method"], join_type="inner")
    found = {}
    for target, kind in sorted({(row["target"], row["kind"]) for row in scores}):
        own = statistics.filter(
            pc.and_(pc.equal(statistics["target"], target), pc.equal(statistics["kind"], kind))
        )
        leads = max(row["lead"] for row in scores if (row["target"], row["kind"]) == (target, kind))
        # A row that a race wrote twice counts once.
        own = own.group_by([*_FOLD, "cutoff"]).aggregate([("covered", "min")])
        one = overall(
            own["cutoff"].to_numpy(zero_copy_only=False),
            own["covered_min"].to_numpy(zero_copy_only=False),
            leads,
        )
        if one is not None:
            found[target, kind] = one
    return found


def published_methods(
    scores: Collection[Mapping[str, Any]], config_hash: str
) -> dict[tuple[str, int], str]:
    """Which method a fold's "published" rows are copies of, by evaluation and fold.

    They are the rows with the same figures to the last bit.

    Args:
        scores: rows of the test segment.
        config_hash: whose "published".
    """
    named: dict[tuple[Any, ...], str] = {}
    for row in scores:
        if row["method"] != PUBLISHED:
            figures = tuple(row[name] for name in (*_FOLD, "lead", *_FIGURES))
            named.setdefault(figures, row["method"])
    return {
        (row["evaluation_id"], row["fold"]): named[figures]
        for row in scores
        if row["method"] == PUBLISHED and row["config_hash"] == config_hash
        if (figures := tuple(row[name] for name in (*_FOLD, "lead", *_FIGURES))) in named
    }
