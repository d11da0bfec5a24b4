"""What the store holds of one run, gathered for people: forecasts, scores, models, prices, health.

Owns which rows belong to a run. Never touches drawing, and writes nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.comparisons import company_of
from tasks.coverage import Coverage
from tasks.held import held
from tasks.live_skill import LiveSkill, live_skill
from tasks.pooled_skill import pooled_skill
from tasks.report.data_health import Health, arrivals, data_health
from tasks.report.prices import PRICES, Prices, recent_prices
from tasks.report.rises import Rises, rises
from tasks.report.typography import plural
from tasks.scoreboard import scoreboard
from tasks.store import Store

Row = Mapping[str, Any]
Key = tuple[str, str, str]
"""(instrument, target, kind): two kinds forecast the same target."""

HISTORY = 60
"""Sessions of history on a chart."""


@dataclass(frozen=True)
class Missing:
    """An instrument, target and kind of the plan without a forecast."""

    instrument: str
    target: str
    kind: str
    reason: str


@dataclass(frozen=True)
class RunView:
    """One run and all that its report shows."""

    run: Row
    runs: tuple[Row, ...]
    forecasts: Mapping[Key, tuple[Row, ...]]
    scores: Mapping[Key, tuple[Row, ...]]
    live: tuple[LiveSkill, ...]
    models: Mapping[Key, Row]
    prices: Mapping[str, Prices]
    rises: Mapping[str, Rises]
    health: tuple[Health, ...]
    missing: tuple[Missing, ...]
    quarantine: tuple[Row, ...]
    comparisons: Mapping[tuple[str, str], tuple[Row, ...]]
    """By target and kind."""
    coverage: Mapping[tuple[str, str], Coverage]
    """Of the published intervals in the tests, by target and kind."""


def view_run(store: Store, run_id: str | None = None) -> RunView:
    """Gather one run.

    Args:
        store: Where everything is read from, by the run's own `as_of`.
        run_id: Which run; the newest one that did not fail where it is None.

    Raises:
        LookupError: The store has no such run, or no run at all.
    """
    runs = sorted(
        store.read("runs").to_pylist(),
        key=lambda row: (row["session"], row["as_of"], row["made_at"], row["run_id"]),
        reverse=True,
    )
    run = _find(runs, run_id, store.url)
    as_of = run["as_of"]
    columns = ["instrument", "session", *PRICES, "price_basis"]
    bars = store.read("bars", as_of=as_of, columns=columns)
    quarantine = _held(store, run["session"])
    forecasts = _forecasts(store, run)
    # The chart's line is a mean over as many sessions as the last lead covers.
    recent = HISTORY + max((rows[-1]["lead"] for rows in forecasts.values()), default=0)
    actions = store.read("actions", as_of=as_of)
    directed = {instrument for instrument, _, kind in forecasts if kind == "direction"}
    models, due = _models(store, run, forecasts)
    scores = _scores(store, run, forecasts)
    backtest = pooled_skill(row for rows in scores.values() for row in rows)
    health = data_health(bars, arrivals(store, run, runs), quarantine, run["session"])
    return RunView(
        run=run,
        runs=tuple(runs),
        forecasts=forecasts,
        scores=scores,
        live=live_skill(store, run["config_hash"], as_of, backtest),
        models=models,
        prices=recent_prices(bars, actions, recent),
        rises=rises(bars, actions, directed, run["session"]),
        health=health,
        missing=_missing(run, forecasts, due, health),
        quarantine=quarantine,
        comparisons=_comparisons(store, run, models),
        coverage=held(store, _model_ids(forecasts), run["config_hash"]),
    )


def _find(runs: list[Row], run_id: str | None, url: str) -> Row:
    if not runs:
        raise LookupError(f"the store {url} holds no run yet: make one with `fleetcast nightly`")
    if run_id is None:
        return next((row for row in runs if row["status"] != "failed"), runs[0])
    found = [row for row in runs if row["run_id"] == run_id]
    if not found:
        raise LookupError(
            f"the store {url} holds no run {run_id!r}; its newest is {runs[0]['run_id']!r} "
            f"(all of them: `fleetcast show runs`)"
        )
    return found[0]


def _by_key(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    grouped: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["instrument"], row["target"], row["kind"]].append(row)
    return dict(sorted(grouped.items()))


def _forecasts(store: Store, run: Row) -> dict[Key, tuple[Row, ...]]:
    """Forecasts made for the run's knowledge and settings, by lead.

    An earlier run of the same night may have made them, so they are not found by `run_id`. Where
    two code versions forecast the same, the newer row is shown.
    """
    table = store.read("forecasts")
    table = table.filter(
        (pc.field("as_of") == pa.scalar(run["as_of"], table["as_of"].type))
        & (pc.field("config_hash") == run["config_hash"])
    )
    result = {}
    for key, rows in _by_key(table.to_pylist()).items():
        newest = {row["lead"]: row for row in sorted(rows, key=lambda row: row["made_at"])}
        result[key] = tuple(newest[lead] for lead in sorted(newest))
    return result


def _scores(
    store: Store, run: Row, forecasts: Mapping[Key, tuple[Row, ...]]
) -> dict[Key, tuple[Row, ...]]:
    """Pooled out-of-sample scores of the models that the forecasts name."""
    ids = _model_ids(forecasts)
    pooled = _by_key(scoreboard(store, ids, run["config_hash"])) if ids else {}
    return {key: tuple(rows) for key, rows in pooled.items()}


def _model_ids(forecasts: Mapping[Key, tuple[Row, ...]]) -> set[str]:
    return {rows[0]["model_id"] for rows in forecasts.values()} - {None, ""}


def _comparisons(
    store: Store, run: Row, models: Mapping[Key, Row]
) -> dict[tuple[str, str], tuple[Row, ...]]:
    """The comparisons of the models that the forecasts name, under the run's settings.

    Whoever computed them, they are the same. Where those models were not compared as one company
    (one has no forecast), the newest that were made by the run's day.
    """
    among = {"config_hash": [run["config_hash"]]}
    rows = store.read("comparisons", among=among).to_pylist()
    own = company_of({m["model_id"] for m in models.values() if m["status"] != "not_trained"})
    newest = max(
        (
            (row["company"] == own, row["as_of"], row["made_at"], row["company"])
            for row in rows
            if row["company"] == own or row["as_of"] <= run["as_of"]
        ),
        default=None,
    )
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if newest is not None and row["company"] == newest[-1]:
            found[row["target"], row["kind"]].append(row)
    return {key: tuple(of) for key, of in found.items()}


def _models(
    store: Store, run: Row, forecasts: Mapping[Key, tuple[Row, ...]]
) -> tuple[dict[Key, Row], dict[Key, Row]]:
    """The model that each forecast names, and the newest due of each key."""
    rows = store.read("models").to_pylist()
    by_id = {row["model_id"]: row for row in rows}
    named = {key: by_id.get(made[0]["model_id"]) for key, made in forecasts.items()}
    due: dict[Key, Row] = {}
    for row in sorted(rows, key=lambda row: (row["refit_session"], row["made_at"])):
        if row["refit_session"] <= run["session"]:
            due[row["instrument"], row["target"], row["kind"]] = row
    return {key: row for key, row in named.items() if row is not None}, due


def _missing(
    run: Row,
    forecasts: Mapping[Key, tuple[Row, ...]],
    due: Mapping[Key, Row],
    health: tuple[Health, ...],
) -> tuple[Missing, ...]:
    """What the run's plan has and no forecast was made for, with what the store knows of why.

    A target or kind that only other settings forecast is not missing.
    """
    plan: dict[str, list[str]] = json.loads(run["shards"])
    own = (key for key, row in due.items() if row["config_hash"] == run["config_hash"])
    planned = sorted({(target, kind) for _, target, kind in (*forecasts, *own)})
    states = {one.instrument: one for one in health}
    result = []
    for instrument in sorted(name for names in plan.values() for name in names):
        for target, kind in planned:
            key = (instrument, target, kind)
            if key in forecasts:
                continue
            model, state = due.get(key), states.get(instrument)
            if state is None or state.last is None:
                reason = "no bar is known"
            elif model is not None and model["reason"]:
                reason = model["reason"]
            elif state.behind:
                reason = f"its newest bar is of {state.last}"
            else:
                reason = f"only {plural(state.sessions, 'session')} known"
            result.append(Missing(*key, reason))
    return tuple(result)


def _held(store: Store, session: date) -> tuple[Row, ...]:
    """Rows kept out of `bars`, of sessions up to the run's.

    Read as of today: a row that was held back had no part in the run's forecasts, and the history
    of an archive is held back long after its sessions.
    """
    held = (
        row
        for row in store.read("quarantine").to_pylist()
        if row["op"] == "hold" and (row["session"] is None or row["session"] <= session)
    )
    return tuple(
        sorted(
            held,
            key=lambda row: (
                row["rule"],
                row["instrument"] or "",
                row["session"] or date.min,
                row["quarantine_id"],
            ),
        )
    )
