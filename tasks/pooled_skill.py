"""Skill over a whole universe: one number per method and target, from scores on the same pairs.

Owns the pooling. Never touches the store, nor decides what is published.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_PAIRS = ("instrument", "target", "kind", "evaluation_id", "fold", "lead")
"""What two rows share that were scored on the same pairs; some are merged away already."""

_FIRST = ("published", "lstm", "combination")


@dataclass(frozen=True)
class PooledSkill:
    """How one method did on one target.

    Attributes:
        target: of what.
        method: whose forecasts.
        baseline: the default baseline that skill is measured against.
        instruments: how many took part.
        pairs: forecast and target pairs scored, all leads together.
        mse: mean squared error over those pairs, target units squared.
        skill: 1 - mse / the baseline's on the same pairs; None where that is zero.
    """

    target: str
    method: str
    baseline: str
    instruments: int
    pairs: int
    mse: float
    skill: float | None


def pooled_skill(scores: Iterable[Mapping[str, Any]]) -> tuple[PooledSkill, ...]:
    """Pool scores of the test segment, every pair with the same weight.

    With n pairs and error m of a method, b of the baseline, per instrument, fold and lead:
    skill = 1 - Σ n m / Σ n b. A method takes part where it was scored on as many pairs as the
    baseline, which are then the same ones.

    Args:
        scores: rows of `scores`, by fold or pooled over folds, of one evaluation per instrument and
            target; rows of another segment are ignored.

    Returns:
        One per target and method, what is published and the networks first, then by error.
    """
    cells: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for row in scores:
        if row["segment"] == "test":
            place = tuple(row.get(name) for name in _PAIRS)
            cells[place][row["method"]] = row
    sums: dict[tuple[str, str, str], _Sum] = defaultdict(_Sum)
    for methods in cells.values():
        for method, row in methods.items():
            against = methods.get(row["baseline"])
            if against is not None and against["count"] == row["count"]:
                sums[row["target"], method, row["baseline"]].add(row, against)
    pooled = [_pooled(*key, total) for key, total in sums.items() if total.pairs]
    return tuple(sorted(pooled, key=_order))


class _Sum:
    """Errors weighted by their pairs, of a method and of the baseline."""

    def __init__(self) -> None:
        self.instruments: set[str] = set()
        self.pairs = 0
        self.own: list[float] = []
        self.baseline: list[float] = []

    def add(self, row: Mapping[str, Any], against: Mapping[str, Any]) -> None:
        self.instruments.add(row["instrument"])
        self.pairs += row["count"]
        self.own.append(row["count"] * row["mse"])
        self.baseline.append(row["count"] * against["mse"])


def _pooled(target: str, method: str, baseline: str, total: _Sum) -> PooledSkill:
    own, theirs = math.fsum(total.own), math.fsum(total.baseline)
    return PooledSkill(
        target=target,
        method=method,
        baseline=baseline,
        instruments=len(total.instruments),
        pairs=total.pairs,
        mse=own / total.pairs,
        skill=1 - own / theirs if theirs > 0 else None,
    )


def _order(pooled: PooledSkill) -> tuple[str, int, float, str]:
    place = _FIRST.index(pooled.method) if pooled.method in _FIRST else len(_FIRST)
    return pooled.target, place, pooled.mse, pooled.method
