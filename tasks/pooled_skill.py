"""Skill over a whole universe: one number per method and target, from scores on the same pairs.

Owns the pooling. Never touches the store, nor decides what is published.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lstm_models.fleet_config import KINDS
from tasks.kinds import primary_score

_PAIRS = ("instrument", "target", "kind", "evaluation_id", "fold", "lead")
"""What two rows share that were scored on the same pairs; some are merged away already."""

_FIRST = ("published", "lstm", "combination")


@dataclass(frozen=True)
class PooledSkill:
    """How one method of one kind did on one target.

    Attributes:
        target: of what.
        kind: by which kind of network, or beside it.
        method: whose forecasts.
        baseline: the default baseline that skill is measured against.
        instruments: how many took part.
        pairs: forecast and target pairs scored, all leads together.
        mse: mean squared error over those pairs, target units squared.
        log_loss: mean log loss over those pairs, nats; None where the kind forecasts means.
        skill: 1 - score / the baseline's on the same pairs, of the log loss where there is one,
            else of mse; None where the baseline's is zero.
    """

    target: str
    kind: str
    method: str
    baseline: str
    instruments: int
    pairs: int
    mse: float
    log_loss: float | None
    skill: float | None


def pooled_skill(scores: Iterable[Mapping[str, Any]]) -> tuple[PooledSkill, ...]:
    """Pool scores of the test segment, every pair with the same weight.

    With n pairs and score m of a method, b of the baseline, per instrument, fold and lead:
    skill = 1 - Σ n m / Σ n b. The score is the kind's own: `tasks.kinds.primary_score`. A method
    takes part where it was scored on as many pairs as the baseline, which are then the same ones.

    Args:
        scores: rows of `scores`, by fold or pooled over folds, of one evaluation per instrument,
            target and kind; rows of another segment are ignored.

    Returns:
        One per target, kind and method, what is published and the networks first, then by score.
    """
    cells: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for row in scores:
        if row["segment"] == "test":
            place = tuple(row.get(name) for name in _PAIRS)
            cells[place][row["method"]] = row
    sums: dict[tuple[str, str, str, str], _Sum] = defaultdict(_Sum)
    for methods in cells.values():
        for method, row in methods.items():
            against = methods.get(row["baseline"])
            if against is not None and against["count"] == row["count"]:
                sums[row["target"], row["kind"], method, row["baseline"]].add(row, against)
    pooled = [_pooled(*key, total) for key, total in sums.items() if total.pairs]
    return tuple(sorted(pooled, key=_order))


class _Sum:
    """Scores weighted by their pairs, of a method and of the baseline."""

    def __init__(self) -> None:
        self.instruments: set[str] = set()
        self.pairs = 0
        self.squares: list[float] = []
        self.own: list[float] = []
        self.baseline: list[float] = []

    def add(self, row: Mapping[str, Any], against: Mapping[str, Any]) -> None:
        score = primary_score(row["kind"])
        self.instruments.add(row["instrument"])
        self.pairs += row["count"]
        self.squares.append(row["count"] * row["mse"])
        self.own.append(row["count"] * row[score])
        self.baseline.append(row["count"] * against[score])


def _pooled(target: str, kind: str, method: str, baseline: str, total: _Sum) -> PooledSkill:
    own, theirs = math.fsum(total.own), math.fsum(total.baseline)
    return PooledSkill(
        target=target,
        kind=kind,
        method=method,
        baseline=baseline,
        instruments=len(total.instruments),
        pairs=total.pairs,
        mse=math.fsum(total.squares) / total.pairs,
        log_loss=own / total.pairs if primary_score(kind) == "log_loss" else None,
        skill=1 - own / theirs if theirs > 0 else None,
    )


def _order(pooled: PooledSkill) -> tuple[str, int, int, float, str]:
    place = _FIRST.index(pooled.method) if pooled.method in _FIRST else len(_FIRST)
    score = pooled.mse if pooled.log_loss is None else pooled.log_loss
    return pooled.target, KINDS.index(pooled.kind), place, score, pooled.method
