"""Scores as people read them: pooled over folds, for the models that a run used.

Owns how rows of `scores` merge. Never touches how they were made or how they are drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lstm_models.scores import skill_score
from tasks.decisions import PUBLISHED
from tasks.kinds import primary_score
from tasks.store import Store

Row = dict[str, Any]
_CELL = ("instrument", "target", "kind", "segment", "method", "lead")
_MEANS = (
    "mse",
    "qlike",
    "coverage",
    "interval_score",
    "log_loss",
    "brier",
    "accuracy",
    "auc",
    "rps",
)


def scoreboard(store: Store, evaluation_ids: Collection[str], config_hash: str) -> list[Row]:
    """Pooled out-of-sample scores of some evaluations: the test segment, or the gate's without one.

    Args:
        store: holds `scores`.
        evaluation_ids: the models that the run's forecasts name.
        config_hash: the run's; what "published" means depends on it.

    Returns:
        One row per instrument, target, kind, method and lead, sorted, with `folds` and pooled
        figures.
    """
    table = store.read("scores")
    chosen = pa.array(sorted(evaluation_ids), pa.string())
    table = table.filter(pc.is_in(table["evaluation_id"], value_set=chosen))
    rows = [
        row
        for row in table.to_pylist()
        if row["method"] != PUBLISHED or row["config_hash"] == config_hash
    ]
    tested = {_forecast_of(row) for row in rows if row["segment"] == "test"}
    shown = [
        row for row in rows if row["segment"] == ("test" if _forecast_of(row) in tested else "gate")
    ]
    return pool(shown)


def _forecast_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["instrument"], row["target"], row["kind"]


def pool(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Merge rows of `scores` over folds: means weighted by their pairs, skill from pooled errors.

    So is the AUC: the mean of the folds' own, since the pairs of two folds can't be ranked
    together any more. A row that stands twice (two runs that scored the same published fold) counts
    once, the newer.
    """
    newest: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["made_at"], row["score_id"])):
        newest[(*(row[name] for name in _CELL), row["evaluation_id"], row["fold"])] = row
    cells: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in newest.values():
        cells.setdefault(tuple(row[name] for name in _CELL), []).append(row)
    pooled = {cell: _merged(cell, group) for cell, group in cells.items()}
    for row in pooled.values():
        reference = pooled.get(
            tuple(row["baseline"] if name == "method" else row[name] for name in _CELL)
        )
        score = primary_score(row["kind"])
        against = reference[score] if reference is not None else None
        itself = row["method"] == row["baseline"]
        row["skill"] = None if itself else skill_score(row[score], against)
    return [pooled[cell] for cell in sorted(pooled)]


def _merged(cell: tuple[Any, ...], group: list[Mapping[str, Any]]) -> Row:
    group = sorted(group, key=lambda row: row["fold"])
    merged: Row = dict(zip(_CELL, cell, strict=True))
    merged["folds"] = len(group)
    merged["count"] = sum(row["count"] for row in group)
    merged["first_cutoff"] = min(row["first_cutoff"] for row in group)
    merged["last_cutoff"] = max(row["last_cutoff"] for row in group)
    merged["baseline"], merged["level"] = group[0]["baseline"], group[0]["level"]
    for name in _MEANS:
        known = [(row["count"], row[name]) for row in group if row[name] is not None]
        total = sum(count for count, _ in known)
        merged[name] = sum(count * value for count, value in known) / total if total else None
    return merged
