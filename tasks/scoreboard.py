"""Scores as people read them: pooled over folds, for the models that a run used.

Owns how rows of `scores` merge. Never touches how they were made or how they are drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
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
_READ = (
    *_CELL,
    *("evaluation_id", "fold", "score_id", "config_hash", "made_at", "baseline", "level", "count"),
    *("first_cutoff", "last_cutoff", "coverage_error", "intervals", "calibration"),
    *_MEANS,
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
    table = store.read("scores", among=among, columns=_READ)
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
    for row in sorted(newest.values(), key=lambda row: int(row["fold"])):
        cells.setdefault(tuple(row[name] for name in _CELL), []).append(row)
    pooled = {cell: _summed_up(cell, group) for cell, group in cells.items()}
    _add_means(list(pooled.values()), list(cells.values()))
    for row in pooled.values():
        reference = pooled.get(
            tuple(row["baseline"] if name == "method" else row[name] for name in _CELL)
        )
        score = primary_score(row["kind"])
        against = reference[score] if reference is not None else None
        itself = row["method"] == row["baseline"]
        row["skill"] = None if itself else skill_score(row[score], against)
    return [pooled[cell] for cell in sorted(pooled)]


def _summed_up(cell: tuple[Any, ...], group: list[Mapping[str, Any]]) -> Row:
    """A cell's row, but for its means; `group` is sorted by fold.

    Test segments are disjoint in time, so their errors of the coverage count as independent.
    """
    return {
        **dict(zip(_CELL, cell, strict=True)),
        "folds": len(group),
        "count": sum(row["count"] for row in group),
        "first_cutoff": min(row["first_cutoff"] for row in group),
        "last_cutoff": max(row["last_cutoff"] for row in group),
        "baseline": group[0]["baseline"],
        "level": group[0]["level"],
        "coverage_error": pooled_error(
            (row["count"], row.get("coverage_error"))
            for row in group
            if row["coverage"] is not None
        ),
        **_calibration(group),
    }


def _add_means(pooled: Sequence[Row], groups: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Adds what is a mean over the folds that have it, weighted by their pairs.

    That includes coverage and interval score at every level that all folds with intervals have.
    """
    rows = [row for group in groups for row in group]
    place = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    counts = np.array([row["count"] for row in rows], dtype=float)

    def means(values: list[float | None]) -> list[float | None]:
        """Of the rows, by cell; None where no row has a value."""
        found = np.array(values, dtype=float)  # None becomes NaN
        known = ~np.isnan(found)
        total = np.bincount(place[known], counts[known], len(groups))
        weighted = np.bincount(place[known], counts[known] * found[known], len(groups))
        filled = np.divide(weighted, total, out=np.zeros(len(groups)), where=total > 0)
        return [
            mean if there else None
            for mean, there in zip(filled.tolist(), (total > 0).tolist(), strict=True)
        ]

    for name in _MEANS:
        for one, mean in zip(pooled, means([row.get(name) for row in rows]), strict=True):
            one[name] = mean
    held = [{one["level"]: one for one in row.get("intervals") or ()} for row in rows]
    there = np.bincount(place, [bool(levels) for levels in held], len(groups))
    for one in pooled:
        one["intervals"] = None
    for level in dict.fromkeys(level for levels in held for level in levels):
        everywhere = np.bincount(place, [level in levels for levels in held], len(groups)) == there
        coverage, score = (
            means([levels[level][name] if level in levels else None for levels in held])
            for name in ("coverage", "interval_score")
        )
        for cell in np.flatnonzero(everywhere & (there > 0)).tolist():
            pooled[cell]["intervals"] = [
                *(pooled[cell]["intervals"] or ()),
                {"level": level, "coverage": coverage[cell], "interval_score": score[cell]},
            ]


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
