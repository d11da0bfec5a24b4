"""Live skill over a universe and over time, from the live scores of one configuration.

Owns which live scores count, and how they pool. Never touches how they were made or are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lstm_models.fleet_config import KINDS
from lstm_models.scores import skill_score
from tasks.features import Floats
from tasks.kinds import primary_score
from tasks.live_scores import LIVE
from tasks.loss_panel import PUBLISHED
from tasks.pooled_skill import PooledSkill
from tasks.storage.rows import codes_of, starts_of
from tasks.store import Store

WINDOW = 63
"""Target sessions, a quarter of a year, that a point of `LiveSkill.path` looks back over."""

METHODS = (PUBLISHED, "lstm")

_COLUMNS = (
    "forecast_id",
    "instrument",
    "target",
    "kind",
    "lead",
    "method",
    "baseline",
    "first_cutoff",
    "target_session",
    "evaluation_id",
    "origin",
    "as_of",
    "mse",
    "log_loss",
    "coverage",
    "level",
)
_OUTCOME = ("instrument", "target", "kind", "lead", "first_cutoff")


@dataclass(frozen=True)
class LiveSkill:
    """How one method has done since it forecast for real.

    Attributes:
        target: of what.
        kind: by which kind of network, or beside it.
        method: `published` or `lstm`.
        baseline: the default baseline that skill is measured against.
        first: the first target session scored.
        last: the last one.
        sessions: target sessions scored.
        instruments: how many took part.
        pairs: forecasts scored, all leads together.
        backfilled: those of them that were made for a past night.
        skill: 1 - Σ loss / Σ loss of the baseline on the same pairs; None where that is zero.
        coverage: share of the outcomes inside the interval; None but of what is published.
        level: the share that the interval aims at; None likewise.
        backtest: skill on the test segments, of the models in use; None without any.
        path: (target session, skill over the last `WINDOW` of them), skill None as above.
    """

    target: str
    kind: str
    method: str
    baseline: str
    first: date
    last: date
    sessions: int
    instruments: int
    pairs: int
    backfilled: int
    skill: float | None
    coverage: float | None
    level: float | None
    backtest: float | None
    path: tuple[tuple[date, float | None], ...]


def live_skill(
    store: Store, config_hash: str, as_of: datetime, backtest: Sequence[PooledSkill] = ()
) -> tuple[LiveSkill, ...]:
    """Pool what a configuration's forecasts came to, as known at `as_of`.

    Args:
        store: holds `scores`.
        config_hash: whose forecasts; under other settings another recipe forecast.
        as_of: scores of later knowledge are left out.
        backtest: skill of the same configuration before, by `tasks.pooled_skill`.

    Raises:
        StoreError: the store can't be read.
    """
    live = live_rows(store, config_hash)
    live = live.filter(pc.less_equal(live["as_of"], pa.scalar(as_of, live["as_of"].type)))
    return pooled_live(live, backtest)


def live_rows(store: Store, config_hash: str, between: tuple[date, date] | None = None) -> pa.Table:
    """The live scores of a configuration, as `pooled_live` needs them.

    Args:
        store: holds `scores`.
        config_hash: whose forecasts.
        between: the first and the last target session wanted; None: all.

    Raises:
        StoreError: the store can't be read.
    """
    return store.scan(
        "scores",
        _COLUMNS,
        among={"segment": [LIVE], "config_hash": [config_hash]},
        between=None if between is None else {"target_session": between},
    )


def pooled_live(live: pa.Table, backtest: Sequence[PooledSkill] = ()) -> tuple[LiveSkill, ...]:
    """Pool live rows of `scores` per target, kind and method, every pair with the same weight.

    An outcome counts once per instrument and lead: where several forecasts of it were made from one
    cutoff (a bar was late and the next night forecast from the same one again; a night was filled
    in that had run; a baseline stood in for a shard that failed), the one of a model comes first,
    then the live one, then that with the least id.

    Args:
        live: with the columns of the dataset that this needs, of one configuration.
        backtest: see `live_skill`.

    Returns:
        In the order of the kinds, `published` before `lstm`.
    """
    live = _once_per_outcome(live)
    before = {(b.target, b.kind, b.method, b.baseline): b.skill for b in backtest}
    found = []
    for group in _groups(live, METHODS):
        key = tuple(group[name][0].as_py() for name in ("target", "kind", "method", "baseline"))
        score = primary_score(key[1])
        beside = live.select(["forecast_id", score]).filter(pc.equal(live["method"], key[-1]))
        ids = beside["forecast_id"].combine_chunks()
        place = pc.index_in(group["forecast_id"], value_set=ids)
        own = group.filter(pc.is_valid(place))
        if own.num_rows:
            against = beside[score].take(place.drop_null())
            found.append(_pooled(own, _array(own[score]), _array(against), before.get(key)))
    return tuple(sorted(found, key=_order))


def _once_per_outcome(live: pa.Table) -> pa.Table:
    """The rows of the forecasts that count; every forecast has a score of what was published."""
    made = live.filter(pc.equal(live["method"], PUBLISHED))
    times = made.group_by(list(_OUTCOME)).aggregate([([], "count_all")])
    several = times.filter(pc.greater(times["count_all"], 1))
    if not several.num_rows:
        return live
    made = made.join(several, list(_OUTCOME), join_type="inner")
    outcome = codes_of(made, _OUTCOME)
    of_model = _array(pc.not_equal(made["evaluation_id"], ""))
    in_time = _array(pc.equal(made["origin"], "live"))
    order = np.lexsort((codes_of(made, ("forecast_id",)), ~in_time, ~of_model, outcome))
    later = order[~starts_of(outcome[order])]
    left_out = made["forecast_id"].take(pa.array(later)).combine_chunks()
    return live.filter(pc.invert(pc.is_in(live["forecast_id"], value_set=left_out)))


def _groups(live: pa.Table, methods: Sequence[str]) -> Iterator[pa.Table]:
    live = live.filter(pc.is_in(live["method"], value_set=pa.array(methods)))
    names = ("target", "kind", "method", "baseline")
    for key in live.group_by(list(names)).aggregate([]).to_pylist():
        chosen = None
        for name in names:
            of = pc.equal(live[name], key[name])
            chosen = of if chosen is None else pc.and_(chosen, of)
        yield live.filter(chosen)


def _pooled(own: pa.Table, losses: Floats, against: Floats, backtest: float | None) -> LiveSkill:
    target, kind, method, baseline = (
        own[name][0].as_py() for name in ("target", "kind", "method", "baseline")
    )
    days = own["target_session"].to_numpy().astype("datetime64[D]")
    sessions, place = np.unique(days, return_inverse=True)
    losses = np.bincount(place, weights=losses).astype(np.float64)
    against = np.bincount(place, weights=against).astype(np.float64)
    return LiveSkill(
        target=target,
        kind=kind,
        method=method,
        baseline=baseline,
        first=sessions[0].item(),
        last=sessions[-1].item(),
        sessions=len(sessions),
        instruments=len(pc.unique(own["instrument"])),
        pairs=own.num_rows,
        backfilled=int((~_array(pc.equal(own["origin"], "live"))).sum()),
        skill=skill_score(float(losses.sum()), float(against.sum())),
        coverage=pc.mean(own["coverage"]).as_py(),
        level=pc.max(own["level"]).as_py(),
        backtest=backtest,
        path=tuple(zip(sessions.tolist(), _path(losses, against), strict=True)),
    )


def _path(losses: Floats, against: Floats) -> list[float | None]:
    """Skill over the last `WINDOW` sessions at each of them."""
    return [
        skill_score(float(losses[start:stop].sum()), float(against[start:stop].sum()))
        for stop in range(1, len(losses) + 1)
        for start in (max(0, stop - WINDOW),)
    ]


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy()
    return values


def _order(one: LiveSkill) -> tuple[int, str, int, str]:
    kind = KINDS.index(one.kind) if one.kind in KINDS else len(KINDS)
    return kind, one.target, METHODS.index(one.method), one.baseline
