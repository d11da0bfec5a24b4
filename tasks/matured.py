"""Scoring what matured: the forecasts that the world has since answered, each once, into `scores`.

Owns which forecasts are scored when. Never touches a forecast, nor how it is graded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.decisions import PUBLISHED
from tasks.features import Floats, Series
from tasks.history import load_series
from tasks.live_scores import LIVE, live_scores, outcomes
from tasks.schemas import DATASETS
from tasks.sessions import Calendars
from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.train import derived_table

_TOGETHER = 250
"""Instruments whose bars are in memory at once."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Matured:
    """What scoring came to.

    Attributes:
        forecasts: how many were scored, by this call.
        waiting: how many are due, but have no outcome yet: a bar of theirs is not known.
    """

    forecasts: int
    waiting: int


def score_matured(request: ShardRequest) -> Matured:
    """Score every forecast in the store whose outcome a run knows, and that has no score yet.

    Whoever made it, under whichever settings: with its own epsilon and edges a forecast says what
    its outcome is. Only what was known by the run's `as_of` takes part, forecasts included, and
    only sessions up to the run's. A score is written once: a later revision of a bar changes none.

    Args:
        request: the run's pinned world; its shard plays no part.

    Raises:
        StoreError: if the store cannot be read or written.
    """
    store = Store.open(request.store_url)
    calendars = Calendars.load(request.calendars)
    due = _due(store, request)
    names = pc.unique(due["instrument"]).sort().to_pylist()
    done = 0
    for start in range(0, len(names), _TOGETHER):
        group = names[start : start + _TOGETHER]
        own = due.filter(pc.is_in(due["instrument"], value_set=pa.array(group, pa.string())))
        rows = _forecasts(store, own, group)
        history = load_series(
            store,
            group,
            calendars,
            as_of=request.as_of,
            last=request.session,
            versions=dict(request.versions) or None,
        )
        answered, outcomes = _answered(rows, history, calendars, request)
        written = live_scores(answered, outcomes)
        store.append_once(
            "scores", derived_table("scores", written, request), now=datetime.now(UTC)
        )
        done += len(answered)
    return Matured(forecasts=done, waiting=due.num_rows - done)


def _due(store: Store, request: ShardRequest) -> pa.Table:
    """What was made by the run's `as_of`, is for a session up to the run's, and has no score.

    The ids and dates of every forecast are looked through, and nothing else of them.
    """
    made = store.scan(
        "forecasts",
        ["forecast_id", "instrument", "as_of", "target_session"],
        between={"target_session": (date.min, request.session)},
    )
    made = made.filter(pc.less_equal(made["as_of"], pa.scalar(request.as_of, made["as_of"].type)))
    scored = store.scan("scores", ["forecast_id"], among={"segment": [LIVE], "method": [PUBLISHED]})
    there = scored["forecast_id"].combine_chunks()
    return made.filter(pc.invert(pc.is_in(made["forecast_id"], value_set=there)))


def _forecasts(store: Store, due: pa.Table, instruments: Sequence[str]) -> list[Row]:
    ends = pc.min_max(due["target_session"]).as_py()
    rows = store.scan(
        "forecasts",
        DATASETS["forecasts"].schema.names,
        instruments=instruments,
        among={"forecast_id": due["forecast_id"].to_pylist()},
        between={"target_session": (ends["min"], ends["max"])},
    )
    once = {row["forecast_id"]: row for row in rows.to_pylist()}
    return [once[name] for name in sorted(once)]


def _answered(
    rows: Sequence[Row],
    history: Mapping[str, Series],
    calendars: Calendars,
    request: ShardRequest,
) -> tuple[list[Row], Floats]:
    """The forecasts whose outcome is known, and the outcomes `(forecast,)`."""
    of: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of[row["instrument"]].append(row)
    kept: list[Row] = []
    found: list[Floats] = []
    min_fit = request.settings.evaluation.min_fit
    for name, own in of.items():
        if name in history:
            truth = outcomes(own, history[name], calendars.of(name), min_fit)
            known = np.isfinite(truth)
            kept += [row for row, there in zip(own, known, strict=True) if there]
            found.append(truth[known])
    return kept, np.concatenate(found) if found else np.empty(0)
