"""Scores as people read them: pooled over folds, for the models that a run used.

Owns how rows of `scores` merge. Never touches how they were made or how they are drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow.compute as pc

from lstm_models.calibration import Bin, merged, reliability
from lstm_models.scores import skill_score
from tasks.coverage import pooled_error
from tasks.decisions import own_published
from tasks.kinds import primary_score
from tasks.live_scores import LIVE
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
    "rises",
    "called_rises",
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
    among = {"evaluation_id": sorted(evaluation_ids), "segment": ["gate", "test"]}
    table = store.read("scores", among=among)
    trained = pc.unique(table["evaluation_id"]).to_pylist()
    rows = own_published(table.to_pylist(), trained, config_hash)
    tested = {_forecast_of(row) for row in rows if row["segment"] == "test"}
    shown = [
        row for row in rows if row["segment"] == ("test" if _forecast_of(row) in tested else "gate")
    ]
    return pool(shown)


def _forecast_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["instrument"], row["target"], row["kind"]


def pool(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Merge rows of a backtest over folds: means weighted by their pairs, skill from pooled errors.

    Live rows have no folds to merge and are left out: see `tasks.live_skill`.

    So is the AUC: the mean of the folds' own, since the pairs of two folds can't be ranked
    together any more. A row that stands twice (two runs that scored the same published fold) counts
    once, the newer.
    """
    newest: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    backtest = (row for row in rows if row["segment"] != LIVE)
    for row in sorted(backtest, key=lambda row: (row["made_at"], row["score_id"])):
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
    pooled: Row = dict(zip(_CELL, cell, strict=True))
    pooled["folds"] = len(group)
    pooled["count"] = sum(row["count"] for row in group)
    pooled["first_cutoff"] = min(row["first_cutoff"] for row in group)
    pooled["last_cutoff"] = max(row["last_cutoff"] for row in group)
    pooled["baseline"], pooled["level"] = group[0]["baseline"], group[0]["level"]
    for name in _MEANS:
        known = [(row["count"], row[name]) for row in group if row.get(name) is not None]
        total = sum(count for count, _ in known)
        pooled[name] = sum(count * value for count, value in known) / total if total else None
    return pooled | _intervals(group) | _calibration(group)


def _intervals(group: list[Mapping[str, Any]]) -> Row:
    """Coverage and interval score at every level that all folds have, and the error of the first.

    Test segments are disjoint in time, so their errors count as independent.
    """
    held = [row for row in group if row.get("intervals")]
    error = pooled_error(
        (row["count"], row.get("coverage_error")) for row in group if row["coverage"] is not None
    )
    if not held:
        return {"coverage_error": error, "intervals": None}
    at = [{one["level"]: one for one in row["intervals"]} for row in held]
    total = sum(row["count"] for row in held)
    intervals = [
        {"level": level}
        | {
            name: sum(row["count"] * one[level][name] for row, one in zip(held, at, strict=True))
            / total
            for name in ("coverage", "interval_score")
        }
        for level in at[0]
        if all(level in one for one in at)
    ]
    return {"coverage_error": error, "intervals": intervals}


def _calibration(group: list[Mapping[str, Any]]) -> Row:
    """Bins merged by sums, and the reliability of what they come to."""
    parts = [
        [Bin(one["count"], one["probability"], one["came"]) for one in row["calibration"]]
        for row in group
        if row.get("calibration")
    ]
    if not parts:
        return {"calibration": None, "reliability": None}
    bins = merged(parts)
    return {
        "calibration": [one.record() for one in bins],
        "reliability": reliability(bins),
    }
